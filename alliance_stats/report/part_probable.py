"""What leads the report's part about ruptures: how probable they are, given that scores are noisy."""

from __future__ import annotations

import pandas as pd

from alliance_stats.report.numbers import Format, one_decimal, percent, two_decimals
from alliance_stats.report.page import Section
from alliance_stats.report.run import Run
from alliance_stats.rupture.describe.describe import describe_ruptures
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.result import LatentRuptures

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
        run.keep("probable", describe_ruptures(run.sessions, latent))
        run.latent = latent
        _tell(run, section, latent)
        if latent.supported:
            _endings(run, section, latent)
        if recovery and latent.supported:
            _recovery(run, section, latent)


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
    number, share = run.citer("probable", "count"), run.citer("probable", "estimate")
    low, high = run.citer("probable", "ci_low"), run.citer("probable", "ci_high")
    onsets, anyone = "onsets per rated session", "patients with a rupture"
    found = (
        f"{number(onsets, one_decimal)} ruptures are to be expected (the sum of the probabilities; "
        f"{share(onsets, percent)} of rated sessions, 95% CI [{low(onsets, percent)}, {high(onsets, percent)}]), in "
        f"{number(anyone, one_decimal)} patients ({share(anyone, percent)}, 95% CI [{low(anyone, percent)}, "
        f"{high(anyone, percent)}])."
    )
    section.paragraph(run.state(how, found))
    run.headline.append(found)
    shown = latent_rows(run.tables["probable"])
    formats: dict[str, Format] = {"count": one_decimal, **dict.fromkeys(("estimate", "ci_low", "ci_high"), percent)}
    section.table(
        shown,
        f"Expected numbers, given the whole course of each patient. Each is {shown['note'].iloc[0]}.",
        labels={"quantity": "", "count": "expected", "of": "of", "estimate": "share", ("ci_low", "ci_high"): "95% CI"},
        formats=formats,
        file="tables/probable.csv",
    )


def _endings(run: Run, section: Section, latent: LatentRuptures) -> None:
    """How ruptures end, of all of them and not of those found."""
    run.keep("rupture_endings", latent.endings())
    share, low, high = (run.citer("rupture_endings", name) for name in ("estimate", "ci_low", "ci_high"))

    def phrase(ending: str) -> str:
        return f"{share(ending, percent)} (95% CI [{low(ending, percent)}, {high(ending, percent)}])"

    stated = (
        f"Of all ruptures, found or not, {phrase('repaired')} are estimated to end in therapy with the level back "
        f"where it was or higher, {phrase('short')} with the level below, and {phrase('open')} to be open at the last "
        "rating."
    )
    section.paragraph(run.state(stated))
    section.table(
        run.tables["rupture_endings"],
        "How ruptures end, by maximum likelihood over all series.",
        labels={"ending": "ending", "estimate": "share", ("ci_low", "ci_high"): "95% CI", "meaning": "meaning"},
        formats=dict.fromkeys(("estimate", "ci_low", "ci_high"), percent),
        file="tables/rupture_endings.csv",
    )


def _recovery(run: Run, section: Section, latent: LatentRuptures) -> None:
    """Where the latent level lies after the ruptures that the detector flags, against the level before."""
    found = run.keep("recovery", latent.recovery())
    known = found.loc[found["n_after"] > 0]
    if known.empty:
        return
    shares = pd.DataFrame({"level": list(_LEVELS.values()), "ruptures": known[list(_LEVELS)].sum().to_numpy()})
    shares = shares.assign(of=len(known), share=shares["ruptures"] / len(known), flagged=len(found))
    run.keep("recovery_shares", shares.assign(band=known["band"].iloc[0]))
    cite, share = run.citer("recovery_shares", "flagged"), run.citer("recovery_shares", "share")
    past, at, short = _LEVELS.values()
    rated, band = run.citer("recovery_shares", "of"), run.citer("recovery_shares", "band")
    stated = (
        f"The detector flags {cite(past)} ruptures (5% false alarms), {rated(past)} of them with later ratings. The "
        f"level afterwards is expected past the level before in {share(past, percent)} of these, at it (within half a "
        f"within-patient SD, {band(at, two_decimals)} points) in {share(at, percent)}, and short of it in "
        f"{share(short, percent)}."
    )
    section.paragraph(run.state(stated))
    section.table(
        run.tables["recovery_shares"],
        "Where the level lies after a rupture, all later ratings together: expected numbers.",
        labels={"level": "", "ruptures": "ruptures", "of": "of", "share": "share"},
        formats={"ruptures": one_decimal, "share": percent},
        file="tables/recovery_shares.csv",
    )


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
    chance = (
        run.tables["chance"].set_index("quantity")["expected"] if "chance" in run.tables else pd.Series(dtype=float)
    )
    if "chance" in run.tables and run.tables["chance"]["p_value"].isna().all():
        chance = pd.Series(dtype=float)  # cannot be known
    anyone = "patients with a rupture"
    names = {"ruptures": ("onsets per rated session", "onsets per session at risk"), anyone: (anyone, anyone)}
    rows = [
        (
            name,
            expected[own] if run.latent.supported else float("nan"),
            int(marked[rule]),
            chance.get(name, float("nan")),
        )
        for name, (own, rule) in names.items()
    ]
    run.keep("ruptures_beside", pd.DataFrame(rows, columns=["quantity", "expected", "marked", "by_chance"]))
    run.show_table(
        section,
        "ruptures_beside",
        "How many, by each way of counting.",
        labels={
            "quantity": "",
            "expected": "expected (probabilities)",
            "marked": "marked by the rule",
            "by_chance": "marked by chance alone, at most",
        },
        formats={"expected": one_decimal, "by_chance": one_decimal},
    )
