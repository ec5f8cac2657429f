"""What a fitted hazard predicts: for rows, and for whole courses of covariates stated in advance.

A path says what the covariates are at every session; the answer is the hazard after each, who is still in treatment,
and by which endings the others have left. The question "a rupture at session 4 repaired at 6, against never
repaired" is two paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.result import HazardFit
from alliance_stats.dropout.rows import HazardOf
from alliance_stats.tables.arrays import Array
from alliance_stats.tables.schema import SESSION
from alliance_stats.tables.shares import log_log_interval
from alliance_stats.tables.states import episode_states, state_columns
from alliance_stats.tables.terms import t_quantile


def rupture_path(
    until: int,
    *,
    onset: int | Sequence[int] | None = None,
    repaired_at: int | Sequence[int | None] | None = None,
    start: int = 1,
    **covariates: Any,
) -> pd.DataFrame:
    """A course of therapy up to session `until`, with ruptures where stated: rows of INTERVALS to predict for.

    Parameters
    ----------
    until : int
        The last ``stop``.
    onset, repaired_at : int or sequence of int, optional
        When each rupture begins, and is repaired (None: never).
    start : int
        The first session.
    **covariates
        Other columns of the model, a value for all rows or one per row.

    Examples
    --------
    >>> rupture_path(7, onset=4, repaired_at=6)[["start", "stop", "rupture_state"]].tail(4)
       start  stop rupture_state
    2      3     4          none
    3      4     5          open
    4      5     6          open
    5      6     7      repaired
    """
    if until <= start:
        raise ValueError(f"until={until} must lie after start={start}.")
    onsets = [] if onset is None else [onset] if isinstance(onset, int) else list(onset)
    repairs = [repaired_at] if repaired_at is None or isinstance(repaired_at, int) else list(repaired_at)
    repairs = [*repairs, *[None] * len(onsets)][: max(len(onsets), len(repairs) if repaired_at is not None else 0)]
    if len(repairs) != len(onsets):
        raise ValueError("repaired_at names more repairs than onset names ruptures.")
    for begun, ended in zip(onsets, repairs, strict=True):
        if ended is not None and ended <= begun:
            raise ValueError(f"A rupture at session {begun} cannot be repaired at session {ended}.")
    session = np.arange(start, until)
    end = np.array([np.nan if ended is None else ended for ended in repairs])
    zero = np.zeros(len(session), dtype=np.int64)
    states = episode_states(zero, session, episode_series=np.zeros(len(onsets)), start=onsets, end=end)
    return pd.DataFrame(
        {SESSION: session, "start": session, "stop": session + 1, **state_columns(states), **covariates}
    )


def predict_paths(
    fits: HazardFit | Mapping[str, HazardFit], paths: Mapping[str, pd.DataFrame], *, level: float = 0.95
) -> pd.DataFrame:
    """Hazard, survival and cumulative incidence along stated courses of the covariates.

    Parameters
    ----------
    fits : HazardFit or mapping of str to HazardFit
        One fit, or one per ending (`fit_endings`): with all endings the incidences compete and add up, with one they
        are those of a world without the other endings.
    paths : mapping of str to DataFrame
        A name to rows of INTERVALS in order, each starting where the one before stops (`rupture_path`).
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row per path, row of the path and ending: ``path, start, stop, ending, hazard, hazard_low, hazard_high,
        incidence, incidence_low, incidence_high`` (ended so by ``stop``), ``survival, survival_low, survival_high``
        (still in treatment at ``stop``).

    Notes
    -----
    Intervals by the delta method on the complementary log-log scale, from the covariance of each fit (clustered, if
    it is); the fits of different endings count as independent. Cox: the uncertainty of the baseline hazard is included.
    """
    by_ending = dict(fits) if isinstance(fits, Mapping) else {fits.ending: fits}
    if len({fit.is_cox for fit in by_ending.values()}) > 1:
        raise ValueError("All fits must be of one kind, discrete or Cox.")
    models = [HazardOf.of(fit) for fit in by_ending.values()]
    parts = [_one_path(models, list(by_ending), name, path, level) for name, path in paths.items()]
    return pd.concat(parts, ignore_index=True)


def cumulative(hazards: Sequence[Array], *, cox: bool) -> tuple[Array, Array]:
    """From the hazards of each ending along a path (m,) to (survival (m,), incidences (endings, m))."""
    stacked = np.stack(hazards)
    total = stacked.sum(axis=0)
    # The hazards of discrete endings, each from its own model, can add up to more than one: then they share one.
    leaving = -np.expm1(-total) if cox else np.minimum(total, 1.0)
    survival = np.cumprod(1.0 - leaving)
    before = np.r_[1.0, survival[:-1]]
    share = np.divide(stacked, total, out=np.zeros_like(stacked), where=total > 0)
    return survival, np.cumsum(before * leaving * share, axis=1)


def _one_path(
    models: Sequence[HazardOf], endings: Sequence[str], name: str, path: pd.DataFrame, level: float
) -> pd.DataFrame:
    path = path.reset_index(drop=True)
    start, stop = path["start"].to_numpy(), path["stop"].to_numpy()
    if (start[1:] != stop[:-1]).any():
        raise ValueError(f"Path {name!r}: every row must start where the row before stops.")
    matrices = [model.design(path) for model in models]
    if any(np.isnan(matrix).any() for matrix in matrices):
        raise ValueError(f"Path {name!r} lacks a value of a covariate.")
    sizes = np.cumsum([0, *(len(model.value) for model in models)])
    everything = np.concatenate([model.value for model in models])
    cox = models[0].fit.is_cox

    def outcomes(parameters: Array) -> Array:
        hazards = [model.at(parameters[sizes[i] : sizes[i + 1]], matrices[i], path) for i, model in enumerate(models)]
        survival, incidence = cumulative(hazards, cox=cox)
        return np.stack([*hazards, *incidence, 1.0 - survival])

    estimate = outcomes(everything)
    error = _delta(outcomes, everything, [model.covariance for model in models], sizes)
    df = min(float(model.fit.df.min()) for model in models)
    low, high = _limits(estimate, error, level, df, unbounded=len(models) if cox else 0)
    estimate[-1], low[-1], high[-1] = 1.0 - estimate[-1], 1.0 - high[-1], 1.0 - low[-1]
    k = len(models)
    parts = []
    for i, ending in enumerate(endings):
        columns: dict[str, Any] = {"path": name, "start": start, "stop": stop, "ending": ending}
        for label, row in (("hazard", i), ("incidence", k + i), ("survival", 2 * k)):
            columns |= {label: estimate[row], f"{label}_low": low[row], f"{label}_high": high[row]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _delta(function: Any, at: Array, covariances: Sequence[Array], sizes: Array) -> Array:
    """Standard errors of `function` at `at` by central differences; the blocks of parameters are independent."""
    slopes = []
    for j in range(len(at)):
        step = 1e-5 * max(abs(float(at[j])), 1e-3)
        up, down = at.copy(), at.copy()
        up[j] += step
        down[j] -= step
        slopes.append((function(up) - function(down)) / (2 * step))
    slope = np.stack(slopes, axis=-1)
    variance = np.zeros(slope.shape[:-1])
    for i, covariance in enumerate(covariances):
        block = slope[..., sizes[i] : sizes[i + 1]]
        # An unknown error matters only where the path depends on that coefficient.
        unknown = np.isnan(np.diag(covariance))
        variance[(block[..., unknown] != 0).any(axis=-1)] = np.nan
        covariance = np.where(unknown[:, None] | unknown, 0.0, covariance)
        variance += np.einsum("...i,ij,...j->...", block, covariance, block)
    return np.sqrt(np.maximum(variance, 0.0))


def _limits(estimate: Array, error: Array, level: float, df: float, *, unbounded: int) -> tuple[Array, Array]:
    """Limits on the complementary log-log scale; the first `unbounded` rows (Cox hazards) on the log scale."""
    quantile = float(t_quantile(level, df))
    low, high = log_log_interval(estimate, error, quantile=quantile)
    rate = estimate[:unbounded]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.exp(np.where(rate > 0, quantile * error[:unbounded] / rate, 0.0))
    low[:unbounded], high[:unbounded] = rate / factor, rate * factor
    return low, high
