"""A detector that takes noise, autocorrelation, trend, ceilings and unequal lengths seriously: P(in rupture)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.latent.courses import Courses, Floats, Ints, as_courses
from alliance_stats.rupture.latent.fit import STAGES, Estimate, estimate
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.posterior import Posterior, posterior
from alliance_stats.rupture.latent.result import LatentRuptures
from alliance_stats.rupture.latent.verdict import UNTESTED, Evidence, bic_gain, evidence_of, verdict_of
from alliance_stats.tables.progress import bar
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, Seed, check_sessions, generator, require_choice

LEAST_PATIENTS, LEAST_RATINGS = 10, 3
AT_BOUND = 0.02
"""A value that is the extreme one of the study and holds at least this share of the scores is read as a bound."""


def detect_latent(
    sessions: pd.DataFrame,
    *,
    score: str,
    bounds: tuple[float, float] | str | None = "data",
    max_length: int = 10,
    min_ratings: int = 2,
    parameters: LatentParameters | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> LatentRuptures:
    """Probability that a rupture is open at each session, from one model of all patients.

    A score is the patient's level and trend, after an early rise that saturates, plus true fluctuation that carries
    over between sessions (AR(1)), plus measurement noise, minus the depth of a rupture while one is open. Patients
    differ in level, trend, rise and variance; the spread may shrink or grow over sessions. A rupture begins and ends by
    chance at constant rates per session; a share of them never ends. All parameters are estimated from the data by
    penalised maximum likelihood; evidence is summed over every run of sessions that could be a rupture, and over sets
    of them. Missed sessions count by number. Scores at a bound of the scale are read as "this or beyond".

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`; higher is better.
    score : str
        The alliance score.
    bounds : (float, float), "data" or None
        Lowest and highest possible score. ``"data"``: the smallest or largest score found, where at least 2 % (and
        five) of all scores are at it. None: no bounds.
    max_length : int
        Longest rupture considered, in rated sessions, that ends within the series; those open at the end may be longer.
    min_ratings : int
        Ratings a patient must have before a rupture can begin, at least 1. A first rating alone is a poor level to fall
        from: with 1 a high first score passes for one.
    parameters : LatentParameters, optional
        Estimates of another fit (of a larger study, say); nothing is estimated then, and their bounds, `max_length` and
        `min_ratings` apply.
    seed : int or Generator
        For the draws behind the estimates, and the series without ruptures behind the thresholds. Given parameters, the
        probabilities depend on no seed, and a patient's on no other patient.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    LatentRuptures

    Raises
    ------
    DataError
        If there are fewer than ten patients with three ratings (more if `min_ratings` asks for it) whose scores vary
        around their own straight line.

    Notes
    -----
    The window scan is a finite-window form of the hidden Markov models of Hamilton (1989), with patient effects
    integrated out as in Bayesian change-point analysis. A fall that lasts to the end of the series cannot be told from
    a lower level that began there. The prospective (``filtered``) probabilities of a patient use that patient's earlier
    sessions alone, but the parameters come from all patients and all sessions; for strict prospective use give
    `parameters` from earlier patients. How well the estimates recover the truth, what limits detection, and the model
    that this one was chosen over: ``docs/latent.md``.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> scores = 5 + 0.3 * rng.standard_normal((60, 12)) + 0.5 * rng.standard_normal((60, 1))
    >>> scores[:20, 5:8] -= 1.2
    >>> sessions = pd.DataFrame({"patient": np.repeat(range(60), 12), "session": np.tile(range(1, 13), 60),
    ...                          "alliance": scores.ravel()})
    >>> found = detect_latent(sessions, score="alliance")
    >>> found.verdict
    'supported'
    >>> events = found.events(false_alarm=0.05)
    >>> int((events["onset"] == 6).sum()) >= 17
    True
    """
    if not isinstance(max_length, int) or isinstance(max_length, bool) or max_length < 1:
        raise ValueError(f"max_length={max_length!r} must be a whole number of at least 1.")
    if not isinstance(min_ratings, int) or isinstance(min_ratings, bool) or min_ratings < 1:
        raise ValueError(f"min_ratings={min_ratings!r} must be a whole number of at least 1.")
    table = check_sessions(sessions, [score])
    values = table[score].to_numpy()
    rated = np.flatnonzero(~np.isnan(values))
    code = np.unique(pd.factorize(table[PATIENT])[0][rated], return_inverse=True)[1]
    if not len(rated):
        raise DataError(f"{score!r} has no value.", remedy="Name a column with scores.")
    courses = as_courses(code.astype(np.int64), table[SESSION].to_numpy()[rated], values[rated])
    number = int(generator(seed).integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed)
    fit = None
    if parameters is None:
        _require_enough(courses, score, max(LEAST_RATINGS, min_ratings + 1))
        floor, ceiling = _bounds(bounds, values[rated])
        with bar("Estimating the latent model", STAGES, show=progress):
            fit = estimate(
                _canonical(courses),
                floor=floor,
                ceiling=ceiling,
                step=_step(values[rated], floor, ceiling),
                max_length=max_length,
                seed=number,
                min_ratings=min_ratings,
            )
        parameters = fit.parameters
    found = posterior(parameters, courses)
    evidence = None if fit is None else evidence_of(fit, courses)
    return LatentRuptures(
        score=score,
        probabilities=_probabilities(table, score, rated, courses, found, parameters.min_ratings),
        parameters=parameters,
        verdict=UNTESTED if fit is None or evidence is None else verdict_of(fit, evidence),
        diagnostics=_diagnostics(fit, evidence, parameters, courses, table[PATIENT].nunique(), len(table) - len(rated)),
        _courses=courses,
        _posterior=found,
        _rows=rated[np.flatnonzero(np.r_[True, np.diff(code) > 0])],
        _seed=number,
    )


def states_so_far(sessions: pd.DataFrame, *, score: str, parameters: LatentParameters) -> pd.DataFrame:
    """What is known of a patient's ruptures after each session, from the parameters of an earlier study.

    For one patient, or several: each one's ratings so far and `parameters` are all that is used, so a further session
    changes nothing said before it.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`: the ratings so far.
    score : str
        The alliance score, on the scale that `parameters` were estimated on.
    parameters : LatentParameters
        ``latent.parameters``, or :func:`read_parameters`.

    Returns
    -------
    DataFrame
        ``states("filtered")`` of the same sessions; see :meth:`LatentRuptures.states`.

    Raises
    ------
    DataError
        If `sessions` has no score.
    """
    return detect_latent(sessions, score=score, parameters=parameters).states("filtered")


def _require_enough(courses: Courses, score: str, ratings: int) -> None:
    long_enough = courses.n_rated >= ratings
    remedy = "Give parameters= from a larger study, or use detect_ruptures with a rule."
    if long_enough.sum() < LEAST_PATIENTS:
        raise DataError(
            f"{score!r} has {long_enough.sum()} patients with {ratings} ratings or more; the model needs "
            f"{LEAST_PATIENTS}.",
            remedy=remedy,
        )
    varying = long_enough & (_around_own_line(courses) > 1e-9 * max(float(np.abs(courses.score).max()), 1e-300))
    if varying.sum() < LEAST_PATIENTS:
        raise DataError(
            f"{score!r} has {varying.sum()} patients with {ratings} ratings or more that do not lie on one straight "
            f"line; the model needs {LEAST_PATIENTS} to estimate how much scores vary within patients.",
            remedy=remedy,
        )


def _around_own_line(courses: Courses) -> Floats:
    """Each patient's largest distance from the own least-squares line, (n,)."""
    rated, n = courses.rated, courses.n_rated[:, None]
    time = np.where(rated, courses.time - (courses.time * rated).sum(axis=1, keepdims=True) / n, 0.0)
    score = np.where(rated, courses.score - courses.score.sum(axis=1, keepdims=True) / n, 0.0)
    squares = (time * time).sum(axis=1, keepdims=True)
    slope = (time * score).sum(axis=1, keepdims=True) / np.where(squares > 0, squares, 1.0)
    return np.asarray(np.abs(score - slope * time).max(axis=1))


