"""The courses of single patients, with their ruptures, repairs and baselines, and the page of a running therapy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

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
from alliance_stats.tables.schema import (
    CENSORED,
    SESSION,
    DataError,
    check_sessions,
    empty_events,
    plain,
    require_columns,
    suggest,
)
from alliance_stats.tables.states import are_states, check_states, events_or_states

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRIP = 0.2  # Share of the height that a strip of probabilities takes


def plot_patient(
    sessions: pd.DataFrame,
    events: Any,
    *,
    patient: Hashable,
    score: str,
    states: Any = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One patient's course: the scores, each rupture's onset, its baseline and its repair.

    The line is solid between neighbouring sessions and dotted across a missing rating. A triangle pointing down
    marks the onset of a rupture (filled if decided, hollow if the series ended before it could be), the dashed line
    is the baseline to be regained, drawn as long as the rupture lasts, and a triangle pointing up the repair.
    Probabilities are a strip along the bottom: as high as the lighter band where a rupture is certainly open.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`.
    events : DataFrame or detector's result
        EVENTS of the same sessions; or STATES, or the result of `detect_latent`, which draws the baseline expected
        without a rupture and the strip of probabilities in place of marks.
    patient : hashable
        The patient to draw, as in the column ``patient``.
    score : str
        The measure to draw; its name labels the axis.
    states : DataFrame or detector's result, optional
        Probabilities to draw below the marks of EVENTS.
    label : str, optional
        The title instead of the patient's id, for instance a pseudonym.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    course = _courses(sessions, events, states, [patient], score)[0]
    with axes_to_draw_on(ax) as ax:
        _draw_course(ax, course, score)
        ax.set(xlabel="Session", ylabel=score, title=f"Patient {patient}" if label is None else label)
        if course.states is not None:
            low, high = ax.get_ylim()
            ax.set_ylim(low - STRIP * (high - low), high)
        marks = _legend_marks([course])
        if marks:
            ax.legend(handles=marks, loc="best")
    return ax


def plot_patients(
    sessions: pd.DataFrame,
    events: Any,
    *,
    patients: Sequence[Hashable],
    score: str,
    states: Any = None,
    labels: Mapping[Any, str] | None = None,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """The courses of several patients as small multiples on common axes; see `plot_patient` for the marks.

    Parameters
    ----------
    sessions, events, states
        As in `plot_patient`.
    patients : sequence
        Whom to draw, in this order.
    score : str
        The measure to draw.
    labels : mapping, optional
        A title for each patient instead of the id.
    axes : sequence of Axes, optional
        Where to draw, one for each patient; a new figure of three columns by default.
    """
    courses = _courses(sessions, events, states, patients, score)
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
        for panel, patient, course in zip(panels, patients, courses, strict=True):
            _draw_course(panel, course, score)
            panel.set_title(f"Patient {patient}" if labels is None else labels[patient], fontsize=7.5)
        below = 0.0 if courses[0].states is None else STRIP
        _share_limits(panels, pd.concat([course.own for course in courses]), score, below)
        figure.supxlabel("Session", fontsize=9)
        figure.supylabel(score, fontsize=9)
        marks = _legend_marks(courses)
        figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), handletextpad=0.4, columnspacing=1.4)
    return np.array(panels, dtype=object)


class _Course(NamedTuple):
    """One patient's sessions, ruptures, and probabilities if there are any."""

    own: pd.DataFrame
    ruptures: pd.DataFrame
    states: pd.DataFrame | None


