"""How common ruptures are, in whom they could have been found at all, and over how many sessions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.expected import describe_expected, expected_by_session, expected_states
from alliance_stats.rupture.rules.criterion import Judged, judge
from alliance_stats.rupture.rules.detect import rule_of, source_of
from alliance_stats.rupture.rules.limits import CANNOT_FIRE, NOT_RATED, cannot_fire
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Roll, Series, read_series
from alliance_stats.tables.arrays import BoolArray, IntArray
from alliance_stats.tables.panel import rows_at, rows_until
from alliance_stats.tables.schema import (
    CENSORED,
    PATIENT,
    REPAIRED,
    STATUSES,
    UNREPAIRED,
    DataError,
    plain,
    require_columns,
)
from alliance_stats.tables.shares import check_level, clustered_share, wilson
from alliance_stats.tables.states import are_states, event_arrays, events_or_states


class PlacedEvents(NamedTuple):
    """EVENTS in their sessions: the place of each among the patients and the ratings."""

    series: Series
    roll: Roll
    events: pd.DataFrame
    owner: IntArray  # position of each event's patient in roll.ids
    onset: IntArray  # the rating of each onset
    closed: IntArray  # the first rating after each event
    judged: Judged | None


def describe_ruptures(
    sessions: pd.DataFrame,
    events: Any,
    *,
    level: float = 0.95,
    score: str | None = None,
    rule: str | Rule | None = None,
) -> pd.DataFrame:
    """Prevalence of rupture and repair per patient and per session, with exposure and the cases that cannot show one.

    A session is at risk if it is rated, the rule can judge it and no rupture is open. A count of ruptures means
    little without the count expected by chance alone: :func:`~alliance_stats.chance_level`.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    events : DataFrame or detector's result
        The EVENTS detected in them; or STATES, or the result of `detect_latent`: counts are then expected numbers given
        the whole course, for what probabilities tell (no "cannot fire", no exposure).
    level : float
        Coverage of the intervals: Wilson's for shares of patients; for shares of sessions and of ruptures the same
        with an effective number of units that allows for patients differing (:func:`clustered_share`).
    score, rule : optional
        What the events were detected on and by, where the events do not tell.

    Returns
    -------
    DataFrame
        One row per quantity: ``quantity``, ``count``, ``of`` (what the count is out of, in ``unit``), ``estimate``
        (count / of), ``ci_low``, ``ci_high``, ``unit`` (``patients``, ``sessions``, ``ruptures``), and of expected
        numbers a ``note``: they lean on the detector's rates, and a rupture that ended short of the level before counts
        as over. Where the rule is not known the "cannot fire" rows are missing and every rated session counts as at
        risk.
    """
    check_level(level)
    if are_states(events_or_states(events, so_far=False)):
        return describe_expected(expected_states(sessions, events, score=score), level=level)
    placed = place_events(sessions, events, score=score, rule=rule)
    series, roll = placed.series, placed.roll
    n_patients, n_rated = len(roll.ids), series.n_patients
    per_patient = _counts(placed, n_patients)
    ruptures, decided = per_patient["ruptures"], per_patient[REPAIRED] + per_patient[UNREPAIRED]
    rows: list[dict[str, Any]] = []

    def patients(quantity: str, count: int, of: int) -> None:
        share = count / of if of else float("nan")
        low, high = wilson(share, of, level=level)
        rows.append(_row(quantity, count, of, share, low, high, "patients"))

    def clustered(quantity: str, part: Any, whole: Any, unit: str) -> None:
        rows.append(_row(quantity, int(part.sum()), int(whole.sum()), *clustered_share(part, whole, level=level), unit))

    patients("patients with a rating", n_rated, n_patients)
    if placed.judged is not None:
        reason = cannot_fire(placed.judged)
        able = int((reason == 0).sum())
        patients("patients in whom the rule can fire", able, n_patients)
        patients("cannot fire: not rated", n_patients - n_rated, n_patients)
        for code in range(NOT_RATED + 1, len(CANNOT_FIRE)):
            patients(f"cannot fire: {CANNOT_FIRE[code]}", int((reason == code).sum()), n_patients)
    patients("patients with a rupture", int((ruptures > 0).sum()), n_rated)
    if placed.judged is not None:
        patients("patients with a rupture, of those in whom the rule can fire", int((ruptures > 0).sum()), able)
    patients("patients with a repaired rupture", int((per_patient[REPAIRED] > 0).sum()), n_rated)
    of_patients = np.zeros((3, n_patients))
    of_patients[:, roll.rated] = series.total(at_risk(placed)), series.length, series.total(open_ratings(placed))
    exposed, rated, open_sessions = of_patients
    clustered("onsets per session at risk", ruptures, exposed, "sessions")
    clustered("onsets per rated session", ruptures, rated, "sessions")
    clustered("rated sessions in an open rupture", open_sessions, rated, "sessions")
    clustered("rated sessions at risk", exposed, rated, "sessions")
    clustered("ruptures repaired, of those decided", per_patient[REPAIRED], decided, "ruptures")
    for status in STATUSES:
        clustered(f"ruptures {status}", per_patient[status], ruptures, "ruptures")
    return pd.DataFrame(rows)


def ruptures_by_session(
    sessions: pd.DataFrame,
    events: Any,
    *,
    level: float = 0.95,
    score: str | None = None,
    rule: str | Rule | None = None,
) -> pd.DataFrame:
    """Prevalence by session number, as :func:`describe_ruptures` counts it.

    Returns
    -------
    DataFrame
        One row per session number with a rating: ``session``, ``n_rated``, ``n_at_risk``, ``n_onsets``, ``onset_rate``
        (of those at risk) with ``ci_low`` and ``ci_high`` (Wilson; each patient counts once per session number),
        ``n_open``, ``open_rate`` (of those rated). From STATES without ``rupture_begins`` the columns of onsets are
        missing.
    """
    check_level(level)
    if are_states(events_or_states(events, so_far=False)):
        return expected_by_session(expected_states(sessions, events, score=score), level=level)
    placed = place_events(sessions, events, score=score, rule=rule)
    number, inverse = np.unique(placed.series.session, return_inverse=True)

    def count(mask: BoolArray) -> IntArray:
        return np.bincount(inverse[mask], minlength=len(number))

    rated = np.bincount(inverse, minlength=len(number))
    risk, n_open = count(at_risk(placed)), count(open_ratings(placed))
    onsets = np.bincount(inverse[placed.onset], minlength=len(number))
    rate = np.divide(onsets, risk, out=np.full(len(number), np.nan), where=risk > 0)
    low, high = wilson(rate, risk, level=level)
    return pd.DataFrame(
        {
            "session": number,
            "n_rated": rated,
            "n_at_risk": risk,
            "n_onsets": onsets,
            "onset_rate": rate,
            "ci_low": low,
            "ci_high": high,
            "n_open": n_open,
            "open_rate": n_open / rated,
        }
    )


def place_events(
    sessions: pd.DataFrame, events: pd.DataFrame, *, score: str | None, rule: str | Rule | None = None
) -> PlacedEvents:
    """Check that events belong to these sessions, and find their ratings.

    Raises ``DataError`` if an event's patient is not in the sessions, or its onset is not a rated session of the score.
    """
    require_columns(events, [PATIENT, "onset", "repaired_at", "status"], table_name="events")
    score = source_of(events, score=score)
    series, roll = read_series(sessions, score)
    owner, began, repaired_at = event_arrays(events, pd.Index(roll.ids))
    who = roll.rated[series.owner]  # of each rating, among all patients
    onset = rows_at(who, series.session, owner, began)
    if (onset < 0).any():
        first = int(np.flatnonzero(onset < 0)[0])
        raise DataError(
            f"An event begins at a session without a rating of {score!r}.",
            remedy="Pass the sessions in which the events were detected. Coded ruptures are described over the coded "
            "sessions, with score='rupture'; where the score itself is shown, leave out those that begin without one.",
            patient=events[PATIENT].iloc[first],
            session=plain(events["onset"].iloc[first]),
        )
    found = as_rule(rule) if rule is not None else rule_of(events)
    last = np.full(len(onset), np.inf) if found is None or found.window is None else began + found.window
    last = np.where(np.isnan(repaired_at), last, repaired_at - 1)
    closed = rows_until(who, series.session, owner, last)
    order = np.argsort(onset)
    following = np.append(onset[order][1:], len(series.score))
    closed[order] = np.minimum(closed[order], following)
    return PlacedEvents(series, roll, events, owner, onset, closed, None if found is None else judge(series, found))


def open_ratings(placed: PlacedEvents) -> BoolArray:
    """The ratings that belong to a rupture: from the onset until it is repaired, given up or therapy ends."""
    change = np.zeros(len(placed.series.score) + 1, dtype=np.int64)
    np.add.at(change, placed.onset, 1)
    np.add.at(change, placed.closed, -1)
    inside: BoolArray = np.cumsum(change[:-1]) > 0
    return inside


def at_risk(placed: PlacedEvents) -> BoolArray:
    """The ratings at which a rupture could begin: judgeable, and none open (an onset itself was at risk)."""
    risk = ~open_ratings(placed)
    risk[placed.onset] = True
    if placed.judged is not None:
        reason = cannot_fire(placed.judged)
        risk &= placed.judged.judgeable & placed.series.spread(reason == 0)
    return risk


def _counts(placed: PlacedEvents, n_patients: int) -> dict[str, IntArray]:
    status = placed.events["status"].to_numpy(dtype=object)
    counts = {"ruptures": np.bincount(placed.owner, minlength=n_patients)}
    for name in (REPAIRED, UNREPAIRED, CENSORED):
        counts[name] = np.bincount(placed.owner[status == name], minlength=n_patients)
    return counts


def _row(quantity: str, count: int, of: int, estimate: float, low: float, high: float, unit: str) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "count": count,
        "of": of,
        "estimate": estimate,
        "ci_low": low,
        "ci_high": high,
        "unit": unit,
    }
