"""INTERVALS: one row per patient and session at risk, holding only what was known at the row's start.

The row ``(start, stop]`` lies between two sessions: the patient has reached session s = ``start`` and may, or may
not, go on to session s + 1 = ``stop``. A patient whose last session is L and who drops out has the event in the row
``(L, L + 1]``, so that a rupture in session L itself, known when the patient fails to return, can count. (With the
event placed *at* session L, a covariate of session L would be known from its own outcome.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.grid import (
    Grid,
    attendance_on_grid,
    fixed_column,
    lay_grid,
    measure_columns,
    signal,
    value_at,
)
from alliance_stats.tables.arrays import Array, changes
from alliance_stats.tables.endings import Endings, resolve_endings
from alliance_stats.tables.flow import FLOW, record, with_step
from alliance_stats.tables.schema import (
    COMPLETED,
    DATE,
    DROPOUT,
    ONGOING,
    PATIENT,
    SESSION,
    THERAPIST,
    TRANSFERRED,
    DataError,
    check_sessions,
    numbered,
    numeric,
    refuse,
    require_choice,
    require_columns,
)
from alliance_stats.tables.states import check_one_rule, events_or_states, require_prospective, states_at

ENDED = (COMPLETED, DROPOUT, TRANSFERRED)
"""The endings that are events; ``ongoing`` is censoring."""


def dropout_intervals(
    sessions: pd.DataFrame,
    events: Any = None,
    *,
    endings: pd.DataFrame | None = None,
    lag: int = 1,
    measures: Iterable[str] = (),
    covariates: Iterable[str] = (),
    fixed: Iterable[str] = (),
    carry: int | None = 0,
    time: str = "session",
    allow_lookahead: bool = False,
) -> pd.DataFrame:
    """One row per patient and session at risk, with the rupture state and covariates known at its start.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS. A missed session need not have a row: the patient is at risk there all the same, and it counts as
        missed. A patient whose first row is session 4 enters at 4 (delayed entry).
    events : DataFrame or detector's result, optional
        EVENTS, by one rule that does not look ahead (``events.attrs["prospective"]``, which `detect_ruptures` sets); or
        STATES, or the result of `detect_latent`: then the probabilities given the ratings so far. Without it there are
        no rupture columns.
    endings : DataFrame, optional
        One row per patient: ``patient``, ``ending`` (``completed``, ``dropout``, ``transferred``, ``ongoing``),
        optional ``last_session`` (default: the patient's last row) and, for ``time="days"``, ``end_date``.
        Default: the column ``ending`` of `sessions`. See `derive_endings`.
    lag : int
        How many sessions before ``stop`` the covariates are known: 1 (default) is everything up to and including
        session ``start``; 2 is everything up to the session before it.
    measures : iterable of str
        Numeric columns, rated session by session. Each gives ``<m>`` (the value), ``<m>_between_so_far`` (mean of
        the ratings so far), ``<m>_within_so_far`` (the value minus that mean) and ``<m>_change`` (the value minus
        the one known a session earlier).
    covariates : iterable of str
        Other columns that change over sessions, numbers or text: the value known at the time.
    fixed : iterable of str
        Columns that never change in a patient (age, arm): one value for all rows.
    carry : int or None
        Over how many sessions the last known value of `measures` and `covariates` may be carried where a session
        has none: 0 (default) not at all, None without limit. `fit_dropout` drops and counts the rows left empty.
    time : {"session", "days"}
        The clock of ``start`` and ``stop``: session numbers, or days since the patient's first session (then one
        row per recorded session; an ending without ``end_date`` is placed one median gap after the last).
    allow_lookahead : bool
        Accept a rule that looks ahead (own mean, own SD, own trend), or that does not say whether it does. Its
        states know the future: the result is then a description, not a hazard.

    Returns
    -------
    DataFrame
        INTERVALS, sorted by patient and start: ``patient``, ``therapist`` (the one seen at ``start``), ``session``
        (the session reached), ``start``, ``stop``, ``ending`` (at ``stop``, else ``""``), ``at_risk`` (see Notes);
        then, as known `lag` sessions before ``stop``: ``rupture_open`` (0/1: some onset not yet repaired; 1 until
        repair, also after the rule's window has passed), ``repaired_before`` (0/1), ``n_ruptures_so_far``,
        ``n_repaired_so_far``, ``sessions_since_onset`` (of the latest onset, NaN before the first),
        ``rupture_state`` (``none``, ``open``, ``repaired``), or the probabilities of STATES; ``missed_last``,
        ``n_missed_so_far`` (``late_last`` and ``n_late_so_far`` where there is ``attendance``), the measures and
        covariates. ``attrs`` state the choices and the counts. Every ending that is an event is in exactly one row.

    Raises
    ------
    DataError
        For a patient without an ending, an ending without a patient, an unknown ending, events of unknown patients,
        states that are no probabilities; for a rule or states that look ahead, unless allowed.
    ValueError
        For an unknown `time` or negative `lag`, `carry`.

    Notes
    -----
    ``at_risk`` is 0 in rows that start at a missed session, where no ending can be recorded there: with endings by
    `derive_endings` (the last session *held* is the last), and where no ending of the study is recorded at a missed
    session. A patient whose ending is recorded at a missed session keeps 1 in all rows. `fit_dropout` leaves rows
    with 0 out and counts them; otherwise missing a session would seem to protect from dropout, and so would whatever
    makes patients miss sessions. `cumulative_incidence` counts these patients as still in treatment.

    Rows of `sessions` after the patient's ``last_session`` are left out and counted in ``attrs["rows_after_ending"]``.
    An ``ongoing`` patient with a single session has no row (nothing is known of the time after it), counted in
    ``attrs["patients_without_rows"]``.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 1, 2, 2], "session": [1, 2, 4, 1, 2]})
    >>> events = pd.DataFrame({"patient": [1], "onset": [2], "repaired_at": [4]})
    >>> events.attrs["prospective"] = True
    >>> endings = pd.DataFrame({"patient": [1, 2], "ending": ["dropout", "ongoing"]})
    >>> table = dropout_intervals(sessions, events, endings=endings)
    >>> table[["patient", "start", "stop", "ending", "rupture_state", "missed_last"]]
       patient  start  stop   ending rupture_state  missed_last
    0        1      1     2                   none          0.0
    1        1      2     3                   open          0.0
    2        1      3     4                   open          1.0
    3        1      4     5  dropout      repaired          0.0
    4        2      1     2                   none          0.0
    """
    measures, covariates, fixed = list(measures), list(covariates), list(fixed)
    _check_choices(lag, carry, time, [*measures, *covariates, *fixed])
    table = check_sessions(sessions, measures)
    require_columns(table, [*covariates, *fixed], table_name="sessions")
    if time == "days":
        require_columns(table, [DATE], table_name="sessions")
    patient_of_row, index = numbered(table)
    ends = resolve_endings(table, index, endings)
    grid = lay_grid(table, patient_of_row, ends.last_session)
    at_risk = grid.session <= (ends.last_session - (ends.ending == ONGOING))[grid.patient]
    if time == "days":
        at_risk &= grid.row >= 0
    cells = np.flatnonzero(at_risk)
    known, has = grid.at(cells, lag - 1)

    owner = grid.patient[cells]
    columns: dict[str, Any] = {PATIENT: index.take(owner)}
    if THERAPIST in table:
        columns[THERAPIST] = value_at(table, THERAPIST, grid, cells, np.ones(len(cells), dtype=bool), None)
    columns[SESSION] = grid.session[cells]
    columns["start"], columns["stop"] = _clock(table, grid, cells, ends, time)
    columns["ending"] = _ending_column(ends, owner, columns[SESSION])
    attendance = attendance_on_grid(table, grid)
    columns["at_risk"] = _at_risk(ends, owner, attendance["missed"][cells] == 1.0, columns["ending"].codes > 0)
    rule, about = None, {}
    if events is not None:
        found = events_or_states(events, so_far=True)
        rule, about = check_one_rule(found), found.attrs
        require_prospective(found, allow_lookahead=allow_lookahead)
        columns |= states_at(index, owner, columns[SESSION] - (lag - 1), found)
    for name, on_grid in attendance.items():
        columns |= signal(name, on_grid, grid, known, has)
    for measure in measures:
        columns |= measure_columns(numeric(table, measure), measure, grid, known, has, carry)
    for column in covariates:
        columns[column] = value_at(table, column, grid, known, has, carry)
    for column in fixed:
        columns[column] = fixed_column(table, column, patient_of_row, len(index)).take(owner)
    result = pd.DataFrame(columns, copy=False)
    without = int((np.bincount(owner, minlength=len(index)) == 0).sum())
    after_ending = int((table[SESSION].to_numpy() > ends.last_session[patient_of_row]).sum())
    steps = with_step(
        record(sessions),
        "at risk of an ending",
        patients=len(index) - without,
        sessions=len(result),
        lost={"sessions after the ending": after_ending, "patients without an interval": without},
        unit="intervals",
    )
    result.attrs = {
        FLOW: steps,
        "lag": lag,
        "time": time,
        "carry": carry,
        "rule": rule,
        "prospective": about.get("prospective"),
        "verdict": about.get("verdict"),
        "at_bound": about.get("at_bound"),
        "definition": ends.definition,
        "n_patients": len(index),
        "endings": {name: int((ends.ending == name).sum()) for name in (*ENDED, ONGOING)},
        "patients_without_rows": without,
        "rows_after_ending": after_ending,
        "rows_not_at_risk": int((result["at_risk"] == 0).sum()),
    }
    return result


def _check_choices(lag: int, carry: int | None, time: str, columns: list[str]) -> None:
    require_choice(time, ("session", "days"), name="time")
    if not isinstance(lag, int) or lag < 1:
        raise ValueError(f"lag={lag!r} must be a whole number of sessions, at least 1.")
    if carry is not None and (not isinstance(carry, int) or carry < 0):
        raise ValueError(f"carry={carry!r} must be a number of sessions (0, 1, ...) or None for no limit.")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice among measures, covariates and fixed.")


def _ending_column(ends: Endings, owner: Array, session: Array) -> Any:
    names = ("", *ENDED)
    code_of_patient = np.zeros(len(ends.ending), dtype=np.int8)
    for code, name in enumerate(ENDED, start=1):
        code_of_patient[ends.ending == name] = code
    codes = np.zeros(len(owner), dtype=np.int8)
    last = np.flatnonzero(session == ends.last_session[owner])
    codes[last] = code_of_patient[owner[last]]
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(names)))


def _at_risk(ends: Endings, owner: Array, missed: Array, ended: Array) -> Array:
    """0 where a row starts at a missed session and its patient's ending could not have been recorded there, else 1."""
    at_missed = missed & ended
    if ends.definition is None and at_missed.any():
        return np.ones(len(owner), dtype=np.int64)
    keeps = np.zeros(len(ends.ending), dtype=bool)
    keeps[owner[at_missed]] = True
    return (~missed | keeps[owner]).astype(np.int64)


