"""The report's part about coded ruptures: coders, codes beside scores, what goes with repair, and who noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from alliance_stats.coding.contrast import codes_against_scores
from alliance_stats.coding.episodes import repair_intervals
from alliance_stats.coding.events import events_from_codes
from alliance_stats.coding.recognition import NOTICED, noticed, report_concordance
from alliance_stats.coding.reliability import coder_reliability
from alliance_stats.coding.sessions import code_sessions, consensus
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.result import HazardFit
from alliance_stats.figures.terms import plot_terms
from alliance_stats.report.models import listed
from alliance_stats.report.numbers import Format, correlation, p_clause, p_value, percent, remark, tally
from alliance_stats.report.page import Section, headings
from alliance_stats.report.part_dropout import ratio_name, ratios
from alliance_stats.report.part_outcome import method, sample
from alliance_stats.report.part_ruptures import MIN_DRAWN
from alliance_stats.report.run import Run, blank_axes, interval, tested
from alliance_stats.report.sections import in_section
from alliance_stats.report.steps import study_codes
from alliance_stats.report.study import StudyFile, options_of
from alliance_stats.rupture.describe.describe import describe_ruptures
from alliance_stats.tables.formulas import variables_of
from alliance_stats.tables.schema import PATIENT, REPAIRED, SESSION, STATUSES, THERAPIST

FITTING = ("model", "baseline", "cluster", "random", "penalty")
"""The options of `fit_dropout` that ``[codes]`` may set for the model of repair."""
USED = "used_"
ANYONE, ONSETS, DECIDED = "patients with a rupture", "onsets per rated session", "ruptures repaired, of those decided"


def describe_the_codes(run: Run) -> None:
    """Add the section about coded ruptures, where the study file asks for it."""
    if not run.study.has("codes"):
        return
    section = run.section("codes", "Coded ruptures")
    rated, coded, events = coded_study(run.study, run.sessions)
    run.keep("coded_events", events)
    run.keep("coded_ruptures", describe_ruptures(coded, events, score="rupture"))
    _tell(run, section, str(coded.attrs["book"]))
    if len(rated["coder"].unique()) > 1:
        with run.attempt("The reliability of the coders"):
            _reliability(run, section, rated)
    if events.empty:
        return
    _by_type(run, section, events)
    with run.attempt("Codes beside scores"):
        _beside_scores(run, section, coded)
    with run.attempt("What goes with repair"):
        _repair(run, section, events, coded)
    reports = run.study.section("codes").get("reports")
    if reports:
        with run.attempt("Who noticed the ruptures"):
            _noticed(run, section, events, reports)


def coded_study(study: StudyFile, sessions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What each coder says of each session, what they say together, and the coded EVENTS, as ``[codes]`` asks."""
    codes, score = study_codes(study, sessions), study.section("detect")["score"]
    rated = in_section(study, "codes", code_sessions, codes, **_options(study, code_sessions))
    coded = in_section(study, "codes", consensus, rated, **_options(study, consensus))
    options = _options(study, events_from_codes)
    return rated, coded, in_section(study, "codes", events_from_codes, coded, sessions, score=score, **options)


def repair_rows(
    study: StudyFile, sessions: pd.DataFrame, events: pd.DataFrame, coded: pd.DataFrame, endings: pd.DataFrame | None
) -> tuple[str, pd.DataFrame]:
    """The formula of the model of repair (default: the strategies used so far), and its INTERVALS."""
    formula = study.section("codes").get("formula")
    named = [] if formula is None else in_section(study, "codes", variables_of, formula)
    covariates = [name for name in named if name in sessions and name not in (PATIENT, SESSION, THERAPIST)]
    options = {"endings": endings, "covariates": covariates, **_options(study, repair_intervals)}
    if any(str(name).startswith("strategy_") for name in coded):
        options["coded"] = coded
    rows = in_section(study, "codes", repair_intervals, sessions, events, **options)
    return formula or " + ".join(str(name) for name in rows if str(name).startswith(USED)), rows


def fit_repair(study: StudyFile, formula: str, rows: pd.DataFrame) -> HazardFit:
    """The model of repair: a level for each session since the onset and errors by patient, unless asked otherwise."""
    asked = {key: value for key, value in study.section("codes").items() if key in FITTING}
    options: dict[str, Any] = {} if asked.get("model") == "cox" else {"baseline": "dummies"}
    if not {"penalty", "random"} & set(asked):
        options["cluster"] = PATIENT
    return fit_dropout(formula, rows, ending=REPAIRED, **options | asked)


