"""Where each record of a text file begins and how many cells it has, so that messages can name the line."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from alliance_stats.tables.schema import DataError

IntArray = np.ndarray[Any, np.dtype[np.int64]]


def first_records(data: bytes, delimiter: str, at_most: int) -> list[list[str]]:
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


def record_structure(data: bytes, delimiter: str, *, offset: int) -> tuple[IntArray, IntArray, Any]:
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


def count_bytes(data: bytes, byte: bytes) -> int:
    """How often one byte stands in the data; in pieces that fit the processor's cache."""
    array, piece = np.frombuffer(data, dtype=np.uint8), 1 << 18
    return sum(int(np.count_nonzero(array[at : at + piece] == byte[0])) for at in range(0, len(array), piece))


def any_leading_zero(array: Any, delimiter: int) -> bool:
    """Whether any cell begins with a zero and another digit; in pieces that fit the processor's cache."""
    for start in range(0, len(array), 1 << 18):
        piece = array[start : start + (1 << 18) + 2]
        before, after = piece[:-2], piece[2:]
        begins = (before == delimiter) | (before == 10) | (before == 34) | (before == 32)
        begins &= piece[1:-1] == 48
        if begins.any() and (begins & (after >= 48) & (after <= 57)).any():
            return True
    return False
