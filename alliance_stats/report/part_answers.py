"""What leads the page: the study's questions, each with its answer or with the reason why it cannot be known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.report.page import Section, headings
from alliance_stats.report.run import Run
from alliance_stats.rupture.chance.fit_check import INSEPARABLE, MISFIT
from alliance_stats.rupture.latent.verdict import ABSENT, AMBIGUOUS, LASTING
from alliance_stats.tables.schema import numeric
from alliance_stats.tables.states import AT_BOUND, share_at_highest

_NUMBERS = ("estimate", "ci_low", "ci_high", "p_value")
_COLUMNS = headings("question", "estimate", "ci_", "p_value", "unit", "remark", question="", remark="")

_VERDICTS = {
    ABSENT: "no sign of ruptures",
    AMBIGUOUS: "falls cannot be told from heavy-tailed noise",
    LASTING: "ruptures cannot be told from a change of level",
}
"""Verdicts of the detector that their names do not explain."""


def answer_the_questions(run: Run, section: Section) -> None:
    """Add the table ``answers``: one row per question that the study file asks."""
    run.keep("answers", pd.DataFrame(_answers(run)))
    caption = "What this study answers. What it cannot answer has its reason in place of a number."
    run.show_table(section, "answers", caption, labels=_COLUMNS)


def _answers(run: Run) -> Iterator[dict[str, Any]]:
    asked = run.study.has
    states = "" if run.trusted is not None else _unsupported(run)
    capped = _at_ceiling(run)
    if asked("chance"):
        verdict = run.tables["chance"]["verdict"].iloc[0] if "chance" in run.tables else ""
        unknown = {MISFIT: "the model without ruptures does not fit", INSEPARABLE: "skewed, or near the ceiling"}
        question = "marked ruptures beyond chance, at least"
        row = _row(run, question, "ruptures", "chance", "ruptures", unknown.get(verdict, ""))
        yield row | {"ci_low": row["estimate"], "ci_high": np.inf if row["estimate"] >= 0 else np.nan}
    share = "share of patients"
    yield _row(run, "patients with a rupture", share, "probable", "patients with a rupture", states)
    yield _row(run, "ruptures repaired in therapy", "share of ruptures", "rupture_endings", "repaired", states)
    if asked("dynamics") and not {"measures", "by"} & set(both := run.study.section("dynamics")):
        remark = "with what ruptures do beyond the alliance's fall" + ("; too large: ceiling" if capped else "")
        if run.error is None and "error" not in both:
            remark += "; too small: taken as measured without error"
        path = f"{both.get('alliance', run.score)} → later {both['symptom']}"
        yield _row(run, path, "points per point", "dynamics_paths", path, "", remark)
    if asked("next_session"):
        symptom = run.study.section("outcome")["symptom"]
        for term, words, unit, fixed, way in (
            (f"{run.score}_within", run.score, "points per point", "open and repaired ruptures", "large"),
            ("rupture_open", "open rupture", "points", "the alliance", "small"),
        ):
            if states and term != "rupture_open":  # then ruptures cannot be held fixed
                continue
            remark = f"{fixed} held fixed" + (f"; too {way}: ceiling" if capped else "")
            row = _row(run, f"{words} → next {symptom}", unit, "next_session_terms", term, states, remark)
            possible = 2 * np.ptp(_values(run, symptom).to_numpy())
            if term == "rupture_open" and row["ci_high"] - row["ci_low"] > possible:
                why = f"the interval is wider than all that {symptom} can change"
                row = _row(run, row["question"], unit, "next_session_terms", term, why)
            yield row
    if asked("dropout"):
        model = run.study.section("dropout")
        discrete = (model.get("model", "discrete"), model.get("link", "logit")) == ("discrete", "logit")
        unit = "odds ratio" if discrete else "hazard ratio"
        for term, words in (("rupture_open", "open rupture"), ("repaired_before", "earlier repair")):
            if term in model["formula"]:
                yield _row(run, f"{words} → dropout", unit, "dropout_ratios", term, states)


def _row(run: Run, question: str, unit: str, table: str, row: str, unknown: str, remark: str = "") -> dict[str, Any]:
    """One answer: `row` of a kept table, named by its first column; the reason where it is `unknown`."""
    kept = run.tables.get(table, pd.DataFrame({"": []}))
    found = kept.loc[kept.iloc[:, 0] == row].rename(columns={"at_least" if table == "chance" else "ratio": "estimate"})
    numbers = dict.fromkeys(_NUMBERS, np.nan)
    if len(found) and not unknown:
        numbers |= {name: float(found[name].iloc[0]) for name in _NUMBERS if name in found}
    if np.isnan(numbers["estimate"]):
        remark = f"cannot be known: {unknown or ('too few dropouts in that state' if len(found) else 'see the notes')}"
    return {"question": question, **numbers, "unit": unit, "remark": remark}


def _unsupported(run: Run) -> str:
    """Why nothing that needs the probabilities is known."""
    if run.latent is None:
        return "the probabilities could not be estimated"
    return _VERDICTS.get(run.latent.verdict, run.latent.verdict)


def _at_ceiling(run: Run) -> bool:
    """Whether more of the scores are at the ceiling than the models bear."""
    scores = _values(run, run.score)
    return len(scores) > 0 and share_at_highest(scores) > AT_BOUND


def _values(run: Run, column: str) -> pd.Series:
    return pd.Series(numeric(run.sessions, column)).dropna()
