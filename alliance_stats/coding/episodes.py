"""INTERVALS from onset to repair, and from the start of therapy to the onset of a rupture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.coding.sessions import slug
from alliance_stats.tables.schema import (
    ENDING,
    ONGOING,
    PATIENT,
    REPAIRED,
    SESSION,
    THERAPIST,
    DataError,
    check_sessions,
    refuse,
    require_columns,
    require_whole,
)
from alliance_stats.tables.states import are_states, event_arrays

REPAIR, RUPTURE = "repaired", "rupture"  # The endings of these intervals: a rupture was repaired; a rupture began


def repair_intervals(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    coded: pd.DataFrame | None = None,
    endings: pd.DataFrame | None = None,
    lag: int = 0,
    covariates: Iterable[str] = (),
) -> pd.DataFrame:
    """One row per rupture and session while it is open: what `fit_dropout(ending="repaired")` fits.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS and EVENTS, coded or detected. Further columns of the events (``type``, ``significance``, ``cause``,
        ``initiator``) ride along, constant while the rupture is open; ``noticed`` too, where `noticed` looked at the
        session of the onset alone (``within=0``): a later report can only come while the rupture is still open.
    coded : DataFrame, optional
        Coded sessions (from `consensus`) with ``strategy_<group>``: ``used_<group>`` is 1 from the session in which the
        strategy was first used in this rupture, never before.
    endings : DataFrame, optional
        ENDINGS. A therapy that ends while the rupture is open ends its last interval in that way (``dropout``, ...), so
        that repair and ending compete in `cumulative_incidence`; without it such ruptures are censored.
    lag : int
        How many sessions after its use a strategy counts. With 0 a strategy counts in the session of the repair itself,
        where it may have been coded because it worked; with 1 only from the next session on.
    covariates : iterable of str
        Columns of `sessions`, as they are in the session of the row.

    Returns
    -------
    DataFrame
        INTERVALS: ``patient``, ``event``, ``therapist`` (where there is one), ``session``, ``since`` (sessions since
        the onset), ``start`` and ``stop`` (``since`` and one more: a rupture resolved in its own session has one),
        ``ending`` (``repaired``, how the therapy ended, or empty), and the covariates. A rupture not repaired is
        followed to the patient's last session. Ruptures of one patient are not independent: ``cluster="patient"``.

    Raises
    ------
    DataError
        If a column is missing or events and sessions do not belong together.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": 1, "session": range(1, 7)})
    >>> events = pd.DataFrame({"patient": [1], "event": [1], "onset": [3], "repaired_at": [5], "type": ["withdrawal"]})
    >>> repair_intervals(sessions, events)[["session", "since", "start", "stop", "ending", "type"]]
       session  since  start  stop    ending        type
    0        3      0      0     1            withdrawal
    1        4      1      1     2            withdrawal
    2        5      2      2     3  repaired  withdrawal
    """
    require_whole(lag, name="lag", low=0)
    covariates = list(covariates)
    table = check_sessions(sessions)
    require_columns(table, covariates, table_name="sessions")
    _require_events(events, ["event"])
    last, how = _last_sessions(table, endings)
    own = events.sort_values([PATIENT, "event"]).reset_index(drop=True)
    _, onset, repaired_at = event_arrays(own, last.index)
    onset = onset.astype(np.int64)
    stop = np.where(np.isnan(repaired_at), last.reindex(own[PATIENT]).to_numpy(), repaired_at).astype(np.int64)
    length = np.maximum(stop - onset + 1, 1)
    row = np.repeat(np.arange(len(own)), length)
    since = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    final = since == length[row] - 1
    healed = ~np.isnan(repaired_at)[row]
    ending = np.where(final, np.where(healed, REPAIRED, how.reindex(own[PATIENT]).to_numpy()[row]), "")
    rows = pd.DataFrame(
        {
            PATIENT: own[PATIENT].to_numpy()[row],
            "event": own["event"].to_numpy()[row],
            SESSION: onset[row] + since,
            "since": since,
            "start": since,
            "stop": since + 1,
            ENDING: ending.astype(object),
        }
    )
    known = ("noticed",) if events.attrs.get("noticed_within") == 0 else ()
    for name in ("type", "significance", "cause", "initiator", *known):
        if name in own:
            rows[name] = own[name].to_numpy()[row]
    there = [name for name in (THERAPIST,) if name in table]
    rows = rows.merge(table[[PATIENT, SESSION, *there, *covariates]], on=[PATIENT, SESSION], how="left")
    if THERAPIST in there:  # a missed session without a row: the therapist of the patient's session before
        rows[THERAPIST] = rows.groupby(PATIENT)[THERAPIST].ffill()
    if coded is not None:
        rows = _with_strategies(rows, coded, lag)
    rows.attrs = {"rule": events.attrs.get("rule"), "lag": lag, "definition": "repair"}
    return rows


def onset_intervals(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    covariates: Iterable[str] = (),
    from_session: int = 2,
    first_only: bool = False,
    window: int | None = None,
) -> pd.DataFrame:
    """One row per session at which a rupture could begin: what `fit_dropout(ending="rupture")` fits.

    Which patients, therapists, phases and arms have ruptures: covariates of the patient ride in `sessions`, the phase
    is the session, and the therapist is ``cluster=`` or ``random=``.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS and EVENTS.
    covariates : iterable of str
        Columns of `sessions`, as they are in the session *before* (known when the rupture begins), but for those that
        are constant within patients.
    from_session : int
        The first session at which a rupture can be seen (a fall needs a session before it).
    first_only : bool
        Follow each patient to the first onset only.
    window : int, optional
        How many sessions an unrepaired rupture keeps a new one from beginning: the window of the rule that found them.
        Default: as long as it is not repaired.

    Returns
    -------
    DataFrame
        INTERVALS: ``patient``, ``therapist``, ``session``, ``start``, ``stop``, ``ending`` (``rupture`` or empty),
        ``n_before`` (ruptures begun earlier), and the covariates; sessions with an open rupture are left out.

    Raises
    ------
    DataError
        If a column is missing, a patient is unknown, a rupture begins while another is open, or `events` are
        probabilities: found without the covariates, they would make every effect too small (docs/coding.md).
    """
    covariates = list(covariates)
    require_whole(from_session, name="from_session", low=1)
    table = check_sessions(sessions)
    require_columns(table, covariates, table_name="sessions")
    _require_events(events)
    event_arrays(events, pd.Index(table[PATIENT].unique()))
    own = events.reset_index(drop=True)
    rows = table[[PATIENT, SESSION, *(name for name in (THERAPIST,) if name in table)]].copy()
    at = rows.reset_index().merge(own[[PATIENT, "onset", "repaired_at"]], on=PATIENT)
    given_up = np.inf if window is None else at["onset"].to_numpy(np.float64) + window
    end = at["repaired_at"].to_numpy(np.float64, na_value=np.nan)
    inside = (at[SESSION] > at["onset"]) & (at[SESSION] <= np.where(np.isnan(end), given_up, end))
    is_open = rows.index.isin(at.loc[inside, "index"])
    begins = rows.index.isin(at.loc[at[SESSION] == at["onset"], "index"])
    problem = f"{int((begins & is_open).sum())} rupture(s) begin while an earlier one of the patient is open."
    remedy = "Pass window=, the rule's, after which an unrepaired rupture counts as over."
    refuse(rows, begins & is_open, problem, remedy=remedy, row=False)
    rows["n_before"] = at.loc[at["onset"] < at[SESSION]].groupby("index").size().reindex(rows.index, fill_value=0)
    rows[ENDING] = np.where(begins, RUPTURE, "").astype(object)
    rows["start"], rows["stop"] = rows[SESSION] - 1, rows[SESSION]
    for name in covariates:
        rows[name] = table[name]
        if table[[PATIENT, name]].drop_duplicates()[PATIENT].duplicated().any():  # then that of the session before
            earlier = table[[PATIENT, SESSION, name]].assign(**{SESSION: table[SESSION] + 1})
            rows[name] = table[[PATIENT, SESSION]].merge(earlier, on=[PATIENT, SESSION], how="left")[name]
    keep = ~is_open & (rows[SESSION] >= from_session)
    if first_only:
        keep &= rows["n_before"] == 0
    result = rows.loc[keep].reset_index(drop=True)
    result.attrs = {"rule": events.attrs.get("rule"), "definition": "onset"}
    return result


def _require_events(events: Any, more: Iterable[str] = ()) -> None:
    """EVENTS with their onsets; probabilities of ruptures are refused."""
    if not isinstance(events, pd.DataFrame) or are_states(events):
        raise DataError(
            "These are probabilities of ruptures, not EVENTS: every effect would come out too small.",
            remedy="Pass events by a rule, by codes, or by the method events() of the detector's result.",
        )
    require_columns(events, [PATIENT, "onset", "repaired_at", *more], table_name="events")


def _last_sessions(table: pd.DataFrame, endings: pd.DataFrame | None) -> tuple[pd.Series, pd.Series]:
    """Each patient's last session, and how the therapy ended there (empty: censored)."""
    last = table.groupby(PATIENT, sort=False)[SESSION].max()
    if endings is None:
        return last, pd.Series("", index=last.index, dtype=object)
    found = endings.set_index(PATIENT)
    if "last_session" in found:
        last = found["last_session"].reindex(last.index).fillna(last).astype(np.int64)
    return last, found[ENDING].reindex(last.index).fillna("").replace(ONGOING, "")


def _with_strategies(rows: pd.DataFrame, coded: pd.DataFrame, lag: int) -> pd.DataFrame:
    require_columns(coded, [PATIENT, SESSION], table_name="coded")
    names = [name for name in coded if str(name).startswith("strategy_")]
    if not names:
        raise DataError("coded has no column strategy_<group>.", remedy="Take it from code_sessions and consensus.")
    used = coded[[PATIENT, SESSION, *names]].assign(**{SESSION: coded[SESSION] + lag})
    rows = rows.merge(used, on=[PATIENT, SESSION], how="left")
    rows.loc[rows["since"] < lag, names] = 0  # used before the onset: not in this rupture
    so_far = rows[names].fillna(0).groupby([rows[PATIENT], rows["event"]], sort=False).cummax().astype(np.int64)
    columns = {f"used_{slug(str(name).removeprefix('strategy_'))}": so_far[name] for name in names}
    return rows.drop(columns=names).assign(**columns)
