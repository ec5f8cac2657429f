"""The courses of single patients, with their ruptures, repairs and baselines."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import (
    COLOURS,
    STATUS_COLOURS,
    WIDTH,
    axes_to_draw_on,
    styled,
    styled_figure,
    whole_ticks,
)
from alliance_stats.tables.schema import CENSORED, DataError, check_sessions, plain, require_columns, suggest

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_patient(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    patient: Hashable,
    score: str,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One patient's course: the scores, each rupture's onset, its baseline and its repair.

    The line is solid between neighbouring sessions and dotted across a missing rating. A triangle pointing down
    marks the onset of a rupture (filled if decided, hollow if the series ended before it could be), the dashed line
    is the baseline to be regained, drawn as long as the rupture lasts, and a triangle pointing up the repair.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`.
    events : DataFrame
        EVENTS of the same sessions.
    patient : hashable
        The patient to draw, as in the column ``patient``.
    score : str
        The measure to draw; its name labels the axis.
    label : str, optional
        The title instead of the patient's id, for instance a pseudonym.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    DataError
        If there is no such patient or column.
    """
    own, ruptures = _courses(sessions, events, [patient], score)[0]
    with axes_to_draw_on(ax) as ax:
        _draw_course(ax, own, ruptures, score)
        ax.set(xlabel="Session", ylabel=score, title=f"Patient {patient}" if label is None else label)
        if len(ruptures):
            ax.legend(handles=_legend_marks(ruptures), loc="best")
    return ax


def plot_patients(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    patients: Sequence[Hashable],
    score: str,
    labels: Mapping[Any, str] | None = None,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """The courses of several patients as small multiples on common axes; see `plot_patient` for the marks.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS with the column `score`, and EVENTS.
    patients : sequence
        Whom to draw, in this order.
    score : str
        The measure to draw.
    labels : mapping, optional
        A title for each patient instead of the id.
    axes : sequence of Axes, optional
        Where to draw, one for each patient; a new figure of three columns by default.

    Returns
    -------
    array of Axes, one per patient
    """
    courses = _courses(sessions, events, patients, score)
    if not courses:
        raise ValueError("patients is empty; name at least one patient.")
    rows, columns = -(-len(courses) // 3), min(3, len(courses))
    figure: Any
    with ExitStack() as stack:
        if axes is None:
            size = (WIDTH, 0.7 + 1.25 * rows)
            figure, grid = stack.enter_context(styled_figure(rows, columns, figsize=size))
            panels = list(grid.ravel())
            for spare in panels[len(courses) :]:
                figure.delaxes(spare)
        else:
            stack.enter_context(styled())
            panels, figure = list(axes), axes[0].get_figure()
        if len(panels) < len(courses):
            raise ValueError(f"axes holds {len(panels)} Axes for {len(courses)} patients.")
        panels = panels[: len(courses)]
        for panel, patient, (own, ruptures) in zip(panels, patients, courses, strict=True):
            _draw_course(panel, own, ruptures, score)
            panel.set_title(f"Patient {patient}" if labels is None else labels[patient], fontsize=7.5)
        _share_limits(panels, pd.concat([own for own, _ in courses]), score)
        figure.supxlabel("Session", fontsize=9)
        figure.supylabel(score, fontsize=9)
        marks = _legend_marks(pd.concat([ruptures for _, ruptures in courses]))
        figure.legend(handles=marks, loc="outside upper center", ncols=4, handletextpad=0.5)
    return np.array(panels, dtype=object)


def _courses(
    sessions: pd.DataFrame, events: pd.DataFrame, patients: Sequence[Hashable], score: str
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """The sessions and the ruptures of each patient."""
    table = check_sessions(sessions, [score])
    require_columns(events, ["patient", "onset", "repaired_at", "status", "baseline"], table_name="events")
    unknown = [patient for patient in patients if not (table["patient"] == patient).any()]
    if unknown:
        remedy = suggest(str(unknown[0]), table["patient"].unique())
        raise DataError(f"There is no patient {plain(unknown[0])!r}.", remedy=remedy)
    return [(table.loc[table["patient"] == one], events.loc[events["patient"] == one]) for one in patients]


def _draw_course(ax: Axes, own: pd.DataFrame, ruptures: pd.DataFrame, score: str) -> None:
    rated = own.loc[own[score].notna(), ["session", score]]
    every = np.arange(own["session"].min(), own["session"].max() + 1)
    unbroken = rated.set_index("session")[score].reindex(every)
    ax.plot(rated["session"], rated[score], ":", color=COLOURS["grey"], linewidth=0.9)
    ax.plot(every, unbroken, "-", color=COLOURS["ink"], linewidth=1.1)
    ax.plot(rated["session"], rated[score], "o", color=COLOURS["ink"], markersize=2.4)
    score_at = dict(zip(rated["session"], rated[score], strict=True))
    ruptures = ruptures.sort_values("onset")
    onset = ruptures["onset"].to_numpy(dtype=np.int64)
    repair = ruptures["repaired_at"].to_numpy(dtype=np.float64, na_value=np.nan)
    baseline = ruptures["baseline"].to_numpy(dtype=np.float64)
    for k, status in enumerate(ruptures["status"]):
        last = onset[k + 1] - 1 if k + 1 < len(onset) else every[-1]
        end = max(last, onset[k] + 0.4) if np.isnan(repair[k]) else repair[k]
        ax.plot([onset[k] - 0.5, end], [baseline[k]] * 2, "--", color=COLOURS["blue"], linewidth=1.0)
        ax.plot(onset[k], score_at.get(onset[k], baseline[k]), **_onset_mark(status))
        if not np.isnan(repair[k]):
            ax.plot(repair[k], score_at.get(int(repair[k]), baseline[k]), **_REPAIR)
    whole_ticks(ax)


_REPAIR: dict[str, Any] = {
    "marker": "^",
    "color": STATUS_COLOURS["repaired"],
    "markersize": 6.0,
    "linestyle": "none",
    "zorder": 4,
}


def _onset_mark(status: str) -> dict[str, Any]:
    fill = "white" if status == CENSORED else COLOURS["vermillion"]
    return {
        "marker": "v",
        "color": COLOURS["vermillion"],
        "markerfacecolor": fill,
        "markersize": 6.0,
        "linestyle": "none",
        "zorder": 4,
    }


def _legend_marks(ruptures: pd.DataFrame) -> list[Any]:
    """The marks that these ruptures need, explained."""
    from matplotlib.lines import Line2D

    undecided = ruptures["status"] == CENSORED
    marks = [
        (len(ruptures) > 0, Line2D([], [], color=COLOURS["blue"], linestyle="--", linewidth=1.0, label="baseline")),
        (not undecided.all(), Line2D([], [], **_onset_mark("unrepaired"), label="rupture")),
        (undecided.any(), Line2D([], [], **_onset_mark(CENSORED), label="rupture, undecided")),
        (ruptures["repaired_at"].notna().any(), Line2D([], [], **_REPAIR, label="repair")),
    ]
    return [line for needed, line in marks if needed]


def _share_limits(panels: Sequence[Axes], shown: pd.DataFrame, score: str) -> None:
    """Common limits for panels that may belong to a figure of the caller's own."""
    low, high = shown[score].min(), shown[score].max()
    margin = 0.08 * (high - low) if high > low else 0.5
    first, last = shown["session"].min(), shown["session"].max()
    for panel in panels:
        if np.isfinite(low):
            panel.set_ylim(low - margin, high + margin)
        panel.set_xlim(first - 0.8, last + 0.8)
        panel.locator_params(axis="x", nbins=4, integer=True)
