"""The rupture state of each patient-session, from EVENTS (0 or 1) or STATES (probabilities), as known by then.

STATES is a table of ``patient``, ``session``, ``rupture_open`` and others of ``PROBABILITIES``. What a detector returns
counts as well if it has a method ``states``. Functions test columns, not classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.panel import rows_until
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    DataError,
    check_sessions,
    numbered,
    numeric,
    refuse,
    require_columns,
)

PROBABILITIES = ("rupture_open", "repaired_before", "repaired_to_baseline", "unrepaired", "short")
"""The columns of STATES, each in [0, 1]; only the first is required."""
STATE_COLUMNS = (
    "rupture_open",
    "repaired_before",
    "n_ruptures_so_far",
    "n_repaired_so_far",
    "sessions_since_onset",
    "rupture_state",
)
STATES = ("none", "open", "repaired")
TRUSTED = (None, "supported")
AT_BOUND = 0.05
"""With a larger share of the scores at a bound the probabilities of the detector are not calibrated."""


def events_or_states(ruptures: Any, *, so_far: bool) -> pd.DataFrame:
    """EVENTS or STATES as they are; of a detector's result its STATES: known so far, or given the whole course."""
    if isinstance(ruptures, pd.DataFrame):
        return ruptures
    if not hasattr(ruptures, "states"):
        raise TypeError(f"Ruptures must be EVENTS, STATES or a detector's result, not {type(ruptures).__name__}.")
    states: pd.DataFrame = ruptures.states("filtered" if so_far else "smoothed")
    return states


def are_states(ruptures: pd.DataFrame) -> bool:
    """Whether a table is STATES: one row per session, and whether a rupture is open there."""
    return "rupture_open" in ruptures and SESSION in ruptures


def check_states(states: pd.DataFrame, patients: pd.Index) -> pd.DataFrame:
    """STATES sorted by patient and session, with those of ``PROBABILITIES`` that they have as numbers.

    Raises ``DataError`` for duplicate rows, a value that is missing or outside [0, 1], or patients other than
    `patients`.
    """
    columns = [name for name in PROBABILITIES if name in states]
    table = check_sessions(states, columns)
    for name in columns:
        bad = ~table[name].between(0, 1)
        problem = f"The states hold {int(bad.sum())} value(s) that are missing or not probabilities."
        remedy = "States must lie between 0 and 1, with a value at every session."
        refuse(table, bad, problem, remedy=remedy, column=name, row=False)
    different = pd.Index(table[PATIENT].unique()).symmetric_difference(patients, sort=False)
    if len(different):
        raise DataError(
            f"The states and the sessions are not of the same patients: {len(different)} are in one table only.",
            remedy="Take the states from the same sessions, with ids of the same type.",
            patient=different[0],
        )
    return table


def rupture_states(table: pd.DataFrame, ruptures: pd.DataFrame, *, lag: int = 0) -> dict[str, Any]:
    """The state at each row of a checked SESSIONS table, as known `lag` sessions before; see :func:`states_at`."""
    owner, patients = numbered(table)
    return states_at(patients, owner, table[SESSION].to_numpy() - lag, ruptures)


def states_at(patients: pd.Index, owner: IntArray, when: IntArray, ruptures: pd.DataFrame) -> dict[str, Any]:
    """The state of patient ``patients[owner]`` as known at session number `when`, one entry for each of them.

    From EVENTS: the columns of ``STATE_COLUMNS``. From STATES: their ``PROBABILITIES``, at a session without a row
    those of the last one before, and 0 before the first.
    """
    if are_states(ruptures):
        states = check_states(ruptures, patients)
        series = patients.get_indexer(pd.Index(states[PATIENT]))
        order = np.argsort(series, kind="stable")  # in the order of `patients`, which need not be sorted
        series = series[order]
        row = rows_until(series, states[SESSION].to_numpy()[order], owner, when) - 1
        known = (row >= 0) & (series[row] == owner)
        names = [name for name in PROBABILITIES if name in states]
        return {name: np.where(known, states[name].to_numpy()[order][row], 0.0) for name in names}
    check_one_rule(ruptures)
    whose, onset, repaired_at = event_arrays(ruptures, patients)
    return state_columns(episode_states(owner, when, episode_series=whose, start=onset, end=repaired_at))


def state_columns(states: EpisodeStates) -> dict[str, Any]:
    """The columns of ``STATE_COLUMNS``, one entry per row of `states`."""
    code = np.where(states.is_open, 1, np.where(states.n_started > 0, 2, 0)).astype(np.int8)
    return {
        "rupture_open": states.is_open.astype(np.int64),
        "repaired_before": (states.n_closed > 0).astype(np.int64),
        "n_ruptures_so_far": states.n_started,
        "n_repaired_so_far": states.n_closed,
        "sessions_since_onset": states.since_start,
        "rupture_state": pd.Categorical.from_codes(code, dtype=pd.CategoricalDtype(list(STATES))),
    }


def event_arrays(events: pd.DataFrame, patients: pd.Index) -> tuple[Any, Any, Any]:
    """Of each rupture: the place of its patient in `patients`, its onset, and its repair (NaN if none).

    Raises ``DataError`` for an unknown patient, a missing onset, or a repair before its onset.
    """
    whose = patients.get_indexer(pd.Index(events[PATIENT]))
    remedy = "Detect ruptures in the same sessions, with ids of the same type."
    refuse(events, whose < 0, "events names a patient that sessions does not have.", remedy=remedy)
    onset, remedy = numeric(events, "onset"), "Every rupture needs its onset session."
    refuse(events, np.isnan(onset), "events has an onset that is missing.", remedy=remedy)
    repaired_at = numeric(events, "repaired_at")
    early = repaired_at < onset  # equal is allowed: a rupture coded as resolved in its own session
    problem = f"events has {int(early.sum())} rupture(s) repaired before their onset."
    remedy = "Correct 'onset' or 'repaired_at'; both are session numbers."
    refuse(events, early, problem, remedy=remedy, column="repaired_at")
    return whose, onset, repaired_at


