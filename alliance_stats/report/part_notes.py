"""The page's first and last sections: the numbers to see first, the methods paragraph, remarks, settings."""

from __future__ import annotations

import json

import pandas as pd

from alliance_stats.figures.flow import WIDTH, flow_height, plot_flow
from alliance_stats.report.models import MODELS
from alliance_stats.report.numbers import one_decimal, percent, remark
from alliance_stats.report.page import headings
from alliance_stats.report.part_answers import answer_the_questions
from alliance_stats.report.run import Run, blank_axes
from alliance_stats.tables.flow import flow, in_words, record

_FLOW = ("step", "patients", "sessions", "patients_lost", "sessions_lost", "why")
_FLOW_LABELS = headings(*_FLOW, step="", sessions="rows", sessions_lost="rows lost")
_MODEL = ("name", "patients", "sessions", "therapists", "events", "estimator", "tests", "errors")
_MODEL_LABELS = headings(*_MODEL, name="", errors="standard errors")


def open_report(run: Run) -> None:
    """Begin the page with a section that `close_report` fills, and note what reading and scoring remarked."""
    run.section("overview", "At a glance")
    run.notes += [str(note) for note in run.sessions.attrs.get("notes", [])]
    report = run.sessions.attrs.get("report", {})
    run.notes += [str(note) for note in (*report.get("warnings", ()), *report.get("notes", ()))]


def close_report(run: Run) -> None:
    """Fill the first section, and add who was kept, settings and provenance at the end."""
    _first_section(run)
    last = run.section("provenance", "How this was made")
    kept = run.keep("flow", flow(run.sessions))
    if kept[["patients_lost", "sessions_lost"]].to_numpy().any():
        axes = plot_flow(kept, ax=blank_axes(flow_height(kept), width=WIDTH))
        told = in_words(record(run.sessions))
        run.show_figure(last, "flow", axes, "Who was kept, from the file to the sessions analysed.", alt=told)
    run.show_table(last, "flow", "Who was kept, step by step.", labels=_FLOW_LABELS)
    if "models" in run.tables:
        run.show_table(last, "models", "The fitted models.", labels=_MODEL_LABELS, words={"name": MODELS})
    ids = (
        "Patients and therapists are shown with their ids, as the study file asks."
        if run.show_ids
        else "Patients and therapists have pseudonyms, numbered at random; show_ids = true in [study] shows the ids."
    )
    last.paragraph(
        "Numbers are rounded on this page only; the tables hold them in full. In the CSV files, text that a "
        f"spreadsheet would run as a formula has an apostrophe in front. {ids} manifest.json lists inputs and "
        "outputs with their SHA-256, settings, package versions and warnings."
    )
    last.folded("The study file's settings", json.dumps(run.study.settings, indent=2, ensure_ascii=False, default=str))
    run.keep("cited_numbers", pd.DataFrame(run.cited, columns=["text", "table", "row", "column"]))


def _first_section(run: Run) -> None:
    section = run.sections[0]
    run.notes = list(dict.fromkeys(map(remark, run.notes)))
    overview, ruptures = run.citer("overview", "value"), run.citers("ruptures")
    tiles = {"patients": overview("patients"), "rated sessions": overview("rated sessions")}
    if run.latent is not None:
        expected = run.citer("probable", "count")("onsets per rated session", one_decimal)
        tiles["ruptures expected (probabilities)"] = expected if run.latent.supported else "not known"
    tiles["ruptures marked by the rule"] = ruptures["count"]("onsets per session at risk")
    if "chance" in run.tables:
        known = run.tables["chance"]["at_least"].notna().any()
        by_chance = run.citer("chance", "expected")("ruptures", one_decimal)
        tiles["marked by chance alone, at most"] = by_chance if known else "not known"
    if "endings" in run.tables:
        tiles["dropout"] = run.citer("endings", "share")("dropout", percent)
    section.tiles(tiles)
    answer_the_questions(run, section)
    if run.notes:
        section.subheading("Before you trust these numbers")
        section.notes(run.notes)
    section.subheading("Methods and main results, to copy")
    section.boxed(" ".join(sentences) for sentences in run.facts_by_part.values())
    section.paragraph(
        "Every number in this text is a cell of one of the tables; tables/cited_numbers.csv says which.", css="small"
    )
