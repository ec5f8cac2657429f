"""The report's third part: ruptures and outcome, at the end of therapy, in the next session, over the whole course."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from alliance_stats.figures.terms import plot_terms
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.report.models import AnyFit, predictors, random_effects, term_words
from alliance_stats.report.numbers import Format, correlation, one_decimal, percent, remark, two_decimals
from alliance_stats.report.page import Section, headings
from alliance_stats.report.run import Run, blank_axes, interval, tested
from alliance_stats.report.steps import prediction_events

SHOWN = ("estimate", "std_error", "df", "p_value", "ci_", "attenuation")
TERM_LABELS = headings("term", *SHOWN, term="", attenuation="share of an effect shown")
FEW = "; few events: do not rest a conclusion on it"
TERM_FORMATS: dict[str, Format] = {"df": one_decimal, "attenuation": lambda share: percent(share, 0)}
_EFFECTS = ("contrast", "adjusted", "difference", "ci_", "p_value", "d", "d_", "r", "r_")
_EFFECT_LABELS = headings(*_EFFECTS, contrast="", d_="95% CI of d", r="partial r", r_="95% CI of r")
_EFFECT_FORMATS: dict[str, Format] = {
    **dict.fromkeys(["d", "d_low", "d_high"], two_decimals),
    **dict.fromkeys(["r", "r_low", "r_high"], correlation),
}

STATE_WORDS = {"rupture_open": "an open rupture", "repaired_before": "an earlier repair"}


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


def sample(run: Run, name: str) -> str:
    """Who is in the model `name`: ``1,084 sessions of 117 patients of 12 therapists``, cited from ``models``."""
    row = run.tables["models"].set_index("name").loc[name]
    units = [unit for unit in ("sessions", "patients", "therapists") if not pd.isna(row[unit])]
    counts = [f"{run.citer('models', unit)(name)} {unit if row[unit] != 1 else unit[:-1]}" for unit in units]
    return " of ".join(counts)


def method(run: Run, name: str, fit: AnyFit | None = None) -> str:
    """How the model was fitted and tested, as the fit says."""
    row = run.tables["models"].set_index("name").loc[name]
    random = "" if fit is None else random_effects(fit)
    return f"{row['estimator']}{random}; tests: {row['tests']}; standard errors: {row['errors']}"


def show_fit(
    run: Run, section: Section, name: str, fit: Any, caption: str, words: Mapping[str, str], *, second: bool = False
) -> None:
    """Put a fit's coefficients and remarks on the page; what a `second` one shares with the first is said there."""
    if not second:
        section.paragraph(f"Model: {fit.formula}", css="small")
    run.show_table(section, f"{name}_terms", caption, labels=TERM_LABELS, formats=TERM_FORMATS, words={"term": words})
    own = fit.diagnostics.get("notes", ())
    remarks = [str(note) for note in (own if second else getattr(fit, "notes", own))]
    lost = {reason: n for reason, n in fit.diagnostics.get("rows_lost", {}).items() if n}
    if lost and not second:
        remarks.append("Rows left out: " + ", ".join(f"{reason} ({n})" for reason, n in lost.items()) + ".")
    section.notes(map(remark, remarks))


def _by_pattern(run: Run, section: Section, symptom: str) -> None:
    options = {key: value for key, value in run.study.section("outcome").items() if key != "symptom"}
    fit = fit_outcome(run.patients, post=f"{symptom}_post", pre=f"{symptom}_pre", **options)
    run.keep_model("outcome", fit)
    effects = run.keep("outcome_effects", _named(fit.effects()))
    words = term_words(fit, symptom=symptom)
    main = effects.loc[effects["adjusted"]] if effects["adjusted"].any() else effects
    cite = run.citers("outcome_effects")

    def phrase(row: str) -> str:
        contrast = row.split(", ")[0]
        return (
            f"{contrast}, {cite['difference'](row)} points ({tested(cite, row)}; d = {cite['d'](row, two_decimals)}, "
            f"{interval(cite, row, two_decimals, ends='d')}; partial r = {cite['r'](row, correlation)}, "
            f"{interval(cite, row, correlation, ends='r')})"
        )

    stated = run.state(
        f"The last {symptom} score was regressed on {predictors(fit, words)} in {sample(run, 'outcome')} "
        f"({method(run, 'outcome', fit)}). Differences between patterns: {'; '.join(map(phrase, main['name']))}. A "
        "positive partial r means that the first pattern did better. The pattern is known only afterwards: these "
        "differences describe and do not predict."
    )
    section.subheading("At the end of therapy")
    section.paragraph(stated)
    show_fit(run, section, "outcome", fit, f"Last {symptom} score: coefficients.", words)
    caption = "Differences between patterns, with effect sizes."
    run.show_table(section, "outcome_effects", caption, labels=_EFFECT_LABELS, formats=_EFFECT_FORMATS)
    terms = effects.rename(columns={"contrast": "term", "difference": "estimate"})
    if len(terms["adjusted"].unique()) > 1:
        by = {True: "adjusted for exposure (rated sessions)", False: "not adjusted"}
        terms = terms.assign(model=terms["adjusted"].map(by))
    label = f"Difference in last {symptom}, points (95% CI)"
    axes = plot_terms(terms, xlabel=label, ax=blank_axes(1.3 + 0.45 * terms["term"].nunique()))
    caption = f"Differences between rupture patterns in the last {symptom} score, with 95% intervals."
    run.show_figure(section, "outcome_effects", axes, caption)


