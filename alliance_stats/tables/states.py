"""The rupture state of each patient-session: EVENTS laid onto SESSIONS, knowing only what was known by then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.episodes import EpisodeStates, episode_states
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, numeric, require_columns

STATE_COLUMNS = (
    "rupture_open",
    "repaired_before",
    "n_ruptures_so_far",
    "n_repaired_so_far",
    "sessions_since_onset",
    "rupture_state",
)
STATES = ("none", "open", "repaired")


def rupture_states(table: pd.DataFrame, events: pd.DataFrame, *, lag: int = 0) -> dict[str, Any]:
    """The columns of ``STATE_COLUMNS`` for each row of a checked SESSIONS table, as known `lag` sessions before.

    Raises
    ------
    DataError
        If `events` mixes rules, names a patient `table` does not have, or has a missing onset.
    """
    check_one_rule(events)
    owner, patients = pd.factorize(table[PATIENT])
    whose, onset, repaired_at = event_arrays(events, pd.Index(patients))
    states = episode_states(
        owner,
        table[SESSION].to_numpy() - lag,
        episode_series=whose,
        start=onset,
        end=repaired_at,
    )
    return state_columns(states)


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

    Raises
    ------
    DataError
        If `events` names a patient `patients` does not have, has a missing onset, or a repair before its onset.
    """
    whose = patients.get_indexer(pd.Index(events[PATIENT]))
    if (whose < 0).any():
        first = int(np.flatnonzero(whose < 0)[0])
        raise DataError(
            "events names a patient that sessions does not have.",
            remedy="Detect ruptures in the same sessions, with ids of the same type.",
            row=events.index[first],
            patient=events[PATIENT].iloc[first],
        )
    onset = numeric(events, "onset")
    if np.isnan(onset).any():
        raise DataError("events has an onset that is missing.", remedy="Every rupture needs its onset session.")
    repaired_at = numeric(events, "repaired_at")
    early = repaired_at < onset  # equal is allowed: a rupture coded as resolved in its own session
    if early.any():
        first = int(np.flatnonzero(early)[0])
        raise DataError(
            f"events has {int(early.sum())} rupture(s) repaired before their onset.",
            remedy="Correct 'onset' or 'repaired_at'; both are session numbers.",
            row=events.index[first],
            patient=events[PATIENT].iloc[first],
            column="repaired_at",
            value=repaired_at[first],
        )
    return whose, onset, repaired_at


def check_one_rule(events: pd.DataFrame) -> str | None:
    """The name of the rule of EVENTS, None where they tell none; ``DataError`` where there are several."""
    require_columns(events, [PATIENT, "onset", "repaired_at"], table_name="events")
    rules = list(pd.unique(events["rule"].dropna())) if "rule" in events else []
    if len(rules) > 1:
        raise DataError(
            f"events holds {len(rules)} rules ({', '.join(map(repr, rules[:3]))}): a rupture would count twice.",
            remedy="Pass the events of one rule.",
        )
    return str(rules[0]) if rules else events.attrs.get("rule")


def require_prospective(events: pd.DataFrame, *, allow_lookahead: bool) -> bool | None:
    """Whether the rule of `events` uses no later ratings; raises where it does, or does not tell, unless allowed.

    Raises
    ------
    ValueError
        Naming the rule and what to do.
    """
    rule = check_one_rule(events)
    prospective = events.attrs.get("prospective")
    if allow_lookahead or prospective or (prospective is None and events.empty):
        return None if prospective is None else bool(prospective)
    named = f"The rule {rule!r}" if rule else "The rule of these events"
    if prospective is None:
        raise ValueError(
            f"{named} does not say whether it looks ahead (events.attrs['prospective'] is not set, as after reading "
            "events from a file). If it uses only ratings up to each onset and repair, set "
            "events.attrs['prospective'] = True; otherwise pass allow_lookahead=True and report a description."
        )
    raise ValueError(
        f"{named} looks ahead: it judges a session by ratings made after it, so its states already know what they "
        "are to predict. Detect with a prospective rule, or pass allow_lookahead=True and report a description."
    )
