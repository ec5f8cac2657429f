"""Text files (CSV, TSV, semicolons): encoding, delimiter and the shape of every record are established, not hoped for.

The bytes are read once. A structure pass finds where each record begins, so that a message can name the line of the
file even where cells hold line breaks; pandas' C parser then does the reading.
"""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.schema import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MISSING_TEXT = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", ".")
"""Cells that mean "missing" in exports of R, Python, SPSS, SAS, Stata and databases."""

IntArray = np.ndarray[Any, np.dtype[np.int64]]

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook or another zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"$FL2": "an SPSS file (.sav)",
    b"$FL3": "a compressed SPSS file (.zsav)",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip file",
    b"ARROW1": "a Feather file",
}


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
    data, encoding_found = _as_utf8(content, encoding)
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
    stops the parser. None: the file is not of this kind.
    """
    n_lines = data.count(b"\n")
    even = data.count(delimiter.encode()) == (len(names) - 1) * n_lines and len(names) > 1
    if not even or b'"' in data or data.startswith(b"\n") or b"\n\n" in data:
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
    lines, n_fields, first_field_blank = _structure(data, delimiter, offset=header_row - 1)
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


def _as_utf8(content: bytes, encoding: str | None) -> tuple[bytes, str]:
    """The file as UTF-8 without byte-order mark and with plain line ends, and the encoding it had."""
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature):
            raise DataError(
                f"The file is not text but {what}.", remedy="Give it its proper ending, such as .xlsx or .sav."
            )
    for mark, name in _BOMS:
        if content.startswith(mark) and not content.startswith(codecs.BOM_UTF32_LE):
            text = _decode(content, name if name == "utf-16" else "utf-8-sig")
            return _plain_lines(text.encode()), name
    if encoding is not None:
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            raise DataError(
                f"encoding={encoding!r} is not known.", remedy="Common: 'utf-8', 'cp1252', 'latin-1', 'utf-16'."
            ) from error
        return _plain_lines(_decode(content, name).encode("utf-8", "surrogatepass")), name
    sample = content[:4000]
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if zeros and zeros.count(0) > 0.4 * len(zeros):
            return _plain_lines(_decode(content, name).encode()), name
    if not content.isascii() or b"\x00" in content:
        _decode(content, "utf-8")
    return _plain_lines(content), "utf-8"


def _decode(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        before = content[max(0, error.start - 12) : error.start].split(b"\n")[-1]
        after = content[error.start : error.start + 12].split(b"\n")[0]
        shown = (before + after).decode("cp1252", "replace")
        raise DataError(
            f"The file is not {encoding.upper()} text: line {line} holds the byte 0x{content[error.start]:02x}.",
            remedy=f"Name its encoding: with encoding='cp1252' (Western Windows) the place reads {shown!r}.",
            row=line,
        ) from error
    except UnicodeError as error:
        raise DataError(f"The file is not {encoding.upper()} text.", remedy="Name its encoding=.") from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise DataError(
            f"Line {line} holds a zero byte, which no text has.",
            remedy="Is it another kind of file, or damaged? Export it again.",
            row=line,
        )
    return text


def _plain_lines(data: bytes) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data and not data.endswith(b"\n"):
        data += b"\n"
    return data


def _records(data: bytes, delimiter: str, at_most: int) -> list[list[str]]:
    """The first records that are not blank; records a quotation mark leaves open end the list."""
    head = data[:200_000].decode("utf-8", "ignore")
    found: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
            if record and any(cell.strip() for cell in record):
                found.append(record)
            if len(found) == at_most:
                break
    except csv.Error:
        pass
    return found


def _delimiter(data: bytes, declared: str | None, wanted: Sequence[str]) -> str:
    """The delimiter: the one that finds the wanted columns, else the one that gives the most even columns."""

    def merit(candidate: str) -> tuple[int, int, int]:
        records = _records(data, candidate, 30)
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


def _structure(data: bytes, delimiter: str, *, offset: int) -> tuple[IntArray, IntArray, Any]:
    """Line, number of fields, and whether the first field is blank, of every record.

    Quoted cells are told by the parity of quotation marks; a file whose quotes do not pair is gone through record
    by record to name the place.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    newline, separator = array == 10, array == ord(delimiter)
    n_lines = np.count_nonzero(newline)
    if b'"' in data:
        inside = np.logical_xor.accumulate(array == 34)
        if inside[-1] or _stray_quotes(array, inside, ord(delimiter)):
            return _structure_by_record(data, delimiter, offset=offset)
        newline, separator = newline & ~inside, separator & ~inside
    ends = np.flatnonzero(newline)
    starts = np.concatenate(([0], ends[:-1] + 1))
    n_fields = _fields_per_record(np.flatnonzero(separator), starts, ends)
    if len(ends) == n_lines:
        lines = np.arange(1, len(ends) + 1)
    else:
        lines = np.searchsorted(np.flatnonzero(array == 10), starts) + 1
    blank = np.zeros(len(ends), dtype=bool)
    for record in np.flatnonzero(n_fields == 1):
        blank[record] = not data[starts[record] : ends[record]].strip()
    return lines + offset, n_fields, blank


