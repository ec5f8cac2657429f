"""The report's second part: the ruptures found, beside what chance alone would give, and their courses."""

from __future__ import annotations

from typing import Any

import pandas as pd

from alliance_stats.figures.courses import plot_onset_aligned, plot_prevalence
from alliance_stats.report.numbers import (
    Format,
    count,
    one_decimal,
    p_clause,
    p_value,
    percent,
    remark,
    rule_in_words,
    tally,
)
from alliance_stats.report.page import Section, headings
from alliance_stats.report.part_data import score_range
from alliance_stats.report.part_probable import beside_the_rule, show_probabilities, show_single_patients
from alliance_stats.report.run import Run, blank_axes, interval
from alliance_stats.report.sections import study_rule
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.chance.fit_check import MISFIT
from alliance_stats.rupture.chance.repair import chance_of_repair
from alliance_stats.rupture.describe.describe import describe_ruptures, ruptures_by_session
from alliance_stats.rupture.describe.repair import PROBABLE, onset_aligned, repair_times
from alliance_stats.tables.schema import CENSORED, PATIENT, REPAIRED, SESSION, STATUSES, UNREPAIRED

MIN_DRAWN = 3  # Fewer events are not drawn: a curve through one or two would look like a finding
_DEEPEST = 8
_MARK = ("patient", "onset", "baseline", "nadir_score", "drop", "drop_units", "status", "repaired_at")
_MARK_WORDS = {
    "nadir_score": "lowest",
    "drop": "fall, points",
    "drop_units": "in units",
    "false_discovery": "by chance",
}
_BY_CHANCE = {"quantity": "", "expected": "by chance", "chance_": "95% of simulated studies"}
_BY_CHANCE |= {"at_least": "more than chance, at least"}


def describe_the_ruptures(run: Run) -> None:
    """Add the section about ruptures: prevalence, chance, courses, single patients."""
    section = run.section("ruptures", "Ruptures and repairs")
    run.keep("events", run.events)
    run.keep("patients", run.patients)
    show_probabilities(run, section)
    show_single_patients(run, section)
    section.subheading("What the rule marks")
    _prevalence(run, section)
    by_chance = None
    with run.attempt("The chance level"):
        by_chance = _chance(run, section)
    beside_the_rule(run, section)
    _by_session(run, section, by_chance)
    if len(run.events):
        _courses(run, section)
    if len(run.events) >= MIN_DRAWN:
        with run.attempt("What became of the ruptures", asked=False):
            _repair(run, section)


def _prevalence(run: Run, section: Section) -> None:
    run.keep("ruptures", describe_ruptures(run.sessions, run.events))
    rule = study_rule(run.study)
    found = _found(run)
    run.state(f"Ruptures were detected by the rule {rule.name!r}: {rule_in_words(rule)}.", *found)
    run.headline += found
    section.paragraph(" ".join([f"Rule {rule.name!r}: {rule_in_words(rule)}.", *found]))
    origin = " ".join(part for part in (rule.fidelity, rule.citation) if part)
    if origin:
        section.paragraph(f"About the rule: {origin}", css="small")
    early = early_onsets(run)
    if early > 0.2:
        run.notes.append(
            f"{percent(early)} of the ruptures begin at a patient's first rating, where there is no earlier score to "
            "fall from. A rule that measures from the whole course takes the early low scores of patients who improve "
            "for ruptures, and their improvement for repair. Consider burn_in, or reference = 'own_trend'."
        )
    shown = run.tables["ruptures"]
    silent = shown["quantity"].str.startswith("cannot fire")
    shown = shown.loc[~silent | (shown["count"] > 0)]
    words = {"cannot fire:": "no rupture can be found:", "the rule can fire": "the rule can find a rupture"}
    section.table(
        shown.assign(quantity=shown["quantity"].replace(words, regex=True)),
        "Prevalence, with 95% confidence intervals.",
        labels=headings("quantity", "count", "of", "estimate", "ci_", quantity="", count="n", estimate="share"),
        formats=dict.fromkeys(("estimate", "ci_low", "ci_high"), percent),
        file="tables/ruptures.csv",
    )


