"""Why a session is, or is not, the onset of a rupture: each criterion with its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.criterion import RUN_LENGTHS, Judged, judge
from alliance_stats.rupture.rules.follow import Ruptures, follow, meets_target
from alliance_stats.rupture.rules.limits import CANNOT_FIRE, cannot_fire, largest_fall
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS
from alliance_stats.tables.rendering import as_html
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, check_sessions, plain, suggest

VERDICTS = {
    "onset": "A rupture begins here.",
    "open": "Part of the rupture that began at session {since}.",
    "repaired": "This session repairs the rupture that began at session {since}.",
    "no fall": "No rupture begins here: the score has not fallen far enough.",
    "not judgeable": "The rule cannot judge this session.",
    "cannot fire": "The rule can never find a rupture in this patient ({reason}).",
    "not rated": "The score of this session is missing.",
}


class Criterion(NamedTuple):
    """One line of an explanation; `holds` is None where there is nothing to hold."""

    criterion: str
    found: str
    needed: str
    holds: bool | None


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
        One row per criterion: ``criterion``, ``found``, ``needed``, ``holds`` (None where it does not apply).
    """

    patient: Any
    session: int
    score: str
    rule: Rule
    verdict: str
    text: str
    table: pd.DataFrame

    def _head(self) -> str:
        return f"Patient {self.patient}, session {self.session}, {self.score}, rule {self.rule.name}: {self.text}"

    def __str__(self) -> str:
        """The explanation as plain text."""
        marks = {True: "yes", False: "NO", None: "-"}
        lines = [
            f"  {marks[holds]:>3}  {criterion}: {found}" + (f" (needed: {needed})" if needed else "")
            for criterion, found, needed, holds in zip(*(self.table[name] for name in self.table), strict=True)
        ]
        return "\n".join([self._head(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The explanation for a notebook."""
        return as_html([self._head()], {"": self.table})


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
    >>> sessions = pd.DataFrame({"patient": 1, "session": range(1, 6), "alliance": [5, 6, 5, 5.0, 2]})
    >>> print(explain(sessions, patient=1, session=5, score="alliance", rule="own_mean_2sd"))
    Patient 1, session 5, alliance, rule own_mean_2sd: The rule can never find a rupture in this patient (too few
    ratings).
      yes  score: 2
      yes  ratings to judge by: 5 (needed: at least 1)
       NO  largest possible fall with 5 ratings: 1.789 units (needed: more than 2 units)
      yes  reference level, the patient's own mean of all sessions: 4.6
      yes  unit, the patient's own SD: 1.517 points
       NO  fall below the level: 2.6 points, 1.714 units (needed: more than 3.033 points, 2 units)
    """
    rule = as_rule(rule)
    table = check_sessions(sessions, [score])
    of_patient = (table[PATIENT] == patient).to_numpy()
    if not of_patient.any():
        known = table[PATIENT].unique()
        raise DataError("The patient is not in the sessions.", remedy=suggest(patient, known), patient=patient)
    series, roll = read_series(table, score)
    here = table.index[of_patient & (table[SESSION] == session).to_numpy()]
    rating = np.flatnonzero(np.isin(roll.row, here))

    def explanation(verdict: str, rows: list[Criterion], **parts: Any) -> Explanation:
        criteria = pd.DataFrame(rows, columns=list(Criterion._fields)).astype({"holds": object})
        text = VERDICTS[verdict].format(**parts)
        return Explanation(patient, int(session), score, rule, verdict, text, criteria)

    if not len(rating):
        what = "no row for this session" if not len(here) else "missing"
        return explanation("not rated", [Criterion("score", what, "a score", False)])
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
        rows += _repair(judged, ruptures, event, at)
        return explanation("repaired" if ruptures.repaired[event] == at else "open", rows, since=since)
    return explanation("no fall" if judged.judgeable[at] else "not judgeable", rows)


def _criteria(judged: Judged, at: int, owner: int) -> list[Criterion]:
    """What the rule demands of the rating `at` of patient `owner`, up to the first thing that is lacking."""
    series, rule = judged.series, judged.rule
    level, unit = REFERENCES[rule.reference].words, UNITS[rule.unit].words
    rows = [Criterion("score", _number(series.score[at]), "", True), *_enough(judged, at, owner)]
    if not judged.known[at]:
        return [*rows, Criterion(f"reference level, {level}", "none", f"an earlier rating{_reach(rule)}", False)]
    where = " (where the fall began)" if rule.fall == "cumulative" else ""
    rows.append(Criterion(f"reference level, {level}{where}", _number(judged.baseline[at]), "", True))
    in_points = float(np.broadcast_to(judged.unit, series.score.shape)[at])
    if in_points <= series.tolerance:
        return [*rows, Criterion(f"unit, {unit}", "0 points", "scores that differ", False)]
    fall, threshold = float(judged.fall[at]), rule.size * in_points
    found, needed = f"{_number(fall)} points", f"{_least(rule)} {_number(threshold)} points"
    if rule.unit != "points":
        rows.append(Criterion(f"unit, {unit}", f"{_number(in_points)} points", "", True))
        found = f"{found}, {_number(fall / in_points)} units"
        needed = f"{needed}, {_number(rule.size)} units"
    reached = np.broadcast_to(judged.reaches(rule.size), series.score.shape)[at]
    rows.append(Criterion("fall below the level", found, needed, bool(reached)))
    if rule.bounds is not None:
        line = judged.baseline[at] - threshold
        needed = f"at least {_number(rule.bounds[0])}, the lowest score"
        within = bool(line >= rule.bounds[0] - series.tolerance)
        rows.append(Criterion("score at which the rule would fire", _number(line), needed, within))
    rows += [_run(judged, at, name) for name in rule.run_rules]
    if judged.sudden is not None:
        needed = (
            f"a fall of {rule.sudden_percent:g} % of the score before; t at alpha {rule.sudden_alpha:g}; "
            "two ratings on each side"
        )
        held = bool(judged.sudden[at])
        rows.append(Criterion("criteria 2 and 3 of a sudden fall", "met" if held else "not met", needed, held))
    return rows


def _enough(judged: Judged, at: int, owner: int) -> list[Criterion]:
    """Whether there are enough ratings to judge by, and whether they allow a fall of this size."""
    series, rule = judged.series, judged.rule
    length, before = int(series.length[owner]), int(series.position[at])
    seen = before if rule.prospective else length
    rows = [Criterion("ratings to judge by", str(seen), f"at least {rule.min_ratings}", seen >= rule.min_ratings)]
    if rule.burn_in:
        rows.append(
            Criterion("ratings before (burn-in)", str(before), f"at least {rule.burn_in}", before >= rule.burn_in)
        )
    most = float(largest_fall(series, rule)[owner])
    if np.isfinite(most) and not rule.run_rules:
        possible = most > rule.size if rule.strict else most >= rule.size
        needed = f"{_least(rule)} {_number(rule.size)} units"
        rows.append(
            Criterion(f"largest possible fall with {length} ratings", f"{_number(most)} units", needed, possible)
        )
    return rows


def _reach(rule: Rule) -> str:
    """How far back a previous rating may lie."""
    if rule.reference != "previous" or rule.bridge is None:
        return ""
    return f" (at most {rule.bridge} missed sessions between)"


def _least(rule: Rule) -> str:
    return "more than" if rule.strict else "at least"


def _run(judged: Judged, at: int, name: str) -> Criterion:
    """One run rule at one rating, counted in plain steps."""
    needed, among, beyond = RUN_LENGTHS[name]
    series = judged.series
    first = max(at - among + 1, int(series.start[series.owner[at]]))
    unit = np.broadcast_to(judged.unit, series.score.shape)[first : at + 1]
    limit = beyond * unit - series.tolerance if beyond else np.full(at + 1 - first, series.tolerance)
    low = (judged.fall[first : at + 1] >= limit) & judged.judgeable[first : at + 1]
    found, wanted = f"{int(low.sum())} of the last {len(low)}", f"{needed} of {among} beyond {beyond:g} units"
    return Criterion(f"run rule {name}", found, wanted, bool(low[-1] and low.sum() >= needed))


def _repair(judged: Judged, ruptures: Ruptures, event: int, at: int) -> list[Criterion]:
    """Whether the rating `at` regains what was lost."""
    series, rule, repair = judged.series, judged.rule, REPAIRS[judged.rule.repair]
    onset = int(ruptures.onset[event])
    baseline, tolerance = judged.baseline[onset : onset + 1], series.tolerance

    def met(rating: int) -> bool:
        low = series.score[onset:rating].min(keepdims=True)
        return bool(meets_target(rule, series.score[rating : rating + 1], baseline, low, tolerance)[0])

    target = repair.target(baseline[0], series.score[onset:at].min(), float(rule.repair_amount or 0.0))
    needed = f"{'above' if repair.above else 'at least'} {_number(target)}"
    if rule.bounds is not None:
        needed = f"{needed}, or the highest score, {_number(rule.bounds[1])}"
    rows = [Criterion("repair", _number(series.score[at]), needed, met(at))]
    if rule.repair_holds > 1:
        held = 0
        while at - held > onset and met(at - held):
            held += 1
        row = Criterion(
            "ratings in a row that meet it", str(held), f"at least {rule.repair_holds}", held >= rule.repair_holds
        )
        rows.append(row)
    return rows


def _number(value: Any) -> str:
    return f"{plain(value):.4g}"
