"""The report's first part: what was read, how much of it is there, and how the scores are distributed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from alliance_stats.figures.attendance import plot_attendance
from alliance_stats.figures.courses import plot_distribution
from alliance_stats.instruments.catalogue import as_instrument
from alliance_stats.load.codebook import describe_sessions, describe_study, missing_patterns
from alliance_stats.reliability.consistency import item_reliability, score_distribution
from alliance_stats.reliability.sessions import session_reliability
from alliance_stats.report.numbers import MISSING, Format, brief, correlation, one_decimal, percent, whole_or_not
from alliance_stats.report.page import Labels, Section, headings
from alliance_stats.report.run import Run, blank_axes
from alliance_stats.report.steps import instrument_of
from alliance_stats.tables.schema import ENDING, ENDINGS, PATIENT, SESSION, THERAPIST

_IN_SHAPE = ("median sessions per patient", "fewest sessions", "most sessions")
"""Rows of ``overview`` that the table of the study's shape shows, too."""


def describe_data(run: Run) -> None:
    """Add the section about the data and the first sentences of the methods paragraph."""
    bounds = score_range(run)
    run.keep("overview", overview(run.sessions, run.score, bounds=bounds))
    section = run.section("data", "The data")
    cite = run.citer("overview", "value")
    therapists = f" of {cite('therapists')} therapists" if THERAPIST in run.sessions else ""
    described = run.state(
        f"The study has {cite('sessions')} sessions of {cite('patients')} patients{therapists} "
        f"(median {cite('median sessions per patient', brief)} sessions per patient, range {cite('fewest sessions')}–"
        f"{cite('most sessions')}). {cite('rated sessions')} sessions ({cite('share of sessions rated', percent)}) "
        f"have a rating of {run.score}{_how_scored(run)} (M = {cite('mean score')}, SD = "
        f"{cite('SD within patients')} within patients and {cite('SD between patients')} between patients' means)."
    )
    if bounds is not None:
        run.state(
            f"{cite('share of ratings at the ceiling', percent)} of the ratings are at the highest possible score, "
            f"{cite('highest possible score', brief)}."
        )
    section.paragraph(described)
    shown = run.tables["overview"].loc[lambda table: ~table["quantity"].isin(_IN_SHAPE)]
    cells = [percent(value) if name.startswith("share") else whole_or_not(value) for name, value in shown.to_numpy()]
    shown = shown.assign(value=cells)
    look: dict[str, Any] = {"labels": {"quantity": "", "value": "value"}, "formats": {"value": str}}
    section.table(shown, "The study in numbers.", file="tables/overview.csv", **look)
    run.keep("score_distribution", score_distribution(run.sessions, score=run.score))
    distribution = run.tables["score_distribution"]
    low, high = bounds or (None, None)
    axes = plot_distribution(distribution, score=run.score, floor=low, ceiling=high, ax=blank_axes(2.7))
    ends = "; the ends of the scale are orange" if bounds is not None else ""
    caption = f"Distribution of {run.score} over all ratings{ends}."
    run.show_figure(section, "score_distribution", axes, caption)
    _coverage(run, section)
    if any(table["into"] == run.score for table in run.study.tables("score")):
        with run.attempt("The reliability of the score"):
            _reliability(run, section)
    if run.endings is not None:
        _endings(run, section, run.endings)
    _attendance(run, section)


def overview(sessions: pd.DataFrame, score: str, *, bounds: tuple[float, float] | None) -> pd.DataFrame:
    """The study in numbers: ``quantity, value``; `bounds` are the ends of the scale, if known."""
    per_patient = sessions.groupby(PATIENT)[SESSION].size()
    rated = sessions.loc[sessions[score].notna()]
    own_mean = rated.groupby(PATIENT)[score].mean()
    degrees = len(rated) - len(own_mean)
    deviations = rated[score] - rated[PATIENT].map(own_mean)
    values: dict[str, Any] = {"patients": len(per_patient)}
    if THERAPIST in sessions:
        values["therapists"] = sessions[THERAPIST].nunique()
    values |= {
        "sessions": len(sessions),
        "median sessions per patient": float(per_patient.median()),
        "fewest sessions": int(per_patient.min()),
        "most sessions": int(per_patient.max()),
        "rated sessions": len(rated),
        "share of sessions rated": len(rated) / len(sessions),
        "patients with a rating": len(own_mean),
        "mean score": float(rated[score].mean()),
        "SD within patients": float((deviations**2).sum() / degrees) ** 0.5 if degrees else float("nan"),
        "SD between patients": float(own_mean.std()),
    }
    if bounds is not None:
        low, high = bounds
        values["highest possible score"] = high
        values["lowest possible score"] = low
        values["share of ratings at the ceiling"] = float(rated[score].ge(high - 1e-9).mean())
        values["share of ratings at the floor"] = float(rated[score].le(low + 1e-9).mean())
    return pd.DataFrame({"quantity": list(values), "value": pd.Series(list(values.values()), dtype=object)})


def score_range(run: Run) -> tuple[float, float] | None:
    """The lowest and highest possible score where the study says them, by its instrument or in ``[flip]``."""
    scored = run.sessions.attrs.get("scored", {}).get(run.score)
    if scored is not None:
        low, high = scored["range"]
        return float(low), float(high)
    for flipped in run.study.tables("flip"):
        if flipped["into"] == run.score:
            return float(flipped["low"]), float(flipped["high"])
    return None