def _bounds(bounds: tuple[float, float] | str | None, scores: Floats) -> tuple[float, float]:
    if bounds is None:
        return -np.inf, np.inf
    if isinstance(bounds, str):
        require_choice(bounds, ("data",), name="bounds")
        least = max(AT_BOUND * len(scores), 5)
        low, high = scores.min(), scores.max()
        floor = float(low) + 0.0 if (scores == low).sum() >= least else -np.inf  # + 0.0 turns -0.0 into 0.0
        return floor, float(high) + 0.0 if (scores == high).sum() >= least else np.inf
    floor, ceiling = (float(bound) for bound in bounds)
    if not floor < ceiling:
        raise ValueError(f"bounds={bounds!r} must be (lowest, highest).")
    outside = (scores < floor) | (scores > ceiling)
    if outside.any():
        raise DataError(
            f"Scores lie outside bounds={bounds!r}.", remedy="Correct the bounds.", value=scores[outside][0]
        )
    return floor, ceiling


def _step(scores: Floats, floor: float, ceiling: float) -> float:
    """The distance between a bound and the next score in use: half of it rounds to the bound. 0 without bounds."""
    distinct = np.unique(scores)
    if len(distinct) < 2 or not (np.isfinite(floor) or np.isfinite(ceiling)):
        return 0.0
    return float(distinct[-1] - distinct[-2] if np.isfinite(ceiling) else distinct[1] - distinct[0])