def _options(study: StudyFile, function: Callable[..., Any]) -> dict[str, Any]:
    settings = study.section("codes")
    return {key: settings[key] for key in options_of(function) & set(settings) if key != "book"}


def _tell(run: Run, section: Section, book: str) -> None:
    cite = run.citers("coded_ruptures")
    found = (
        f"With the code book {book!r}, {cite['of'](ONSETS)} sessions of {cite['of'](ANYONE)} patients were coded. "
        f"{cite['count'](ONSETS)} ruptures began in them, in {cite['count'](ANYONE)} patients "
        f"({cite['estimate'](ANYONE, percent)}, {interval(cite, ANYONE, percent)})"
    )
    if run.tables["coded_ruptures"].set_index("quantity").loc[DECIDED, "of"]:
        found += f"; {cite['count'](DECIDED)} of {cite['of'](DECIDED)} that were decided were repaired"
    found += "."
    section.paragraph(run.state(found))


def _reliability(run: Run, section: Section, rated: pd.DataFrame) -> None:
    long = coder_reliability(rated, seed=run.seed)
    wide = long.set_index(["measure", "coefficient"])["estimate"].unstack(sort=False)  # noqa: PD010
    alpha = long.loc[long["coefficient"] == "alpha"].set_index("measure")
    wide = wide.join(alpha[["ci_low", "ci_high", "n_sessions", "n_coders"]]).reset_index()
    run.keep("coder_reliability", wide)
    cite, found = run.citers("coder_reliability"), ""
    if "rupture" in set(wide["measure"]):
        found = run.state(
            f"{cite['n_coders']('rupture')} coders shared {cite['n_sessions']('rupture')} sessions. On whether there "
            f"was a rupture, Krippendorff's alpha was {cite['alpha']('rupture', correlation)} "
            f"({interval(cite, 'rupture', correlation)})."
        )
    section.subheading("The coders")
    section.paragraph(found)
    shown = ("measure", "agreement", "kappa", "alpha", "ci_", "ICC(2,1)", "coders needed")
    labels = headings(*shown, measure="", ci_="95% CI of alpha", **{"coders needed": "coders needed for .80"})
    formats: dict[str, Format] = dict.fromkeys(("kappa", "alpha", "ci_low", "ci_high", "ICC(2,1)"), correlation)
    formats |= {"agreement": percent, "coders needed": tally}
    caption = "Reliability of one coder, per measure of a session; intervals from a bootstrap of patients."
    words = {"measure": _measures(wide["measure"])}
    run.show_table(section, "coder_reliability", caption, labels=labels, formats=formats, words=words)


def _measures(names: pd.Series) -> dict[str, str]:
    """Measures of coded sessions in words."""
    plain = {"rupture": "a rupture", "n_markers": "number of markers"}
    return {
        name: plain.get(name, name.removeprefix("n_").removeprefix("strategy_").replace("_", " "))
        + (" (number)" if name.startswith("n_") and name not in plain else "")
        for name in names
    }


def _by_type(run: Run, section: Section, events: pd.DataFrame) -> None:
    if "type" not in events:
        return
    kinds = events["type"].fillna("not coded")
    table = pd.crosstab(kinds, events["status"]).reindex(columns=list(STATUSES), fill_value=0)
    own = (events["repaired_at"] == events["onset"]).fillna(False).groupby(kinds).sum()
    table.insert(0, "ruptures", table.sum(axis=1))
    run.keep("coded_by_type", table.assign(own_session=own).rename_axis("type").reset_index())
    caption = "Coded ruptures by their type, and what became of them."
    shown = ("type", "ruptures", REPAIRED, "own_session", *(status for status in STATUSES if status != REPAIRED))
    labels = headings(*shown, type="", own_session="of these in their own session")
    run.show_table(section, "coded_by_type", caption, labels=labels)


def _beside_scores(run: Run, section: Section, coded: pd.DataFrame) -> None:
    ruptures = run.events if run.trusted is None else run.trusted
    table = run.keep("codes_against_scores", codes_against_scores(coded, ruptures))
    how = "the rule marks an open rupture" if run.trusted is None else "a rupture is open in the scores"
    cite = run.citers("codes_against_scores")
    found = (
        f"Where {how}, coders saw a rupture in {cite['open']('rupture', percent)} of sessions, otherwise in "
        f"{cite['otherwise']('rupture', percent)}; the difference within patients is "
        f"{cite['estimate']('rupture')} ({tested(cite, 'rupture')})."
    )
    section.subheading("Codes beside scores")
    section.paragraph(run.state(found))
    shown = ("measure", "open", "otherwise", "estimate", "ci_", "p_value", "d")
    labels = headings(*shown, measure="", open="rupture open in scores", estimate="difference within patients")
    caption = "What coders saw in sessions with and without a rupture in the scores: means, and difference within "
    caption += "patients." if run.trusted is None else "patients between certainly open and certainly not."
    words = {"measure": _measures(table["measure"])}
    run.show_table(section, "codes_against_scores", caption, labels=labels, words=words)


