"""One p value for a whole multiverse (Simonsohn, Simmons & Nelson 2020), the null imposed by flipping residuals.

Every specification is fitted without the effect in question; the residuals of each patient or therapist are then
multiplied by a random sign, the same one in all specifications, and the effect is estimated again. The alliance, its
ruptures and everything else that predicts the outcome stay as they are, and so does the correlation of residuals within
a patient or therapist (Hemerik, Goeman & Finos 2020: the sign-flipping score test; with the standardisation of De
Santis, Goeman, Hemerik & Finos 2022 for the estimated other coefficients).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.multiverse.fit import (
    FITTING,
    TARGETS,
    AnyFit,
    Multiverse,
    Piece,
    Specification,
    estimates,
    multiverse_table,
)
from alliance_stats.multiverse.scores import Score, scores_of
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.progress import bar, run_pieces
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.schema import PATIENT, THERAPIST, DataError, Seed, check_sessions, generator, require_choice

MIN_THERAPISTS = 8
"""With fewer there are too few ways to flip signs: 2^7 = 128."""
CRITICAL = 1.959963984540054


@dataclass(frozen=True, eq=False, repr=False)
class JointTest(Shown):
    """Inference over all specifications of a multiverse together.

    Attributes
    ----------
    table : DataFrame
        As `fit_multiverse`, with ``null_low`` and ``null_high``: where 95 % of this specification's estimates lie when
        there is no effect.
    joint : DataFrame
        Per term and statistic: ``term, statistic, n_specifications, observed, null_low, null_high, p_value``. The p
        value to report is that of ``mean z`` (all specifications together); ``median estimate`` and ``significant``
        (specifications with abs(z) > 1.96 in the more frequent direction) are the other two of Simonsohn et al. (2020).
    unit : str
        Whose residuals were flipped together: ``therapist`` or ``patient``.
    n_units, draws : int
    """

    table: pd.DataFrame
    joint: pd.DataFrame
    unit: str
    n_units: int
    draws: int
    notes: tuple[str, ...] = field(default=())

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        title = f"Joint test of a multiverse: {self.draws} draws, residuals flipped by {self.unit} ({self.n_units})"
        return [title], {"All specifications together": self.joint}, list(self.notes)


def joint_test(
    sessions: pd.DataFrame,
    *,
    score: str,
    question: str,
    seed: Seed,
    symptom: str | None = None,
    endings: pd.DataFrame | None = None,
    rules: Iterable[str | Rule] | None = None,
    targets: Iterable[str] = tuple(TARGETS),
    better: str = "lower",
    allow_lookahead: bool = False,
    unit: str | None = None,
    draws: int = 999,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> JointTest:
    """One p value per effect for all detection rules and repair targets together.

    Parameters
    ----------
    sessions, score, question, symptom, endings, rules, targets, better, allow_lookahead, level, n_jobs, progress
        As in `fit_multiverse`.
    seed : int or numpy.random.Generator
        Of the signs.
    unit : {None, "therapist", "patient"}
        Whose residuals get one sign together; they may be correlated within and must be independent between units.
        By default therapists where there are 8 or more, otherwise patients (a note says so).
    draws : int
        Random sign vectors.

    Raises
    ------
    DataError
        If no specification can be fitted.

    Notes
    -----
    A draw costs no new fit: with variances (outcome, next session) or weights (dropout) held at their estimates, the
    estimate is a sum over units. The null says that the term has no effect in any specification. Under ``dropout`` the
    estimates are one step of Newton's method from the model without the term.

    Examples
    --------
    >>> from alliance_stats.simulate.simulated import simulate_study
    >>> study = simulate_study(n_patients=80, n_therapists=10, seed=1)
    >>> test = joint_test(study.sessions, score="alliance", question="next_session", symptom="phq9", seed=1, draws=99,
    ...                   rules=["previous_2pooled", "running_mean_2pooled"], targets=["past baseline"])
    >>> test.joint["statistic"].unique().tolist(), bool(test.joint["p_value"].between(0.01, 1).all())
    (['mean z', 'median estimate', 'significant'], True)
    """
    plan = plan_joint(**{name: value for name, value in locals().items() if name not in ("n_jobs", "progress")})
    with bar(FITTING, len(plan.pieces), show=progress):
        return joint_of(run_pieces(plan.work, plan.pieces, n_jobs=n_jobs), plan.told)


class JointPlan(NamedTuple):
    """The specifications of a joint test, not yet fitted, and what :func:`joint_of` needs beside them."""

    work: Callable[[Piece], Specification]
    pieces: list[Piece]
    told: dict[str, Any]


def plan_joint(
    sessions: pd.DataFrame, *, seed: Seed, unit: str | None = None, draws: int = 999, level: float = 0.95, **asked: Any
) -> JointPlan:
    """What :func:`joint_test` is to fit; the arguments are its own, `asked` those of `Multiverse`."""
    if draws < 19:
        raise ValueError(f"draws={draws!r} must be at least 19.")
    unit_of, unit, n_units, notes = _units(check_sessions(sessions, [asked["score"]]), unit)
    multiverse = Multiverse(sessions, **asked)
    told = {"score": multiverse.score, "question": multiverse.question, "seed": seed, "draws": draws, "level": level}
    work = partial(multiverse.fit, read=partial(_read, level=level, unit_of=unit_of, n_units=n_units))
    return JointPlan(work, multiverse.pieces(), {**told, "unit": unit, "n_units": n_units, "notes": notes})


def joint_of(answers: Sequence[Any], told: Mapping[str, Any]) -> JointTest:
    """The joint test from the fitted specifications, or from what a file has kept of them."""
    draws, n_units = told["draws"], told["n_units"]
    found = [
        Specification(
            head, own and (own[0], [Score(term, *map(np.asarray, arrays)) for term, *arrays in own[1]]), status
        )
        for head, own, status in answers
    ]
    scores = [(one.head, score) for one in found if one.found is not None for score in one.found[1]]
    if not scores:
        raise DataError("No specification gives an estimate.", remedy="See the column status of fit_multiverse.")
    signs = np.vstack([np.ones(n_units), generator(told["seed"]).choice([-1.0, 1.0], size=(draws, n_units))])
    rows, bands = [], []
    for term in dict.fromkeys(one.term for _, one in scores):
        own = [(head, one) for head, one in scores if one.term == term]
        drawn, z = (np.array(values) for values in zip(*(one.flipped(signs) for _, one in own), strict=True))
        low, high = np.quantile(drawn[:, 1:], [0.025, 0.975], axis=1)
        bands += [
            {"rule": head["rule"], "target": head["target"], "term": term, "null_low": a, "null_high": b}
            for (head, _), a, b in zip(own, low, high, strict=True)
        ]
        rows += [{"term": term, **row} for row in _joint(drawn, z)]
    rest = [one._replace(found=one.found and one.found[0]) for one in found]
    table = multiverse_table(rest, question=told["question"], score=told["score"], level=told["level"])
    attrs = table.attrs
    table = table.merge(pd.DataFrame(bands), on=["rule", "target", "term"], how="left")
    table.attrs = attrs
    return JointTest(table, pd.DataFrame(rows), told["unit"], n_units, draws, tuple(told["notes"]))


def _joint(estimates: FloatArray, z: FloatArray) -> list[dict[str, Any]]:
    """The statistics of Simonsohn et al. (2020); the first column is the data, the others are draws."""
    significant = np.maximum((z > CRITICAL).sum(axis=0), (z < -CRITICAL).sum(axis=0))
    rows = []
    for name, values, size in (
        ("mean z", z.mean(axis=0), np.abs(z.mean(axis=0))),
        ("median estimate", np.median(estimates, axis=0), np.abs(np.median(estimates, axis=0))),
        ("significant", significant, significant),
    ):
        as_large = int((size[1:] >= size[0] - 1e-9 * abs(size[0])).sum())
        low, high = np.quantile(values[1:], [0.025, 0.975])
        rows.append(
            {
                "statistic": name,
                "n_specifications": len(z),
                "observed": float(values[0]),
                "null_low": float(low),
                "null_high": float(high),
                "p_value": (1 + as_large) / len(size),
            }
        )
    return rows


def _units(table: pd.DataFrame, unit: str | None) -> tuple[pd.Series, str, int, tuple[str, ...]]:
    """The unit number of each patient (by id), its kind, how many there are, and remarks."""
    require_choice(unit, (None, THERAPIST, PATIENT), name="unit")
    known = table.dropna(subset=[THERAPIST]) if THERAPIST in table else table.iloc[:0]
    n_therapists = len(known[THERAPIST].unique()) if len(known) else 0
    if unit == THERAPIST and n_therapists < 2:
        raise DataError("There are no therapists to flip residuals by.", remedy="Pass unit='patient'.")
    notes: tuple[str, ...] = ()
    if unit is None:
        unit = THERAPIST if n_therapists >= MIN_THERAPISTS else PATIENT
        if 1 < n_therapists < MIN_THERAPISTS:
            text = f"{n_therapists} therapists are too few to flip signs by: patients are taken as independent."
            notes = (text,)
    patients = pd.Index(table[PATIENT].unique())
    if unit == PATIENT:
        return pd.Series(np.arange(len(patients)), index=patients), unit, len(patients), notes
    counts = known.groupby([PATIENT, THERAPIST], sort=True).size().reset_index(name="n")
    main = counts.sort_values("n", ascending=False, kind="stable").drop_duplicates(PATIENT).set_index(PATIENT)
    codes, names = pd.factorize(main[THERAPIST].reindex(patients).to_numpy(), sort=True)
    alone = codes < 0  # a patient without a therapist is a unit of their own
    codes[alone] = len(names) + np.arange(int(alone.sum()))
    return pd.Series(codes, index=patients), unit, int(codes.max()) + 1, notes


def _read(fit: AnyFit, *, level: float, unit_of: pd.Series, n_units: int) -> tuple[list[dict[str, Any]], list[Score]]:
    return estimates(fit, level), scores_of(fit, unit_of, n_units)