def _named(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects with a name for each row in front, to cite it by."""
    contrasts = effects["contrast"].str.replace(" - ", " minus ")
    names = contrasts + effects["adjusted"].map({True: ", adjusted", False: ", not adjusted"})
    return effects.assign(name=names, contrast=contrasts)[["name", *effects.columns]]


def _next_session(run: Run, section: Section, symptom: str) -> None:
    """The model with uncertain states leads; beside it the one with the marks of the rule and their attenuation.

    Without trusted probabilities there is the one with the marks alone; its tables are called so, too.
    """
    options = {"symptom": symptom, "alliance": run.score, "error": run.error, **run.study.section("next_session")}
    events, fit = prediction_events(run.study, run.sessions), None
    if run.trusted is not None:
        fit = fit_next_session(run.sessions, run.trusted, **options)
        run.keep_model("next_session", fit)
    options |= {"states": run.trusted} if events is not None and run.trusted is not None else {}
    marked = fit_next_session(run.sessions, events, **options)
    marks = "next_session" if events is None and fit is None else "next_session_marked"
    run.keep_model(marks, marked)
    name, main = (marks, marked) if fit is None else ("next_session", fit)
    run.keep("next_session_effects", main.effects())
    words = term_words(main, symptom=symptom, alliance=run.score)
    cite = run.citers(f"{name}_terms")

    def phrase(term: str) -> str:
        return f"{cite['estimate'](term)} points ({tested(cite, term)})"

    found = [f"{word}, {phrase(term)}" for term, word in STATE_WORDS.items() if term in words]
    within = f"{run.score}_within"
    stated = (
        f"The {symptom} score of the next session was regressed on {predictors(main, words)}"
        f"{states_known(run, main.diagnostics['rule']) if found else ''} in {sample(run, name)} "
        f"({method(run, name, main)}). What went with the next session's {symptom} score: one point more "
        f"of {words[within]}, {phrase(within)}"
        + "".join(f"; {one}" for one in found)
        + "."
        + ("" if "error" in run.study.section("next_session") else run.say_error())
    )
    section.subheading("In the next session")
    section.paragraph(run.state(stated, *(beside_marks(run, "next_session", " points") if fit is not None else [])))
    show_fit(run, section, name, main, f"{symptom} score of the next session: coefficients.", words)
    if fit is not None and events is not None:
        show_fit(run, section, marks, marked, "The same with the marks of the rule.", words, second=True)
    terms = run.tables[f"{name}_terms"]
    shown = terms.loc[terms["term"] != "Intercept"]
    label = f"Points of next-session {symptom} (95% CI)"
    axes = plot_terms(shown, labels=words, xlabel=label, ax=blank_axes(1.0 + 0.3 * len(shown)))
    caption = f"What goes with the {symptom} score of the next session; 95% intervals."
    run.show_figure(section, "next_session", axes, caption)


def states_known(run: Run, rule: object) -> str:
    """How the rupture states of a model were known, in brackets."""
    if run.trusted is None:
        return f" (rupture state by the marks of rule {rule!r}, as known at the time, which show a part of an effect)"
    return " (rupture states as probabilities, given the model's covariates)"


def beside_marks(
    run: Run, name: str, unit: str, *, table: str = "terms", column: str = "estimate", thin: Collection[str] = ()
) -> list[str]:
    """A sentence about the coefficients of the marks of the rule, and the share of an effect they can show."""
    if f"{name}_marked_{table}" not in run.tables:
        return []
    terms = run.tables[f"{name}_marked_terms"]
    cite = run.citers(f"{name}_marked_{table}")
    parts = []
    for term, word in STATE_WORDS.items():
        row = terms.loc[terms["term"] == term]
        if row.empty or row["std_error"].isna().all():
            continue
        share = ""
        if "attenuation" in row and row["attenuation"].notna().all():
            shown = run.citer(f"{name}_marked_terms", "attenuation")(term, lambda value: percent(value, 0))
            share = f"; such marks show {shown} of an effect"
        share += FEW if term in thin else ""
        parts.append(f"{word}, {cite[column](term)}{unit} ({tested(cite, term)}{share})")
    if not parts:
        return []
    return [f"With the marks of the rule in place of the probabilities: {'; '.join(parts)}."]


def _growth(run: Run, section: Section, symptom: str) -> None:
    options = {"measure": symptom, **run.study.section("growth")}
    fit = fit_growth(run.sessions, run.patients, **options)
    run.keep_model("growth", fit)
    slopes = fit.slopes()
    slopes = slopes.assign(name=slopes["pattern"] + ", " + slopes["kind"])
    slopes = run.keep("growth_slopes", slopes[["name", *slopes.columns[:-1]]])
    cite = run.citers("growth_slopes")
    differences = [
        f"{name.removesuffix(', difference')} minus {fit.reference}, {cite['estimate'](name)} ({tested(cite, name)})"
        for name in slopes["name"]
        if name.endswith(", difference")
    ]
    own = f"{fit.reference}, slope"
    stated = run.state(
        f"Change of the {symptom} score over sessions was compared between rupture patterns in "
        f"{sample(run, 'growth')} ({method(run, 'growth', fit)}). Points per session: pattern {fit.reference}, "
        f"{cite['estimate'](own)} ({tested(cite, own)}); differences: {'; '.join(differences)}."
    )
    section.subheading("Over the whole course")
    section.paragraph(stated)
    words = term_words(fit, symptom=symptom)
    show_fit(run, section, "growth", fit, f"Course of the {symptom} score by rupture pattern: coefficients.", words)
    shown = ("pattern", "kind", "estimate", "ci_", "p_value", "d")
    labels = headings(*shown, kind="what", estimate="per session", d="d over 10 sessions")
    formats: dict[str, Format] = {"d": two_decimals}
    kinds = {"slope": "change", "difference": f"minus {fit.reference}"}
    caption = "Change per session of each pattern."
    run.show_table(section, "growth_slopes", caption, labels=labels, formats=formats, words={"kind": kinds})
