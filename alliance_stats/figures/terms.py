"""Forests of coefficients: of any fitted model, and of one term under every detection rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, axes_to_draw_on
from alliance_stats.tables.schema import require_choice, require_columns
from alliance_stats.tables.words import term_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_terms(
    terms: pd.DataFrame,
    *,
    ratio: bool = False,
    labels: Mapping[str, str] | None = None,
    xlabel: str | None = None,
    reference: float | None = 0.0,
    ax: Axes | None = None,
) -> Axes:
    """Coefficients with their intervals, one line each, from top to bottom in the order of the table.

    Parameters
    ----------
    terms : DataFrame
        TERMS, as from `tidy`: ``term, estimate, ci_low, ci_high``; an optional column ``model`` sets apart several
        models, drawn side by side in different colours and markers.
    ratio : bool
        Show ``exp(estimate)`` on a logarithmic axis (odds ratios, hazard ratios) with the line of no effect at 1.
    labels : mapping, optional
        Words for terms, before those the package knows (``rupture_open``: open rupture).
    xlabel : str, optional
        The label of the axis, with units; "Coefficient" or "Ratio" with the interval's name by default.
    reference : float or None
        The coefficient of no effect, marked by a line (as a ratio: ``exp(reference)``); None for none.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(terms, ["term", "estimate", "ci_low", "ci_high"], table_name="terms")
    names = list(dict.fromkeys(terms["term"]))
    models = list(dict.fromkeys(terms["model"])) if "model" in terms else [None]
    colours = [COLOURS[name] for name in ("blue", "vermillion", "green", "purple", "orange")]
    with axes_to_draw_on(ax, size=(WIDTH, 0.9 + 0.34 * max(len(names), 1) + 0.1 * len(models))) as ax:
        for k, model in enumerate(models):
            rows = terms if model is None else terms.loc[terms["model"] == model]
            heights = np.array([names.index(term) for term in rows["term"]], dtype=float)
            heights += 0.22 * (k - (len(models) - 1) / 2)
            shown = rows[["estimate", "ci_low", "ci_high"]].astype(float)
            shown = np.exp(shown) if ratio else shown
            colour, marker = colours[k % len(colours)], "osD^v"[k % 5]
            ax.hlines(heights, shown["ci_low"], shown["ci_high"], color=colour, linewidth=1.4)
            ax.plot(shown["estimate"], heights, marker, color=colour, label=None if model is None else str(model))
        if reference is not None:
            nothing = float(np.exp(reference)) if ratio else reference
            ax.axvline(nothing, color=COLOURS["grey"], linewidth=0.8, linestyle="--", zorder=0)
        if ratio:
            _log_axis(ax)
        ax.set_yticks(range(len(names)), [term_in_words(str(name), labels) for name in names])
        ax.set_ylim(max(len(names), 1) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(xlabel or ("Ratio (95 % CI)" if ratio else "Coefficient (95 % CI)"))
        if models != [None]:
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


def _log_axis(ax: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high < 16 * low else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=steps))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


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
            null = table.loc[table["term"] == term, ["rule", "target", "null_low", "null_high"]]
            null = null.rename(columns={"rule": "term", "target": "model"})
            _draw_null(ax, shown.merge(null, on=["term", "model"], how="left"))
        legend = ax.get_legend()
        if legend is not None:
            legend.set_title("repair target")
    return ax


def _draw_null(ax: Axes, rows: pd.DataFrame) -> None:
    """Grey bars behind the estimates, at the height that `plot_terms` gives each."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    models = list(dict.fromkeys(rows["model"]))
    heights = [
        names.index(term) + 0.22 * (models.index(model) - (len(models) - 1) / 2)
        for term, model in zip(rows["term"], rows["model"], strict=True)
    ]
    ax.hlines(heights, rows["null_low"], rows["null_high"], color=COLOURS["light"], linewidth=4.5, zorder=0)
