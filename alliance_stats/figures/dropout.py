"""Dropout: how many have left, the hazard by session, courses of therapy compared, and the bias of fixed groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, axes_to_draw_on, styled_figure, whole_ticks
from alliance_stats.tables.schema import COMPLETED, DROPOUT, TRANSFERRED, require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENDING_COLOURS = {
    DROPOUT: COLOURS["vermillion"],
    COMPLETED: COLOURS["green"],
    TRANSFERRED: COLOURS["grey"],
    "none": COLOURS["sky"],
    "open": COLOURS["orange"],
    "repaired": COLOURS["blue"],
}
_ORDER = ("blue", "vermillion", "green", "purple", "orange", "grey")
_LINES = ("-", "--", "-.", ":")


def plot_incidence(incidence: pd.DataFrame, *, states: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Cumulative incidence over the sessions, with its interval: one step line per ending (and group).

    Parameters
    ----------
    incidence : DataFrame
        From `cumulative_incidence`: ``time, state, estimate, ci_low, ci_high``, and ``group`` where there is one.
    states : sequence of str, optional
        Which to draw; default all.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    require_columns(incidence, ["time", "state", "estimate", "ci_low", "ci_high"], table_name="incidence")
    groups = list(dict.fromkeys(incidence["group"])) if "group" in incidence else [None]
    drawn = list(dict.fromkeys(incidence["state"])) if states is None else list(states)
    with axes_to_draw_on(ax) as ax:
        for i, state in enumerate(drawn):
            for j, group in enumerate(groups):
                rows = incidence[incidence["state"] == state]
                rows = rows if group is None else rows[rows["group"] == group]
                one_state = len(drawn) == 1 and group is not None
                colour = _colour(j) if one_state else _ENDING_COLOURS.get(state, _colour(i))
                label = str(state) if group is None else str(group) if len(drawn) == 1 else f"{state}, {group}"
                line = _LINES[(i if group is None else j) % len(_LINES)]
                _step(ax, rows, "time", "estimate", colour, line, label)
        _finish(ax, "Session", "Share of patients")
    return ax


def plot_hazard(hazard: pd.DataFrame, *, fewest: int = 20, ax: Axes | None = None) -> Axes:
    """Observed and expected share of events by session: dots with intervals, and the model's line.

    Parameters
    ----------
    hazard : DataFrame
        From `check_calibration` with ``by="session"``.
    fewest : int
        Sessions reached by fewer patients are left out: their shares say little and would set the scale.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    columns = ["group", "n", "observed_rate", "ci_low", "ci_high", "expected_rate"]
    require_columns(hazard, columns, table_name="hazard")
    rows = hazard[(hazard["group"] != "all") & (hazard["n"] >= fewest)]
    session = rows["group"].astype(float).to_numpy()
    with axes_to_draw_on(ax) as ax:
        ax.vlines(session, rows["ci_low"], rows["ci_high"], color=COLOURS["light"], linewidth=2.4, zorder=1)
        ax.plot(session, rows["observed_rate"], "o", color=COLOURS["ink"], label="observed (95 % CI)", zorder=3)
        ax.plot(session, rows["expected_rate"], color=COLOURS["vermillion"], label="model", zorder=2)
        _finish(ax, "Session reached", "Share that leaves before the next")
    return ax