def check_one_rule(ruptures: pd.DataFrame) -> str | None:
    """The name of the rule of EVENTS or STATES, None where they tell none; ``DataError`` where there are several."""
    if are_states(ruptures):
        return ruptures.attrs.get("rule")
    require_columns(ruptures, [PATIENT, "onset", "repaired_at"], table_name="events")
    rules = list(pd.unique(ruptures["rule"].dropna())) if "rule" in ruptures else []
    if len(rules) > 1:
        raise DataError(
            f"events holds {len(rules)} rules ({', '.join(map(repr, rules[:3]))}): a rupture would count twice.",
            remedy="Pass the events of one rule.",
        )
    return str(rules[0]) if rules else ruptures.attrs.get("rule")


def require_prospective(ruptures: pd.DataFrame, *, allow_lookahead: bool) -> bool | None:
    """Whether EVENTS or STATES use no later ratings; ``DataError`` where they do, or do not tell, unless allowed."""
    rule, prospective = check_one_rule(ruptures), ruptures.attrs.get("prospective")
    if allow_lookahead or prospective or (prospective is None and ruptures.empty):
        return None if prospective is None else bool(prospective)
    kind = "states" if are_states(ruptures) else "events"
    named = f"The rule {rule!r}" if rule else f"The rule of these {kind}"
    describe = "or pass allow_lookahead=True and report a description."
    if prospective is None:
        raise DataError(
            f"{named} does not say whether it looks ahead ({kind}.attrs['prospective'] is not set, as after reading "
            f"{kind} from a file).",
            remedy=f"If it uses only ratings up to each session, set {kind}.attrs['prospective'] = True; {describe}",
        )
    instead = "Pass the detector's result or its states('filtered'), " if kind == "states" else (
        "Detect with a prospective rule, "
    )  # fmt: skip
    raise DataError(
        f"{named} looks ahead: it judges a session by ratings made after it, so its states already know what they "
        "are to predict.",
        remedy=instead + describe,
    )


def share_at_highest(values: pd.Series) -> float:
    """The share of the known values that are the highest one."""
    return float((values == values.max()).sum() / values.count())


def distrust(attrs: Mapping[Any, Any]) -> list[str]:
    """A sentence for each reason why the detector behind STATES does not vouch for them in a model; else none."""
    verdict, at_bound = attrs.get("verdict"), attrs.get("at_bound") or 0.0
    notes = []
    if verdict not in TRUSTED:
        notes.append(
            f"The detector's verdict on these ruptures is {verdict!r}, not 'supported': the coefficients of rupture "
            "states cannot be trusted here."
        )
    if at_bound > AT_BOUND:
        notes.append(
            f"{at_bound:.0%} of the scores are at a bound of the scale: with a tenth of them at a ceiling the "
            "coefficient of an open rupture came out a fifth to a quarter too small in the model of the next session "
            "of simulated studies."
        )
    return notes


class EpisodeStates(NamedTuple):
    """What is known at each query, one entry per row (all counts include the time asked about)."""

    # n_started, n_closed: episodes begun, and ended, at or before the time
    n_started: IntArray
    n_closed: IntArray
    is_open: BoolArray  # Some episode has begun and not ended
    since_start: FloatArray  # Time since the latest start; NaN before the first


def episode_states(series: Any, time: Any, *, episode_series: Any, start: Any, end: Any) -> EpisodeStates:
    """The state of every series at the times asked about (n,), in any order.

    Each of the m episodes belongs to a series 0, 1, ..., begins at `start` and ends at `end` (NaN if never observed).

    >>> states = episode_states([0] * 5, [1, 2, 3, 4, 5], episode_series=[0], start=[2], end=[4.0])
    >>> states.is_open.tolist(), states.n_closed.tolist()
    ([False, True, True, False, False], [0, 0, 0, 1, 1])
    """
    series, time = np.asarray(series, dtype=np.int64), np.asarray(time, dtype=np.int64)
    owner, start = np.asarray(episode_series, dtype=np.int64), np.asarray(start, dtype=np.int64)
    end = np.asarray(end, dtype=np.float64)
    ended = ~np.isnan(end)
    n_started, latest = _count_and_latest(series, time, owner, start)
    n_closed, _ = _count_and_latest(series, time, owner[ended], end[ended].astype(np.int64))
    return EpisodeStates(n_started, n_closed, n_started > n_closed, np.where(n_started > 0, time - latest, np.nan))


def _count_and_latest(series: IntArray, time: IntArray, owner: IntArray, when: IntArray) -> tuple[IntArray, IntArray]:
    """How many marks of its own series lie at or before each query; and, with such marks, the time of the last."""
    if not len(when):
        return np.zeros(len(time), dtype=np.int64), time
    order = np.lexsort((when, owner))
    owner, when = owner[order], when[order]
    until = rows_until(owner, when, series, time)
    count = until - np.searchsorted(owner, np.arange(series.max(initial=-1) + 1))[series]
    return count, when[until - 1]