def _found(run: Run) -> list[str]:
    cite = run.citers("ruptures")
    count, share = cite["count"], cite["estimate"]
    any_one, decided = "patients with a rupture", "ruptures repaired, of those decided"
    sentences = [
        f"{count(any_one)} of {count('patients with a rating')} rated patients ({share(any_one, percent)}, "
        f"{interval(cite, any_one, percent)}) had at least one rupture."
    ]
    if len(run.events):
        n = run.tables["ruptures"].set_index("quantity")["count"]
        of_status = {
            status: f"{count(f'ruptures {status}')} {'was' if n[f'ruptures {status}'] == 1 else 'were'}"
            for status in STATUSES
        }
        sentences.append(
            f"Of {cite['of']('ruptures repaired')} ruptures, {of_status[REPAIRED]} repaired, "
            f"{of_status[UNREPAIRED]} not, and {of_status[CENSORED]} still open when the ratings ended"
            + (f"; {share(decided, percent)} of resolved ruptures were repaired." if n[decided] else ".")
        )
    silent = [row for row in run.tables["ruptures"]["quantity"] if row.startswith("cannot fire: ")]
    reasons = [f"{row.removeprefix('cannot fire: ')} ({count(row)})" for row in silent if count(row) != "0"]
    if reasons:
        sentences.append(f"In some patients the rule can never find a rupture: {', '.join(reasons)}.")
    return sentences


def early_onsets(run: Run) -> float:
    """The share of ruptures that begin at their patient's first rating; 0 without ruptures."""
    rated = run.sessions.loc[run.sessions[run.score].notna()]
    first = rated.groupby(PATIENT)[SESSION].min()
    onsets = run.events["onset"].to_numpy() == run.events[PATIENT].map(first).to_numpy()
    return float(onsets.mean()) if len(onsets) else 0.0


def _chance(run: Run, section: Section) -> pd.DataFrame:
    """The chance level beside what was found; returns it by session number."""
    options = {"bounds": score_range(run), **run.study.section("chance")}
    chance = chance_level(run.sessions, score=run.score, rule=study_rule(run.study), seed=run.seed, **options)
    fits = chance.verdict != MISFIT
    run.keep("chance", chance.table if fits else chance.table.assign(at_least=float("nan")))
    cite = run.citers("chance")
    some, anyone = "ruptures", "patients with a rupture"
    if chance.table["p_value"].isna().all():
        sentence = (
            f"The rule marks {cite['observed'](some)} ruptures. How many of them are more than chance cannot be known: "
            f"{chance.verdict_words}"
        )
        run.notes.append(sentence)
    else:
        sentence = (
            f"By chance alone, the same rule finds on average {cite['expected'](some, one_decimal)} ruptures "
            f"(95% of {chance.draws:,} simulated studies without ruptures: {cite['chance_low'](some, tally)}–"
            f"{cite['chance_high'](some, tally)}); {cite['observed'](some)} were found "
            f"({p_clause(cite['p_value'](some, p_value))})"
            + (f", at least {cite['at_least'](some, tally)} of them more than chance gives (95% sure)" if fits else "")
            + f". Patients with a rupture: {cite['observed'](anyone)} found, "
            f"{cite['expected'](anyone, one_decimal)} expected by chance"
            + (f", at least {cite['at_least'](anyone, tally)} more than chance. " if fits else ". ")
            + ("" if fits else "How many are more than chance cannot be known. ")
            + chance.verdict_words
        ).rstrip()
    if chance.verdict_words:
        run.keep("chance_fit", chance.fit)
    if not fits:
        run.notes.append(
            f"Chance level: {chance.verdict_words} Which checks, and by how much: tables/chance_fit.csv. Compare rules "
            "that measure from the score before."
        )
    run.state(sentence)
    run.headline.append(sentence)
    section.subheading("What chance alone would give")
    section.paragraph(sentence)
    formats: dict[str, Format] = {"expected": one_decimal, "chance_low": tally, "chance_high": tally, "at_least": tally}
    known = chance.table["p_value"].notna().any()
    shown = ["quantity", "of", "observed", *(["expected", "chance_", *["at_least"][:fits], "p_value"] if known else [])]
    labels = headings(*shown, **_BY_CHANCE)
    run.show_table(section, "chance", "Observed and expected by chance.", labels=labels, formats=formats)
    section.notes(map(remark, chance.diagnostics))
    run.notes += [f"Chance level: {text}" for text in chance.diagnostics]
    run.keep("events", chance.events)
    if len(chance.events):
        _deepest(run, section)
    return run.keep("chance_by_session", chance.by_session)


