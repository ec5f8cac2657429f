"""The report's fourth part: dropout by the rupture state known one session earlier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.few import MIN_EVENTS, thin_states
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.incidence import cumulative_incidence
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.dropout.result import HazardFit
from alliance_stats.dropout.rows import rows_at_risk
from alliance_stats.figures.dropout import plot_incidence
from alliance_stats.figures.terms import plot_terms
from alliance_stats.report.models import predictors, term_words
from alliance_stats.report.numbers import count, one_decimal, percent, remark
from alliance_stats.report.page import Section, headings
from alliance_stats.report.part_outcome import (
    FEW,
    STATE_WORDS,
    TERM_FORMATS,
    TERM_LABELS,
    beside_marks,
    method,
    sample,
    states_known,
)
from alliance_stats.report.part_ruptures import MIN_DRAWN
from alliance_stats.report.run import Run, blank_axes, tested
from alliance_stats.report.steps import prediction_events
from alliance_stats.report.study import StudyError, options_of
from alliance_stats.tables.formulas import variables_of
from alliance_stats.tables.schema import ENDING, ENDINGS
from alliance_stats.tables.shares import wilson

_STATES = {"none": "no rupture so far", "open": "a rupture is open", "repaired": "all ruptures repaired"}


def relate_to_dropout(run: Run) -> None:
    """Add the section about dropout, where the study file asks for it."""
    if not run.study.has("dropout"):
        return
    if run.endings is None:
        raise StudyError(f"{run.study.path}: [dropout] needs [endings].", remedy="Name the file of endings.")
    section = run.section("dropout", "Ruptures and dropout")
    with run.attempt("The dropout model"):
        _dropout(run, section)


def _dropout(run: Run, section: Section) -> None:
    """The model with uncertain states leads; beside it the one with the marks of the rule."""
    settings = run.study.section("dropout")
    building = {key: settings.pop(key) for key in list(settings) if key in options_of(dropout_intervals)}
    events = prediction_events(run.study, run.sessions)
    intervals = dropout_intervals(run.sessions, events, endings=run.endings, **building)
    incidence = run.keep("cumulative_incidence", cumulative_incidence(intervals, states="rupture_state" in intervals))
    fits = []
    if run.trusted is not None and set(STATE_WORDS) & set(variables_of(settings["formula"])):
        probable = dropout_intervals(run.sessions, run.trusted, endings=run.endings, **building)
        fits = [fit_dropout(intervals=probable, **settings)]
        run.keep_model("dropout", fits[0])
        settings["states"] = run.trusted
    name = "dropout"
    if not fits or events is not None:
        marked = fit_dropout(intervals=intervals, **settings)
        marks = "dropout_marked" if fits or set(STATE_WORDS) & set(marked.terms) else "dropout"
        run.keep_model(marks, marked)
        name = "dropout" if fits else marks
        fits.append(marked)
    fit, unknown = fits[0], fits[0].diagnostics["unknown"]
    if len(fits) > 1:
        run.keep("dropout_marked_ratios", ratios(run.tables["dropout_marked_terms"]))
    found = ratios(run.tables[f"{name}_terms"])
    run.keep(f"{name}_ratios", found.assign(expected_events=found["term"].map(unknown).astype(np.float64)))
    words = term_words(fit)
    _say(run, section, name, fit, words, thin=_thin(fits[1]) if len(fits) > 1 else None)
    _draw_incidence(run, section, incidence)
    if "rupture_state" in intervals:
        run.keep("dropout_by_state", by_state(intervals, fit.ending))
        _show_states(run, section, fit.ending)
    look: dict[str, Any] = {"labels": TERM_LABELS, "formats": TERM_FORMATS}
    told = {"term": words | {term: f"{words[term]} ({_unknown(one_decimal(n))})" for term, n in unknown.items()}}
    caption = f"Hazard of {fit.ending}, log scale: coefficients."
    run.show_table(section, f"{name}_terms", caption, words=told, **look)
    if len(fits) > 1:
        caption = "The same with the marks of the rule."
        run.show_table(section, "dropout_marked_terms", caption, words={"term": words}, **look)
    remarks = dict.fromkeys(str(note) for one in fits for note in one.diagnostics.get("notes", ()))
    section.notes(map(remark, remarks))
    _draw_terms(run, section, fit, run.tables[f"{name}_terms"], words)


def _draw_terms(run: Run, section: Section, fit: HazardFit, terms: pd.DataFrame, words: dict[str, str]) -> None:
    shown = terms.loc[(terms["term"] != "Intercept") & terms["std_error"].notna()]
    shown = shown.loc[~shown["term"].isin(_thin(fit, MIN_DRAWN))]
    if fit.diagnostics["n_events"] < MIN_DRAWN or shown.empty:
        return
    label = f"{ratio_name(fit).capitalize()} of {fit.ending} (95% CI)"
    axes = plot_terms(shown, labels=words, ratio=True, xlabel=label, ax=blank_axes(1.0 + 0.3 * len(shown)))
    caption = f"What goes with {fit.ending} at the next session; 95% intervals, logarithmic axis."
    run.show_figure(section, "dropout_terms", axes, caption)


def _draw_incidence(run: Run, section: Section, incidence: pd.DataFrame) -> None:
    """The ways therapies ended that happened at least three times."""
    n_events = run.tables["endings"].set_index("ending")["patients"]
    states = [state for state in dict.fromkeys(incidence["state"]) if state in ENDINGS]
    states = [state for state in states if n_events[state] >= MIN_DRAWN]
    if not states:
        return
    axes = plot_incidence(incidence, states=states, ax=blank_axes(3.2))
    caption = "Share of patients whose therapy has ended in each way by each session; the endings compete "
    caption += "(Aalen-Johansen, pointwise 95% intervals)."
    run.show_figure(section, "cumulative_incidence", axes, caption)


def _show_states(run: Run, section: Section, ending: str) -> None:
    table = run.tables["dropout_by_state"]
    caption = (
        f"Sessions at risk that were followed by {ending}, by the rupture state known before (95% Wilson intervals)."
    )
    shown = ("rupture_state", "n_at_risk", "n_dropouts", "rate", "ci_")
    labels = headings(*shown, n_at_risk="sessions at risk", n_dropouts=f"{ending}, n", rate="per session")
    formats = dict.fromkeys(("rate", "ci_low", "ci_high"), percent)
    words = {"rupture_state": _STATES}
    run.show_table(section, "dropout_by_state", caption, labels=labels, formats=formats, words=words)
    table = table.loc[table["n_dropouts"] >= MIN_DRAWN]
    if len(table) < 2:
        return
    rates = pd.DataFrame({"term": table["rupture_state"], "estimate": 100 * table["rate"]})
    rates = rates.assign(ci_low=100 * table["ci_low"], ci_high=100 * table["ci_high"])
    label = f"{ending.capitalize()} per 100 sessions at risk (95% CI)"
    axes = plot_terms(rates, labels=_STATES, xlabel=label, reference=None, ax=blank_axes(1.6))
    caption = f"{ending.capitalize()} by the rupture state known before; not adjusted for the session reached."
    run.show_figure(section, "dropout_by_state", axes, caption)


def by_state(intervals: pd.DataFrame, ending: str) -> pd.DataFrame:
    """How often `ending` follows a session at risk in each rupture state, with Wilson's interval."""
    intervals = rows_at_risk(intervals)
    event = intervals[ENDING].eq(ending)
    rows = []
    for state in _STATES:
        here = intervals["rupture_state"].eq(state)
        n, k = int(here.sum()), int((event & here).sum())
        rate = k / n if n else np.nan
        rows.append((state, n, k, rate, *wilson(rate, n, level=0.95)))
    columns = ["rupture_state", "n_at_risk", "n_dropouts", "rate", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def ratios(terms: pd.DataFrame) -> pd.DataFrame:
    """TERMS as ratios: ``term, ratio, ci_low, ci_high, p_value``."""
    names = {"estimate": "ratio", "ci_low": "ci_low", "ci_high": "ci_high"}
    table = {name: np.exp(terms[column].to_numpy(dtype=np.float64)) for column, name in names.items()}
    return pd.DataFrame({"term": terms["term"], **table, "p_value": terms["p_value"]})


def ratio_name(fit: HazardFit) -> str:
    """What the exponential of a coefficient is."""
    return "odds ratio" if fit.model == "discrete logit" else "hazard ratio"


def _say(
    run: Run, section: Section, name: str, fit: HazardFit, words: dict[str, str], *, thin: set[str] | None
) -> None:
    """`thin`: terms of the model beside it, with the marks of the rule, that rest on few events; None without it."""
    cite = run.citers(f"{name}_ratios")
    estimated = run.tables[f"{name}_terms"].set_index("term")["std_error"].notna()
    phrases = []
    for term, word in STATE_WORDS.items():
        if term in fit.diagnostics["unknown"]:
            phrases.append(f"{word}, {_unknown(cite['expected_events'](term, one_decimal))}")
        elif term in fit.terms:
            test = f" ({tested(cite, term)})" if estimated[term] else ""
            phrases.append(f"{word}, {ratio_name(fit)} {cite['ratio'](term)}{test}{FEW if term in _thin(fit) else ''}")
    lag = fit.settings["lag"]
    known = f" The rupture state is the one known {count(int(lag), 'session')} before." if phrases and lag else ""
    events = run.citer("models", "events")(name)
    stated = run.state(
        f"The hazard of {fit.ending} ({events} events in {sample(run, name)}) was modelled on "
        f"{predictors(fit, words)}{states_known(run, fit.settings['rule']) if phrases else ''} "
        f"({method(run, name, fit)}).{known}" + (f" Results: {'; '.join(phrases)}." if phrases else ""),
        *([] if thin is None else beside_marks(run, "dropout", "", table="ratios", column="ratio", thin=thin)),
    )
    section.paragraph(stated)


def _unknown(events: str) -> str:
    """What is printed in place of an estimate that too few events would mislead about."""
    return f"cannot be known: {events} events to be expected in that state"


def _thin(fit: HazardFit, events: int = MIN_EVENTS) -> set[str]:
    """The terms that rest on few events: fewer than `events`, or in too few clusters."""
    few = thin_states(fit.diagnostics["events_by_state"], events=events)
    if (few["state"] == "all").any():
        return set(fit.terms)
    return set(few["term"]) | set(fit.diagnostics["unknown"])