def _clock(table: pd.DataFrame, grid: Grid, cells: Array, ends: Endings, time: str) -> tuple[Array, Array]:
    """Start and stop of each row, by session number or in days since the patient's first session."""
    if time == "session":
        start = grid.session[cells]
        return start, start + 1
    dates = pd.to_datetime(table[DATE])
    remedy = "Fill in the date, or use time='session'."
    refuse(table, dates.isna(), "time='days' needs a date for every session.", remedy=remedy, row=False)
    day = (dates - pd.Timestamp("1970-01-01")).dt.days.to_numpy()
    owner = grid.patient[cells]
    same = np.r_[~changes(table[PATIENT])[1:], False]
    gap = np.r_[np.diff(day), 0]
    if (gap[same] <= 0).any():
        row = int(np.flatnonzero(same & (gap <= 0))[0]) + 1
        raise DataError(
            "Dates must rise with the session number.",
            remedy="Correct the date or the session number, or use time='session'.",
            patient=table[PATIENT].iloc[row],
            session=table[SESSION].iloc[row],
            value=str(dates.iloc[row].date()),
        )
    usual = max(round(float(np.median(gap[same]))), 1) if same.any() else 1
    at = grid.row[cells]
    next_day = np.where(same[at], day[at] + gap[at], day[at] + usual)
    if ends.end_day is not None:
        last = grid.session[cells] == ends.last_session[owner]
        given = last & ~np.isnan(ends.end_day[owner])
        next_day = np.where(given, ends.end_day[owner], next_day)
        problem, remedy = "end_date must lie after the patient's last session.", "Correct it, or leave it missing."
        refuse(table.iloc[at], next_day <= day[at], problem, remedy=remedy, row=False)
    first_day = day[grid.row[grid.begin[:-1]]]
    return (day[at] - first_day[owner]).astype(np.int64), (next_day - first_day[owner]).astype(np.int64)