def _deepest(run: Run, section: Section) -> None:
    """The deepest ruptures, each with the share of ruptures at least as deep that chance would give."""
    events = run.tables["events"]
    deepest = events.sort_values("drop_units", ascending=False, kind="stable").head(_DEEPEST)
    section.table(
        deepest,
        f"The {count(len(deepest), 'deepest rupture')}. Last column: of all ruptures at least as deep, the share that "
        "chance alone would give.",
        labels=headings(*_MARK, "false_discovery", **_MARK_WORDS),
        formats={"false_discovery": lambda share: percent(share, 0)},
        file="tables/events.csv",
    )


def _by_session(run: Run, section: Section, by_chance: pd.DataFrame | None) -> None:
    table = run.keep("ruptures_by_session", ruptures_by_session(run.sessions, run.events))
    if len(run.events) < MIN_DRAWN:
        return
    axes = plot_prevalence(table if by_chance is None else by_chance, ax=blank_axes(3.2))
    caption = (
        "Share of patients whose rupture begins at each session, "
        + ("with Wilson's 95% interval" if by_chance is None else "over the range that chance alone gives, at most")
        + "; sessions with fewer than five patients are in the table only."
    )
    run.show_figure(
        section, "prevalence", axes, caption, alt="Share of patients whose rupture begins, by session number."
    )


def _courses(run: Run, section: Section) -> None:
    options = {key: value for key, value in run.study.section("figures").items() if key in ("before", "after")}
    course = onset_aligned(run.sessions, run.events, score=run.score, **options)
    if run.latent is not None and run.latent.supported:
        course = pd.concat([course, onset_aligned(run.sessions, run.latent, score=run.score, **options)])
    run.keep("onset_aligned", course)
    of_status = run.events["status"].value_counts()
    enough = [status for status in of_status.index[of_status >= MIN_DRAWN] if status != CENSORED]
    decided = course.loc[course["status"].isin([*enough, PROBABLE])]
    if decided.empty:
        return
    axes = plot_onset_aligned(decided, score=run.score, ax=blank_axes(3.4))
    caption = (
        "Mean course around the onset, in points from the rupture's baseline, with 95% intervals (patients as "
        "clusters). The groups are formed by what came after the onset: the figure describes and does not compare "
        "effects. Scores fall at the onset because the rule selects sessions with a fall; regression to the mean alone "
        "makes some of them rise again. Where probabilities are known, the line 'probable' weighs every session by "
        "that of a rupture beginning there, which selects less."
    )
    run.show_figure(section, "onset_aligned", axes, caption, alt="Mean alliance around the onset of ruptures.")


def _repair(run: Run, section: Section) -> None:
    """When ruptures are repaired, and how much of it chance alone would give."""
    run.keep("repair_times", repair_times(run.sessions, run.events))
    of: dict[str, Any] = {"score": run.score, "rule": study_rule(run.study), "bounds": score_range(run)}
    chance = chance_of_repair(run.sessions, **of, seed=run.seed, progress=False)
    run.keep("repair_by_chance", chance)
    cite = run.citers("repair_by_chance")
    within = next((row for row in chance["quantity"] if "within 3" in row), None)
    section.subheading("Repair")
    if within is not None and chance.set_index("quantity").loc[within, ["observed", "expected"]].notna().all():
        told = (
            f"{cite['observed'](within, percent)} of the marked ruptures were repaired within 3 sessions "
            f"(Kaplan-Meier, censored at the end of the ratings). In scores without any rupture it would be "
            f"{cite['expected'](within, percent)} (95% of simulated studies: {cite['chance_low'](within, percent)}–"
            f"{cite['chance_high'](within, percent)}; {p_clause(cite['p_value'](within, p_value))}): one noisy score "
            "above the baseline counts as repair."
        )
        section.paragraph(run.state(told))
    percents = chance["quantity"].str.startswith("ruptures")
    shown = ("quantity", "n", "observed", "expected", "chance_", "p_value")
    words = {r"\b1 session\(s\)": "1 session", r"session\(s\)": "sessions"}
    section.table(
        chance.loc[percents].assign(quantity=chance["quantity"].replace(words, regex=True)),
        "Repair beside what chance alone gives as many marks in scores without ruptures. Where many ruptures are long, "
        "chance takes a part of them for slow swings, and the share of those decided cannot be compared."
        + (f" Of {chance.attrs['part']}." if chance.attrs["part"] else ""),
        labels=headings(*shown, n="ruptures", **_BY_CHANCE),
        formats=dict.fromkeys(("observed", "expected", "chance_low", "chance_high"), percent),
        file="tables/repair_by_chance.csv",
    )
