"""Who was kept and why, as a diagram in the manner of CONSORT."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from alliance_stats.figures.style import COLOURS, axes_to_draw_on
from alliance_stats.tables.flow import counts
from alliance_stats.tables.schema import require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE, _PAD, _GAP = 0.17, 0.10, 0.26  # inches: a line of text, the margin inside a box, an arrow
WIDTH = 4.8  # Inches: narrower than other figures, so that the words can be read on a phone

_MAIN, _SIDE = (0.0, 2.6), (2.85, WIDTH)  # inches: left and right edges of the two columns of boxes
_LETTERS = 14.5  # letters to an inch, at 9 points


class _Row(NamedTuple):
    """A step as it is written: what was left out on the way to it, then what was kept."""

    kept: str
    left_out: str

    @property
    def box(self) -> float:
        return _height(self.kept)

    @property
    def arrow(self) -> float:
        return _height(self.left_out) + _GAP if self.left_out else _GAP


def plot_flow(flow: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The steps from top to bottom with the patients and sessions left after each, and at the side what was left out.

    Parameters
    ----------
    flow : DataFrame
        From `alliance_stats.flow`: ``step, patients, sessions, patients_lost, sessions_lost`` and, where there are,
        ``why`` and ``unit``.
    ax : Axes, optional
        Where to draw; a new figure by default, as high as the steps need (:func:`flow_height`).
    """
    rows = _rows(flow)
    height = flow_height(flow)
    with axes_to_draw_on(ax, size=(WIDTH, height)) as ax:
        ax.set(xlim=(-0.03, WIDTH + 0.03), ylim=(-height + 0.03, 0.03))
        ax.set_axis_off()
        top = 0.0
        for number, row in enumerate(rows):
            if number:
                _arrow(ax, (_centre(_MAIN), top), (_centre(_MAIN), top - row.arrow))
                if row.left_out:
                    middle = top - row.arrow / 2
                    _arrow(ax, (_centre(_MAIN), middle), (_SIDE[0], middle))
                    _box(ax, _SIDE, middle + _height(row.left_out) / 2, row.left_out, dashed=True)
                top -= row.arrow
            _box(ax, _MAIN, top, row.kept, dashed=False)
            top -= row.box
    return ax


def flow_height(flow: pd.DataFrame) -> float:
    """Inches that the diagram of `flow` needs."""
    rows = _rows(flow)
    return sum(row.box for row in rows) + sum(row.arrow for row in rows[1:]) + 0.06


def _rows(flow: pd.DataFrame) -> list[_Row]:
    require_columns(flow, ["step", "patients", "sessions", "patients_lost", "sessions_lost"], table_name="flow")
    rows = []
    for number, row in enumerate(flow.to_dict("records")):
        step, told = str(row["step"]), _counts(row["patients"], row["sessions"], row.get("unit", "sessions"))
        kept = [_wrapped(text, _MAIN) for text in (step[:1].upper() + step[1:], told) if text]
        rows.append(_Row("\n".join(kept), _left_out(row) if number else ""))
    return rows


def _left_out(row: dict[Any, Any]) -> str:
    lost = [0 if pd.isna(row[name]) else max(int(row[name]), 0) for name in ("patients_lost", "sessions_lost")]
    told = _counts(lost[0] or None, lost[1] or None, row.get("unit", "sessions"))
    reasons = [_wrapped(one, _SIDE, indent="   ") for one in str(row.get("why") or "").split("; ") if one]
    head = [_wrapped(f"Left out: {told}" if told else "Left out:", _SIDE)] if told or reasons else []
    return "\n".join([*head, *reasons])


def _counts(patients: Any, sessions: Any, unit: str) -> str:
    known = [None if pd.isna(n) else int(n) for n in (patients, sessions)]
    return counts({"patients": known[0], "sessions": known[1], "unit": unit})


def _wrapped(text: str, column: tuple[float, float], *, indent: str = "") -> str:
    letters = int((column[1] - column[0] - 2 * _PAD) * _LETTERS)
    return textwrap.fill(text, letters, initial_indent=indent, subsequent_indent=indent)


def _height(text: str) -> float:
    return _LINE * (text.count("\n") + 1) + 2 * _PAD


def _centre(column: tuple[float, float]) -> float:
    return (column[0] + column[1]) / 2


def _box(ax: Axes, column: tuple[float, float], top: float, text: str, *, dashed: bool) -> None:
    from matplotlib.patches import Rectangle

    width, height = column[1] - column[0], _height(text)
    look: dict[str, Any] = {"edgecolor": COLOURS["grey"], "facecolor": "white", "linestyle": (0, (3, 2))}
    if not dashed:
        look = {"edgecolor": COLOURS["ink"], "facecolor": "#eef4f8", "linestyle": "-"}
    ax.add_patch(Rectangle((column[0], top - height), width, height, linewidth=0.9, **look))
    middle = top - height / 2
    ax.text(column[0] + _PAD, middle, text, va="center", ha="left", fontsize=9, linespacing=1.3)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": COLOURS["ink"], "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=end, xytext=start, arrowprops=style)
