"""One answer under every detection rule: the same coefficient, rule by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, axes_to_draw_on
from alliance_stats.figures.terms import plot_terms
from alliance_stats.tables.schema import require_choice, require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_multiverse(table: pd.DataFrame, *, term: str, xlabel: str | None = None, ax: Axes | None = None) -> Axes:
    """One coefficient under every rule (a line each) and repair target (a colour and marker each).

    A rule that gives no estimate keeps its line, empty. Where the table has ``null_low`` and ``null_high`` (from
    `alliance_stats.multiverse.joint_test`), a grey bar shows where the estimate would lie without any effect.

    Parameters
    ----------
    table : DataFrame
        From `fit_multiverse`: ``rule, target, term, estimate, ci_low, ci_high``.
    term : str
        The coefficient to draw, such as ``"repaired - none"``.
    xlabel : str, optional
        The label of the axis, with units; the term by default.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(table, ["rule", "target", "term", "estimate", "ci_low", "ci_high"], table_name="table")
    require_choice(term, [name for name in dict.fromkeys(table["term"]) if name], name="term")
    every = table[["rule", "target"]].drop_duplicates()
    numbers = table.loc[table["term"] == term, ["rule", "target", "estimate", "ci_low", "ci_high"]]
    shown = every.merge(numbers, on=["rule", "target"], how="left").rename(columns={"rule": "term", "target": "model"})
    shown = shown.astype(dict.fromkeys(["estimate", "ci_low", "ci_high"], np.float64))
    with axes_to_draw_on(ax, size=(WIDTH, 1.2 + 0.27 * shown["term"].nunique())) as ax:
        plot_terms(shown, xlabel=xlabel or f"{term} (95 % CI)", ax=ax)
        if {"null_low", "null_high"} <= set(table):
            _draw_null(ax, shown.merge(_null_of(table, term), on=["term", "model"], how="left"))
        legend = ax.get_legend()
        if legend is not None:
            legend.set_title("repair target")
    return ax


def _null_of(table: pd.DataFrame, term: str) -> pd.DataFrame:
    own = table.loc[table["term"] == term, ["rule", "target", "null_low", "null_high"]]
    return own.rename(columns={"rule": "term", "target": "model"})


def _draw_null(ax: Axes, rows: pd.DataFrame) -> None:
    """Grey bars behind the estimates, at the height that `plot_terms` gives each."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    models = list(dict.fromkeys(rows["model"]))
    heights = [
        names.index(term) + 0.22 * (models.index(model) - (len(models) - 1) / 2)
        for term, model in zip(rows["term"], rows["model"], strict=True)
    ]
    ax.hlines(heights, rows["null_low"], rows["null_high"], color=COLOURS["light"], linewidth=4.5, zorder=0)
