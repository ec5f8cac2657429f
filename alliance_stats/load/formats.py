"""One reader per file format: a path in, a table out with the file row in its index.

Excel, SPSS, SAS, Parquet and Feather need optional packages; the error says which to install.
"""

from __future__ import annotations

import datetime
import importlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.text import Raw, read_text, require_names, unique_names
from alliance_stats.tables.schema import DataError, suggest

TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
EXTRAS = {"openpyxl": "excel", "pyreadstat": "spss", "pyarrow": "parquet"}


def read_file(
    path: Path,
    *,
    delimiter: str | None,
    encoding: str | None,
    sheet: str | int | None,
    header_row: int,
    wanted: Sequence[str],
    as_text: Iterable[str],
    missing_text: Sequence[str],
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
    if not path.exists():
        beside = [item.name for item in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(f"There is no file {str(path)!r}.", remedy=suggest(path.name, sorted(beside)[:2000]))
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder.", remedy="Name a file in it.")
    if ending not in TEXT and ending not in _READERS:
        known = ", ".join((*TEXT, *_READERS))
        raise DataError(f"{path.name} has the ending {ending!r}; known are {known}.", remedy=_unknown_remedy(ending))
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty (0 bytes).", remedy="Export it again.")
        if ending in TEXT:
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
        if ending in (".xlsx", ".xlsm"):
            return _read_excel(path, sheet=sheet, header_row=header_row)
        return _READERS[ending](path, encoding)
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read: {error}.", remedy="Check that it is whole and readable."
        ) from error


def _unknown_remedy(ending: str) -> str:
    if ending in (".rds", ".rda", ".rdata"):
        return "Write it in R with write.csv(data, 'study.csv', row.names = FALSE) and read that."
    if ending in (".xls", ".ods", ".numbers"):
        return "Save it as .xlsx or .csv."
    return "Save it as .csv."


def need(module: str, what: str) -> Any:
    """An optional package, or an ImportError that says which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"Reading {what} needs the package {module}. "
            f"Install it with: pip install 'alliance_stats[{EXTRAS[module]}]'"
        ) from error


def _read_excel(path: Path, *, sheet: str | int | None, header_row: int) -> Raw:
    openpyxl = need("openpyxl", "Excel workbooks")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        OSError,
        SyntaxError,
        EOFError,
    ) as error:
        raise DataError(
            f"{path.name} is not a readable Excel workbook ({error}).",
            remedy="Open it in a spreadsheet program and save it again as .xlsx (without a password).",
        ) from error
    try:
        page = _sheet(book, path, sheet)
        rows = _sheet_rows(page, path)
        return _from_rows(rows, {"format": "excel", "sheet": page.title}, header_row)
    finally:
        book.close()


def _sheet(book: Any, path: Path, sheet: str | int | None) -> Any:
    names = [page.title for page in book.worksheets]
    if not names:
        raise DataError(f"{path.name} has no sheet with cells.", remedy="Save the data in a sheet.")
    if sheet is None:
        filled = [page for page in book.worksheets if _has_cells(page)]
        if len(filled) > 1:
            shown = ", ".join(repr(page.title) for page in filled)
            raise DataError(f"{path.name} has {len(filled)} sheets with data: {shown}.", remedy="Name one with sheet=.")
        return filled[0] if filled else book.worksheets[0]
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(names):
            raise DataError(
                f"{path.name} has {len(names)} sheet(s).", remedy=f"sheet={sheet} must be 1 to {len(names)}."
            )
        return book.worksheets[sheet - 1]
    if sheet not in names:
        raise DataError(f"{path.name} has no sheet {sheet!r}.", remedy=suggest(sheet, names))
    return book[sheet]


def _has_cells(page: Any) -> bool:
    return any(any(value is not None for value in row) for row in page.iter_rows(max_row=50, values_only=True))


def _sheet_rows(page: Any, path: Path) -> list[tuple[Any, ...]]:
    page.reset_dimensions()
    try:
        return list(page.iter_rows(values_only=True))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, SyntaxError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is damaged ({error}).", remedy="Save it again as .xlsx.") from error


def _from_rows(rows: list[tuple[Any, ...]], how: dict[str, Any], header_row: int) -> Raw:
    if len(rows) < header_row or all(value is None for row in rows[header_row - 1 :] for value in row):
        raise DataError("The sheet is empty.", remedy="Name another with sheet=, or check header_row=.")
    header = rows[header_row - 1]
    body = rows[header_row:]
    width = max(len(row) for row in rows[header_row - 1 :])
    names = ["" if value is None else _header_text(value) for value in header] + [""] * (width - len(header))
    if not any(names):
        raise DataError(
            f"Row {header_row} of the sheet holds no column names.", remedy="Say where they stand with header_row=."
        )
    require_names(names)
    labels = unique_names(names)
    if not body:
        raise DataError("The sheet has column names and no rows.", remedy="Export it again with its data.")
    even = all(len(row) == width for row in body)
    columns = zip(*body) if even else zip(*((*row, *(None,) * (width - len(row))) for row in body))
    table = pd.DataFrame({label: _typed(cells) for label, cells in zip(labels, columns)})
    table.index = pd.RangeIndex(header_row + 1, header_row + 1 + len(body), name="row")
    return Raw(table, how, {})


def _header_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _typed(cells: tuple[Any, ...]) -> Any:
    """Cells of a sheet: numbers as float, dates as datetimes, anything mixed as it is."""
    kinds = set(map(type, cells)) - {type(None)}
    if kinds <= {int, float} and kinds:
        try:
            if kinds == {int} and None not in cells:
                return np.array(cells, dtype=np.int64)
            return np.array(cells, dtype=np.float64)  # None becomes NaN
        except OverflowError:
            pass
    if kinds == {datetime.datetime}:
        try:
            return pd.to_datetime(pd.Series(cells))
        except (ValueError, OverflowError):
            pass
    made = np.empty(len(cells), dtype=object)
    made[:] = cells
    return made


def _from_pyreadstat(reader: str, what: str) -> Callable[[Path, str | None], Raw]:
    def read(path: Path, encoding: str | None) -> Raw:
        pyreadstat = need("pyreadstat", f"{what} files")
        try:
            table, meta = getattr(pyreadstat, reader)(str(path), encoding=encoding)
        except (
            pyreadstat.ReadstatError,
            pyreadstat.PyreadstatError,
            UnicodeDecodeError,
            ValueError,
            OverflowError,
            TypeError,
        ) as error:
            remedy = "Export it again, or name its encoding= (such as 'cp1252')."
            raise DataError(f"{path.name} is not a readable {what} file ({error}).", remedy=remedy) from error
        labels = {name: dict(codes) for name, codes in meta.variable_value_labels.items() if codes}
        how = {"format": what.lower(), "labels": {k: v for k, v in meta.column_names_to_labels.items() if v}}
        return _framed(table, how, labels)

    return read


def _read_stata(path: Path, encoding: str | None) -> Raw:
    try:
        with pd.read_stata(path, convert_categoricals=False, iterator=True) as reader:
            table = reader.read()  # type: ignore[attr-defined]
            labels = {name: dict(codes) for name, codes in reader.value_labels().items()}
            variables = reader.variable_labels()
    except (
        ValueError,
        struct.error,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        UnicodeDecodeError,
        EOFError,
    ) as error:
        raise DataError(f"{path.name} is not a readable Stata file ({error}).", remedy="Export it again.") from error
    how = {"format": "stata", "labels": {name: text for name, text in variables.items() if text}}
    return _framed(table, how, labels)


def _from_arrow(reader: str, what: str) -> Callable[[Path, str | None], Raw]:
    def read(path: Path, encoding: str | None) -> Raw:
        arrow = need("pyarrow", f"{what} files")
        try:
            table = getattr(pd, reader)(path)
        except (arrow.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(
                f"{path.name} is not a readable {what} file ({error}).", remedy="Export it again."
            ) from error
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index()
        return _framed(table, {"format": what.lower()}, {})

    return read


def _framed(table: pd.DataFrame, how: dict[str, Any], labels: dict[str, dict[Any, str]]) -> Raw:
    if not table.shape[1]:
        raise DataError("The file has no columns.", remedy="Export it again.")
    table = table.set_axis(unique_names([str(name) for name in table.columns]), axis=1)
    if table.empty:
        raise DataError("The file has column names and no rows.", remedy="Export it again with its data.")
    for name in table.columns:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            table[name] = table[name].astype(table[name].cat.categories.dtype)
        elif table[name].dtype.kind == "O":  # nested cells (lists, dicts) ride along as text
            table[name] = table[name].map(lambda cell: cell if isinstance(cell, Hashable) else str(cell))
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return Raw(table, how, labels)


_READERS: dict[str, Callable[[Path, str | None], Raw]] = {
    ".xlsx": lambda path, encoding: _read_excel(path, sheet=None, header_row=1),
    ".xlsm": lambda path, encoding: _read_excel(path, sheet=None, header_row=1),
    ".sav": _from_pyreadstat("read_sav", "SPSS"),
    ".zsav": _from_pyreadstat("read_sav", "SPSS"),
    ".por": _from_pyreadstat("read_por", "SPSS portable"),
    ".dta": _read_stata,
    ".sas7bdat": _from_pyreadstat("read_sas7bdat", "SAS"),
    ".xpt": _from_pyreadstat("read_xport", "SAS transport"),
    ".parquet": _from_arrow("read_parquet", "Parquet"),
    ".feather": _from_arrow("read_feather", "Feather"),
}