def _fields_per_record(separators: IntArray, starts: IntArray, ends: IntArray) -> IntArray:
    """Number of fields of each record; even files, the rule, are recognised without a search."""
    per_record, surplus = divmod(len(separators), len(ends))
    if not surplus and per_record:
        block = separators.reshape(len(ends), per_record)
        if (block[:, 0] >= starts).all() and (block[:, -1] < ends).all():
            return np.full(len(ends), per_record + 1, dtype=np.int64)
    return np.diff(np.searchsorted(separators, ends), prepend=0) + 1


def _stray_quotes(array: Any, inside: Any, delimiter: int) -> bool:
    """Whether a quotation mark opens inside a cell or closes before its end, as in no standard file."""
    quotes = np.flatnonzero(array == 34)
    opening = quotes[inside[quotes]]
    closing = quotes[~inside[quotes]]
    before = array[np.maximum(opening - 1, 0)]
    after = array[np.minimum(closing + 1, len(array) - 1)]
    fine_before = (opening == 0) | (before == delimiter) | (before == 10) | (before == 34)
    fine_after = (after == delimiter) | (after == 10) | (after == 34)
    return not (fine_before.all() and fine_after.all())


def _structure_by_record(data: bytes, delimiter: str, *, offset: int) -> tuple[IntArray, IntArray, Any]:
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter, strict=False)
    lines, counts, blank = [], [], []
    start = 1
    try:
        for record in reader:
            lines.append(start)
            counts.append(max(len(record), 1))
            blank.append(not record or not record[0].strip())
            open_to_the_end = reader.line_num - start > 100
            if open_to_the_end:
                raise csv.Error("a cell over more than 100 lines")
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"A quotation mark in line {start + offset} is never closed ({error}).",
            remedy="Close, double or remove it.",
            row=start + offset,
        ) from error
    if data.count(b'"') % 2 and reader.line_num - lines[-1] > 0:
        raise DataError(
            f"A quotation mark in line {lines[-1] + offset} is never closed.",
            remedy="Close, double or remove it.",
            row=lines[-1] + offset,
        )
    return np.array(lines) + offset, np.array(counts, dtype=np.int64), np.array(blank)


def _header(data: bytes, delimiter: str) -> list[str]:
    records = _records(data, delimiter, 1)
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
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            sep=delimiter,
            header=0,
            names=labels,
            index_col=False,
            dtype=texts,
            na_values=list(missing_text),
            keep_default_na=False,
            low_memory=False,
            encoding="utf-8",
            encoding_errors="surrogatepass",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError, UnicodeError) as error:
        raise DataError(f"The file cannot be parsed: {error}.", remedy="Export it again as CSV in UTF-8.") from error
    return table


def _with_leading_zeros(
    table: pd.DataFrame, data: bytes, delimiter: str, labels: list[str], missing_text: Sequence[str]
) -> list[str]:
    """Columns read as whole numbers in which a code such as 007 stands; it must stay text."""
    if not _any_leading_zero(np.frombuffer(data, dtype=np.uint8), ord(delimiter)):
        return []
    whole = [name for name in labels if table[name].dtype.kind in "iu"]
    if not whole:
        return []
    again = _parse(data, delimiter, labels, dict.fromkeys(whole, "str"), missing_text)
    return [name for name in whole if again[name].str.match(r"\s*[+-]?0[0-9]", na=False).any()]


def _any_leading_zero(array: Any, delimiter: int) -> bool:
    """Whether any cell begins with a zero and another digit; in pieces that fit the processor's cache."""
    for start in range(0, len(array), 1 << 18):
        piece = array[start : start + (1 << 18) + 2]
        zero = np.flatnonzero(piece[1:-1] == 48)
        before, after = piece[zero], piece[zero + 2]
        begins = (before == delimiter) | (before == 10) | (before == 34) | (before == 32)
        if (begins & (after >= 48) & (after <= 57)).any():
            return True
    return False
