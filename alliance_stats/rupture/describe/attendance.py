"""Whether late, cancelled and missed sessions announce ruptures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.describe import at_risk, place_events
from alliance_stats.tables.arrays import BoolArray
from alliance_stats.tables.panel import rows_at
from alliance_stats.tables.schema import (
    ATTENDANCE,
    ATTENDANCES,
    ATTENDED,
    SESSION,
    Seed,
    check_sessions,
    generator,
    require_allowed,
    require_columns,
    require_whole,
)
from alliance_stats.tables.shares import check_level, percentiles, ratio, resampled


def attendance_markers(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    seed: Seed,
    within: int = 1,
    by: str | None = None,
    score: str | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Whether late, cancelled and missed sessions announce ruptures.

    A signal at session s is a leading marker if a rupture begins at one of the sessions s + 1 .. s + `within`; a
    signal at the onset session itself does not lead. Counted are the rated sessions at risk (no rupture open) by what
    attendance was in the `within` sessions before: any late, cancelled or no-show session, against attended ones
    alone.

    A cancelled session also widens the gap that a fall is measured across; the association is descriptive.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with ``attendance`` (attended, late, cancelled, no-show); cancelled and missed sessions are rows
        without a score. A session before of which there is no row, or no attendance, is unknown and counts for
        nothing.
    events : DataFrame
        The EVENTS detected in them.
    seed, draws, level
        For the bootstrap over patients.
    within : int
        How many sessions before the onset are looked at.
    by : str, optional
        Column of `sessions` that says who or what was the reason (``patient``, ``therapist``, illness, ...) where a
        session was late, cancelled or missed: one more signal for each, such as ``cancelled by patient``.
    score : str, optional
        What the events were detected on, where they do not tell.

    Returns
    -------
    DataFrame
        One row per signal (``late``, ``cancelled``, ``no-show``, each ``by`` its reasons, and ``any``): ``signal``,
        ``n_after`` (sessions at risk after it), ``onsets_after``, ``rate_after``, ``n_otherwise`` (after attended
        sessions alone), ``onsets_otherwise``, ``rate_otherwise``, ``risk_ratio`` with ``ci_low``, ``ci_high``
        (bootstrap over patients).
    """
    check_level(level)
    require_whole(within, name="within", low=1)
    require_whole(draws, name="draws", low=1)
    require_columns(sessions, [ATTENDANCE], table_name="sessions")
    table = check_sessions(sessions)
    require_allowed(table, ATTENDANCE, ATTENDANCES)
    placed = place_events(sessions, events, score=score)
    n = len(placed.roll.ids)
    risk = np.flatnonzero(at_risk(placed))
    who = placed.roll.rated[placed.series.owner[risk]]
    when = placed.series.session[risk]
    onset = np.isin(risk, placed.onset)
    row_who = np.repeat(np.arange(n), placed.roll.n_rows)
    attendance = table[ATTENDANCE].to_numpy(dtype=object)
    numbers = table[SESSION].to_numpy()
    before = [rows_at(row_who, numbers, who, when - back) for back in range(1, within + 1)]

    def any_before(holds: BoolArray) -> BoolArray:
        """Whether a row for which `holds` lies in the sessions before, for each rating at risk."""
        found: BoolArray = np.logical_or.reduce([(row >= 0) & holds[row] for row in before])
        return found

    signals = {name: any_before(attendance == name) for name in ATTENDANCES}
    attended = signals.pop(ATTENDED)
    if by is not None:
        require_columns(sessions, [by], table_name="sessions")
        reason = table[by].to_numpy(dtype=object)
        for name in list(signals):
            for why in sorted({str(one) for one in reason[attendance == name] if one is not None and one == one}):
                signals[f"{name} by {why}"] = any_before((attendance == name) & (reason.astype(str) == why))
    signals["any"] = np.logical_or.reduce(list(signals.values()))
    calm = attended & ~signals["any"]
    weights = resampled(generator(seed), n, draws)
    rows = []
    for name, mask in signals.items():
        counts = [np.bincount(who[m], minlength=n) for m in (mask & onset, mask, calm & onset, calm)]
        low, high = percentiles(_risk_ratio(*(weights @ count for count in counts)), level)
        rows.append({"signal": name, **_rates(*(int(count.sum()) for count in counts)), "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows)


def _rates(after: int, n_after: int, otherwise: int, n_otherwise: int) -> dict[str, float]:
    return {
        "n_after": n_after,
        "onsets_after": after,
        "rate_after": after / n_after if n_after else np.nan,
        "n_otherwise": n_otherwise,
        "onsets_otherwise": otherwise,
        "rate_otherwise": otherwise / n_otherwise if n_otherwise else np.nan,
        "risk_ratio": float(_risk_ratio(after, n_after, otherwise, n_otherwise)),
    }


def _risk_ratio(after: Any, n_after: Any, otherwise: Any, n_otherwise: Any) -> Any:
    return ratio(ratio(after, n_after), ratio(otherwise, n_otherwise))