def _how_scored(run: Run) -> str:
    scored = run.sessions.attrs.get("scored", {}).get(run.score)
    if scored is not None:
        return f", the {scored['score'].replace('_', ' ')} of the items of the {scored['instrument']}"
    for flipped in run.study.tables("flip"):
        if flipped["into"] == run.score:
            return (
                f", which is {flipped['column']} reversed within its range ({brief(flipped['low'])} to "
                f"{brief(flipped['high'])}), so that higher is better"
            )
    return ""


def _coverage(run: Run, section: Section) -> None:
    """The shape of the study and what is missing together; the codebook of the measures goes to the tables only."""
    outcome = run.study.section("outcome").get("symptom")
    measures = [run.score, *([outcome] if outcome is not None else [])]
    bounds = score_range(run)
    ranges = None if bounds is None else {run.score: list(bounds)}
    run.keep("codebook", describe_sessions(run.sessions, measures, ranges=ranges))
    run.keep("shape", describe_study(run.sessions))
    labels: Labels = headings("fact", "unit", "n", "mean", "median", fact="", n="of")
    labels = {**labels, ("minimum", "maximum"): "range"}
    formats: dict[str, Format] = dict.fromkeys(("median", "minimum", "maximum"), brief) | {"mean": one_decimal}
    run.show_table(section, "shape", "The shape of the study.", labels=labels, formats=formats)
    if len(measures) > 1:
        run.keep("missing_patterns", missing_patterns(run.sessions, measures))
        labels = {name: name for name in (*measures, "sessions", "patients", "share")}
        formats = {"share": percent, **dict.fromkeys(measures, lambda there: "rated" if there else MISSING)}
        caption = "Which measures are there together."
        run.show_table(section, "missing_patterns", caption, labels=labels, formats=formats)


def _reliability(run: Run, section: Section) -> None:
    scoring = next(table for table in run.study.tables("score") if table["into"] == run.score)
    items = run.sessions.attrs["scored"][run.score]["items"]
    instrument = as_instrument(instrument_of(run.study, scoring))
    if "answers" in scoring:
        instrument = instrument.with_range(*scoring["answers"])
    turned = scoring.get("already_reversed", False)
    if isinstance(turned, list) and turned:
        section.paragraph("Reliability is not computed where only some items are reversed already.", css="small")
        return
    key, asked = None if turned is True else instrument, run.study.section("reliability")
    over_items = {name: value for name, value in asked.items() if name == "level"}
    over_sessions = {name: value for name, value in asked.items() if name != "level"}
    alphas = item_reliability(run.sessions, items, instrument=key, **over_items).assign(score=run.score)
    run.keep("item_reliability", alphas[["score", *(name for name in alphas if name != "score")]])
    run.keep("session_reliability", session_reliability(run.sessions, items, instrument=key, **over_sessions))
    over, cite = run.citers("item_reliability"), run.citer("session_reliability", "estimate")
    alpha, omega = over["alpha"](run.score, correlation), over["omega"](run.score, correlation)
    stated = run.state(
        f"Over all completed questionnaires, coefficient alpha was {alpha} and omega {omega}. The reliability of "
        f"differences between patients, from one session, was {cite('R_1F', correlation)}; the reliability of change "
        f"within patients from session to session was {cite('R_C', correlation)} (Cranford et al., 2006)."
    )
    section.subheading("Reliability")
    section.paragraph(stated)
    labels = headings("coefficient", "estimate", "meaning", coefficient="", meaning="of")
    caption = "Reliability between and within patients."
    run.show_table(section, "session_reliability", caption, labels=labels, formats={"estimate": correlation})


def _attendance(run: Run, section: Section) -> None:
    height = min(4.6, 1.6 + 0.03 * run.sessions[PATIENT].nunique())
    axes = plot_attendance(run.sessions, score=run.score, endings=run.endings, ax=blank_axes(height))
    caption = "Attendance and ratings: one line per patient, one cell per session number."
    caption += " A cross marks a dropout." if run.endings is not None else ""
    run.show_figure(section, "attendance", axes, caption)


def _endings(run: Run, section: Section, endings: pd.DataFrame) -> None:
    counts = endings[ENDING].value_counts().reindex(list(ENDINGS), fill_value=0)
    n = max(int(counts.sum()), 1)
    table = pd.DataFrame({"ending": list(counts.index), "patients": counts.to_numpy(), "share": counts.to_numpy() / n})
    run.keep("endings", table)
    labels = headings("ending", "patients", "share")
    run.show_table(section, "endings", "How therapies ended.", labels=labels, formats={"share": percent})
    cite = run.citer("endings", "patients")
    share = run.citer("endings", "share")
    run.state(
        f"{cite('completed')} patients completed therapy, {cite('dropout')} dropped out ({share('dropout', percent)}), "
        f"{_how_many(cite, counts, 'transferred')} transferred, and {_how_many(cite, counts, 'ongoing')} still in "
        "therapy."
    )


def _how_many(cite: Callable[..., str], counts: pd.Series, ending: str) -> str:
    """``6 were``, ``1 was``; ``none was`` where there is nobody to count."""
    n = int(counts[ending])
    return "none was" if n == 0 else f"{cite(ending)} {'was' if n == 1 else 'were'}"
