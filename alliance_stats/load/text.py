"""Text files (CSV, TSV, semicolons): the encoding and the delimiter are found out, and every row knows its line.

pandas' C parser does the reading. Where its rows are not the lines of the file (blank lines, line breaks in cells, rows
with too many cells), the records are gone through one by one, so that a message can name the line.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.encodings import as_utf8
from alliance_stats.load.raw import Raw, require_names, unique_names
from alliance_stats.load.records import Records, all_records, first_records
from alliance_stats.tables.arrays import IntArray
from alliance_stats.tables.schema import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MISSING_TEXT = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", ".")
"""Cells that mean "missing" in exports of R, Python, SPSS, SAS, Stata and databases."""

BLOCK = 1 << 20
"""Bytes looked at together: all at once is slower, for want of memory that is at hand."""


def read_text(
    content: bytes,
    *,
    delimiter: str | None,
    encoding: str | None,
    header_row: int,
    wanted: Sequence[str],
    as_text: Iterable[str],
    missing_text: Sequence[str],
) -> Raw:
    """A text file as a table; columns in `as_text` (ids), and those with leading zeros, stay text.

    `content` is the whole file. Without `delimiter` it is found out, helped by the column names that are `wanted`;
    without `encoding` a UTF-8 or UTF-16 file is recognised, and any other must be named. `header_row` is the line with
    the column names, from 1; cells in `missing_text` mean missing.
    """
    data, encoding_found = as_utf8(content, encoding)
    if header_row > 1:
        skipped = data.split(b"\n", header_row - 1)
        if len(skipped) < header_row:
            raise DataError(f"The file has no line {header_row}.", remedy="Correct header_row=.")
        data = skipped[-1]
    if not data[:10_000].strip(b'\n\t ,;|"') and not data.strip(b'\n\t ,;|"'):
        raise DataError("The file is empty.", remedy="Export it again; it must have a line with column names.")
    delimiter = _delimiter(data, delimiter, wanted)
    names = _header(data, delimiter, wanted, header_row)
    require_names(names)
    table, lines = _rows(data, delimiter, names, missing_text, header_row)
    if table.empty:
        raise DataError(
            "The file has a line of column names and no rows.", remedy="Export it again with its data.", row=header_row
        )
    labels = list(table.columns)
    table.index = pd.Index(lines, name="row")
    ids = [label for label in labels if label in set(as_text)]
    written = [name for name in ids if table[name].dtype.kind in "fb"]  # 1.10 is not 1.1
    texts = _as_written(data, delimiter, labels, [*written, *_zeros_begin(table, data, delimiter)], missing_text)
    kept = {name: cells for name, cells in texts.items() if name in written or _leading_zeros(cells)}
    for name, cells in kept.items():
        table[name] = cells.set_axis(table.index)
    how = {"format": "text", "encoding": encoding_found, "delimiter": DELIMITERS.get(delimiter, delimiter)}
    return Raw(table, how, {})


def _rows(
    data: bytes, delimiter: str, names: list[str], missing_text: Sequence[str], header_row: int
) -> tuple[pd.DataFrame, IntArray]:
    """The table, and the line at which each of its rows begins."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than there are names
            table = _parse(data, delimiter, unique_names(names), missing_text)
    except (_Unparsed, pd.errors.ParserWarning):
        table = None
    if table is not None and len(table) == data.count(b"\n") - 1:  # every line is a row
        return table, np.arange(len(table)) + header_row + 1
    records = all_records(data, delimiter, offset=header_row - 1)
    real = ~records.blank
    records = Records(records.lines[real], records.n_cells[real], records.blank[real])
    width = _width(names, data, delimiter, records, header_row)
    table = _parse(data, delimiter, unique_names([*names, *[""] * (width - len(names))]), missing_text)
    if len(table) != len(records.lines) - 1:
        raise DataError(
            f"The quotes do not match: {len(records.lines) - 1} rows by line breaks, {len(table)} by quotes.",
            remedy="Look for a cell with a single quotation mark and double or remove it.",
        )
    return table, records.lines[1:]


class _Unparsed(DataError):
    """The parser stopped."""


def _delimiter(data: bytes, declared: str | None, wanted: Sequence[str]) -> str:
    """The delimiter: the one that finds the wanted columns, else the one that gives the most even columns."""

    def merit(candidate: str) -> tuple[int, int, int]:
        records = [record for _, record in first_records(data, candidate, 30)]
        if not records:
            return (0, 0, 0)
        names = {name.strip() for record in records for name in record}  # a title may be above the column names
        even = sum(len(record) == len(records[0]) for record in records)
        many = len(records[0]) if len(records[0]) > 1 else 0
        return (len(names & set(wanted)), even * (many > 0), many)

    merits = {candidate: merit(candidate) for candidate in DELIMITERS}
    best = max(merits, key=lambda candidate: merits[candidate])
    if declared is None:
        return best
    if len(declared) != 1:
        names = {"tab": "\t", "comma": ",", "semicolon": ";", "bar": "|", "\\t": "\t"}
        if declared not in names:
            raise DataError(f"delimiter={declared!r} must be one character.", remedy="Common: ',', ';', 'tab', '|'.")
        declared = names[declared]
    if declared in '"\n\r' or not declared.isascii():
        raise DataError(f"delimiter={declared!r} cannot be used.", remedy="Common: ',', ';', 'tab', '|'.")
    own = merits.get(declared, merit(declared))
    if own[2] <= 1 < merits[best][2] and merits[best][0] >= own[0]:
        raise DataError(
            f"Split at {declared!r} the file has one column.",
            remedy=f"It looks split at {DELIMITERS[best]}: use delimiter={best!r}, or leave delimiter out.",
        )
    return declared