def plot_paths(
    paths: pd.DataFrame,
    *,
    show: str = "incidence",
    ending: str = DROPOUT,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What a model predicts along stated courses of therapy, with intervals.

    Parameters
    ----------
    paths : DataFrame
        From `predict_paths`.
    show : {"incidence", "survival", "hazard"}
        Ended by `ending` so far; still in treatment; leaving at each session.
    ending : str
    labels : mapping, optional
        Words for the paths.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    words = {"incidence": f"Share ended by {ending}", "survival": "Share in treatment", "hazard": f"Hazard of {ending}"}
    if show not in words:
        raise ValueError(f"show={show!r} is not known. Known: {', '.join(map(repr, words))}.")
    require_columns(paths, ["path", "stop", "ending", show, f"{show}_low", f"{show}_high"], table_name="paths")
    rows = paths[paths["ending"] == ending]
    with axes_to_draw_on(ax) as ax:
        for i, name in enumerate(dict.fromkeys(rows["path"])):
            one = rows[rows["path"] == name].rename(columns={f"{show}_low": "ci_low", f"{show}_high": "ci_high"})
            label = (labels or {}).get(str(name), str(name))
            _step(ax, one, "stop", show, _colour(i), _LINES[i % len(_LINES)], label, begin=show != "hazard")
        _finish(ax, "Session", words[show])
    return ax


def plot_immortal_time(estimates: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Two panels: the curves of the fixed groups, and the estimates of both analyses against the truth.

    Parameters
    ----------
    estimates : DataFrame
        ``method, ratio``, one row per repetition and method; the true ratio is 1.
    curves : DataFrame
        ``time, group, estimate, ci_low, ci_high``; ``group`` 1 is ever repaired.
    """
    require_columns(estimates, ["method", "ratio"], table_name="estimates")
    require_columns(curves, ["time", "group", "estimate", "ci_low", "ci_high"], table_name="curves")
    with styled_figure(1, 2, figsize=(WIDTH * 1.55, 3.3), width_ratios=(1, 1.15)) as (figure, panels):
        left, right = panels[0]
        for group, label, colour, line in (
            (0, "never repaired", "vermillion", "--"),
            (1, "ever repaired", "blue", "-"),
        ):
            _step(left, curves[curves["group"] == group], "time", "estimate", COLOURS[colour], line, label)
        left.set_title("Fixed groups: repair seems to protect")
        _finish(left, "Session", "Share dropped out")
        methods = list(dict.fromkeys(estimates["method"]))
        for i, method in enumerate(methods):
            ratio = estimates.loc[estimates["method"] == method, "ratio"].to_numpy()
            # Spread the dots by rank, so that none hides another; the height has no meaning.
            rank = np.argsort(np.argsort(ratio, kind="stable"), kind="stable")
            height = i + 0.5 * ((rank * 0.6180339887498949) % 1.0 - 0.5)
            colour = COLOURS["vermillion"] if i == 0 else COLOURS["blue"]  # the naive analysis, and ours
            right.plot(ratio, height, "o", color=colour, alpha=0.35, markersize=3, markeredgewidth=0)
            middle = float(np.exp(np.mean(np.log(ratio))))
            right.vlines(middle, i - 0.33, i + 0.33, color=COLOURS["ink"], linewidth=2)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            right.annotate(f"{middle:.2f}", (middle, i - 0.38), ha="center", va="bottom", bbox=box)
        right.axvline(1.0, color=COLOURS["ink"], linestyle=":", linewidth=1)
        right.annotate(
            "truth", (1.0, len(methods) - 0.45), ha="left", va="center", xytext=(4, 0), textcoords="offset points"
        )
        right.set_xscale("log")
        _ratio_ticks(right, estimates["ratio"])
        right.set_yticks(range(len(methods)), [method.replace(", ", ",\n") for method in methods])
        right.set_ylim(len(methods) - 0.3, -0.7)
        right.set(title="Estimated hazard ratio of repair", xlabel="Hazard ratio, one dot per simulated study")
    return figure


def _colour(number: int) -> str:
    return COLOURS[_ORDER[number % len(_ORDER)]]


def _step(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, colour: str, line: str, label: str, *, begin: bool = True
) -> None:
    """A step line from 0 (or from 1, for a share still there) with its band."""
    if rows.empty:
        return
    values: dict[str, Any] = {name: rows[name].to_numpy(dtype=float) for name in (x, y, "ci_low", "ci_high")}
    if begin:
        origin = 1.0 if y == "survival" or y == "none" else 0.0
        values = {name: np.r_[values[x][0] - 1 if name == x else origin, found] for name, found in values.items()}
    # The last step is as wide as half a session, not a bare riser.
    values = {name: np.r_[found, found[-1] + (0.5 if name == x else 0.0)] for name, found in values.items()}
    ax.fill_between(values[x], values["ci_low"], values["ci_high"], step="post", color=colour, alpha=0.15, linewidth=0)
    ax.step(values[x], values[y], where="post", color=colour, linestyle=line, label=label)


def _finish(ax: Axes, xlabel: str, ylabel: str) -> None:
    from matplotlib.ticker import PercentFormatter

    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=" %"))
    whole_ticks(ax)
    ax.legend(loc="best")


def _ratio_ticks(ax: Axes, ratio: pd.Series) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

    marks = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0]
    ax.set_xlim(min(float(ratio.min()) * 0.9, 0.9), max(float(ratio.max()) * 1.1, 1.2))
    ax.xaxis.set_major_locator(FixedLocator(marks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
