"""Coded ruptures as EVENTS, so that they feed every model and figure that detected ones feed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.coding.sessions import code_sessions, consensus
from alliance_stats.tables.schema import (
    CENSORED,
    EVENTS_COLUMNS,
    EVENTS_DTYPES,
    PATIENT,
    REPAIRED,
    SESSION,
    UNREPAIRED,
    DataError,
    check_sessions,
    empty_events,
    refuse,
    require_choice,
    require_columns,
    suggest,
)

REPAIRS = ("resolution", "score", "either", "both")
AT_ONSET = ("type", "cause", "initiator", "significance")


def events_from_codes(
    codes: pd.DataFrame,
    sessions: pd.DataFrame | None = None,
    *,
    score: str | None = None,
    repair: str = "resolution",
    resolved: float = 4.0,
) -> pd.DataFrame:
    """EVENTS from coded sessions: onset, kind, strategies used, and repair by resolution ratings, score, or both.

    A rupture begins at a session coded with one while none is open. Ruptures coded while it is open belong to it.

    Parameters
    ----------
    codes : DataFrame
        CODES (several coders become one by majority), or coded sessions from :func:`consensus`: ``patient``,
        ``session``, ``rupture`` (0/1), and any of ``type``, ``significance``, ``resolution``, ``cause``, ``initiator``,
        ``strategies``.
    sessions : DataFrame, optional
        SESSIONS, for `score` and for when the series ends; default: it ends at the last coded session.
    score : str, optional
        The alliance score, for baseline, nadir and drop. The baseline is the last rating before the onset.
    repair : {"resolution", "score", "either", "both"}
        What ends a rupture: a resolution rating of at least `resolved`, in the session of the onset or a later one; a
        later score above the baseline; the earlier of the two; or the later.
    resolved : float
        The least resolution rating that counts as resolved. 4 of 5 is a choice, not a rule of the 3RS.

    Returns
    -------
    DataFrame
        EVENTS with ``type``, ``significance``, ``cause`` and ``initiator`` (of the onset: later ones would know how
        long it lasted), ``strategies`` (used from onset to repair, joined by ``"; "``) and ``resolution`` (the highest)
        behind, where they were coded. A rupture resolved in the session it was coded in has ``repaired_at`` equal to
        ``onset`` and is not open afterwards. Not repaired by the last session of the patient: ``censored`` if it began
        there, else ``unrepaired``. ``rule`` is ``coded``; it does not look ahead.

    Raises
    ------
    DataError
        If the ratings that `repair` needs are not there, a patient or session is in `codes` only, or a session has two
        rows.

    Examples
    --------
    >>> coded = pd.DataFrame({"patient": 1, "session": [2, 3, 4, 6], "rupture": [1, 0, 0, 1],
    ...                       "resolution": [2.0, 3, 5, 4]})
    >>> events_from_codes(coded)[["onset", "repaired_at", "status"]]
       onset  repaired_at    status
    0      2            4  repaired
    1      6            6  repaired
    """
    require_choice(repair, REPAIRS, name="repair")
    if isinstance(resolved, str):
        raise ValueError(f"resolved={resolved!r} must be a number.")
    coded = consensus(code_sessions(codes)) if "rupture" not in codes else codes
    require_columns(coded, [PATIENT, SESSION, "rupture"], table_name="codes")
    if coded.duplicated([PATIENT, SESSION]).any():
        raise DataError("A session has rows of several coders.", remedy="Make them one with consensus first.")
    if repair != "score" and "resolution" not in coded:
        raise DataError(f"repair={repair!r} needs resolution ratings.", remedy="Use repair='score', with score=.")
    if repair != "resolution" and score is None:
        raise DataError(
            f"repair={repair!r} needs the alliance score.", remedy="Name it with score=, and give sessions."
        )
    if score is not None and sessions is None:
        raise DataError("score= needs the sessions that hold it.", remedy="Give SESSIONS as the second argument.")
    table = None if sessions is None else check_sessions(sessions, [score] if score else [])
    if table is not None:
        _require_known(coded, table)
    ruptured = coded.loc[coded["rupture"] == 1, PATIENT].unique()
    rated = {} if table is None else dict(tuple(table.loc[table[PATIENT].isin(ruptured)].groupby(PATIENT, sort=False)))
    rows: list[dict[str, Any]] = []
    some = coded.loc[coded[PATIENT].isin(ruptured)].sort_values([PATIENT, SESSION])
    for patient, own in some.groupby(PATIENT, sort=True):
        rows += _of_patient(patient, own, rated.get(patient), score, repair, resolved)
    extra = [name for name in (*AT_ONSET, "resolution", "strategies") if name in coded]
    if rows:
        events = pd.DataFrame(rows)[[*EVENTS_COLUMNS, *extra]].astype(EVENTS_DTYPES)
        events[PATIENT] = events[PATIENT].astype(coded[PATIENT].dtype)
    else:
        events = empty_events(coded[PATIENT]).assign(**{name: pd.Series(dtype=object) for name in extra})
    events.attrs = {"rule": "coded", "prospective": True, **({"score": score} if score else {})}
    return events


class _Course(NamedTuple):
    """One patient's ratings: session numbers and scores, without the missing ones."""

    session: Any
    score: Any


