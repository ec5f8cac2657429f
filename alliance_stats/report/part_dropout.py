"""The report's fourth part: dropout by the rupture state known one session earlier."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.dropout.few import thin_states
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.incidence import cumulative_incidence
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.dropout.rows import rows_at_risk
from alliance_stats.figures.dropout import plot_incidence
from alliance_stats.figures.terms import plot_terms
from alliance_stats.report.numbers import count, p_value, percent
from alliance_stats.report.page import Labels, Section
from alliance_stats.report.part_outcome import TERM_FORMATS, TERM_LABELS, keep_fit, prediction_events
from alliance_stats.report.run import Run, blank_axes
from alliance_stats.report.study import StudyError, options_of
from alliance_stats.tables.schema import ENDINGS
from alliance_stats.tables.shares import wilson

_STATES = ("none", "open", "repaired")


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
    settings = run.study.section("dropout")
    formula = settings.pop("formula")
    building = options_of(dropout_intervals)
    intervals = dropout_intervals(
        run.sessions,
        prediction_events(run),
        endings=run.endings,
        **{key: value for key, value in settings.items() if key in building},
    )
    if "rupture_state" in intervals:
        run.keep("dropout_by_state", by_state(intervals))
    incidence = run.keep("cumulative_incidence", cumulative_incidence(intervals, states="rupture_state" in intervals))
    fit = fit_dropout(formula, intervals, **{key: value for key, value in settings.items() if key not in building})
    keep_fit(run, "dropout", fit)
    run.keep("dropout_ratios", ratios(run.tables["dropout_terms"]))
    thin = thin_states(fit.diagnostics["events_by_state"])
    run.notes += [f"Dropout: {note}" for note in fit.diagnostics["notes"] if note.startswith("few events")]
    _say(run, section, formula, set(fit.terms if (thin["state"] == "all").any() else thin["term"]))
    endings = [state for state in dict.fromkeys(incidence["state"]) if state in ENDINGS]
    axes = plot_incidence(incidence, states=endings, ax=blank_axes(3.2))
    caption = (
        "Share of patients whose therapy has ended in each way by each session; the endings compete (Aalen-Johansen, "
        "pointwise 95 % intervals)."
    )
    run.show_figure(section, "cumulative_incidence", axes, caption, alt=caption)
    if "dropout_by_state" in run.tables:
        labels: Labels = {
            "rupture_state": "rupture state",
            "n_at_risk": "sessions at risk",
            "n_dropouts": "dropouts",
            "rate": "per session",
            ("ci_low", "ci_high"): "95 % CI",
        }
        shares = dict.fromkeys(("rate", "ci_low", "ci_high"), percent)
        caption = "Dropout per session at risk, by the rupture state known before it (95 % Wilson intervals)."
        run.show_table(section, "dropout_by_state", caption, labels=labels, formats=shares)
        _draw_states(run, section)
    run.show_table(section, "dropout_terms", "Dropout hazard, log scale.", labels=TERM_LABELS, formats=TERM_FORMATS)
    remarks = [str(note) for note in fit.diagnostics.get("notes", ())]
    if remarks:
        section.notes(remarks)
    terms = run.tables["dropout_terms"]
    shown = terms.loc[~terms["term"].isin(["Intercept"]) & terms["std_error"].notna()]
    axes = plot_terms(
        shown, ratio=True, xlabel="Ratio of the dropout hazard or odds (95 % CI)", ax=blank_axes(1.0 + 0.3 * len(shown))
    )
    caption = "What goes with dropout at the next session; 95 % intervals, logarithmic axis."
    run.show_figure(section, "dropout_terms", axes, caption, alt=caption)


def _draw_states(run: Run, section: Section) -> None:
    table = run.tables["dropout_by_state"]
    shown = pd.DataFrame({"term": table["rupture_state"], "estimate": 100 * table["rate"]})
    shown = shown.assign(ci_low=100 * table["ci_low"], ci_high=100 * table["ci_high"])
    words = {"none": "no rupture so far", "open": "a rupture is open", "repaired": "all ruptures repaired"}
    axes = plot_terms(
        shown, labels=words, xlabel="Dropouts per 100 sessions at risk (95 % CI)", reference=None, ax=blank_axes(1.6)
    )
    caption = "Dropout by the rupture state known one step before; not adjusted for the session reached."
    run.show_figure(section, "dropout_by_state", axes, caption, alt=caption)


def by_state(intervals: pd.DataFrame) -> pd.DataFrame:
    """Dropouts per session at risk in each rupture state, with Wilson's interval."""
    intervals = rows_at_risk(intervals)
    event = intervals["ending"].eq("dropout")
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


def _say(run: Run, section: Section, formula: str, thin: set[str]) -> None:
    cite = {column: run.citer("dropout_ratios", column) for column in ("ratio", "ci_low", "ci_high", "p_value")}
    settings = run.study.section("dropout")
    model = settings.get("model", "discrete")
    kind = "hazard ratio" if model == "cox" or settings.get("link") == "cloglog" else "odds ratio"
    words = {"rupture_open": "an open rupture", "repaired_before": "an earlier repair"}
    phrases = []
    for term, word in words.items():
        if term in set(run.tables["dropout_ratios"]["term"]):
            phrase = f"{word}: {kind} {cite['ratio'](term)}"
            if run.tables["dropout_terms"].set_index("term")["std_error"].notna()[term]:
                p = cite["p_value"](term, p_value)
                phrase += f", 95 % CI {cite['ci_low'](term)} to {cite['ci_high'](term)}, "
                phrase += f"p {p if p.startswith('<') else '= ' + p}"
            phrases.append(phrase + (" (few events: do not rest a conclusion on it)" if term in thin else ""))
    rows = run.citer("dropout_glance", "n_rows")(str(run.tables["dropout_glance"].iloc[0, 0]))
    stated = run.state(
        f"Dropout was modelled on {rows} sessions at risk ({model} hazard, {formula}), the rupture state being that "
        f"known {count(int(settings.get('lag', 1)), 'session')} before"
        + (f", with errors clustered by {settings['cluster']}" if "cluster" in settings else "")
        + (f": {'; '.join(phrases)}." if phrases else ".")
    )
    section.paragraph(stated)
