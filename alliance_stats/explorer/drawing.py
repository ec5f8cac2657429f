"""The page's two pictures as PNG: the whole study at a glance, and one patient above the strip of probabilities."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.patients import plot_patient
from alliance_stats.figures.style import COLOURS, STATUS_COLOURS, styled, whole_ticks
from alliance_stats.tables.schema import PATIENT, SESSION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 96


def study_picture(
    sessions: pd.DataFrame, events: pd.DataFrame, states: pd.DataFrame | None, *, score: str, patient: Any
) -> bytes:
    """Every patient a row: grey where rated (or the probability of a rupture), onsets and repairs marked."""
    patients = pd.Index(pd.unique(sessions[PATIENT]))
    row = pd.Series(np.arange(len(patients)), index=patients)
    with styled():
        figure, (ax,) = _blank(float(np.clip(0.8 + 0.028 * len(patients), 2.2, 5.0)), [1])
        _carpet(ax, sessions, states, row, score)
        for column, marker, colour in (
            ("onset", "v", COLOURS["vermillion"]),
            ("repaired_at", "^", STATUS_COLOURS["repaired"]),
        ):
            seen = events.dropna(subset=[column])
            ax.plot(seen[column].astype(float), row.loc[seen[PATIENT]], marker, color=colour, markersize=3.2)
        ax.annotate(
            "▶", (-0.005, row[patient]), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=8
        )
        ax.set(xlabel="Session", ylabel=f"{len(patients)} patients", yticks=[])
        whole_ticks(ax)
        return _png(figure)


def _carpet(ax: Axes, sessions: pd.DataFrame, states: pd.DataFrame | None, row: pd.Series, score: str) -> None:
    """One cell for each rated session."""
    first, last = int(sessions[SESSION].min()), int(sessions[SESSION].max())
    cells = np.full((len(row), last - first + 1), np.nan)
    rated = sessions[score].notna().to_numpy()
    shade = np.where(rated, 0.15, np.nan) if states is None else np.where(rated, states["rupture_open"], np.nan)
    cells[row.loc[sessions[PATIENT]].to_numpy(), sessions[SESSION].to_numpy() - first] = shade
    extent = (first - 0.5, last + 0.5, len(row) - 0.5, -0.5)
    colours = "Greys" if states is None else "Oranges"
    ax.imshow(cells, aspect="auto", cmap=colours, vmin=0, vmax=1, extent=extent, interpolation="nearest")


def patient_picture(
    sessions: pd.DataFrame, events: pd.DataFrame, states: pd.DataFrame | None, *, score: str, patient: Any, session: int
) -> bytes:
    """The course of one patient with its marks; below it, if known, the probability that a rupture is open."""
    with styled():
        figure, axes = _blank(3.4, [1]) if states is None else _blank(4.0, [5, 1])
        plot_patient(sessions, events, patient=patient, score=score, ax=axes[0])
        axes[0].axvline(session, color=COLOURS["light"], linewidth=6.0, zorder=0)
        if states is not None:
            own = states.loc[states[PATIENT] == patient]
            axes[0].set_xlabel("")
            axes[1].bar(own[SESSION], own["rupture_open"], width=1.0, color=COLOURS["orange"])
            axes[1].set(ylim=(0, 1), yticks=[0, 1], ylabel="P(open)", xlabel="Session")
        return _png(figure)


def _blank(height: float, parts: list[int]) -> tuple[Figure, list[Axes]]:
    """Axes above one another at fixed places; to lay them out by their labels would take as long as to draw them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), constrained_layout=False)
    figure.subplots_adjust(left=0.08, right=0.98, top=1 - 0.3 / height, bottom=0.45 / height, hspace=0.12)
    return figure, list(figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=parts)[:, 0])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
