"""Writing a figure so that a second run gives the same bytes and a killed run leaves no half-written file."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alliance_stats.figures.style import styled
from alliance_stats.tables.files import write_whole
from alliance_stats.tables.schema import require_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would otherwise write into a file: the time and its own version."""


def save_figure(
    figure: Axes | Figure,
    path: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("png", "svg"),
    dpi: int = 200,
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
