"""What leads the report's part about ruptures: how probable they are, and the courses of single patients."""

from __future__ import annotations

from typing import Any

import pandas as pd

from alliance_stats.figures.patients import plot_patients
from alliance_stats.report.numbers import Format, one_decimal, percent, two_decimals, whole
from alliance_stats.report.page import Section, headings
from alliance_stats.report.run import Run, blank_grid, interval
from alliance_stats.rupture.describe.describe import describe_ruptures
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.result import LatentRuptures
from alliance_stats.tables.schema import PATIENT

_LEVELS = {"p_past": "past the level before", "p_at": "at the level before", "p_short": "short of the level before"}
_QUANTITIES = {
    "onsets per rated session": "ruptures",
    "patients with a rupture": "patients with a rupture",
    "patients with a repaired rupture": "patients with a repaired rupture",
    "patients with an open rupture at their last rating": "patients with an open rupture at their last rating",
    "rated sessions in an open rupture": "rated sessions in an open rupture",
}
"""Rows of ``probable`` on the page, and what their count counts."""


def show_probabilities(run: Run, section: Section) -> None:
    """Estimate how probable a rupture is at each session, and say how many are to be expected."""
    options = run.study.section("latent")
    recovery = options.pop("recovery", False)
    if isinstance(options.get("bounds"), list):
        options["bounds"] = tuple(options["bounds"])
    with run.attempt("The probabilities of ruptures", asked=run.study.has("latent")):
        latent = detect_latent(run.sessions, score=run.score, seed=run.seed, **options)
        run.keep("latent_diagnostics", latent.diagnostics)
        run.keep("latent_parameters", latent.tidy_parameters())
        run.keep("states", latent.states("smoothed"))
        run.keep("probable", _expected(run, latent))
        run.latent = latent
        _tell(run, section, latent)
        if latent.supported:
            _endings(run, section, latent)
        if recovery and latent.supported:
            _recovery(run, section, latent)


def _expected(run: Run, latent: LatentRuptures) -> pd.DataFrame:
    """The expected numbers; where the detector does not vouch for them, its reason in their place."""
    table = describe_ruptures(run.sessions, latent)
    if not latent.supported:
        of_ruptures = table["note"] != ""
        table.loc[of_ruptures, ["count", "estimate", "ci_low", "ci_high"]] = float("nan")
        table.loc[of_ruptures, "note"] = f"cannot be known. {latent.verdict_words}"
    return table.assign(count_low=table["ci_low"] * table["of"], count_high=table["ci_high"] * table["of"])


def _tell(run: Run, section: Section, latent: LatentRuptures) -> None:
    how = (
        "Each session's probability that a rupture is open was estimated with a latent-state model of the scores "
        f"(als.detect_latent): patients' own levels and trends, fluctuation that carries over, and ruptures. "
        f"{latent.verdict_words}"
    )
    section.subheading("How many ruptures: probabilities")
    if not latent.supported:
        unknown = "How many ruptures there were cannot be known from these scores."
        section.paragraph(run.state(how, unknown))
        run.headline.append(f"{latent.verdict_words} {unknown}")
        run.notes.append(
            f"{latent.verdict_words} {unknown} What the rule marks below, and its coefficients in the models, may be "
            "noise."
        )
        return
    cite = run.citers("probable")
    onsets, anyone = "onsets per rated session", "patients with a rupture"
    found = (
        f"Of {cite['of'](anyone)} patients {cite['count'](anyone, whole)} "
        f"({interval(cite, anyone, whole, ends='count')}) are expected to have had a rupture, and "
        f"{cite['count'](onsets, whole)} ruptures ({interval(cite, onsets, whole, ends='count')}) to have begun: "
        f"{cite['estimate'](onsets, percent)} of the rated sessions."
    )
    section.paragraph(run.state(how, found))
    run.headline.append(found)
    shown = latent_rows(run.tables["probable"])
    formats: dict[str, Format] = {"count": one_decimal, **dict.fromkeys(("estimate", "ci_low", "ci_high"), percent)}
    section.table(
        shown,
        f"Expected numbers, given the whole course of each patient. Each is {shown['note'].iloc[0]}.",
        labels=headings("quantity", "count", "of", "estimate", "ci_", quantity="", count="expected", estimate="share"),
        formats=formats,
        file="tables/probable.csv",
    )


def _endings(run: Run, section: Section, latent: LatentRuptures) -> None:
    """How ruptures end, of all of them and not of those found."""
    run.keep("rupture_endings", latent.endings())
    cite = run.citers("rupture_endings")

    def phrase(ending: str) -> str:
        return f"{cite['estimate'](ending, percent)} ({interval(cite, ending, percent)})"

    stated = (
        f"Of all ruptures, found or not, {phrase('repaired')} are estimated to end in therapy with the level back "
        f"where it was or higher, {phrase('short')} with the level below, and {phrase('open')} to be open at the last "
        "rating."
    )
    section.paragraph(run.state(stated))
    caption = "How ruptures end, by maximum likelihood over all series."
    labels = headings("ending", "estimate", "ci_", "meaning", estimate="share")
    formats = dict.fromkeys(("estimate", "ci_low", "ci_high"), percent)
    run.show_table(section, "rupture_endings", caption, labels=labels, formats=formats)


