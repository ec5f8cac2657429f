"""Why a session is, or is not, the onset of a rupture: each criterion with its numbers."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.criterion import (
    CANNOT_FIRE,
    RUN_LENGTHS,
    Judged,
    cannot_fire,
    judge,
    largest_fall,
)
from alliance_stats.rupture.rules.follow import Ruptures, follow, meets_target
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, check_sessions, plain, suggest

VERDICTS = {
    "onset": "A rupture begins here.",
    "open": "Part of the rupture that began at session {since}.",
    "repaired": "Repairs the rupture that began at session {since}.",
    "no fall": "No rupture begins here: the fall criterion does not hold.",
    "not judgeable": "The rule cannot judge this session.",
    "cannot fire": "The rule cannot find a rupture in this patient, whatever happened: {reason}.",
    "not rated": "The score of this session is missing.",
}


@dataclass(frozen=True)
class Explanation:
    """What a rule says about one session, and why.

    Attributes
    ----------
    verdict : str
        ``onset``, ``open``, ``repaired``, ``no fall``, ``not judgeable`` (this session), ``cannot fire`` (this
        patient), or ``not rated``.
    text : str
        The verdict in a sentence.
    table : DataFrame
        One row per criterion: ``criterion``, ``found``, ``needed`` (how much of it would do), ``holds`` (None where it
        does not apply).
    """

    patient: Any
    session: int
    score: str
    rule: Rule
    verdict: str
    text: str
    table: pd.DataFrame

    def __str__(self) -> str:
        """The explanation as plain text."""
        head = f"Patient {self.patient}, session {self.session}, {self.score}, rule {self.rule.name}: {self.text}"
        marks = {True: "yes", False: "NO", None: "-"}
        lines = [
            f"  {marks[holds]:>3}  {criterion}: {found}" + (f" (needed: {needed})" if needed else "")
            for criterion, found, needed, holds in zip(*(self.table[name] for name in self.table), strict=True)
        ]
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        """The explanation for a notebook."""
        head = f"Patient {self.patient}, session {self.session}, {self.score}, rule {self.rule.name}: {self.text}"
        return f"<p>{html.escape(head)}</p>{self.table.to_html(index=False, escape=True)}"


def explain(sessions: pd.DataFrame, *, patient: Any, session: int, score: str, rule: str | Rule) -> Explanation:
    """Which criteria of a rule held at one session, and which failed, with the numbers.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS of the whole study: pooled units need every patient.
    patient, session
        The session asked about.
    score : str
        The alliance score.
    rule : str or Rule
        A name in :data:`~alliance_stats.RULES`, or a :class:`~alliance_stats.Rule`.

    Returns
    -------
    Explanation
        Printable; ``.verdict`` and ``.table`` for programs.

    Raises
    ------
    DataError
        If the patient is not in the sessions.

    Examples
    --------
    >>> import pandas as pd
    >>> sessions = pd.DataFrame({"patient": 1, "session": range(1, 6), "alliance": [5, 6, 5, 5.0, 2]})
    >>> print(explain(sessions, patient=1, session=5, score="alliance", rule="own_mean_2sd"))
    Patient 1, session 5, alliance, rule own_mean_2sd: The rule cannot find a rupture in this patient, whatever
    happened: too few ratings.
      yes  rated: 2
      yes  ratings the rule may look at: 5 (needed: at least 1)
       NO  largest fall possible with 5 ratings: 1.789 units (needed: more than 2)
      yes  reference level (own_mean): 4.6
      yes  unit (own_sd): 1.517 points
       NO  fall below it: 2.6 points, 1.714 units (needed: more than 2 units, 3.033 points)
    """
    rule = as_rule(rule)
    table = check_sessions(sessions, [score])
    of_patient = (table[PATIENT] == patient).to_numpy()
    if not of_patient.any():
        known = table[PATIENT].unique()
        raise DataError("The patient is not in the sessions.", remedy=suggest(str(patient), known), patient=patient)
    series, roll = read_series(table, score)
    here = table.index[of_patient & (table[SESSION] == session).to_numpy()]
    rating = np.flatnonzero(np.isin(roll.row, here))

    def explanation(verdict: str, rows: list[tuple[str, str, str, bool | None]], **parts: Any) -> Explanation:
        criteria = pd.DataFrame(rows, columns=["criterion", "found", "needed", "holds"]).astype({"holds": object})
        text = VERDICTS[verdict].format(**parts)
        return Explanation(patient, int(session), score, rule, verdict, text, criteria)

    if not len(rating):
        what = "no row for this session" if not len(here) else "the score is missing"
        return explanation("not rated", [("rated", what, "a score", False)])
    at = int(rating[0])
    judged = judge(series, rule)
    owner = int(series.owner[at])
    rows = _criteria(judged, at, owner)
    reason = int(cannot_fire(judged)[owner])
    if reason:
        return explanation("cannot fire", rows, reason=CANNOT_FIRE[reason])
    ruptures = follow(judged)
    inside = np.flatnonzero((ruptures.onset <= at) & (at < ruptures.resumed + (ruptures.repaired == at)))
    inside = inside[ruptures.onset[inside] >= series.start[owner]]
    if len(inside):
        event = int(inside[0])
        since = int(series.session[ruptures.onset[event]])
        if ruptures.onset[event] == at:
            return explanation("onset", rows)
        rows.append(_repair(judged, ruptures, event, at))
        return explanation("repaired" if ruptures.repaired[event] == at else "open", rows, since=since)
    return explanation("no fall" if judged.judgeable[at] else "not judgeable", rows)


def _criteria(judged: Judged, at: int, owner: int) -> list[tuple[str, str, str, bool | None]]:
    series, rule = judged.series, judged.rule
    length, position = int(series.length[owner]), int(series.position[at])
    over, more = ("more than", "more than") if rule.strict else ("at least", "at least")
    rows: list[tuple[str, str, str, bool | None]] = [("rated", _number(series.score[at]), "", True)]
    seen = position if rule.prospective else length
    rows.append(("ratings the rule may look at", str(seen), f"at least {rule.min_ratings}", seen >= rule.min_ratings))
    if rule.burn_in:
        rows.append(("ratings before (burn-in)", str(position), f"at least {rule.burn_in}", position >= rule.burn_in))
    most = float(largest_fall(series, rule)[owner])
    if np.isfinite(most) and not rule.run_rules:
        possible = most > rule.size if rule.strict else most >= rule.size
        label = f"largest fall possible with {length} ratings"
        rows.append((label, f"{_number(most)} units", f"{over} {_number(rule.size)}", possible))
    baseline, unit = float(judged.baseline[at]), float(np.broadcast_to(judged.unit, series.score.shape)[at])
    if rule.reference == "previous" and not series.neighbours(rule.bridge)[at]:
        needed = (
            "a rating before" if rule.bridge is None else f"a rating at most {rule.bridge} missed session(s) before"
        )
        rows.append(("reference level (previous)", "none", needed, False))
        return rows
    if rule.reference in ("running_mean", "running_max") and position == 0:
        rows.append((f"reference level ({rule.reference})", "none", "an earlier rating", False))
        return rows
    where = " (where the fall began)" if rule.fall == "cumulative" else ""
    rows.append((f"reference level ({rule.reference}){where}", _number(baseline), "", True))
    if unit <= series.tolerance:
        rows.append((f"unit ({rule.unit})", "0 points", "scores that differ", False))
        return rows
    rows.append((f"unit ({rule.unit})", f"{_number(unit)} points", "", True))
    fall = float(judged.fall[at])
    tolerance = series.tolerance
    held = fall > rule.size * unit + tolerance if rule.strict else fall >= rule.size * unit - tolerance
    found = f"{_number(fall)} points, {_number(fall / unit)} units"
    rows.append(
        ("fall below it", found, f"{more} {_number(rule.size)} units, {_number(rule.size * unit)} points", held)
    )
    if rule.bounds is not None:
        threshold = baseline - rule.size * unit
        needed = f"at least {_number(rule.bounds[0])}, the lowest score"
        rows.append(("threshold within the scale", _number(threshold), needed, threshold >= rule.bounds[0] - tolerance))
    rows += [_run(judged, at, name) for name in rule.run_rules]
    if judged.sudden is not None:
        needed = (
            f"{rule.sudden_percent:g} % of the score before; t at alpha {rule.sudden_alpha:g}; two ratings each side"
        )
        rows.append(
            (
                "criteria 2 and 3 of a sudden fall",
                "hold" if judged.sudden[at] else "fail",
                needed,
                bool(judged.sudden[at]),
            )
        )
    return rows


def _run(judged: Judged, at: int, name: str) -> tuple[str, str, str, bool]:
    """One run rule at one rating, counted anew in plain steps."""
    needed, among, beyond = RUN_LENGTHS[name]
    series = judged.series
    first = max(at - among + 1, int(series.start[series.owner[at]]))
    unit = np.broadcast_to(judged.unit, series.score.shape)[first : at + 1]
    limit = beyond * unit - series.tolerance if beyond else np.full(at + 1 - first, series.tolerance)
    low = (judged.fall[first : at + 1] >= limit) & judged.judgeable[first : at + 1]
    held = bool(low[-1] and low.sum() >= needed)
    return (
        f"run rule {name}",
        f"{int(low.sum())} of the last {len(low)}",
        f"{needed} of {among} beyond {beyond:g} units",
        held,
    )


def _repair(judged: Judged, ruptures: Ruptures, event: int, at: int) -> tuple[str, str, str, bool | None]:
    series, rule = judged.series, judged.rule
    onset = int(ruptures.onset[event])
    baseline, low = judged.baseline[onset : onset + 1], series.score[onset:at].min(keepdims=True)
    score = series.score[at : at + 1]
    met = bool(meets_target(rule, score, baseline, low, series.tolerance)[0])
    target = {
        "past_baseline": f"above {_number(baseline[0])}",
        "to_baseline": f"at least {_number(baseline[0])}",
    }.get(rule.repair)
    if rule.repair == "share_of_fall":
        target = f"at least {_number(low[0] + float(rule.repair_amount or 0) * (baseline[0] - low[0]))}"
    elif rule.repair == "within_points":
        target = f"at least {_number(baseline[0] - float(rule.repair_amount or 0))}"
    if rule.bounds is not None:
        target = f"{target}, or the highest score, {_number(rule.bounds[1])}"
    return (f"repair ({rule.repair})", _number(score[0]), str(target), met)


def _number(value: Any) -> str:
    return f"{plain(value):.4g}"