def _header(data: bytes, delimiter: str, wanted: Sequence[str], header_row: int) -> list[str]:
    """The column names; ``DataError`` where those that are wanted are further down."""
    records = first_records(data, delimiter, 30)
    if not records:
        raise DataError("The file has no line of column names.", remedy="Export it again with its column names.")
    found = [len({name.strip() for name in record} & set(wanted)) for _, record in records]
    best = found.index(max(found))
    if found[best] > found[0]:
        line = records[best][0] + header_row - 1
        raise DataError(
            f"The column names are in line {line}, below a title or other text.", remedy=f"Say header_row={line}."
        )
    return records[0][1]


def _width(names: list[str], data: bytes, delimiter: str, records: Records, header_row: int) -> int:
    """The number of columns; rows with more cells than names are an error unless the surplus is empty everywhere."""
    width = len(names)
    longest = int(records.n_cells.max())
    if longest <= width:
        return width
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
    line = header_row
    for record in reader:
        if any(cell.strip() for cell in record[width:]):
            raise DataError(
                f"Line {line} has {len(record)} cells; the line of column names has {width}.",
                remedy="Is there a delimiter or decimal comma inside a cell? Put the cell in quotation marks, or name "
                "the delimiter=.",
                row=line,
            )
        line = header_row + reader.line_num
    return longest


def _parse(data: bytes, delimiter: str, labels: list[str], missing_text: Sequence[str], **options: Any) -> pd.DataFrame:
    """The table as pandas' C parser reads it: in pieces, or at once where a column has text in some pieces only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.DtypeWarning)
            table: pd.DataFrame = pd.read_csv(
                io.BytesIO(data),
                sep=delimiter,
                header=0,
                names=labels,
                index_col=False,
                na_values=list(missing_text),
                keep_default_na=False,
                encoding="utf-8",
                encoding_errors="surrogatepass" if b"\xed" in data else "strict",  # the former takes twice as long
                **options,
            )
            return table
    except pd.errors.DtypeWarning:
        return _parse(data, delimiter, labels, missing_text, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError, UnicodeError) as error:
        raise _Unparsed(f"The file cannot be parsed: {error}.", remedy="Export it again as CSV in UTF-8.") from error


def _as_written(
    data: bytes, delimiter: str, labels: list[str], names: Sequence[str], missing_text: Sequence[str]
) -> pd.DataFrame:
    """Some columns as text, unchanged."""
    if not names:
        return pd.DataFrame()
    return _parse(data, delimiter, labels, missing_text, usecols=list(names), dtype="str")


def _leading_zeros(cells: pd.Series) -> bool:
    return bool(pd.Series(cells.unique()).str.match(r"\s*[+-]?0[0-9]", na=False).any())


def _zeros_begin(table: pd.DataFrame, data: bytes, delimiter: str) -> list[str]:
    """Columns read as numbers in which a code such as 007 may be written; it must stay text."""
    cells = np.frombuffer(data, dtype=np.uint8)
    found = [np.empty(0, dtype=np.int64)]
    for at in range(0, len(data) - 2, BLOCK):
        block = cells[at : at + BLOCK + 2]
        opens = (block[:-2] < ord("0")) | (block[:-2] == ord(delimiter))  # quotes, blanks, signs and line ends as well
        found.append(at + np.flatnonzero(opens & (block[1:-1] == ord("0")) & (block[2:] - ord("0") < 10)))
    before = np.concatenate(found)
    before = before - np.isin(cells[before], list(b"+-"))  # of the 03 in 2026-03-01 this is the 6
    while (blank := (cells[before] == ord(" ")) & (delimiter != " ")).any():
        before = before - blank
    before = before[np.isin(cells[before], [*delimiter.encode(), *b'\n"'])]
    labels = list(table.columns)
    whole = [name for name in labels if table[name].dtype.kind in "iuf"]
    if not len(before) or not whole:
        return []
    marks, ends = np.flatnonzero(cells == ord(delimiter)), np.flatnonzero(cells == ord("\n"))
    if b'"' in data or len(marks) != len(ends) * (table.shape[1] - 1):
        return whole
    places = np.searchsorted(marks, before, "right") - np.searchsorted(ends, before, "right") * (table.shape[1] - 1)
    return [name for name in whole if name in {labels[place] for place in np.unique(places)}]