def _recovery(run: Run, section: Section, latent: LatentRuptures) -> None:
    """Where the latent level lies after the ruptures that the detector flags, against the level before."""
    found = run.keep("recovery", latent.recovery())
    known = found.loc[found["n_after"] > 0]
    if known.empty:
        return
    shares = pd.DataFrame({"level": list(_LEVELS.values()), "ruptures": known[list(_LEVELS)].sum().to_numpy()})
    shares = shares.assign(of=len(known), share=shares["ruptures"] / len(known), flagged=len(found))
    run.keep("recovery_shares", shares.assign(band=known["band"].iloc[0]))
    cite = run.citers("recovery_shares")
    past, at, short = _LEVELS.values()
    stated = (
        f"The detector flags {cite['flagged'](past)} ruptures (5% false alarms), {cite['of'](past)} of them with later "
        f"ratings. The level afterwards is expected past the level before in {cite['share'](past, percent)} of these, "
        f"at it (within half a within-patient SD, {cite['band'](at, two_decimals)} points) in "
        f"{cite['share'](at, percent)}, and short of it in {cite['share'](short, percent)}."
    )
    section.paragraph(run.state(stated))
    caption = "Where the level lies after a rupture, all later ratings together: expected numbers."
    labels = headings("level", "ruptures", "of", "share", level="")
    formats: dict[str, Format] = {"ruptures": one_decimal, "share": percent}
    run.show_table(section, "recovery_shares", caption, labels=labels, formats=formats)


def latent_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``probable`` that the page shows."""
    rows = table.loc[table["quantity"].isin(list(_QUANTITIES))]
    return rows.assign(quantity=rows["quantity"].map(_QUANTITIES))


def beside_the_rule(run: Run, section: Section) -> None:
    """The number of ruptures by each way of counting, in one table."""
    if run.latent is None:
        return
    expected = run.tables["probable"].set_index("quantity")["count"]
    marked = run.tables["ruptures"].set_index("quantity")["count"]
    chance = pd.Series(dtype=float)
    if "chance" in run.tables and run.tables["chance"]["at_least"].notna().any():  # else it cannot be known
        chance = run.tables["chance"].set_index("quantity")["expected"]
    anyone, unknown = "patients with a rupture", float("nan")
    names = {"ruptures": ("onsets per rated session", "onsets per session at risk"), anyone: (anyone, anyone)}
    rows = [
        (name, expected[own] if run.latent.supported else unknown, int(marked[rule]), chance.get(name, unknown))
        for name, (own, rule) in names.items()
    ]
    run.keep("ruptures_beside", pd.DataFrame(rows, columns=["quantity", "expected", "marked", "by_chance"]))
    words = {
        "expected": "expected (probabilities)",
        "marked": "marked by the rule",
        "by_chance": "marked by chance alone, at most",
    }
    labels = headings("quantity", "expected", "marked", "by_chance", quantity="", **words)
    formats = dict.fromkeys(("expected", "by_chance"), one_decimal)
    run.show_table(section, "ruptures_beside", "How many, by each way of counting.", labels=labels, formats=formats)


_PATTERN_ORDER = ("repaired", "unrepaired", "mixed", "censored", "none")
_COLUMNS = 3


def show_single_patients(run: Run, section: Section) -> None:
    """Draw the courses of a few patients, with the marks of the rule and the probabilities."""
    wanted = run.study.section("figures").get("patients", 12)
    shown = examples(run.patients, wanted)
    if not shown:
        return
    rows = -(-len(shown) // _COLUMNS)
    panels = blank_grid(rows, _COLUMNS, 0.8 + 1.05 * rows)
    for spare in panels[len(shown) :]:
        spare.remove()
    names = run.names(PATIENT)
    labels = {patient: f"{names[patient]}: {pattern}" for patient, pattern in shown.items()}
    look: dict[str, Any] = {"labels": labels, "axes": panels[: len(shown)]}
    axes = plot_patients(run.sessions, run.events, patients=list(shown), score=run.score, states=run.latent, **look)
    caption = (
        f"Courses of {len(shown)} patients, from each pattern of marks those with most rated sessions. Triangles are "
        "the marks of the rule (onset, repair), the dashed line is the baseline to be regained; dotted lines bridge "
        "missing ratings."
    )
    if run.latent is not None:
        caption += " The strip below each is the probability that a rupture is open, given the whole course."
    run.show_figure(section, "patients", axes[0], caption, alt="Courses of single patients with ruptures and repairs.")


def examples(patients: pd.DataFrame, n: int) -> dict[object, str]:
    """Up to `n` patients to show and their patterns: of each pattern in turn the one with most ratings."""
    rated = patients.loc[patients["n_rated"] > 0].sort_values("n_rated", ascending=False, kind="stable")
    turn = rated.groupby("pattern").cumcount()
    rank = rated["pattern"].map({pattern: k for k, pattern in enumerate(_PATTERN_ORDER)})
    chosen = rated.assign(turn=turn, rank=rank).sort_values(["turn", "rank"], kind="stable").head(n)
    chosen = chosen.sort_values(["rank", "turn"], kind="stable")
    return dict(zip(chosen[PATIENT], chosen["pattern"], strict=True))
