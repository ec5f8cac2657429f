"""One question under every rule: how far the answer depends on the way ruptures were detected.

A multiverse analysis after Steegen, Tuerlinckx, Gelman & Vanpaemel (2016).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.dropout.result import HazardFit
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.next_session_fit import STATES, NextSessionFit
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.outcome.patterns_fit import OutcomeFit
from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.progress import bar, run_pieces
from alliance_stats.tables.same_series import is_linear_function, same_series_error
from alliance_stats.tables.schema import (
    PATIENT,
    THERAPIST,
    DataError,
    numeric,
    require_choice,
    require_columns,
    suggest,
)

QUESTIONS = ("outcome", "next_session", "dropout")

TARGETS: Mapping[str, dict[str, Any]] = {
    "past baseline": {"repair": "past_baseline", "repair_amount": None},
    "to baseline": {"repair": "to_baseline", "repair_amount": None},
    "half of the fall": {"repair": "share_of_fall", "repair_amount": 0.5},
}
"""Repair targets, from strict to lenient, as fields of a `Rule`."""

COLUMNS = (
    *("rule", "target", "prospective", "term", "estimate", "ci_low", "ci_high", "p_value", "r"),
    *("n_rows", "n_ruptures", "n_repaired", "n_patients_with_rupture", "status"),
)


def fit_multiverse(
    sessions: pd.DataFrame,
    *,
    score: str,
    question: str,
    symptom: str | None = None,
    endings: pd.DataFrame | None = None,
    rules: Iterable[str | Rule] | None = None,
    targets: Iterable[str] = tuple(TARGETS),
    better: str = "lower",
    allow_lookahead: bool = False,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The same estimate under every detection rule and repair target, in one table.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    score : str
        The alliance score ruptures are detected in.
    question : {"outcome", "next_session", "dropout"}
        Outcome at the end by rupture pattern (`fit_outcome`, adjusted for the number of ratings); the next session's
        symptoms by rupture state (`fit_next_session`); dropout by rupture state (`fit_dropout`, discrete, clustered by
        therapist where there are two or more).
    symptom : str, optional
        The symptom score; needed but for dropout.
    endings : DataFrame, optional
        ``patient, ending``; needed for dropout.
    rules : iterable of str or Rule, optional
        Default: all of ``RULES``.
    targets : iterable of str
        Of ``TARGETS``: past baseline, to baseline, half of the fall. They replace each rule's own target.
    better : {"lower", "higher"}
        Which way of `symptom` is the better outcome.
    allow_lookahead : bool
        Fit rules that look ahead also where the question is a prediction (next session, dropout).
    level : float
        Coverage of the intervals.
    n_jobs : int, optional
        Specifications fitted side by side: 2, or -1 for all cores. The result is the same for any number.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    DataFrame
        One row per rule, target and term: ``rule, target, prospective, term, estimate, ci_low, ci_high, p_value``
        (points of the symptom; log odds for dropout), ``r`` (partial correlation, where the model gives one),
        ``n_rows, n_ruptures, n_repaired, n_patients_with_rupture``, ``status``: ``ok``, or why there is no
        estimate. A specification without an estimate keeps its row.

    Examples
    --------
    >>> from alliance_stats.simulate.simulated import simulate_study
    >>> study = simulate_study(n_patients=80, n_therapists=6, seed=1)
    >>> table = fit_multiverse(study.sessions, score="alliance", question="next_session", symptom="phq9",
    ...                        rules=["previous_2pooled", "own_mean_2sd"], targets=["past baseline"])
    >>> table[["rule", "term", "status"]]
                   rule             term       status
    0  previous_2pooled     rupture_open           ok
    1  previous_2pooled  repaired_before           ok
    2      own_mean_2sd                   looks ahead
    """
    asked = Multiverse(sessions, score, question, symptom, endings, rules, targets, better, allow_lookahead)
    pieces = asked.pieces()
    with bar(FITTING, len(pieces), show=progress):
        found = run_pieces(partial(asked.fit, read=partial(estimates, level=level)), pieces, n_jobs=n_jobs)
    return multiverse_table(found, question=question, score=score, level=level)


AnyFit = OutcomeFit | NextSessionFit | HazardFit
Piece = tuple[Rule, str]
"""A rule and a repair target."""
FITTING = "Fitting each rule"


class Specification(NamedTuple):
    """One rule with one repair target, and what was read off the model fitted with its ruptures."""

    head: dict[str, Any]  # ``rule, target, prospective``, and counts of ruptures where they were detected
    found: Any  # None without a fit. The fits themselves would fill the memory
    status: str  # ``ok``, or why there is no fit


