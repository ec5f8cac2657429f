"""Text files (CSV, TSV, semicolons): encoding, delimiter and the shape of every record are established, not hoped for.

The bytes are read once. A structure pass finds where each record begins, so that a message can name the line of the
file even where cells hold line breaks; pandas' C parser then does the reading.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.load.cells import extremes
from alliance_stats.load.encodings import as_utf8
from alliance_stats.load.records import IntArray, any_leading_zero, count_bytes, first_records, record_structure
from alliance_stats.tables.schema import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MISSING_TEXT = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", ".")
"""Cells that mean "missing" in exports of R, Python, SPSS, SAS, Stata and databases."""


class Raw(NamedTuple):
    """A table as the file has it: named columns, the file row in the index, and how it was read."""

    table: pd.DataFrame
    how: dict[str, Any]
    labels: dict[str, dict[Any, str]]


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
    """A text file as a table; columns in `as_text`, and those with leading zeros, stay text.

    Parameters
    ----------
    content : bytes
        The whole file.
    delimiter, encoding : str or None
        None: found out. A UTF-8 or UTF-16 file is recognised; any other encoding must be named.
    header_row : int
        The line with the column names, from 1.
    wanted : list of str
        Column names that ought to be there; they tell one delimiter from another.
    as_text : iterable of str
        Columns that are ids.
    missing_text : list of str
        Cells that mean missing.
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
    names = _header(data, delimiter)
    require_names(names)
    table = _parse_even(data, delimiter, names, missing_text)
    if table is None:
        table, lines = _parse_uneven(data, delimiter, names, missing_text, header_row)
    else:
        lines = np.arange(len(table)) + header_row + 1
    if table.empty:
        raise DataError(
            "The file has a line of column names and no rows.", remedy="Export it again with its data.", row=header_row
        )
    labels = list(table.columns)
    table.index = pd.Index(lines, name="row")
    ids = [label for label in labels if label in set(as_text)]
    written = [name for name in ids if table[name].dtype.kind in "fb"]  # 1.10 is not 1.1
    written += _with_leading_zeros(table, data, delimiter, labels, missing_text)
    if written:
        again = _parse(data, delimiter, labels, dict.fromkeys(written, "str"), missing_text)
        table = table.assign(**{name: again[name].set_axis(table.index) for name in written})
    how = {"format": "text", "encoding": encoding_found, "delimiter": DELIMITERS.get(delimiter, delimiter)}
    return Raw(table, how, {})


def _parse_even(data: bytes, delimiter: str, names: list[str], missing_text: Sequence[str]) -> pd.DataFrame | None:
    """The table of a file without quotes and blank lines in which every line has as many cells as the first.

    The delimiters are counted once over the whole file; a line with too many cells, made up for by one with too few,
    stops the parser, and blank lines, which it skips, show in the number of rows. None: the file is not of this kind.
    """
    if len(names) < 2 or b'"' in data:
        return None
    n_lines, n_delimiters = count_bytes(data, b"\n"), count_bytes(data, delimiter.encode())
    if n_delimiters != (len(names) - 1) * n_lines:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = _parse(data, delimiter, unique_names(names), {}, missing_text)
    except (DataError, pd.errors.ParserWarning):
        return None
    return table if len(table) == n_lines - 1 else None


def _parse_uneven(
    data: bytes, delimiter: str, names: list[str], missing_text: Sequence[str], header_row: int
) -> tuple[pd.DataFrame, IntArray]:
    """The table of any other file, and the line at which each of its records begins."""
    lines, n_fields, first_field_blank = record_structure(data, delimiter, offset=header_row - 1)
    real = ~((n_fields == 1) & first_field_blank)
    lines, n_fields = lines[real], n_fields[real]
    width = _width(names, data, delimiter, lines, n_fields, header_row)
    labels = unique_names([*names, *("" for _ in range(width - len(names)))])
    table = _parse(data, delimiter, labels, {}, missing_text)
    if len(table) != len(lines) - 1:
        raise DataError(
            f"The quotes of the file do not match: {len(lines) - 1} rows by line breaks, {len(table)} by quotes.",
            remedy="Look for a cell with a single quotation mark and double or remove it.",
        )
    return table, lines[1:]


