"""The answer table as a picture: worlds down, questions across, the report beside the field's practice."""

from __future__ import annotations

from textwrap import fill

import numpy as np
import pandas as pd
from answers.summary import HOLDS, MISSES, UNKNOWN, UNSETTLED
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from alliance_stats.figures.style import axes_to_draw_on

COLOURS = {HOLDS: "#009E73", UNKNOWN: "#BBBBBB", UNSETTLED: "#F6F6F6", MISSES: "#D55E00"}
WAYS = ("report", "practice")


def plot_answers(table: pd.DataFrame) -> Axes:
    """One cell per world and question, two halves: the report's answer on the left, the field's practice on the right.

    Each half shows the bias in per cent of the truth (of a lower bound, its mean in per cent of the truth) and below it
    the coverage of the 95 % interval.
    """
    table = table[table["way"].isin(WAYS)]
    asked = table.loc[table["way"] == "report", "n"]
    worlds, questions = table["world"].unique(), table["question"].unique()
    with axes_to_draw_on(None, size=(10.5, 0.42 * len(worlds) + 1.6)) as ax:
        for row in table.to_dict("records"):
            x = int(np.flatnonzero(questions == row["question"])[0]) + 0.48 * WAYS.index(row["way"]) + 0.02
            y = int(np.flatnonzero(worlds == row["world"])[0])
            colour = COLOURS[row["judgement"]]
            ax.add_patch(Rectangle((x, y + 0.05), 0.46, 0.9, facecolor=colour, alpha=0.55, edgecolor="none"))
            ax.text(x + 0.23, y + 0.5, _words(row), ha="center", va="center", fontsize=6.5)
        ax.set(xlim=(0, len(questions)), ylim=(len(worlds), 0))
        ax.set_xticks(np.arange(len(questions)) + 0.5, [fill(question, 14) for question in questions])
        ax.set_yticks(np.arange(len(worlds)) + 0.5, worlds)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        handles = [Patch(facecolor=colour, alpha=0.55, label=name) for name, colour in COLOURS.items()]
        ax.figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
        ax.set_xlabel(
            "In each cell: the report (left) and the field's practice (right); bias in % of the truth "
            "(\u2265: a lower bound in % of it), coverage below;\n"
            f"{asked.min()} to {asked.max()} studies"
        )
    return ax


def _words(row: dict[str, float]) -> str:
    if row["silent"] > 0.5:
        return f"silent\n{100 * row['silent']:.0f}%"
    coverage = "" if np.isnan(row["coverage"]) else f"\n{row['coverage']:.2f}".replace("0.", ".")
    if row["bound"]:
        return f"\u2265 {100 * (1 + row['bias']):.0f}%{coverage}"
    return f"{100 * row['bias']:+.0f}%".replace("-", "\u2212") + coverage
