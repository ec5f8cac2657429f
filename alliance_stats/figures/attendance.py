"""Who was seen, rated and missed, session by session: a map of the whole study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import COLOURS, WIDTH, axes_to_draw_on
from alliance_stats.tables.schema import (
    ATTENDANCE,
    CANCELLED,
    ENDING,
    LATE,
    NO_SHOW,
    PATIENT,
    SESSION,
    check_sessions,
    require_columns,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STATES = (
    ("rated", COLOURS["blue"]),
    ("rated, late", COLOURS["sky"]),
    ("held, not rated", COLOURS["yellow"]),
    ("cancelled", COLOURS["orange"]),
    ("no-show", COLOURS["vermillion"]),
    ("no record", COLOURS["light"]),
)


def plot_attendance(
    sessions: pd.DataFrame, *, score: str, endings: pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """A map of the study: one line per patient, one cell per session number, coloured by what is known of it.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`; ``attendance`` is used where it is there.
    score : str
        The measure whose ratings count.
    endings : DataFrame, optional
        ``patient, ending``: patients who dropped out get a cross after their last session.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    table = check_sessions(sessions, [score])
    if endings is not None:
        require_columns(endings, [PATIENT, ENDING], table_name="endings")
    order = table.groupby(PATIENT, sort=True)[SESSION].max().sort_values(kind="stable", ascending=False)
    line_of = pd.Series(np.arange(len(order)), index=order.index)
    first, last = int(table[SESSION].min()), int(table[SESSION].max())
    cells = np.full((len(order), last - first + 1), np.nan)
    for line, (_, end) in enumerate(order.items()):
        cells[line, : int(end) - first + 1] = 5  # no record, until a row says otherwise
    cells[line_of.loc[table[PATIENT]].to_numpy(), table[SESSION].to_numpy() - first] = _state_codes(table, score)
    with axes_to_draw_on(ax, size=(WIDTH, 4.2)) as ax:
        _draw_cells(ax, cells, first, last)
        if endings is not None:
            dropped = order.index[order.index.isin(endings.loc[endings[ENDING].eq("dropout"), PATIENT])]
            x, y = order.loc[dropped].to_numpy() + 0.85, line_of.loc[dropped].to_numpy()
            ax.plot(x, y, "x", color=COLOURS["black"], markersize=3.0, markeredgewidth=0.8, label="dropout")
        _legend(ax, cells, dropout=endings is not None)
        ax.set(xlabel="Session", ylabel=f"Patients (n = {len(order)}), longest first", yticks=[])
    return ax


def _state_codes(table: pd.DataFrame, score: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    rated = table[score].notna().to_numpy()
    attendance = table[ATTENDANCE] if ATTENDANCE in table else pd.Series("", index=table.index)
    missed = [(attendance == CANCELLED).to_numpy(), (attendance == NO_SHOW).to_numpy()]
    late = (attendance == LATE).to_numpy()
    return np.select([rated & late, rated, *missed], [1, 0, 3, 4], default=2).astype(np.int64)


def _draw_cells(ax: Axes, cells: np.ndarray[Any, Any], first: int, last: int) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap([colour for _, colour in _STATES])
    ax.imshow(
        np.ma.masked_invalid(cells),
        cmap=colours,
        norm=BoundaryNorm(np.arange(-0.5, len(_STATES)), len(_STATES)),
        aspect="auto",
        interpolation="nearest",
        extent=(first - 0.5, last + 0.5, len(cells) - 0.5, -0.5),
    )
    ax.set_xlim(first - 0.5, last + 1.5)


def _legend(ax: Axes, cells: np.ndarray[Any, Any], *, dropout: bool) -> None:
    from matplotlib.patches import Patch

    present = {int(code) for code in np.unique(cells[~np.isnan(cells)])}
    handles: list[Any] = [Patch(color=colour, label=name) for k, (name, colour) in enumerate(_STATES) if k in present]
    if dropout:
        handles += ax.get_legend_handles_labels()[0]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, handlelength=1.0)