@dataclass(frozen=True)
class Multiverse:
    """One question, to be asked of every rule and repair target: the arguments of `fit_multiverse`, checked."""

    sessions: pd.DataFrame
    score: str
    question: str
    symptom: str | None = None
    endings: pd.DataFrame | None = None
    rules: Iterable[str | Rule] | None = None
    targets: Iterable[str] = tuple(TARGETS)
    better: str = "lower"
    allow_lookahead: bool = False

    def __post_init__(self) -> None:
        require_choice(self.question, QUESTIONS, name="question")
        require_columns(self.sessions, [PATIENT, self.score], table_name="sessions")
        if self.question == "dropout":
            if self.endings is None:
                raise ValueError("question='dropout' needs endings=: how each therapy ended.")
        elif self.symptom is None:
            raise ValueError(f"question={self.question!r} needs symptom=: the column of symptom scores.")
        else:
            require_columns(self.sessions, [self.symptom], table_name="sessions")
            if is_linear_function(numeric(self.sessions, self.symptom), numeric(self.sessions, self.score)):
                raise same_series_error(self.symptom, self.score)

    def pieces(self) -> list[Piece]:
        """Every rule with every repair target."""
        targets = list(self.targets)
        for target in targets:
            require_choice(target, tuple(TARGETS), name="targets")
        return list(itertools.product(map(_rule, RULES if self.rules is None else self.rules), targets))

    def fit(self, piece: Piece, *, read: Callable[[AnyFit], Any]) -> Specification:
        """One specification; `read` says what is kept of its fit."""
        rule = replace(piece[0], **TARGETS[piece[1]])
        head = {"rule": rule.name, "target": piece[1], "prospective": rule.prospective}
        if self.question != "outcome" and not rule.prospective and not self.allow_lookahead:
            return Specification(head, None, "looks ahead")
        events = detect_ruptures(self.sessions, score=self.score, rule=rule)
        head["n_ruptures"] = len(events)
        head["n_repaired"] = int(events["repaired_at"].notna().sum())
        head["n_patients_with_rupture"] = int(events[PATIENT].nunique())
        if events.empty:
            return Specification(head, None, "no rupture found")
        try:
            return Specification(head, read(self._model(events)), "ok")
        except DataError as error:
            return Specification(head, None, str(error))

    def _model(self, events: pd.DataFrame) -> AnyFit:
        if self.question == "dropout":
            return _dropout(self.sessions, events, self.endings)
        symptom = str(self.symptom)
        if self.question == "outcome":
            patients = summarise_patients(self.sessions, events, measures=[symptom])
            return fit_outcome(patients, post=f"{symptom}_post", pre=f"{symptom}_pre", better=self.better)
        return fit_next_session(self.sessions, events, symptom=symptom, alliance=self.score, allow_lookahead=True)


def multiverse_table(found: list[Specification], *, question: str, score: str, level: float) -> pd.DataFrame:
    """The `estimates` of all specifications, one row per rule, target and term."""
    rows = [
        {**head, **row, "status": status}
        for head, own, status in found
        for row in ([{"term": ""}] if own is None else own)
    ]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    table.attrs = {"question": question, "score": score, "level": level}
    return table


def estimates(fit: AnyFit, level: float) -> list[dict[str, Any]]:
    """The rows of one fit: of rupture states, or of contrasts of patterns adjusted for exposure."""
    wanted = ["term", "estimate", "ci_low", "ci_high", "p_value"]
    if isinstance(fit, HazardFit):
        terms = fit.tidy(level=level)
        return _records(terms.loc[terms["term"].isin(STATES), wanted], int(fit.diagnostics["n_rows"]))
    effects = fit.effects(level=level)
    if isinstance(fit, OutcomeFit):
        effects = effects[effects["adjusted"]].rename(columns={"contrast": "term", "difference": "estimate"})
    else:
        effects = effects[effects["term"].isin(STATES)]
    return _records(effects[[*wanted, "r"]], int(fit.diagnostics["rows"]))


def _dropout(sessions: pd.DataFrame, events: pd.DataFrame, endings: pd.DataFrame | None) -> HazardFit:
    intervals = dropout_intervals(sessions, events, endings=endings, allow_lookahead=True)
    varying = [name for name in STATES if len(intervals[name].unique()) > 1]
    several = THERAPIST in intervals and len(intervals[THERAPIST].dropna().unique()) > 1
    return fit_dropout(" + ".join([*varying, "session"]), intervals, cluster=THERAPIST if several else None)


def _records(table: pd.DataFrame, n_rows: int) -> list[dict[str, Any]]:
    return [{**{str(name): value for name, value in row.items()}, "n_rows": n_rows} for row in table.to_dict("records")]


def summarise_multiverse(table: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """How far the answer depends on the rule, one row per term.

    Returns
    -------
    DataFrame
        ``term, n_specifications, n_estimated, median, lowest, highest, same_sign`` (share of estimates with the sign of
        the median), ``significant`` (share with p below `alpha`).
    """
    require_columns(table, COLUMNS, table_name="table")
    ok = table[table["status"] == "ok"].astype({"estimate": np.float64, "p_value": np.float64})
    found = ok.groupby("term", sort=False).agg(
        n_estimated=("estimate", "size"),
        median=("estimate", "median"),
        lowest=("estimate", "min"),
        highest=("estimate", "max"),
        same_sign=("estimate", lambda own: (np.sign(own) == np.sign(own.median())).mean()),
        significant=("p_value", lambda own: (own < alpha).mean()),
    )
    found.insert(0, "n_specifications", len(table[["rule", "target"]].drop_duplicates()))
    return found.reset_index()


def _rule(rule: str | Rule) -> Rule:
    if isinstance(rule, Rule):
        return rule
    if rule not in RULES:
        raise ValueError(f"rules names {rule!r}, which is not known. {suggest(rule, RULES)}")
    return RULES[rule]