def _canonical(courses: Courses) -> Courses:
    """Patients of two ratings or more in an order that their names do not decide, so that renaming changes nothing."""
    rows = np.flatnonzero(courses.n_rated >= 2)
    keys = np.column_stack([courses.n_rated, courses.time, courses.score])[rows]
    return courses.take(rows[np.lexsort(keys.T[::-1])])


def _probabilities(
    table: pd.DataFrame, score: str, rated: Ints, courses: Courses, found: Posterior, min_ratings: int
) -> pd.DataFrame:
    mask = courses.rated
    too_few = (courses.n_rated <= min_ratings)[:, None]
    wide = {
        "p_smoothed": found.smoothed,
        "p_filtered": found.filtered,
        "p_onset": found.begun,
        "baseline": found.baseline,
        "evidence_smoothed": np.repeat(found.evidence[:, None], mask.shape[1], axis=1),
        "evidence_filtered": np.maximum.accumulate(found.evidence_so_far, axis=1),
    }
    columns: dict[str, Any] = {PATIENT: table[PATIENT], SESSION: table[SESSION], score: table[score]}
    for name, values in wide.items():
        column = np.full(len(table), np.nan)
        column[rated] = np.where(too_few, np.nan, values)[mask]
        columns[name] = column
    return pd.DataFrame(columns)


def _diagnostics(
    fit: Estimate | None,
    evidence: Evidence | None,
    parameters: LatentParameters,
    courses: Courses,
    n_patients: int,
    n_unrated: int,
) -> pd.DataFrame:
    scores = courses.score[courses.rated]
    rows: list[tuple[str, float, str]] = [
        ("patients", n_patients, "in the table"),
        ("patients_scored", int((courses.n_rated > parameters.min_ratings).sum()), "with ratings enough for a rupture"),
        ("ratings", len(scores), "used"),
        ("sessions_unrated", n_unrated, "rows without a score"),
        ("at_ceiling", float((scores >= parameters.ceiling).mean()), "share of ratings read as 'this or higher'"),
        ("at_floor", float((scores <= parameters.floor).mean()), "share of ratings read as 'this or lower'"),
    ]
    if fit is not None and evidence is not None:
        rows += [
            ("patients_fitted", fit.n_patients, "behind the estimates"),
            ("converged", float(fit.converged), "1 if the optimiser met its tolerance"),
            ("inflation", fit.inflation, "of the variance of expected numbers, since all parameters are estimated"),
            ("log_likelihood", fit.log_likelihood, "with ruptures"),
            ("log_likelihood_null", fit.log_likelihood_null, "without ruptures"),
            ("bic_gain", bic_gain(fit), "above 0: the data support ruptures"),
            ("mirror", fit.mirror, "z of falls against rises; below 1.5: heavy tails would explain as much"),
            ("skewness", fit.skewness, "of the noise, ruptures apart"),
            ("skewness_z", fit.skewness_z, "below -2.5, and the skewness below -0.1: skewed noise"),
            ("score_values", evidence.n_values, "that hold 98 % of the scores; below 4: too coarse"),
            ("score_step", evidence.step, "smallest step in within-patient SD; above 2: too coarse"),
            (
                "median_ratings",
                evidence.median_ratings,
                "per patient; fewer than 40 % of ruptures over in as many: lasting",
            ),
        ]
    return pd.DataFrame(rows, columns=["quantity", "value", "meaning"])
