"""How every figure of the package looks: one set of matplotlib settings, applied inside a context and never globally.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; what matters is never told by
colour alone (line style and marker differ too), so that a figure survives a black-and-white printer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "black": "#000000",
    "ink": "#2b2b2b",
    "grey": "#7a7a7a",
    "light": "#d9d9d9",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}

STATUS_COLOURS = {
    "repaired": COLOURS["green"],
    "unrepaired": COLOURS["vermillion"],
    "censored": COLOURS["grey"],
    "probable": COLOURS["ink"],
}
"""A rupture's status; the same colour means the same thing in every figure."""

WIDTH = 5.6
"""Inches: wide enough for a journal column and a half, narrow enough to be read on a phone."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that every machine draws the same letters
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.color": COLOURS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110.0,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "alliance_stats",  # without a fixed salt the ids in an SVG differ from run to run
    "svg.fonttype": "path",
    "path.simplify": True,
    "axes.unicode_minus": True,
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in an id or a column name is a dollar sign
}


@contextmanager
def styled() -> Iterator[None]:
    """The package's settings for as long as the ``with`` block lasts; the user's own settings return afterwards."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()  # a user's own settings must not leak into figures that promise identical bytes
        for name, value in RC.items():
            mpl.rcParams[name] = value
        yield


@contextmanager
def axes_to_draw_on(ax: Axes | None, *, size: tuple[float, float] = (WIDTH, 3.2)) -> Iterator[Axes]:
    """`ax`, or the Axes of a new pyplot figure of `size` inches, with the package's settings inside the block."""
    if ax is not None:
        with styled():
            yield ax
        return
    with styled_figure(1, 1, figsize=size) as (_, panels):
        yield panels[0, 0]


@contextmanager
def styled_figure(rows: int, columns: int, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A new pyplot figure and its (rows, columns) array of Axes, with the package's settings inside the block.

    The backend starts before the block. It changes settings when it starts (that of Jupyter turns the interactive mode
    on, without which no figure is shown), and at the end of the block they would be lost.
    """
    import matplotlib.pyplot as plt

    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with styled():
        yield plt.subplots(rows, columns, squeeze=False, **options)


def whole_ticks(ax: Axes) -> None:
    """Ticks of the x axis at whole session numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
