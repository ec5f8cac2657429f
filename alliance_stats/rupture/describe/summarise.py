"""One row per patient: how long, how it ended, which ruptures, and the measures before and after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.describe import PlacedEvents, place_events
from alliance_stats.rupture.rules.detect import source_of
from alliance_stats.rupture.rules.limits import CANNOT_FIRE, NOT_RATED, cannot_fire
from alliance_stats.tables.arrays import IntArray, changes
from alliance_stats.tables.endings import check_endings
from alliance_stats.tables.flow import carried
from alliance_stats.tables.same_series import is_linear_function
from alliance_stats.tables.schema import ENDING, PATIENT, PATTERNS, STATUSES, THERAPIST, DataError, check_sessions
from alliance_stats.tables.states import are_states


def summarise_patients(
    sessions: pd.DataFrame,
    events: Any,
    *,
    endings: pd.DataFrame | None = None,
    measures: Iterable[str] = (),
    score: str | None = None,
) -> pd.DataFrame:
    """PATIENTS: one row per patient of the sessions, sorted by patient.

    ``pattern`` is a description of a finished course. As a fixed predictor it is biased towards those who stay: a
    repair needs later sessions. Models of dropout and of the next session take the state known at the time instead.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    events : DataFrame or detector's result
        The EVENTS detected in them; or the result of `detect_latent`, whose ``events()`` are then counted, and whose
        ``patterns()`` give ``p_pattern_none``, ``p_pattern_repaired``, ...: the probability of each pattern (missing
        for patients without a rating). STATES alone do not tell patterns and are refused.
    endings : DataFrame, optional
        ``patient``, ``ending`` (completed, dropout, transferred, ongoing), one row for every patient of the sessions.
    measures : iterable of str
        Columns of `sessions` for which the first and the last rated value are wanted.
    score : str, optional
        The score the events were detected on, where the events do not tell.

    Returns
    -------
    DataFrame
        ``patient``, ``therapist`` (the one of most sessions, the earlier of equals; missing without that column),
        ``n_sessions`` (rows), ``n_rated`` (of the score), ``ending``, ``n_ruptures``, ``n_repaired``, ``n_unrepaired``,
        ``n_censored``, ``pattern`` (``none``; ``repaired``: every decided rupture was; ``unrepaired``: none was;
        ``mixed``; ``censored``: none decided yet), ``cannot_fire`` (why the rule could not have found a rupture in this
        patient, empty where it could; missing if the events do not tell their rule), ``n_therapists``, and for each
        measure ``<measure>_pre``, ``<measure>_post``, ``n_<measure>``. ``attrs["score"]`` names the score, and
        ``attrs["linear_in_score"]`` the measures that are a linear function of it: models of outcome refuse those.

    Raises
    ------
    DataError
        If the events do not belong to the sessions, or a patient has no ending or two.
    """
    measures, patterns = list(measures), None
    if not isinstance(events, pd.DataFrame):
        events, patterns = events.events(), events.patterns()
    elif are_states(events):
        raise DataError(
            "STATES do not tell which patients had a rupture.", remedy="Pass the detector's result, or its events()."
        )
    source = source_of(events, score=score)
    table = check_sessions(sessions, [source, *measures])
    placed = place_events(table, events, score=source)
    n = len(placed.roll.ids)
    codes = np.repeat(np.arange(n), placed.roll.n_rows)
    n_rated = np.zeros(n, dtype=np.int64)
    n_rated[placed.roll.rated] = placed.series.length
    status = events["status"].to_numpy(dtype=object)
    of_status = [np.bincount(placed.owner[status == name], minlength=n) for name in STATUSES]
    n_ruptures = np.bincount(placed.owner, minlength=n)
    therapists = _therapists(table, codes, n)
    columns: dict[str, Any] = {
        PATIENT: placed.roll.ids,
        THERAPIST: therapists.pop(THERAPIST),
        "n_sessions": placed.roll.n_rows,
        "n_rated": n_rated,
        ENDING: pd.Series(_endings(endings, placed.roll.ids), dtype=object),
        "n_ruptures": n_ruptures,
        **{f"n_{name}": count for name, count in zip(STATUSES, of_status, strict=True)},
        "pattern": pd.Series(_pattern(n_ruptures, of_status[0], of_status[1]), dtype=object),
    }
    columns |= {"cannot_fire": pd.Series(_silent(placed, n), dtype=object), **therapists}
    for measure in measures:
        columns.update(_before_and_after(table, measure, codes, n))
    patients = pd.DataFrame(columns)
    if patterns is not None:
        patients = patients.merge(patterns, on=PATIENT, how="left")
    same = [name for name in measures if is_linear_function(table[name], table[source])]
    about = {"score": source, "linear_in_score": same, "verdict": events.attrs.get("verdict")}
    patients.attrs.update(carried(sessions) | about)
    return patients


def _endings(endings: pd.DataFrame | None, ids: pd.Series) -> Any:
    if endings is None:
        return np.full(len(ids), None, dtype=object)
    return check_endings(endings, pd.Index(ids))[ENDING].to_numpy(dtype=object)


def _silent(placed: PlacedEvents, n: int) -> Any:
    """Why the rule could not have found a rupture in each patient; None where the events do not tell their rule."""
    if placed.judged is None:
        return np.full(n, None, dtype=object)
    reason = np.full(n, NOT_RATED)
    reason[placed.roll.rated] = cannot_fire(placed.judged)
    return np.array(CANNOT_FIRE, dtype=object)[reason]


def _pattern(n_ruptures: IntArray, n_repaired: IntArray, n_unrepaired: IntArray) -> Any:
    none, repaired, unrepaired, mixed, censored = PATTERNS
    conditions = [n_ruptures == 0, n_repaired + n_unrepaired == 0, n_unrepaired == 0, n_repaired == 0]
    return np.select(conditions, [none, censored, repaired, unrepaired], default=mixed).astype(object)


def _therapists(table: pd.DataFrame, codes: IntArray, n: int) -> dict[str, Any]:
    """The therapist of most of a patient's sessions, the earlier one of equals; and how many the patient had."""
    if THERAPIST not in table:
        return {THERAPIST: pd.Series(np.full(n, None, dtype=object), dtype=object)}
    first = np.flatnonzero(changes(table[THERAPIST]) | (np.diff(codes, prepend=-1) > 0))  # of rows of one therapist
    seen = table[THERAPIST].iloc[first]
    stays = pd.DataFrame(
        {"patient": codes[first], "who": pd.factorize(seen)[0], "row": first, "rows": np.diff(first, append=len(table))}
    )
    pairs = stays[seen.notna().to_numpy()].groupby(["patient", "who"], as_index=False, sort=False)
    counted = pairs.agg({"rows": "sum", "row": "min"})
    main = counted.sort_values(["patient", "rows", "row"], ascending=[True, False, True]).drop_duplicates("patient")
    row = np.full(n, -1)
    row[main["patient"]] = main["row"]
    therapist = table[THERAPIST].iloc[np.maximum(row, 0)].reset_index(drop=True)
    therapist = therapist.where(row >= 0) if (row < 0).any() else therapist
    return {THERAPIST: therapist, "n_therapists": np.bincount(counted["patient"], minlength=n)}


def _before_and_after(table: pd.DataFrame, measure: str, codes: IntArray, n: int) -> dict[str, Any]:
    values = table[measure].to_numpy()
    rated = np.flatnonzero(~np.isnan(values))
    count = np.bincount(codes[rated], minlength=n)
    stop = np.cumsum(count)
    pre, post = np.full(n, np.nan), np.full(n, np.nan)
    some = count > 0
    pre[some] = values[rated[(stop - count)[some]]]
    post[some] = values[rated[stop[some] - 1]]
    return {f"{measure}_pre": pre, f"{measure}_post": post, f"n_{measure}": count}
