"""Figures of a whole study's courses: around the onset, by session number, and the distribution of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, STATUS_COLOURS, WIDTH, axes_to_draw_on, whole_ticks
from alliance_stats.tables.schema import require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = {"repaired": "-", "unrepaired": "--", "censored": ":", "probable": "-."}
_MARKERS = {"repaired": "o", "unrepaired": "s", "censored": "D", "probable": "^"}


def plot_onset_aligned(
    course: pd.DataFrame, *, score: str = "score", at_least: int = 5, ax: Axes | None = None
) -> Axes:
    """The mean course around the onset of a rupture, with its interval, one line for each status.

    The groups are formed by what came *after* the onset, so that the figure describes courses and does not compare
    the effects of repair.

    Parameters
    ----------
    course : DataFrame
        As from `onset_aligned`: ``status, offset, n_ruptures, n_patients, mean, ci_low, ci_high``, in points from
        the baseline.
    score : str
        What the points are of, for the label of the axis.
    at_least : int
        Points that fewer patients contribute to are left out, since their interval would hide all others; the legend
        says so where nothing is left.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(course, ["status", "offset", "n_ruptures", "n_patients", "mean", "ci_low", "ci_high"])
    with axes_to_draw_on(ax) as ax:
        ax.axhline(0, color=COLOURS["blue"], linewidth=1.0, linestyle="--")
        ax.axvline(0, color=COLOURS["light"], linewidth=3.0, zorder=0)
        for status, rows in course.groupby("status", sort=False):
            name = str(status)
            n = int(rows["n_ruptures"].max())
            colour = STATUS_COLOURS.get(name, COLOURS["ink"])
            rows = rows.loc[rows["n_patients"] >= at_least]
            if len(rows):  # the line breaks where too few were rated
                every = np.arange(rows["offset"].min(), rows["offset"].max() + 1)
                rows = rows.set_index("offset").reindex(every).rename_axis("offset").reset_index()
            ax.fill_between(rows["offset"], rows["ci_low"], rows["ci_high"], color=colour, alpha=0.18, linewidth=0)
            label = f"{name} (n = {n}{'' if len(rows) else ', too few to show'})"
            look: dict[str, Any] = {"linestyle": _DASHES.get(name, "-"), "marker": _MARKERS.get(name, "o")}
            ax.plot(rows["offset"], rows["mean"], color=colour, label=label, **look)
        ax.set(xlabel="Sessions from the onset of the rupture", ylabel=f"{score}, points from baseline")
        whole_ticks(ax)
        if len(course):
            ax.legend(loc="lower right", title="ruptures")
    return ax


def plot_prevalence(by_session: pd.DataFrame, *, at_least: int = 5, ax: Axes | None = None) -> Axes:
    """The share of patients whose rupture begins at each session number, beside what chance alone would give.

    Parameters
    ----------
    by_session : DataFrame
        Either the attribute ``by_session`` of a `chance_level`: ``session, n_rated, observed_rate, expected_rate,
        low_rate, high_rate``, of rated patients, drawn over the range that chance alone gives; or, without chance,
        the table of `ruptures_by_session`: ``session, n_at_risk, onset_rate, ci_low, ci_high``, of patients at risk,
        drawn with its intervals.
    at_least : int
        Sessions with fewer patients are left out: the last patient's rupture would be a share of 100 %.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    chance = "expected_rate" in by_session
    n, rate, low, high = (
        ("n_rated", "observed_rate", "low_rate", "high_rate")
        if chance
        else ("n_at_risk", "onset_rate", "ci_low", "ci_high")
    )
    require_columns(by_session, ["session", n, rate, low, high], table_name="by_session")
    shown = by_session.loc[by_session[n] >= at_least]
    percent = {name: 100 * shown[name] for name in (rate, low, high)}
    with axes_to_draw_on(ax) as ax:
        if chance:
            band = ax.fill_between(shown["session"], percent[low], percent[high], color=COLOURS["light"], linewidth=0)
            band.set_label("95 % of draws without ruptures")
            mean = 100 * shown["expected_rate"]
            ax.plot(shown["session"], mean, color=COLOURS["grey"], linestyle="--", label="chance, at most")
            ax.plot(shown["session"], percent[rate], "o", color=COLOURS["blue"], label="observed", clip_on=False)
        else:
            length = [(percent[rate] - percent[low]).clip(lower=0), (percent[high] - percent[rate]).clip(lower=0)]
            bars: dict[str, Any] = {"fmt": "o", "ecolor": COLOURS["sky"], "elinewidth": 0.8, "color": COLOURS["blue"]}
            x, label = shown["session"], "observed (95 % CI)"
            ax.errorbar(x, percent[rate], yerr=length, clip_on=False, label=label, **bars)
        ax.set(xlabel="Session", ylabel=f"Ruptures beginning (% of patients {'rated' if chance else 'at risk'})")
        ax.set_ylim(bottom=0)
        whole_ticks(ax)
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
        if by_session.attrs.get("verdict", "fits") not in ("", "fits"):
            note = {"does not fit": "the model of chance does not fit these data"}
            said = note.get(by_session.attrs["verdict"], "ruptures cannot be told apart from skewed noise here")
            ax.annotate(f"Beware: {said}", (0.99, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=8)
    return ax


def plot_distribution(
    distribution: pd.DataFrame,
    *,
    score: str = "score",
    floor: float | None = None,
    ceiling: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How the scores of all sessions are distributed, with the shares at the ends of the scale marked.

    Parameters
    ----------
    distribution : DataFrame
        As from `score_distribution`: ``low, high, value, n, share``, one row per bar.
    score : str
        The measure, for the label of the axis.
    floor, ceiling : float, optional
        The lowest and highest possible score; the bar that holds it is coloured and its share written out.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(distribution, ["low", "high", "value", "n", "share"], table_name="distribution")
    with axes_to_draw_on(ax, size=(WIDTH, 2.8)) as ax:
        percent = 100 * distribution["share"]
        at_end = pd.Series(False, index=distribution.index)
        for end in (floor, ceiling):
            if end is not None:
                at_end |= np.isclose(distribution["value"].astype(float), end)
        ax.bar(
            distribution["low"],
            percent,
            width=distribution["high"] - distribution["low"],
            align="edge",
            color=np.where(at_end, COLOURS["orange"], COLOURS["sky"]),
            edgecolor="white",
            linewidth=0.5,
        )
        for value, height in zip(distribution.loc[at_end, "value"], percent.loc[at_end], strict=True):
            outside = -1 if value == floor else 1  # beside the bar: a higher neighbour would cover a label above it
            ax.annotate(
                f"{height:.1f} %",
                (value + outside * (distribution["high"] - distribution["low"]).iloc[0] / 2, height / 2),
                xytext=(3 * outside, 0),
                textcoords="offset points",
                ha="left" if outside > 0 else "right",
                va="center",
                fontsize=8,
            )
        ax.set(xlabel=score, ylabel="Ratings (%)")
        ax.margins(x=0.09)
    return ax
