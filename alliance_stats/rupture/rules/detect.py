"""From SESSIONS to EVENTS: where ruptures began, how deep they went, and whether and when they were repaired."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.criterion import Judged, judge
from alliance_stats.rupture.rules.follow import Ruptures, follow
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Roll, read_series
from alliance_stats.tables.arrays import IntArray
from alliance_stats.tables.flow import carried
from alliance_stats.tables.schema import EVENTS_COLUMNS, PATIENT, STATUSES, DataError, empty_events


def detect_ruptures(sessions: pd.DataFrame, *, score: str, rule: str | Rule) -> pd.DataFrame:
    """Find the ruptures and repairs of every patient by one rule.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS: ``patient``, ``session`` and the column `score`. Rows without a score count as unrated sessions.
    score : str
        The alliance score, higher being better.
    rule : str or Rule
        A name in :data:`~alliance_stats.RULES`, or a :class:`~alliance_stats.Rule`.

    Returns
    -------
    DataFrame
        EVENTS, one row per rupture, by patient and onset. ``drop`` is in points, ``drop_units`` in the rule's unit.
        ``attrs`` carry ``rule`` (its name), ``settings`` (all its fields), ``score`` and ``prospective``.

    Raises
    ------
    DataError
        If the sessions are not as SESSIONS must be; names the first bad row.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": 1, "session": range(1, 8), "alliance": [5, 6, 4, 5, 7, 6, 6.0]})
    >>> rule = Rule(name="two points", reference="previous", unit="points", size=2.0)
    >>> events = detect_ruptures(sessions, score="alliance", rule=rule)
    >>> events[["onset", "nadir", "repaired_at", "status", "baseline", "drop"]]
       onset  nadir  repaired_at    status  baseline  drop
    0      3      3            5  repaired       6.0   2.0
    """
    rule = as_rule(rule)
    series, roll = read_series(sessions, score)
    judged = judge(series, rule)
    events = label(events_table(judged, follow(judged), roll, score=score), rule, score=score)
    events.attrs |= carried(sessions)
    return events


def events_table(judged: Judged, ruptures: Ruptures, roll: Roll, *, score: str) -> pd.DataFrame:
    """EVENTS from positions in the series."""
    series, rule = judged.series, judged.rule
    onset, nadir, repaired = ruptures.onset, ruptures.nadir, ruptures.repaired
    if not len(onset):
        return empty_events(roll.ids)
    owner = np.searchsorted(series.start, onset, side="right") - 1
    begins = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    event = np.arange(len(owner)) - np.repeat(begins, np.diff(np.r_[begins, len(owner)])) + 1
    open_ended = ~ruptures.is_repaired
    unit = judged.unit if np.ndim(judged.unit) == 0 or len(judged.unit) == 1 else judged.unit[onset]
    baseline, lowest = judged.baseline[onset], series.score[nadir]
    repair_score = series.score[repaired]  # -1 reads the last rating; overwritten below
    repair_score[open_ended] = np.nan
    columns: dict[str, Any] = {
        PATIENT: roll.ids.iloc[roll.rated[owner]].array,
        "event": event,
        "onset": series.session[onset],
        "nadir": series.session[nadir],
        "repaired_at": _maybe(series.session[repaired], open_ended),
        "status": pd.Series(np.array(STATUSES, dtype=object)[ruptures.status], dtype=object),
        "baseline": baseline,
        "nadir_score": lowest,
        "repair_score": repair_score,
        "drop": baseline - lowest,
        "drop_units": (baseline - lowest) / unit,
        "sessions_to_repair": _maybe(series.session[repaired] - series.session[onset], open_ended),
        "score": _constant(score, len(onset)),
        "rule": _constant(rule.name, len(onset)),
    }
    return pd.DataFrame(columns, columns=list(EVENTS_COLUMNS), copy=False)


def label(events: pd.DataFrame, rule: Rule, *, score: str) -> pd.DataFrame:
    """Write onto EVENTS what they came from."""
    events.attrs.update(rule=rule.name, settings=asdict(rule), score=score, prospective=rule.prospective)
    return events


def source_of(events: pd.DataFrame, *, score: str | None = None) -> str:
    """The score that EVENTS were detected on: as given, from ``attrs``, or from their column ``score``."""
    if score is not None:
        return score
    if "score" in events.attrs:
        return str(events.attrs["score"])
    named = set(events["score"].dropna()) if "score" in events else set()
    if len(named) == 1:
        return str(named.pop())
    raise DataError(
        "The events do not say which score they were detected on.",
        remedy="Name the column with score=. Ruptures that were coded without a score are described over the coded "
        "sessions, with score='rupture'.",
    )


def rule_of(events: pd.DataFrame) -> Rule | None:
    """The rule that EVENTS were detected by, if they tell (``attrs["settings"]``, or a name in RULES)."""
    if "settings" in events.attrs:
        return Rule(**events.attrs["settings"])
    names = {str(name) for name in events["rule"].unique()} if "rule" in events else set()
    if len(names) == 1:
        from alliance_stats.rupture.rules.members import RULES

        return RULES.get(names.pop())
    return None


def _maybe(values: IntArray, missing: Any) -> Any:
    return pd.arrays.IntegerArray(np.where(missing, 1, values), np.asarray(missing, dtype=bool))


def _constant(text: str, n: int) -> pd.Series:
    column = np.empty(n, dtype=object)
    column.fill(text)  # one text for all rows; numpy.full would make a new one for each
    return pd.Series(column, dtype=object)
