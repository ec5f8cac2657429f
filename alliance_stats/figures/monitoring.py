"""The page of one running therapy: scores, probability of an open rupture, alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, styled_figure, whole_ticks
from alliance_stats.tables.schema import SESSION, require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_monitor(table: pd.DataFrame, *, score: str, threshold: float, label: str) -> Axes:
    """Scores with what was expected without a rupture, and below them the probability that one is open.

    Parameters
    ----------
    table : DataFrame
        ``Monitor.table``: ``session``, `score`, ``expected``, ``p_open``, ``alarm``.
    score : str
        The column drawn above; its name labels the axis.
    threshold : float
        The line above which there is an alarm.
    label : str
        The title.

    Returns
    -------
    Axes
        The upper panel; ``ax.figure`` holds both.
    """
    require_columns(table, [SESSION, score, "expected", "p_open", "alarm"], table_name="table")
    session = table[SESSION].to_numpy()
    with styled_figure(2, 1, figsize=(WIDTH, 3.9), sharex=True, gridspec_kw={"height_ratios": [3, 2]}) as (_, panels):
        above, below = panels[:, 0]
        rated = table[table[score].notna()]
        above.plot(session, table["expected"], "--", color=COLOURS["blue"], linewidth=1.0, label="expected, no rupture")
        every = np.arange(session.min(), session.max() + 1)
        unbroken = rated.set_index(SESSION)[score].reindex(every)
        above.plot(rated[SESSION], rated[score], ":", color=COLOURS["grey"], linewidth=0.9)  # across a missing rating
        above.plot(every, unbroken, "-o", color=COLOURS["ink"], markersize=3.5, label="rated")
        alarms = rated[rated["alarm"]]
        above.plot(
            alarms[SESSION], alarms[score], "o", color=COLOURS["vermillion"], markersize=8, fillstyle="none",
            markeredgewidth=1.5, label="alarm",
        )  # fmt: skip
        above.set(ylabel=score, title=label)
        above.legend(loc="best")
        below.step(session, table["p_open"], where="mid", color=COLOURS["ink"], linewidth=1.1)
        below.fill_between(session, table["p_open"], step="mid", color=COLOURS["grey"], alpha=0.3, linewidth=0)
        below.axhline(threshold, color=COLOURS["vermillion"], linestyle="--", linewidth=1.0)
        below.text(np.max(session), threshold, "alarm above ", ha="right", va="bottom", fontsize=7.5)
        below.set(xlabel="Session", ylabel="P(rupture open)", ylim=(0, 1))
        whole_ticks(below)
    first: Axes = above
    return first
