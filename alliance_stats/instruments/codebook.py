"""Code books: which words and numbers observers may code ruptures and their resolution with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from alliance_stats.instruments.catalogue import read_toml
from alliance_stats.tables.schema import DataError, suggest

BOOKS = Path(__file__).parent / "books"


@dataclass(frozen=True)
class CodeBook:
    """What a code may be.

    Attributes
    ----------
    name, title, source : str
    verified : bool
        Whether the lists were checked against the manual.
    types : dict of str to tuple of str
        Kinds of rupture (withdrawal, confrontation, ...) and the markers of each; a marker belongs to one kind.
    strategies : dict of str to str
        Strategies of resolution, and the group each belongs to (itself where the book has no groups).
    causes, initiators : tuple of str
    significance, resolution : (float, float)
        Lowest and highest rating.
    """

    name: str
    types: Mapping[str, tuple[str, ...]]
    strategies: Mapping[str, str]
    causes: tuple[str, ...] = ()
    initiators: tuple[str, ...] = ("patient", "therapist", "both")
    significance: tuple[float, float] = (1, 5)
    resolution: tuple[float, float] = (1, 5)
    title: str = ""
    source: str = ""
    verified: bool = False

    @property
    def type_of(self) -> dict[str, str]:
        """The kind of rupture of each marker."""
        return {marker: kind for kind, markers in self.types.items() for marker in markers}


_KEYS = {item.name for item in fields(CodeBook)}


def as_code_book(book: str | Path | CodeBook) -> CodeBook:
    """A code book from the name of a shipped one, from the path of a TOML file, or as it is.

    >>> as_code_book("3RS").type_of["defends self"]
    'confrontation'
    """
    if isinstance(book, CodeBook):
        return book
    if isinstance(book, Path) or str(book).endswith(".toml"):
        return _read(Path(book))
    shipped = {path.stem: path for path in sorted(BOOKS.glob("*.toml"))}
    if str(book).casefold() in shipped:
        return _shipped(shipped[str(book).casefold()])
    remedy = f"{suggest(str(book), [_shipped(path).name for path in shipped.values()])} Your own goes in a TOML file."
    raise DataError(f"There is no code book {book!r}.", remedy=remedy)


@cache
def _shipped(path: Path) -> CodeBook:
    return _read(path)


def _read(path: Path) -> CodeBook:
    content = read_toml(path, "code book")
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise DataError(f"{path}: unknown key {unknown[0]!r}.", remedy=suggest(unknown[0], sorted(_KEYS)))
    for key in ("name", "types"):
        if not content.get(key):
            raise DataError(f"{path}: a code book needs {key}.", remedy="The shipped 3rs.toml is an example.")
    kinds = content["types"]
    types = (
        {str(kind): tuple(map(str, kinds[kind])) for kind in kinds}
        if isinstance(kinds, dict)
        else dict.fromkeys(map(str, kinds), ())
    )
    markers = [marker for found in types.values() for marker in found]
    twice = [marker for marker in markers if markers.count(marker) > 1]
    if twice:
        raise DataError(f"{path}: the marker {twice[0]!r} is in two types.", remedy="A marker belongs to one type.")
    strategies = content.get("strategies", ())
    groups = (
        {str(key): str(value) for key, value in strategies.items()}
        if isinstance(strategies, dict)
        else {str(one): str(one) for one in strategies}
    )
    return CodeBook(
        name=str(content["name"]),
        types=types,
        strategies=groups,
        causes=tuple(map(str, content.get("causes", ()))),
        initiators=tuple(map(str, content.get("initiators", ("patient", "therapist", "both")))),
        significance=_range(content, "significance", path),
        resolution=_range(content, "resolution", path),
        title=str(content.get("title", "")),
        source=str(content.get("source", "")),
        verified=bool(content.get("verified", False)),
    )


def _range(content: dict[str, Any], key: str, path: Path) -> tuple[float, float]:
    ends = content.get(key, (1, 5))
    numbers = isinstance(ends, (list, tuple)) and len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)
    if not numbers or not ends[0] < ends[1]:
        raise DataError(f"{path}: {key} = {ends!r} is not a range.", remedy=f"Write {key} = [1, 5].")
    return (ends[0], ends[1])
