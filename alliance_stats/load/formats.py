"""A file as a table, by its ending: text is read here, every other format in a child process with limits.

Excel, OpenDocument, SPSS, SAS, Parquet and Feather need optional packages; the error says which to install.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

from alliance_stats.load.binary import FORMATS
from alliance_stats.load.child import read_in_child
from alliance_stats.load.raw import Raw
from alliance_stats.load.text import MISSING_TEXT, read_text
from alliance_stats.tables.schema import DataError, suggest

TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
_EXTRAS = {"openpyxl": "excel", "python_calamine": "sheets", "pyreadstat": "spss", "pyarrow": "parquet"}


def read_file(
    path: Path,
    *,
    wanted: Sequence[str],
    as_text: Iterable[str],
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | int | None = None,
    header_row: int = 1,
    missing_text: Sequence[str] = MISSING_TEXT,
) -> Raw:
    """A file as a table, by its ending.

    Raises
    ------
    DataError
        If the file is absent, empty, of an unknown kind, or cannot be read as what its ending says.
    ImportError
        If an optional package is missing; names the extra to install.
    """
    ending = path.suffix.lower()
    try:
        _require_file(path)
        if ending not in TEXT:
            _require_package(ending)
            return read_in_child(path, encoding=encoding, sheet=sheet, header_row=header_row)
        if ending in (".tsv", ".tab") and delimiter is None:
            delimiter = "\t"
        return read_text(
            path.read_bytes(),
            delimiter=delimiter,
            encoding=encoding,
            header_row=header_row,
            wanted=wanted,
            as_text=as_text,
            missing_text=missing_text,
        )
    except PermissionError as error:
        remedy = "Ask for the right to read it, or copy it to a folder of your own. Close other programs that use it."
        raise DataError(f"You may not read {str(path)!r} (permission denied).", remedy=remedy) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "Check the path and the disk."
        raise DataError(f"{path.name[:100]} cannot be opened: {reason}.", remedy=remedy) from error


def _require_file(path: Path) -> None:
    """Raise unless the path names a file of a known kind that is not empty."""
    if not path.exists():
        beside = [item.name for item in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(f"There is no file {str(path)!r}.", remedy=suggest(path.name, sorted(beside)[:2000]))
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder.", remedy="Name a file in it.")
    ending = path.suffix.lower()
    if ending not in TEXT and ending not in FORMATS:
        known = ", ".join((*TEXT, *FORMATS))
        raise DataError(f"{path.name} has the ending {ending!r}; known are {known}.", remedy=_unknown_remedy(ending))
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty (0 bytes).", remedy="Export it again.")


def _unknown_remedy(ending: str) -> str:
    if ending in (".rds", ".rda", ".rdata"):
        return "Write it in R with write.csv(data, 'study.csv', row.names = FALSE) and read that."
    if ending == ".numbers":
        return "Save it as .xlsx or .csv."
    return "Save it as .csv."


def _require_package(ending: str) -> None:
    """Raise ImportError where the package that reads the format is not installed, naming the extra."""
    what, package = FORMATS[ending].name, FORMATS[ending].package
    if package is not None and importlib.util.find_spec(package) is None:
        raise ImportError(
            f"Reading a file of {what} needs the package {package}. "
            f"Install it with: pip install 'alliance_stats[{_EXTRAS[package]}]'"
        )
