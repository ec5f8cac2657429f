"""Who noticed a rupture: neither, the patient, the therapist, or both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.panel import rows_at
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    DataError,
    Seed,
    check_sessions,
    generator,
    numeric,
    refuse,
    require_columns,
    require_whole,
)
from alliance_stats.tables.states import event_arrays

NOTICED = ("neither", "patient", "therapist", "both")


def noticed(
    events: pd.DataFrame, sessions: pd.DataFrame, *, patient: str, therapist: str, within: int = 1
) -> pd.DataFrame:
    """EVENTS with the column ``noticed``: who reported a rupture between its onset and `within` sessions later.

    Parameters
    ----------
    events, sessions : DataFrame
        EVENTS, and SESSIONS with the reports.
    patient, therapist : str
        Columns of `sessions`, 1 where the rater reported a rupture in that session, 0 where not, missing without a
        report (PSQ-style self-reports, or marks made from each rater's scores).
    within : int
        How many sessions after the onset a report still counts; never later than the repair.

    Returns
    -------
    DataFrame
        EVENTS with ``noticed``: ``neither``, ``patient``, ``therapist``, ``both``; missing where a rater gave no report
        in that time.

    Raises
    ------
    DataError
        If a report is neither 0 nor 1.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": 1, "session": range(1, 6), "felt": [0, 0, 1, 0, 0], "saw": [0, 0, 0, 0, 1]})
    >>> events = pd.DataFrame({"patient": [1, 1], "event": [1, 2], "onset": [3, 5], "repaired_at": [4, None]})
    >>> noticed(events, sessions, patient="felt", therapist="saw")["noticed"].tolist()
    ['patient', 'therapist']
    """
    require_whole(within, name="within", low=0)
    require_columns(events, [PATIENT, "onset", "repaired_at"], table_name="events")
    table = _reports(sessions, patient, therapist)
    owner, patients = pd.factorize(table[PATIENT])
    whose, onset, repaired_at = event_arrays(events, pd.Index(patients))
    onset, end = onset.astype(np.int64), np.where(np.isnan(repaired_at), np.inf, repaired_at)
    seen = {name: _said(table, owner, column, whose, onset, end, within)
            for name, column in (("patient", patient), ("therapist", therapist))}  # fmt: skip
    code = seen["patient"] + 2 * seen["therapist"]
    words = pd.Series(code, index=events.index).map(dict(enumerate(NOTICED))).astype(object)
    result = events.assign(noticed=words)
    result.attrs = {**events.attrs, "noticed_within": within}
    return result


def _said(table: pd.DataFrame, owner: Any, column: str, whose: Any, onset: Any, end: Any, within: int) -> Any:
    """1 if the rater reported a rupture in the time, 0 if only none, NaN without a report."""
    best = np.full(len(whose), np.nan)
    values, session = table[column].to_numpy(np.float64), table[SESSION].to_numpy()
    for after in range(within + 1):
        row = rows_at(owner, session, whose, onset + after)
        value = np.where((row >= 0) & (onset + after <= end), values[row], np.nan)
        best = np.fmax(best, value)
    return best


def noticed_states(
    sessions: pd.DataFrame, events: pd.DataFrame, *, patient: str, therapist: str, within: int = 1
) -> pd.DataFrame:
    """SESSIONS with ``open_neither``, ``open_patient``, ``open_therapist``, ``open_both``, known in each session.

    Recognition is nested in ruptures: the four columns sum to ``rupture_open``, and are 0 without one. They enter
    `fit_next_session(covariates=...)`, or `fit_dropout` by way of ``dropout_intervals(covariates=...)``, in place of
    ``rupture_open``.

    Parameters
    ----------
    sessions, events, patient, therapist, within
        As in :func:`noticed`.

    Returns
    -------
    DataFrame
        Who had noticed it *by then*: a report of a later session changes nothing. A rater without a report counts as
        not having noticed so far. After a rupture whose repair is known it is open no more.
    """
    require_whole(within, name="within", low=0)
    table = _reports(sessions, patient, therapist)
    rows = table[[PATIENT, SESSION]].reset_index()
    at = rows.merge(events[[PATIENT, "onset", "repaired_at"]], on=PATIENT)
    end = at["repaired_at"].to_numpy(np.float64, na_value=np.inf)
    at = at.loc[(at[SESSION] >= at["onset"]) & (at[SESSION] < end)]
    at = at.sort_values(["index", "onset"]).drop_duplicates("index", keep="last")  # the latest rupture open then
    owner, patients = pd.factorize(table[PATIENT])
    whose = pd.Index(patients).get_indexer(pd.Index(at[PATIENT]))
    now, onset = at[SESSION].to_numpy(np.float64), at["onset"].to_numpy(np.int64)
    felt, saw = (
        np.nan_to_num(_said(table, owner, column, whose, onset, now, within)) for column in (patient, therapist)
    )
    code = np.full(len(table), -1)
    code[at["index"].to_numpy()] = (felt + 2 * saw).astype(np.int64)
    result = table.assign(**{f"open_{name}": (code == number).astype(np.int64) for number, name in enumerate(NOTICED)})
    result.attrs = {**sessions.attrs, "prospective": events.attrs.get("prospective")}
    return result


def report_concordance(
    sessions: pd.DataFrame, *, patient: str, therapist: str, seed: Seed, draws: int = 1000
) -> pd.DataFrame:
    """How often patient and therapist report a rupture of the same session, beside what chance gives.

    Parameters
    ----------
    sessions, patient, therapist
        As in :func:`noticed`.
    seed, draws
        For the permutations: the therapist's reports of each patient are shuffled over that patient's sessions, so that
        how often each dyad reports ruptures at all is no concordance.

    Returns
    -------
    DataFrame
        One row: ``n_sessions`` with both reports, ``by_patient`` and ``by_therapist`` (shares with a report of a
        rupture), ``both`` (share), ``expected`` (the same by chance), ``kappa`` above that chance, ``p_value`` (of as
        many or more by chance).
    """
    require_whole(draws, name="draws", low=1)
    table = _reports(sessions, patient, therapist)
    table = table.loc[table[[patient, therapist]].notna().all(axis=1)]
    if table.empty:
        raise DataError("No session has both reports.", remedy="Compare reports of the same sessions.")
    first, second = table[patient].to_numpy(np.float64), table[therapist].to_numpy(np.float64)
    owner = pd.factorize(table[PATIENT])[0]
    own, felt, saw = (np.bincount(owner, weight).astype(np.int64) for weight in (None, first, second))
    n, together, expected = len(first), first @ second, (felt * saw / own).sum()
    # shuffled within a dyad, the sessions that both report are hypergeometric
    by_chance = generator(seed).hypergeometric(felt, own - felt, saw, (draws, len(own))).sum(axis=1)
    agreed = 1 - (first.sum() + second.sum() - 2 * together) / n
    agreed_by_chance = 1 - (first.sum() + second.sum() - 2 * expected) / n
    return pd.DataFrame(
        {
            "n_sessions": [n],
            "by_patient": [first.mean()],
            "by_therapist": [second.mean()],
            "both": [together / n],
            "expected": [expected / n],
            "kappa": [(agreed - agreed_by_chance) / (1 - agreed_by_chance) if agreed_by_chance < 1 else np.nan],
            "p_value": [(1 + (by_chance >= together).sum()) / (draws + 1)],
        }
    )


def _reports(sessions: pd.DataFrame, patient: str, therapist: str) -> pd.DataFrame:
    table = check_sessions(sessions, [patient, therapist])
    for name in (patient, therapist):
        values = numeric(table, name)
        bad = ~np.isnan(values) & (values != 0) & (values != 1)
        problem = f"{name!r} must hold 0 and 1 (a rupture was reported), or nothing."
        refuse(table, bad, problem, remedy="Turn the scale into a yes or no first, by a stated cut-off.", column=name)
    return table
