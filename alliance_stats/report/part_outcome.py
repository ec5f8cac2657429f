"""The report's third part: ruptures and outcome, at the end of therapy, in the next session, over the whole course."""

from __future__ import annotations

from typing import Any

import pandas as pd

from alliance_stats.figures.terms import plot_terms
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.report.numbers import degrees, p_value
from alliance_stats.report.page import Format, Labels, Section
from alliance_stats.report.reading import find_ruptures, study_rule
from alliance_stats.report.run import Run, blank_axes
from alliance_stats.tables.terms import Fit, glance, tidy, variances

TERM_LABELS: Labels = {
    "term": "",
    "estimate": "estimate",
    "std_error": "SE",
    "df": "df",
    "p_value": "p",
    ("ci_low", "ci_high"): "95 % CI",
}
TERM_FORMATS: dict[str, Format] = {"df": degrees}
_EFFECT_LABELS: Labels = {
    "contrast": "",
    "adjusted": "adjusted",
    "difference": "difference",
    ("ci_low", "ci_high"): "95 % CI",
    "p_value": "p",
    "d": "d",
    ("d_low", "d_high"): "95 % CI",
    "r": "partial r",
    ("r_low", "r_high"): "95 % CI",
}


def relate_to_outcome(run: Run) -> None:
    """Add the section about outcome, as far as the study file asks for it."""
    if not run.study.has("outcome"):
        return
    section = run.section("outcome", "Ruptures and outcome")
    symptom = run.study.section("outcome")["symptom"]
    with run.attempt("The model of outcome by rupture pattern"):
        _by_pattern(run, section, symptom)
    if run.study.has("next_session"):
        with run.attempt("The model of the next session's symptoms"):
            _next_session(run, section, symptom)
    if run.study.has("growth"):
        with run.attempt("The model of growth by rupture pattern"):
            _growth(run, section, symptom)


def keep_fit(run: Run, name: str, fit: Fit) -> None:
    """Keep a fit's three tables and its remarks."""
    run.keep(f"{name}_terms", tidy(fit))
    run.keep(f"{name}_glance", glance(fit))
    run.keep(f"{name}_variances", variances(fit))


def show_fit(run: Run, section: Section, name: str, fit: Any, caption: str) -> None:
    """Put a fit's coefficients and remarks on the page."""
    section.paragraph(f"Model: {fit.formula}", css="small")
    run.show_table(section, f"{name}_terms", caption, labels=TERM_LABELS, formats=TERM_FORMATS)
    remarks = [str(note) for note in fit.diagnostics.get("notes", ())]
    lost = {reason: n for reason, n in fit.diagnostics.get("rows_lost", {}).items() if n}
    if lost:
        remarks.append("Rows left out: " + ", ".join(f"{reason} ({n})" for reason, n in lost.items()) + ".")
    if remarks:
        section.notes(remarks)


def _by_pattern(run: Run, section: Section, symptom: str) -> None:
    options = {key: value for key, value in run.study.section("outcome").items() if key != "symptom"}
    fit = fit_outcome(run.patients, post=f"{symptom}_post", pre=f"{symptom}_pre", **options)
    keep_fit(run, "outcome", fit)
    effects = run.keep("outcome_effects", _named(fit.effects()))
    section.subheading("At the end of therapy")
    adjusted = effects.loc[effects["adjusted"]] if effects["adjusted"].any() else effects
    section.paragraph(run.state(_pattern_sentence(run, symptom, adjusted["name"].tolist())))
    show_fit(run, section, "outcome", fit, f"Last {symptom!r} by rupture pattern, first {symptom!r} held constant.")
    labels = _EFFECT_LABELS
    run.show_table(section, "outcome_effects", "Differences between patterns, with effect sizes.", labels=labels)
    terms = effects.rename(columns={"contrast": "term", "difference": "estimate"}).assign(
        model=effects["adjusted"].map({True: "adjusted for rated sessions", False: "not adjusted"})
    )
    axes = plot_terms(
        terms,
        xlabel=f"Difference in last {symptom}, points (95 % CI)",
        ax=blank_axes(1.3 + 0.45 * terms["term"].nunique()),
    )
    caption = f"Differences between rupture patterns in the last {symptom!r}, with 95 % intervals."
    run.show_figure(section, "outcome_effects", axes, caption, alt=caption)