def _courses(
    sessions: pd.DataFrame, events: Any, states: Any, patients: Sequence[Hashable], score: str
) -> list[_Course]:
    table = check_sessions(sessions, [score])
    found = events_or_states(events, so_far=False)
    chances = None if states is None else events_or_states(states, so_far=False)
    if are_states(found):
        found, chances = empty_events(table["patient"]), found if chances is None else chances
    elif chances is not None:
        chances = chances.drop(columns="baseline", errors="ignore")  # the ruptures have baselines of their own
    require_columns(found, ["patient", "onset", "repaired_at", "status", "baseline"], table_name="events")
    if chances is not None:
        chances = check_states(chances, pd.Index(table["patient"].unique()))
    unknown = [patient for patient in patients if not (table["patient"] == patient).any()]
    if unknown:
        remedy = suggest(str(unknown[0]), table["patient"].unique())
        raise DataError(f"There is no patient {plain(unknown[0])!r}.", remedy=remedy)

    def of(one: Hashable, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.loc[rows["patient"] == one]

    return [_Course(of(one, table), of(one, found), None if chances is None else of(one, chances)) for one in patients]


def _draw_course(ax: Axes, course: _Course, score: str) -> None:
    own, ruptures = course.own, course.ruptures
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
    if course.states is not None:
        _draw_strip(ax, course.states, every)
    whole_ticks(ax)


def _draw_strip(ax: Axes, states: pd.DataFrame, every: np.ndarray[Any, np.dtype[Any]]) -> None:
    """The probability of an open rupture along the bottom of the axes, and the baseline if the states have one."""
    by_session = states.set_index("session")
    chance = by_session["rupture_open"].reindex(every).ffill().fillna(0.0)
    edges, height = np.append(every - 0.5, every[-1] + 0.5), 0.8 * STRIP
    band: dict[str, Any] = {"step": "post", "linewidth": 0, "transform": ax.get_xaxis_transform(), "zorder": 0}
    ax.fill_between(edges, 0.0, height, color=COLOURS["light"], alpha=0.5, **band)
    ax.fill_between(edges, 0.0, height * np.append(chance, chance.iloc[-1]), color=COLOURS["vermillion"], **band)
    if "baseline" in by_session:
        baseline = by_session["baseline"].dropna()
        ax.plot(baseline.index, baseline, "--", color=COLOURS["blue"], linewidth=1.0)


_MARK: dict[str, Any] = {"markersize": 6.0, "linestyle": "none", "zorder": 4}
_REPAIR = {"marker": "^", "color": STATUS_COLOURS["repaired"], **_MARK}


def _onset_mark(status: str) -> dict[str, Any]:
    fill = "white" if status == CENSORED else COLOURS["vermillion"]
    return {"marker": "v", "color": COLOURS["vermillion"], "markerfacecolor": fill, **_MARK}


def _legend_marks(courses: Sequence[_Course]) -> list[Any]:
    """The marks that these courses need, explained."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ruptures = pd.concat([course.ruptures for course in courses])
    states = [course.states for course in courses if course.states is not None]
    undecided = ruptures["status"] == CENSORED
    line = Line2D([], [], color=COLOURS["blue"], linestyle="--", linewidth=1.0, label="baseline")
    marks = [
        (len(ruptures) > 0 or any("baseline" in own for own in states), line),
        (not undecided.all(), Line2D([], [], **_onset_mark("unrepaired"), label="rupture")),
        (undecided.any(), Line2D([], [], **_onset_mark(CENSORED), label="rupture, undecided")),
        (ruptures["repaired_at"].notna().any(), Line2D([], [], **_REPAIR, label="repair")),
        (len(states) > 0, Patch(color=COLOURS["vermillion"], label="P(rupture open)")),
    ]
    return [mark for needed, mark in marks if needed]


def _share_limits(panels: Sequence[Axes], shown: pd.DataFrame, score: str, below: float) -> None:
    """Common limits for panels that may belong to a figure of the caller's own."""
    low, high = shown[score].min(), shown[score].max()
    margin = 0.08 * (high - low) if high > low else 0.5
    first, last = shown["session"].min(), shown["session"].max()
    for panel in panels:
        if np.isfinite(low):
            panel.set_ylim(low - margin - below * (high - low), high + margin)
        panel.set_xlim(first - 0.8, last + 0.8)
        panel.locator_params(axis="x", nbins=4, integer=True)


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
