"""How every figure of the package looks, applied inside a context and never globally, and how it is written to a file.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; what matters is never told by
colour alone (line style and marker differ too), so that a figure survives a black-and-white printer. A second run gives
the same bytes, and a killed run leaves no half-written file.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alliance_stats.tables.files import write_whole
from alliance_stats.tables.schema import require_choice

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

WIDTH = 5.6  # Inches: wide enough for a journal column and a half, narrow enough to be read on a phone

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


_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would otherwise write into a file: the time and its own version."""


def save_figure(
    figure: Axes | Figure, path: str | os.PathLike[str], *, formats: Sequence[str] = ("png", "svg"), dpi: int = 200
) -> list[Path]:
    """Write `figure` beside `path` in each of `formats`; the same figure gives the same bytes. Returns the files.

    Parameters
    ----------
    figure : Axes or Figure
        What to write; of an Axes, its whole figure.
    path : path
        Where to, without suffix (a suffix that is one of the formats known here is taken off); its folder is
        made if need be.
    formats : sequence of {"png", "svg", "pdf"}
        The kinds of file.
    dpi : int
        Resolution of the PNG, dots per inch.
    """
    for name in formats:
        require_choice(name, list(_METADATA), name="formats")
    whole = _figure_of(figure)
    target = Path(path)
    stem = target.with_suffix("") if target.suffix.lstrip(".") in _METADATA else target
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for name in formats:
        buffer = io.BytesIO()
        with styled():
            whole.savefig(buffer, format=name, dpi=dpi, metadata=_METADATA[name])
        content = buffer.getvalue() if name != "svg" else _numbered(buffer.getvalue())
        written.append(write_whole(stem.with_name(f"{stem.name}.{name}"), content))
    return written


def _numbered(svg: bytes) -> bytes:
    """The SVG with its hashed ids replaced by numbers in order of appearance.

    matplotlib hashes coordinates to the last bit, which processors round differently, while it writes six decimals.
    """
    numbers: dict[bytes, bytes] = {}

    def numbered(found: re.Match[bytes]) -> bytes:
        before, kind, _ = found.groups()
        return before + numbers.setdefault(found[0][len(before) :], kind + b"%d" % (len(numbers) + 1))

    return re.sub(rb'(id="|#)([a-z]+)([0-9a-f]{10})\b', numbered, svg)


def _figure_of(figure: Axes | Figure) -> Figure:
    from matplotlib.figure import Figure

    container = getattr(figure, "figure", None)  # of Axes in a SubFigure that part, whose own .figure is the whole
    whole = getattr(container, "figure", None)
    if not isinstance(whole, Figure):
        raise TypeError(f"figure must be a matplotlib Axes or Figure, not {type(figure).__name__}.")
    return whole