def _of_patient(
    patient: Any, own: pd.DataFrame, rated: pd.DataFrame | None, score: str | None, repair: str, resolved: float
) -> list[dict[str, Any]]:
    session, rupture = own[SESSION].to_numpy(np.int64), own["rupture"].to_numpy() == 1
    rating = own["resolution"].to_numpy(np.float64) if "resolution" in own else np.full(len(own), np.nan)
    course = _Course(np.zeros(0, dtype=np.int64), np.zeros(0))
    if rated is not None:
        there = rated.loc[rated[score].notna()] if score else rated
        values = there[score].to_numpy(np.float64) if score else np.full(len(there), np.nan)
        course = _Course(there[SESSION].to_numpy(np.int64), values)
    last = int(course.session.max(initial=int(session[-1])))
    events: list[dict[str, Any]] = []
    free_from = -np.inf
    for k in np.flatnonzero(rupture):
        onset = int(session[k])
        if onset < free_from:
            continue
        before = course.score[course.session < onset]
        baseline = float(before[-1]) if score and len(before) else np.nan
        end = _repair(onset, session, rating, course, baseline, repair, resolved)
        free_from = np.inf if end is None else end + 1
        events.append(_event(patient, len(events) + 1, onset, end, last, own, course, baseline, score))
    return events


def _repair(
    onset: int, session: Any, rating: Any, course: _Course, baseline: float, repair: str, resolved: float
) -> int | None:
    """The session of the repair, None if there is none."""
    by_rating = session[(session >= onset) & (rating >= resolved)]
    by_score = course.session[(course.session > onset) & (course.score > baseline)]
    first = [int(found[0]) if len(found) else None for found in (by_rating, by_score)]
    if repair == "resolution":
        return first[0]
    if repair == "score":
        return first[1]
    both = [end for end in first if end is not None]
    if repair == "both":
        return max(both) if len(both) == 2 else None
    return min(both) if both else None


def _event(
    patient: Any, number: int, onset: int, end: int | None, last: int, own: pd.DataFrame, course: _Course,
    baseline: float, score: str | None,
) -> dict[str, Any]:  # fmt: skip
    until = last if end is None else end
    inside = (course.session >= onset) & ((course.session < until) | (end is None) | (course.session == onset))
    nadir, low = onset, np.nan
    if score and inside.any():
        at = int(np.argmin(course.score[inside]))
        nadir, low = int(course.session[inside][at]), float(course.score[inside][at])
    healed = end is not None
    at_end = course.score[course.session == end] if healed and score else np.zeros(0)
    drop = baseline - low
    event: dict[str, Any] = {
        PATIENT: patient,
        "event": number,
        "onset": onset,
        "nadir": nadir,
        "repaired_at": end if healed else pd.NA,
        "status": REPAIRED if healed else CENSORED if onset == last else UNREPAIRED,
        "baseline": baseline,
        "nadir_score": low,
        "repair_score": float(at_end[0]) if len(at_end) else np.nan,
        "drop": drop,
        "drop_units": np.nan,
        "sessions_to_repair": end - onset if end is not None else pd.NA,
        "score": score,
        "rule": "coded",
    }
    while_open = own.loc[own[SESSION].between(onset, until)]
    at_onset = own.loc[own[SESSION] == onset].iloc[0]
    event |= {name: at_onset[name] for name in AT_ONSET if name in own}
    event |= {"resolution": while_open["resolution"].max()} if "resolution" in own else {}
    if "strategies" in own:
        named = "; ".join(text for text in while_open["strategies"].dropna() if text)
        event["strategies"] = "; ".join(dict.fromkeys(filter(None, named.split("; "))))
    return event


def _require_known(coded: pd.DataFrame, table: pd.DataFrame) -> None:
    there = pd.MultiIndex.from_frame(table[[PATIENT, SESSION]])
    stray = ~pd.MultiIndex.from_frame(coded[[PATIENT, SESSION]]).isin(there)
    if stray.any():
        patient, known = coded.loc[stray, PATIENT].iloc[0], table[PATIENT].unique()
        remedy = "Check the session number." if patient in known else suggest(patient, known)
        problem = f"{int(stray.sum())} coded session(s) are not in the sessions."
        refuse(coded, stray, problem, remedy=remedy, row=False)