def require_names(names: Sequence[str]) -> None:
    """Raise where the line of column names holds numbers alone."""
    given = [name.strip() for name in names if name.strip()]
    if given and all(name.replace(".", "", 1).replace("-", "", 1).isdigit() for name in given):
        raise DataError(
            f"The line of column names holds numbers alone ({', '.join(given[:4])}, ...).",
            remedy="Add a line of column names, or say in which line it stands with header_row=.",
        )


def unique_names(names: Sequence[str]) -> list[str]:
    """Column names without surrounding blanks; unnamed columns are called ``unnamed_<position>``.

    Raises
    ------
    DataError
        If a name stands twice.
    """
    found: list[str] = []
    for position, name in enumerate(names, start=1):
        label = name.strip() or f"unnamed_{position}"
        if label in found:
            raise DataError(
                f"The file has two columns named {label!r} (columns {found.index(label) + 1} and {position}).",
                remedy="Rename one of them in the file.",
            )
        found.append(label)
    return found


def _delimiter(data: bytes, declared: str | None, wanted: Sequence[str]) -> str:
    """The delimiter: the one that finds the wanted columns, else the one that gives the most even columns."""

    def merit(candidate: str) -> tuple[int, int, int]:
        records = first_records(data, candidate, 30)
        if not records:
            return (0, 0, 0)
        names = {name.strip() for name in records[0]}
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


def _header(data: bytes, delimiter: str) -> list[str]:
    records = first_records(data, delimiter, 1)
    if not records:
        raise DataError("The file has no line of column names.", remedy="Export it again with its column names.")
    return records[0]


def _width(names: list[str], data: bytes, delimiter: str, lines: IntArray, n_fields: IntArray, header_row: int) -> int:
    """The number of columns; rows with more cells than names are an error unless the surplus is empty everywhere."""
    width = len(names)
    longest = int(n_fields.max())
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


def _parse(
    data: bytes, delimiter: str, labels: list[str], texts: dict[str, str], missing_text: Sequence[str]
) -> pd.DataFrame:
    """The table as pandas' C parser reads it.

    Reading in pieces is faster by a third; where pieces of a column turn out to be of different kinds (text in one,
    numbers in another), or a number is too large to be exact in another kind, the file is read again in one piece.
    """

    def read(*, in_pieces: bool) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(data),
            sep=delimiter,
            header=0,
            names=labels,
            index_col=False,
            dtype=texts,
            na_values=list(missing_text),
            keep_default_na=False,
            low_memory=in_pieces,
            encoding="utf-8",
            encoding_errors="surrogatepass",
        )

    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.DtypeWarning)
                table = read(in_pieces=True)
            of_a_kind = not any(_inexact(table[name]) for name in labels)
        except pd.errors.DtypeWarning:
            of_a_kind = False
        return table if of_a_kind else read(in_pieces=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError, UnicodeError) as error:
        raise DataError(f"The file cannot be parsed: {error}.", remedy="Export it again as CSV in UTF-8.") from error


def _inexact(column: pd.Series) -> bool:
    """Whether a column of fractions holds numbers so large that whole ones may have been rounded."""
    if column.dtype.kind != "f":
        return False
    low, high = extremes(column.to_numpy())
    return low <= high and max(-low, high) >= 2.0**53


def _with_leading_zeros(
    table: pd.DataFrame, data: bytes, delimiter: str, labels: list[str], missing_text: Sequence[str]
) -> list[str]:
    """Columns read as whole numbers in which a code such as 007 stands; it must stay text."""
    if not any_leading_zero(np.frombuffer(data, dtype=np.uint8), ord(delimiter)):
        return []
    whole = [name for name in labels if table[name].dtype.kind in "iu"]
    if not whole:
        return []
    again = _parse(data, delimiter, labels, dict.fromkeys(whole, "str"), missing_text)
    return [name for name in whole if again[name].str.match(r"\s*[+-]?0[0-9]", na=False).any()]
