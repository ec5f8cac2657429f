"""The report's part about how far an answer depends on the rule: every rule at once, and one p value for all."""

from __future__ import annotations

from typing import Any

import pandas as pd

from alliance_stats.figures.terms import plot_multiverse
from alliance_stats.multiverse.joint import joint_test
from alliance_stats.report.folder import seed_of
from alliance_stats.report.numbers import Format, number, p_clause, p_value, remark, whole_or_not
from alliance_stats.report.page import Section, headings
from alliance_stats.report.run import Run, blank_axes
from alliance_stats.report.study import StudyFile
from alliance_stats.tables.words import term_in_words

_QUESTIONS = {
    "outcome": "the last {} score, by rupture pattern",
    "next_session": "the next session's {} score, by rupture state",
    "dropout": "dropout, by rupture state",
}
_SHOWN = ("effect", "statistic", "n_specifications", "observed", "null_", "p_value")
_LABELS = headings(*_SHOWN, statistic="", n_specifications="specifications", null_="95% without an effect")
_MEAN = "mean z"


def compare_the_rules(run: Run) -> None:
    """Add the section about all rules together, for each question that the study file asks."""
    asked = run.study.tables("multiverse")
    if not asked:
        return
    section = run.section("multiverse", "Every rule at once")
    for options in asked:
        with run.attempt(f"The multiverse of {options['question']}"):
            _every_rule(run, section, options)


def arguments(study: StudyFile, endings: pd.DataFrame | None, options: dict[str, Any]) -> dict[str, Any]:
    """Of `joint_test`, for one ``[[multiverse]]`` section of a study file."""
    known = {"score": study.section("detect")["score"], "symptom": study.section("outcome").get("symptom")}
    return {**known, "endings": endings, "seed": seed_of(study), **options}


def _every_rule(run: Run, section: Section, options: dict[str, Any]) -> None:
    question, symptom = options["question"], run.study.section("outcome").get("symptom")
    test = joint_test(run.sessions, **arguments(run.study, run.endings, options), progress=False)
    name = f"multiverse_{question}"
    run.keep(name, test.table)
    effects = test.joint["term"].map(lambda term: term_in_words(term).replace(" - ", " minus "))
    joint = test.joint.assign(effect=effects, name=effects + ", " + test.joint["statistic"], draws=test.draws)
    run.keep(f"{name}_joint", joint[["name", *(column for column in joint if column != "name")]])
    cite = run.citers(f"{name}_joint")

    def phrase(row: str) -> str:
        n, z = cite["n_specifications"](row), cite["observed"](row, number)
        effect = row.removesuffix(f", {_MEAN}")
        return f"{effect}, mean z = {z} over {n} specifications, joint {p_clause(cite['p_value'](row, p_value))}"

    rows = [row for row in joint["name"] if row.endswith(_MEAN)]
    stated = run.state(
        f"How far the answer depends on the rule was asked of {_QUESTIONS[question].format(symptom)}, under every rule "
        f"and repair target together (the residuals of {test.unit}s change sign at random, {cite['draws'](rows[0])} "
        f"draws; Simonsohn et al., 2020): {'; '.join(map(phrase, rows))}."
    )
    section.paragraph(stated)
    caption = "All specifications together. Report the p value of the mean z."
    words = {"statistic": {"significant": "significant specifications"}}
    formats: dict[str, Format] = dict.fromkeys(("observed", "null_low", "null_high"), whole_or_not)
    run.show_table(section, f"{name}_joint", caption, labels=_LABELS, formats=formats, words=words)
    section.notes(map(remark, test.notes))
    term = str(test.joint["term"].iloc[0])
    table = test.table.loc[test.table["rule"].isin(test.table.loc[test.table["term"] == term, "rule"])]
    axes = plot_multiverse(
        table, term=term, xlabel=f"{rows[0].removesuffix(f', {_MEAN}').capitalize()} (95% CI)",
        ax=blank_axes(1.2 + 0.27 * table["rule"].nunique()),
    )  # fmt: skip
    caption = (
        "The first effect under every rule and repair target, 95% intervals. Grey bars: where each estimate would lie "
        "without any effect. Rules that look ahead or find no rupture are in the table only."
    )
    run.show_figure(section, name, axes, caption, alt="One effect under every rule and repair target.")
