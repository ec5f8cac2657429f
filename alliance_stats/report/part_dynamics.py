"""The report's part about reciprocal effects: which comes first, alliance or symptoms."""

from __future__ import annotations

import pandas as pd

from alliance_stats.features import mark_ruptures
from alliance_stats.figures.dynamics import plot_dynamics, plot_response
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.outcome.reciprocal_fit import DynamicsFit
from alliance_stats.report.numbers import remark
from alliance_stats.report.page import Section, headings
from alliance_stats.report.part_outcome import SHOWN, TERM_FORMATS, method, sample
from alliance_stats.report.run import Run, blank_axes, tested
from alliance_stats.report.steps import prediction_events

_LABELS = headings("path", *SHOWN, attenuation="share of an effect shown")


def relate_both_ways(run: Run) -> None:
    """Add the section about reciprocal effects, if the study file asks for it."""
    if not run.study.has("dynamics"):
        return
    section = run.section("dynamics", "Which comes first")
    with run.attempt("The model of reciprocal effects"):
        _dynamics(run, section)


def _dynamics(run: Run, section: Section) -> None:
    options = run.study.section("dynamics")
    sessions, events = run.sessions, prediction_events(run.study, run.sessions)
    if events is not None and options.get("inputs"):
        sessions = mark_ruptures(sessions, events, for_prediction=True)
    named = "error" in options or options.get("alliance", run.score) != run.score or "measures" in options
    if not named and run.error is not None:
        options["error"] = {run.score: run.error}
    fit = fit_dynamics(sessions, **{"alliance": run.score, **options})
    symptom = str(options["symptom"])
    run.keep_model("dynamics", fit)
    terms = run.keep("dynamics_paths", _named(fit.tidy()))
    run.keep("dynamics_standardised", _named(fit.standardised()))
    response = run.keep("dynamics_response", fit.response())
    section.paragraph(run.state(_sentence(run, fit, symptom) + ("" if named else run.say_error())))
    settings = fit.settings
    trend = "slopes that differ between patients" if settings["trend"] == "random" else "no slopes of patients' own"
    section.paragraph(f"Mean course {settings['means']}, {trend}, start {settings['start']}.", css="small")
    caption = "Effects on the next session within patients, in points per point."
    run.show_table(section, "dynamics_paths", caption, labels=_LABELS, formats=TERM_FORMATS)
    section.notes(remark(str(note)) for note in fit.diagnostics["notes"])
    if settings["by"] is None:
        axes = plot_dynamics(terms, ax=blank_axes(1.15 * len(fit.study.measures)))
        caption = "From one session to the next within patients; points per point, 95% intervals."
        run.show_figure(section, "dynamics", axes, caption)
        axes = plot_response(response.loc[response["outcome"] == symptom], ax=blank_axes(2.8))
        caption = f"{symptom} over the sessions after one within-patient SD more, for one session; 95% intervals."
        run.show_figure(section, "dynamics_response", axes, caption)


def _named(terms: pd.DataFrame) -> pd.DataFrame:
    """Paths in words in front, to cite and to read: alliance → later phq9."""
    group = [f" ({name})" if name != "all" else "" for name in terms["group"]] if "group" in terms else ""
    of = terms["term"].str.endswith("_lag").map({True: "later ", False: "mean of "})
    path = terms["term"].str.removesuffix("_lag") + " → " + of + terms["outcome"] + group
    return terms.assign(path=path)[["path", *terms.columns]]


def _sentence(run: Run, fit: DynamicsFit, symptom: str) -> str:
    cite = run.citers("dynamics_paths")
    cross = [
        row["path"]
        for row in run.tables["dynamics_paths"].to_dict("records")
        if row["term"].endswith("_lag") and not row["path"].startswith(f"{row['outcome']} →")
    ]

    def phrase(path: str) -> str:
        return f"{path}, {cite['estimate'](path)} points per point ({tested(cite, path)})"

    return (
        f"The measures of {sample(run, 'dynamics')} were modelled together: a mean course, each patient's own level, "
        "and deviations within patients that depend on those of the session before (random-intercept cross-lagged "
        f"panel model; {method(run, 'dynamics')}): {'; '.join(phrase(path) for path in cross)}. What a rupture does "
        f"to {symptom} beyond the fall of the alliance is in these effects; the model of the next session has it apart."
    )