def _repair(run: Run, section: Section, events: pd.DataFrame, coded: pd.DataFrame) -> None:
    formula, rows = repair_rows(run.study, run.sessions, events, coded, run.endings)
    if not formula:  # no strategy was coded, and nothing else is asked for
        return
    fit = fit_repair(run.study, formula, rows)
    used = [name for name in fit.terms if name != "Intercept" and "since" not in name]
    run.keep_model("repair", fit)
    run.keep("repair_ratios", ratios(run.tables["repair_terms"]))
    cite = run.citers("repair_ratios")
    words = {name: name.removeprefix(USED).replace("_", " ") for name in used}
    told = run.tables["repair_terms"].loc[lambda terms: terms["std_error"].notna(), "term"]
    phrases = [f"{words[term]}, {ratio_name(fit)} {cite['ratio'](term)} ({tested(cite, term)})"
               for term in told if term in words]  # fmt: skip
    repairs = run.citer("models", "events")("repair")
    so_far = " (strategies: used so far in the rupture)" if any(name.startswith(USED) for name in used) else ""
    levels = ", with a level for each session since the onset" if fit.settings["baseline"] == "dummies" else ""
    stated = (
        f"Repair in a session while a rupture was open ({repairs} repairs in {sample(run, 'repair')}) was modelled on "
        f"{listed(words.values())}{so_far}{levels} ({method(run, 'repair', fit)})."
        + (f" Results: {'; '.join(phrases)}." if phrases else "")
        + (" Strategies are chosen, not assigned: these are associations." if so_far else "")
    )
    section.subheading("What goes with repair")
    section.paragraph(run.state(stated))
    remarks = [str(note) for note in fit.diagnostics["notes"] if str(note).startswith("few events")]
    section.notes(map(remark, remarks))
    terms = run.tables["repair_terms"]
    shown = terms.loc[terms["term"].isin(used) & terms["std_error"].notna()]
    if fit.diagnostics["n_events"] < MIN_DRAWN or shown.empty:
        return
    label = f"{ratio_name(fit).capitalize()} of repair (95% CI)"
    axes = plot_terms(shown, labels=words, ratio=True, xlabel=label, ax=blank_axes(1.0 + 0.3 * len(shown)))
    caption = "What goes with repair of a coded rupture; 95% intervals, logarithmic axis."
    run.show_figure(section, "repair_terms", axes, caption)


def _noticed(run: Run, section: Section, events: pd.DataFrame, reports: dict[str, Any]) -> None:
    who = noticed(events, run.sessions, **reports)
    known = who.loc[who["noticed"].notna()]
    table = known.groupby("noticed")["status"].agg(ruptures="size", repaired=lambda of: (of == REPAIRED).sum())
    run.keep("noticed", table.reindex(list(NOTICED), fill_value=0).reset_index())
    found = report_concordance(run.sessions, seed=run.seed, **reports)
    run.keep("report_concordance", found.assign(report="rupture")[["report", *found.columns]])
    count, cite = run.citer("noticed", "ruptures"), run.citers("report_concordance")
    who_alone = {"neither": "neither", "patient": "the patient only", "therapist": "the therapist only", "both": "both"}
    counts = listed(f"{count(name)} by {who_alone[name]}" for name in NOTICED)
    stated = (
        f"Coded ruptures were reported as follows: {counts}. Over {cite['n_sessions']('rupture')} sessions with both "
        f"reports, patients reported a rupture in {cite['by_patient']('rupture', percent)} and therapists in "
        f"{cite['by_therapist']('rupture', percent)}; both in {cite['both']('rupture', percent)}, by chance within the "
        f"same dyads {cite['expected']('rupture', percent)} ({p_clause(cite['p_value']('rupture', p_value))})."
    )
    section.subheading("Who noticed")
    section.paragraph(run.state(stated))
    labels = headings("noticed", "ruptures", "repaired", noticed="reported by")
    caption = "Coded ruptures by who reported them."
    run.show_table(section, "noticed", caption, labels=labels, words={"noticed": who_alone})
