"""One sheet of a workbook: Excel, OpenDocument."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.raw import Raw, require_names, unique_names
from alliance_stats.tables.schema import DataError, suggest

MOST_ROWS = 1_048_576
"""Of a sheet; Excel's own limit."""

_UNCALCULATED = re.compile(
    rb'<c r="([A-Z]+)([0-9]+)"(?![^>]* t="str")[^>]*>\s*<f(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>'
)
"""A cell with a formula and no result; a result that is an empty text has the type ``str``."""


def read_sheet(path: Path, *, sheet: str | int | None, header_row: int) -> Raw:
    """The table on a sheet of Excel; the first row with column names is `header_row`."""
    import openpyxl

    _refuse_long_sheets(path)
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        pages = {page.title: page for page in book.worksheets}
        page = pages[_chosen(list(pages), lambda name: _has_cells(pages[name]), path, sheet)]
        _require_results(page)
        return _from_rows(_rows(page), {"format": "excel", "sheet": page.title}, header_row)
    finally:
        book.close()


def read_other_sheet(path: Path, *, sheet: str | int | None, header_row: int) -> Raw:
    """The table on a sheet of OpenDocument (.ods) or of an Excel before 2007 (.xls)."""
    from python_calamine import CalamineWorkbook

    with CalamineWorkbook.from_path(path) as book:
        pages = {name: book.get_sheet_by_name(name) for name in book.sheet_names}
        name = _chosen(list(pages), lambda one: pages[one].total_height > 0, path, sheet)
        rows = [tuple(map(_cell, row)) for row in pages[name].to_python(skip_empty_area=False)]
    return _from_rows(rows, {"format": path.suffix[1:].lower(), "sheet": name}, header_row)


def _cell(value: Any) -> Any:
    """A cell as openpyxl has it: None for an empty one, whole numbers as int, days as datetime."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time())
    return None if value == "" else value


def _chosen(names: list[str], filled: Callable[[str], bool], path: Path, sheet: str | int | None) -> str:
    """The sheet that is meant: by name, by position from 1, or the only one with data."""
    if not names:
        raise DataError(f"{path.name} has no sheet with cells.", remedy="Save the data in a sheet.")
    if sheet is None:
        full = [name for name in names if filled(name)]
        if len(full) > 1:
            shown = ", ".join(map(repr, full))
            raise DataError(f"{path.name} has {len(full)} sheets with data: {shown}.", remedy="Name one with sheet=.")
        return full[0] if full else names[0]
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(names):
            raise DataError(
                f"{path.name} has {len(names)} sheet(s).", remedy=f"sheet={sheet} must be 1 to {len(names)}."
            )
        return names[sheet - 1]
    if sheet not in names:
        raise DataError(f"{path.name} has no sheet {sheet!r}.", remedy=suggest(sheet, names))
    return sheet


def _has_cells(page: Any) -> bool:
    return any(any(value is not None for value in row) for row in page.iter_rows(max_row=50, values_only=True))


def _refuse_long_sheets(path: Path) -> None:
    """Raise where a sheet has more rows than Excel can hold, before openpyxl goes through them."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith("xl/worksheets/") and archive.read(name).count(b"<row") > MOST_ROWS:
                problem = f"A sheet has more than {MOST_ROWS:,} rows."
                raise DataError(problem, remedy="Excel cannot hold this many rows: use CSV.")


def _require_results(page: Any) -> None:
    """Raise where a formula was never calculated, as in files that a program wrote: its cell would read as empty."""
    with page._get_source() as source:
        content = source.read()
    found = _UNCALCULATED.findall(content)
    if found:
        column, row = (part.decode() for part in found[0])
        raise DataError(
            f"{len(found)} cell(s) of the sheet {page.title!r} hold a formula without its result, first {column}{row}.",
            remedy="Open the workbook in a spreadsheet program and save it: that stores the results.",
        )


def _rows(page: Any) -> list[tuple[Any, ...]]:
    page.reset_dimensions()
    rows: list[tuple[Any, ...]] = []
    for row in page.iter_rows(values_only=True):
        if len(rows) > MOST_ROWS:  # a row that claims a number of many millions
            raise DataError(f"A row has a number above {MOST_ROWS:,}.", remedy="Save the workbook again.")
        rows.append(row)
    return rows


def _from_rows(rows: list[tuple[Any, ...]], how: dict[str, Any], header_row: int) -> Raw:
    if len(rows) < header_row or all(value is None for row in rows[header_row - 1 :] for value in row):
        raise DataError("The sheet is empty.", remedy="Name another with sheet=, or check header_row=.")
    header = rows[header_row - 1]
    body = rows[header_row:]
    width = max(len(row) for row in rows[header_row - 1 :])
    names = ["" if value is None else _header_text(value) for value in header] + [""] * (width - len(header))
    if not any(names):
        raise DataError(
            f"Row {header_row} of the sheet holds no column names.", remedy="Say which row does with header_row=."
        )
    require_names(names)
    labels = unique_names(names)
    if not body:
        raise DataError("The sheet has column names and no rows.", remedy="Export it again with its data.")
    columns = zip(*((*row, *(None,) * (width - len(row))) for row in body))
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
