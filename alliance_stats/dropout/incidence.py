"""How many have ended, and how, by each session: Aalen-Johansen over INTERVALS."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.dropout.intervals import ENDED
from alliance_stats.hazard.incidence import state_occupation
from alliance_stats.tables.arrays import Array
from alliance_stats.tables.schema import ENDING, ONGOING, PATIENT, DataError, refuse, require_columns
from alliance_stats.tables.shares import log_log_interval, normal_quantile
from alliance_stats.tables.states import STATES


def cumulative_incidence(
    intervals: pd.DataFrame,
    *,
    by: str | None = None,
    states: bool = False,
    cluster: str = PATIENT,
    level: float = 0.95,
) -> pd.DataFrame:
    """The proportion whose therapy has ended in each way by each time (Aalen & Johansen 1978).

    Competing endings compete: a patient who has completed can no longer drop out, which one minus Kaplan-Meier ignores
    (it estimates a world without the other endings, and the proportions then sum to more than one).

    Parameters
    ----------
    intervals : DataFrame
        INTERVALS; or those of ruptures (:func:`alliance_stats.coding.repair_intervals`), which can also end in repair.
    by : str, optional
        A column that is constant in each patient (arm): one set of curves per value.
    states : bool
        Also the proportions *in treatment* with no rupture, an open one, and a repaired one (``rupture_state``).
    cluster : str
        The independent units for the standard errors: ``patient`` or ``therapist``.
    level : float
        Coverage of the intervals (pointwise, on the complementary log-log scale).

    Returns
    -------
    DataFrame
        One row per time and state (and group): ``time, state, estimate, std_error, ci_low, ci_high, n_at_risk,
        n_events``, and ``group`` where `by` is given. ``time`` t counts those who were not there at session t.

    Raises
    ------
    DataError
        If `by` changes within a patient: grouping by what happens later is immortal-time bias.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2, 3], "start": [1, 2, 1, 1], "stop": [2, 3, 2, 2],
    ...                      "ending": ["", "completed", "dropout", ""]})
    >>> cumulative_incidence(rows)[["time", "state", "estimate"]].round(3).query("state == 'dropout'")
       time    state  estimate
    1     2  dropout     0.333
    4     3  dropout     0.333
    """
    require_columns(intervals, [PATIENT, "start", "stop", ENDING, cluster], table_name="intervals")
    if by is None:
        return _incidence(intervals, states, cluster, level)
    require_columns(intervals, [by], table_name="intervals")
    pairs = intervals[[PATIENT, by]].drop_duplicates()
    changes = pairs[PATIENT].duplicated()
    problem = f"{by!r} changes within a patient: a group that is known only later is biased towards those who stayed."
    remedy = "Use states=True, or predict_paths of a model with the time-varying state."
    refuse(pairs, changes, problem, remedy=remedy, row=False)
    parts = [
        _incidence(part, states, cluster, level).assign(group=value)
        for value, part in intervals.groupby(by, observed=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _incidence(intervals: pd.DataFrame, states: bool, cluster: str, level: float) -> pd.DataFrame:
    transient = list(STATES) if states else ["in treatment"]
    given = intervals[ENDING].astype(object)
    others = given[~given.isin([*ENDED, ONGOING, ""]) & given.notna()].unique()  # of a rupture: repaired
    ended = [*ENDED, *sorted(others)]
    names = [*transient, *ended]
    origin, target = _moves(intervals, states, len(transient), ended)
    if not (target >= 0).any():
        raise DataError(
            "Nothing happens in these intervals: no ending and no change of state.", remedy="Check endings=."
        )
    found = state_occupation(
        intervals["start"].to_numpy(dtype=np.float64),
        intervals["stop"].to_numpy(dtype=np.float64),
        origin,
        target,
        pd.factorize(intervals[cluster])[0],
        n_states=len(names),
        initial=None if states else np.r_[1.0, np.zeros(len(ended))],
    )
    shown = [index for index, name in enumerate(names) if states or name in ended]
    low, high = log_log_interval(found.probability, found.std_error, quantile=normal_quantile(level))
    in_treatment = found.at_risk[:, : len(transient)]
    at_risk = [*in_treatment.T, *[in_treatment.sum(axis=1)] * len(ended)]
    parts = [
        pd.DataFrame(
            {
                "time": found.time.astype(np.int64) if (found.time % 1 == 0).all() else found.time,
                "state": names[index],
                "estimate": found.probability[:, index],
                "std_error": found.std_error[:, index],
                "ci_low": low[:, index],
                "ci_high": high[:, index],
                "n_at_risk": at_risk[index].astype(int),
                "n_events": found.moves[:, index].astype(int),
            }
        )
        for index in shown
    ]
    order = np.argsort(np.tile(np.arange(len(found.time)), len(shown)), kind="stable")
    return pd.concat(parts, ignore_index=True).iloc[order].reset_index(drop=True)


def _moves(intervals: pd.DataFrame, states: bool, n_transient: int, endings: list[str]) -> tuple[Array, Array]:
    """The state during each row, and the one moved to at its stop (-1: none)."""
    ended = {name: n_transient + index for index, name in enumerate(endings)}
    target = intervals[ENDING].astype(object).map(ended).fillna(-1).to_numpy(dtype=np.int64)
    origin = np.zeros(len(intervals), dtype=np.int64)
    if not states:
        return origin, target
    require_columns(intervals, ["rupture_state"], table_name="intervals")
    origin = pd.Index(STATES).get_indexer(pd.Index(intervals["rupture_state"].astype(object))).astype(np.int64)
    patient = pd.factorize(intervals[PATIENT])[0]
    order = np.lexsort((intervals["start"].to_numpy(), patient))
    start, stop = intervals["start"].to_numpy()[order], intervals["stop"].to_numpy()[order]
    follows = np.r_[(np.diff(patient[order]) == 0) & (start[1:] == stop[:-1]), False]
    following = np.r_[origin[order][1:], -1]
    moved = follows & (following != origin[order]) & (target[order] < 0)
    target[order[moved]] = following[moved]
    return origin, target
