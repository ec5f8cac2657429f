"""The courses of single patients on the report's page."""

from __future__ import annotations

import pandas as pd

from alliance_stats.figures.patients import plot_patients
from alliance_stats.report.page import Section
from alliance_stats.report.run import Run, blank_grid
from alliance_stats.tables.schema import PATIENT

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
    axes = plot_patients(
        run.sessions,
        run.events,
        patients=list(shown),
        score=run.score,
        states=run.latent,
        labels=labels,
        axes=panels[: len(shown)],
    )
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
