"""Power over the sizes of a study, with what the simulation does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, styled_figure
from alliance_stats.tables.schema import require_choice, require_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {"n_patients": "patients", "n_sessions": "sessions", "n_therapists": "therapists"}
LINES = (("blue", "-", "o"), ("vermillion", "--", "s"), ("green", "-.", "^"), ("purple", ":", "D"), ("grey", "-", "v"))


def plot_power(table: pd.DataFrame, *, x: str = "n_patients", wanted: float = 0.8) -> Figure:
    """Power over one varied parameter; a second one as lines, a third one as panels.

    Parameters
    ----------
    table : DataFrame
        From `simulate_power`, with one to three varied parameters and up to five values of a line.
    x : str
        The parameter on the axis; of the others, the first gives the lines and the second the panels.
    wanted : float
        Where to draw a line across.
    """
    require_columns(table, ["n_studies", "power", "ci_low", "ci_high"], table_name="table")
    varied = list(table.columns[: list(table.columns).index("n_studies")])
    require_choice(x, varied, name="x")
    others = [name for name in varied if name != x]
    if len(others) > 2 or any(table[name].nunique() > len(LINES) for name in others):
        raise ValueError("A figure of power takes three varied parameters and five lines: pass a part of the table.")
    lines, panels = [*others, None, None][:2]
    shown = list(table.groupby(panels, sort=True)) if panels else [("", table)]
    with styled_figure(
        1, len(shown), figsize=(WIDTH if len(shown) == 1 else 2.6 * len(shown), 3.2), sharey=True
    ) as both:
        figure, axes = both
        for ax, (value, rows) in zip(axes[0], shown, strict=True):
            groups = rows.groupby(lines, sort=True) if lines else [("", rows)]
            for (name, line), (colour, dash, marker) in zip(groups, LINES, strict=False):
                line = line.sort_values(x)
                label = f"{name!s} {WORDS.get(lines, lines)}" if lines else None
                ax.plot(line[x], line["power"], color=COLOURS[colour], linestyle=dash, marker=marker, label=label)
                ax.fill_between(
                    line[x], line["ci_low"], line["ci_high"], color=COLOURS[colour], alpha=0.15, linewidth=0
                )
            ax.axhline(wanted, color=COLOURS["grey"], linewidth=0.8, linestyle=":")
            ax.set(ylim=(-0.02, 1.02), xlabel=WORDS.get(x, x).capitalize(), xticks=sorted(rows[x].unique()))
            if panels:
                ax.set_title(f"{value!s} {WORDS.get(panels, panels)}")
        axes[0, 0].set_ylabel("Power (95% Monte Carlo interval)")
        if lines:
            axes[0, 0].legend(loc="best")
    return figure
