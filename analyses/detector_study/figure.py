"""Detectors compared over simulated worlds: one line per world, one marker per detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from alliance_stats.figures.style import COLOURS, axes_to_draw_on
from alliance_stats.tables.schema import require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LIMIT = "latent, world known"
_MARKS = (
    # column of `gains` or a detector, marker, filled, colour, words
    ("best_own_sd_rule", "^", True, "grey", "best rule in the patient's own SD"),
    ("best_prospective_rule", "s", False, "vermillion", "best prospective rule"),
    ("best_rule", "s", True, "vermillion", "best rule of all"),
    ("latent, filtered", "o", False, "blue", "latent model, prospective"),
    ("latent, smoothed", "o", True, "blue", "latent model, whole course"),
    (_LIMIT, "|", False, "ink", "the same, world known: the limit"),
)
_GROUPS = (
    ("brief", "Brief ruptures (mean 2 sessions)"),
    ("long", "Ruptures of 3 to 8 sessions"),
    ("other", "Worlds the model does not assume"),
)


def plot_detectors(summary: pd.DataFrame, gains: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of true ruptures found by the latent model and by the best rules, world by world.

    Parameters
    ----------
    summary : DataFrame
        One row per ``world`` and ``detector`` with ``sensitivity`` and its standard error ``sensitivity_se``. "latent,
        world known", the limit, may be missing from some worlds or all.
    gains : DataFrame
        One row per world with ``assumed``, ``lengths``, and the names ``best_rule``, ``best_own_sd_rule`` and
        ``best_prospective_rule``.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(summary, ["world", "detector", "sensitivity", "sensitivity_se"], table_name="summary")
    names = [column for column, *_ in _MARKS if column.startswith("best")]
    require_columns(gains, ["world", "assumed", "lengths", *names], table_name="gains")
    value = summary.set_index(["world", "detector"])[["sensitivity", "sensitivity_se"]] * 100
    group = gains["lengths"].where(gains["assumed"].astype(bool), "other")
    with axes_to_draw_on(ax, size=(6.6, 1.3 + 0.235 * (len(gains) + group.nunique()))) as ax:
        at, labels = 0.0, {}
        for key, heading in _GROUPS:
            part = gains.loc[group == key]
            if part.empty:
                continue
            ax.text(0.0, at, heading, fontweight="bold", va="center", transform=ax.get_yaxis_transform())
            for row in part.to_dict("records"):
                at += 1
                labels[at] = _label(str(row["world"]))
                ax.axhline(at, color=COLOURS["light"], linewidth=0.6, zorder=0)
                for column, marker, filled, colour, _ in _MARKS:
                    if column == _LIMIT and (row["world"], column) not in value.index:
                        continue
                    share, error = value.loc[(row["world"], row.get(column, column))]
                    face = COLOURS[colour] if filled else "white"
                    ax.hlines(at, share - 1.96 * error, share + 1.96 * error, color=COLOURS[colour], linewidth=1.0)
                    size = 4.5 if filled else 6.5  # a hollow marker shows around a full one at the same place
                    ax.plot(share, at, marker, ms=size, mfc=face, mec=COLOURS[colour], zorder=3 + filled)
            at += 1
        for _, marker, filled, colour, words in _MARKS:
            face = COLOURS[colour] if filled else "white"
            ax.plot([], [], marker, markerfacecolor=face, markeredgecolor=COLOURS[colour], label=words)
        ax.set_yticks(list(labels), list(labels.values()))
        ax.set_ylim(at - 0.3, -0.8)
        ax.set_xlim(left=0)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(
            "True ruptures found (%), lines: 95 % Monte Carlo interval\n"
            "Every detector flags 5 % of the patients without a rupture"
        )
        ax.legend(loc="lower center", bbox_to_anchor=(0.38, 1.0), ncols=2, columnspacing=1.2, handletextpad=0.3)
    return ax


def _label(world: str) -> str:
    """The name of a world without what the heading says."""
    return world.removeprefix("brief, ").removeprefix("long, ")
