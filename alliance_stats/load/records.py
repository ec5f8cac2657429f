"""Records of a text file, read one by one where a message must name the line."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np

from alliance_stats.tables.arrays import BoolArray, IntArray
from alliance_stats.tables.schema import DataError

LONGEST_CELL = 100
"""Lines; a cell that holds more is taken for one whose quotation mark was never closed."""


class Records(NamedTuple):
    """The line at which each record begins, how many cells it has, and whether it is blank."""

    lines: IntArray
    n_cells: IntArray
    blank: BoolArray


def first_records(data: bytes, delimiter: str, at_most: int) -> list[tuple[int, list[str]]]:
    """The first records that are not blank, each with the line at which it ends; stops at an unreadable one."""
    head = data[:200_000].decode("utf-8", "ignore")
    found: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                found.append((reader.line_num, record))
            if len(found) == at_most:
                break
    except csv.Error:
        pass
    return found


def all_records(data: bytes, delimiter: str, *, offset: int) -> Records:
    """Every record of a file.

    Raises
    ------
    DataError
        For a quotation mark that is never closed.
    """
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
    lines, n_cells, blank = [], [], []
    start = 1
    usual_limit = csv.field_size_limit(len(data) + 1)
    try:
        for record in reader:
            lines.append(start)
            n_cells.append(max(len(record), 1))
            blank.append(len(record) < 2 and not any(cell.strip() for cell in record))
            if reader.line_num - start > LONGEST_CELL:
                raise csv.Error(f"a cell over more than {LONGEST_CELL} lines")
            start = reader.line_num + 1
    except csv.Error as error:
        raise _never_closed(start + offset) from error
    finally:
        csv.field_size_limit(usual_limit)
    if data.count(b'"') % 2 and reader.line_num - lines[-1] > 0:
        raise _never_closed(lines[-1] + offset)
    return Records(np.array(lines) + offset, np.array(n_cells, dtype=np.int64), np.array(blank, dtype=bool))


def _never_closed(line: int) -> DataError:
    return DataError(
        f"A quotation mark in line {line} is never closed.", remedy="Close, double or remove it.", row=line
    )