def _named(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects with a name for each row in front, to cite it by."""
    names = effects["contrast"] + effects["adjusted"].map({True: ", adjusted", False: ", not adjusted"})
    return effects.assign(name=names)[["name", *effects.columns]]


def _pattern_sentence(run: Run, symptom: str, rows: list[str]) -> str:
    cite = {column: run.citer("outcome_effects", column) for column in run.tables["outcome_effects"].columns[1:]}

    def phrase(row: str) -> str:
        contrast = row.split(", ")[0].replace(" - ", " minus ")
        return (
            f"{contrast}, {cite['difference'](row)} points (95 % CI {cite['ci_low'](row)} to {cite['ci_high'](row)}, "
            f"p {_p(cite['p_value'](row, p_value))}; d = {cite['d'](row)}, partial r = {cite['r'](row)}, 95 % CI "
            f"{cite['r_low'](row)} to {cite['r_high'](row)})"
        )

    return (
        f"The last {symptom!r} was regressed on the first one, the rupture pattern and the number of rated sessions, "
        f"with a random intercept for therapists where there are several: {'; '.join(phrase(row) for row in rows)}. "
        "Partial correlations are positive where the first pattern did better; the pattern is known only afterwards, "
        "so that this describes and does not predict."
    )


def _next_session(run: Run, section: Section, symptom: str) -> None:
    events = prediction_events(run)
    options = {"symptom": symptom, "alliance": run.score, **run.study.section("next_session")}
    fit = fit_next_session(run.sessions, events, **options)
    keep_fit(run, "next_session", fit)
    run.keep("next_session_effects", fit.effects())
    cite = {column: run.citer("next_session_terms", column) for column in ("estimate", "ci_low", "ci_high", "p_value")}

    def phrase(term: str) -> str:
        low, high = cite["ci_low"](term), cite["ci_high"](term)
        return f"{cite['estimate'](term)} points (95 % CI {low} to {high}, p {_p(cite['p_value'](term, p_value))})"

    words = {"rupture_open": "an open rupture", "repaired_before": "an earlier repair"}
    found = set(run.tables["next_session_terms"]["term"])
    known = "; ".join(f"{word}, {phrase(term)}" for term, word in words.items() if term in found)
    rows = run.citer("next_session_glance", "n_rows")(str(run.tables["next_session_glance"].iloc[0, 0]))
    stated = run.state(
        f"The next session's {symptom!r} was regressed on the present one, alliance within and between patients and "
        f"the rupture state known at the time (rule {_prediction_rule_name(run)!r}) in {rows} sessions, with random "
        "intercepts and slopes for patients: one point of alliance above the patient's own level went with "
        f"{phrase(f'{run.score}_within')}{'; ' + known if known else ''}."
    )
    section.subheading("In the next session")
    section.paragraph(stated)
    show_fit(run, section, "next_session", fit, f"{symptom!r} of the next session.")
    terms = run.tables["next_session_terms"]
    shown = terms.loc[terms["term"] != "Intercept"]
    axes = plot_terms(
        shown, xlabel=f"Points of next-session {symptom} (95 % CI)", ax=blank_axes(1.0 + 0.3 * len(shown))
    )
    caption = f"What goes with {symptom!r} in the next session; 95 % intervals."
    run.show_figure(section, "next_session", axes, caption, alt=caption)


def _growth(run: Run, section: Section, symptom: str) -> None:
    options = {"measure": symptom, **run.study.section("growth")}
    fit = fit_growth(run.sessions, run.patients, **options)
    keep_fit(run, "growth", fit)
    run.keep("growth_slopes", fit.slopes())
    section.subheading("Over the whole course")
    show_fit(run, section, "growth", fit, f"Growth of {symptom!r} by rupture pattern.")
    labels: Labels = {
        "pattern": "pattern",
        "kind": "",
        "estimate": "per session",
        ("ci_low", "ci_high"): "95 % CI",
        "p_value": "p",
        "d": "d over 10 sessions",
    }
    run.show_table(section, "growth_slopes", "Change per session of each pattern.", labels=labels)


def prediction_events(run: Run) -> pd.DataFrame | None:
    """EVENTS by the rule for prediction, which must not look ahead; None where the study names none."""
    detect = run.study.section("detect")
    if "prediction_rule" in detect:
        return find_ruptures(run.study, run.sessions, key="prediction_rule")
    return run.events if study_rule(run.study).prospective else None


def _prediction_rule_name(run: Run) -> str:
    detect = run.study.section("detect")
    return study_rule(run.study, "prediction_rule" if "prediction_rule" in detect else "rule").name


def _p(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"
