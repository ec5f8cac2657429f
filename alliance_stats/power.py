"""Power by simulation: how often a study of a given size would find what the simulated world holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.simulate.simulated import simulate_study
from alliance_stats.simulate.study import Study
from alliance_stats.tables.cores import run_pieces
from alliance_stats.tables.progress import bar
from alliance_stats.tables.schema import THERAPIST, DataError, Seed, generator, require_choice
from alliance_stats.tables.shares import wilson

Analysis = Callable[[Study, pd.DataFrame], pd.DataFrame]
"""A study and its events in, TERMS out."""


def simulate_power(
    *,
    analysis: str | Analysis,
    term: str,
    seed: Seed,
    vary: Mapping[str, Sequence[Any]] | None = None,
    world: Mapping[str, Any] | None = None,
    rule: str | Rule | None = "previous_2pooled",
    n_studies: int = 200,
    alpha: float = 0.05,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Simulate many studies, analyse each, and count how often a term is significant.

    Parameters
    ----------
    analysis : {"next_session", "dropout"} or callable
        `fit_next_session` on ``phq9`` and ``alliance``; the discrete dropout hazard on ``rupture_open +
        repaired_before + session`` with therapist-clustered errors; or your own function of a `Study` and its EVENTS
        that returns TERMS.
    term : str
        The row of TERMS in question, such as ``rupture_open``.
    seed : int or numpy.random.Generator
        The same studies are drawn in every cell (common random numbers), so that cells differ by design alone.
    vary : mapping of str to sequence, optional
        Parameters of `simulate_study` and the values to try; all combinations are run.
    world : mapping, optional
        Other parameters of `simulate_study`, for all cells.
    rule : str, Rule or None
        How ruptures are detected; None takes the true ones, which no study has.
    n_studies : int
        Studies per cell.
    alpha : float
        Level of the two-sided test.
    n_jobs : int, optional
        Studies analysed side by side: 2, or -1 for all cores. The result is the same for any number.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    DataFrame
        One row per cell: the varied parameters, ``n_studies``, ``n_fitted`` (the others could not be analysed, for
        instance because no rupture was found, and count as not significant), ``power`` with Wilson's interval ``ci_low,
        ci_high``, and over the fitted studies ``mean_estimate``, ``sd_estimate``, ``mean_std_error``.

    Raises
    ------
    ValueError
        For an unknown analysis, or a term that the analysis does not give.

    Examples
    --------
    >>> table = simulate_power(analysis="next_session", term="alliance_within", vary={"n_patients": [20, 60]},
    ...                        world={"n_therapists": 5, "alliance_effect": -3.0}, n_studies=4, seed=1)
    >>> bool(table["power"].iloc[1] >= table["power"].iloc[0])
    True
    """
    analyse = _analysis(analysis)
    if not n_studies >= 1:
        raise ValueError(f"n_studies={n_studies!r} must be at least 1.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must lie between 0 and 1.")
    seeds = generator(seed).integers(0, 2**63, n_studies)
    names, values = list(vary or {}), list((vary or {}).values())
    cells = [dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)]
    worlds = [{**(world or {}), **cell} for cell in cells]
    pieces = [(each, int(one)) for each in worlds for one in seeds]
    with bar("Simulating studies", len(pieces), show=progress):
        found = run_pieces(partial(_one_study, analyse, term, rule), pieces, n_jobs=n_jobs)
    rows = []
    for place, cell in enumerate(cells):
        own = found[place * n_studies : (place + 1) * n_studies]
        rows.append({**cell, **_counted([row for row in own if row is not None], n_studies, alpha)})
    return pd.DataFrame(rows)


def _one_study(
    analyse: Analysis, term: str, rule: str | Rule | None, piece: tuple[Mapping[str, Any], int]
) -> tuple[float, float, float] | None:
    """Estimate, standard error and p value of the term in one simulated study; None where it cannot be analysed."""
    world, seed = piece
    study = simulate_study(seed=seed, **world)
    events = study.events if rule is None else detect_ruptures(study.sessions, score="alliance", rule=rule)
    try:
        terms = analyse(study, events).set_index("term")
    except DataError:
        return None
    if term not in terms.index:
        if term in ("rupture_open", "repaired_before"):  # no such state in this study
            return None
        require_choice(term, list(terms.index), name="term")
    estimate, error, p_value = terms.loc[term, ["estimate", "std_error", "p_value"]].to_numpy(dtype=np.float64)
    return float(estimate), float(error), float(p_value)


def _counted(found: list[tuple[float, float, float]], n_studies: int, alpha: float) -> dict[str, float]:
    estimate, error, p_value = np.array(found, dtype=np.float64).reshape(-1, 3).T
    share = float((p_value < alpha).sum() / n_studies)
    low, high = wilson(share, n_studies, level=0.95)
    some = len(estimate) > 0
    return {
        "n_studies": n_studies,
        "n_fitted": len(estimate),
        "power": share,
        "ci_low": low,
        "ci_high": high,
        "mean_estimate": float(estimate.mean()) if some else np.nan,
        "sd_estimate": float(estimate.std(ddof=1)) if len(estimate) > 1 else np.nan,
        "mean_std_error": float(error.mean()) if some else np.nan,
    }


def _next_session(study: Study, events: pd.DataFrame) -> pd.DataFrame:
    return fit_next_session(study.sessions, events, symptom="phq9", alliance="alliance").tidy()


def _dropout(study: Study, events: pd.DataFrame) -> pd.DataFrame:
    intervals = dropout_intervals(study.sessions, events, endings=study.endings)
    varying = [name for name in ("rupture_open", "repaired_before") if len(intervals[name].unique()) > 1]
    return fit_dropout(" + ".join([*varying, "session"]), intervals, cluster=THERAPIST).tidy()


def _analysis(analysis: str | Analysis) -> Analysis:
    if callable(analysis):
        return analysis
    known: dict[str, Analysis] = {"next_session": _next_session, "dropout": _dropout}
    require_choice(analysis, list(known), name="analysis")
    return known[analysis]
