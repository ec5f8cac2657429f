"""Reciprocal effects: the paths from one session to the next, and what follows a single push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, axes_to_draw_on
from alliance_stats.tables.rendering import decimals_for
from alliance_stats.tables.schema import require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (("blue", "-"), ("vermillion", "--"), ("green", "-."), ("purple", ":"))


def plot_dynamics(terms: pd.DataFrame, *, labels: Mapping[str, str] | None = None, ax: Axes | None = None) -> Axes:
    """Paths from the measures of one session to those of the next, with coefficients and intervals.

    Parameters
    ----------
    terms : DataFrame
        As from ``fit.tidy()`` or ``fit.standardised()`` of `fit_dynamics`, of one group: ``outcome, term, estimate,
        ci_low, ci_high``. Paths whose interval includes 0 are drawn in grey and dashed.
    labels : mapping, optional
        Words for measures.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(terms, ["outcome", "term", "estimate", "ci_low", "ci_high"], table_name="terms")
    names = list(dict.fromkeys(terms["outcome"]))
    lagged = {f"{name}_lag": name for name in names}
    rows = terms.loc[terms["term"].isin(list(lagged))]
    if rows.duplicated(["outcome", "term"]).any():
        raise ValueError("terms holds several groups: pass the rows of one.")
    words = labels or {}
    widest = max(float(np.abs(rows["estimate"]).max()), 1e-12)
    with axes_to_draw_on(ax, size=(WIDTH, 1.15 * len(names))) as ax:
        height = {name: -float(at) for at, name in enumerate(names)}
        for name in names:
            for x, when in ((0.0, "session t"), (1.0, "session t + 1")):
                ax.text(
                    x, height[name], f"{words.get(name, name)}\n{when}", ha="center", va="center",
                    bbox={"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": COLOURS["ink"]},
                )  # fmt: skip
        for row in rows.to_dict("records"):
            start, end = height[lagged[str(row["term"])]], height[str(row["outcome"])]
            _path(ax, start, end, row, float(row["estimate"]), widest)
        ax.set(xlim=(-0.3, 1.3), ylim=(-len(names) + 0.65, 0.35))
        ax.set_axis_off()
    return ax


def _path(ax: Axes, start: float, end: float, row: Mapping[Any, Any], estimate: float, widest: float) -> None:
    low, high = float(row["ci_low"]), float(row["ci_high"])
    sure = low > 0 or high < 0
    colour = COLOURS["blue" if estimate > 0 else "vermillion"] if sure else COLOURS["grey"]
    style = {"arrowstyle": "-|>", "color": colour, "linestyle": "-" if sure else "--", "shrinkA": 0, "shrinkB": 0}
    left, right = 0.17, 0.83
    ax.annotate(
        "", xy=(right, end + 0.12 * np.sign(start - end)), xytext=(left, start - 0.12 * np.sign(start - end)),
        arrowprops={**style, "linewidth": 1.0},
    )  # fmt: skip
    # A label sits in the first third of its path, where crossing paths are still apart.
    share = 0.5 if start == end else 0.27
    x = left + share * (right - left)
    y = start + share * (end - start) - (0 if start == end else 0.12 * np.sign(start - end) * (1 - 2 * share))
    places = decimals_for(low, high)
    told = f"{estimate:.{places}f} [{low:.{places}f}, {high:.{places}f}]".replace("-", "−")
    ax.text(
        x, y + (0.1 if start == end else 0.0), told, ha="center", va="center",
        fontsize=8, color=colour, bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def plot_response(response: pd.DataFrame, *, labels: Mapping[str, str] | None = None, ax: Axes | None = None) -> Axes:
    """The impulse response: what one within-patient SD more of one measure does to the others over later sessions.

    Parameters
    ----------
    response : DataFrame
        As from ``fit.response()``, of one outcome or of several in their own units (then use one call for each):
        ``outcome, impulse, session, estimate, ci_low, ci_high``. A measure's response to itself is left out.
    labels : mapping, optional
        Words for measures.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(response, ["outcome", "impulse", "session", "estimate", "ci_low", "ci_high"], table_name="response")
    words = labels or {}
    shown = response.loc[response["outcome"] != response["impulse"]]
    pairs = list(dict.fromkeys(zip(shown["impulse"], shown["outcome"])))
    outcomes = list(dict.fromkeys(shown["outcome"]))
    if len(outcomes) != 1:
        raise ValueError(f"response holds {len(outcomes)} outcomes, which have different units: pass the rows of one.")
    with axes_to_draw_on(ax, size=(WIDTH, 2.8)) as ax:
        for (impulse, outcome), (colour, line) in zip(pairs, LINES):
            rows = shown.loc[(shown["impulse"] == impulse) & (shown["outcome"] == outcome)]
            x, y = (rows[name].to_numpy(dtype=float) for name in ("session", "estimate"))
            label = f"{words.get(impulse, impulse)} up by one SD"
            ax.fill_between(x, rows["ci_low"], rows["ci_high"], color=COLOURS[colour], alpha=0.18, linewidth=0)
            ax.plot(x, y, line, marker="o", markersize=3, color=COLOURS[colour], label=label)
        ax.axhline(0, color=COLOURS["grey"], linewidth=0.8, linestyle="--", zorder=0)
        ax.set(xlabel="Sessions later", ylabel=f"Change in {words.get(outcomes[0], outcomes[0])}, points")
        ax.legend(loc="best")
    return ax
