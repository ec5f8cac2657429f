"""Grouping factors: which rows belong to which patient and therapist, nested or crossed, and the order of rows used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Runs:
    """A factor as runs of equal neighbours: cheap where the rows stand together, as they do in a study's file.

    Attributes
    ----------
    starts : (runs,) int array
        The first row of each run.
    codes : (runs,) int array
        The level of each run, numbered by first appearance.
    labels : (levels,) array
        The label of each level.
    """

    starts: IntArray
    codes: IntArray
    labels: Any

    @property
    def contiguous(self) -> bool:
        """Every level stands together."""
        return len(self.starts) == len(self.labels)


@dataclass(frozen=True)
class Grouping:
    """The rows' two grouping factors, rows sorted so that the inner factor's levels stand together.

    The *inner* factor (patients) is eliminated first, level by level. The *outer* one (therapists) either nests the
    inner levels, or is crossed with them (patients who change therapist).

    Attributes
    ----------
    order : (n,) int array or None
        The rows in the order used; None where they stood in it already.
    starts, counts : (m,) int arrays
        First row and number of rows of each inner level.
    labels : (m,) array
        The inner levels.
    outer_starts : (J,) int array or None
        Nested: the first inner level of each outer level.
    outer_of_row : (n,) int array or None
        Crossed: the outer level of each row.
    outer_labels : (J,) array or None
    """

    order: IntArray | None
    starts: IntArray
    counts: IntArray
    labels: Any
    outer_starts: IntArray | None = None
    outer_of_row: IntArray | None = None
    outer_labels: Any = None

    @property
    def n_inner(self) -> int:
        """Number of inner levels."""
        return len(self.starts)

    @property
    def n_outer(self) -> int:
        """Number of outer levels; 0 without an outer factor."""
        return 0 if self.outer_labels is None else len(self.outer_labels)

    @property
    def crossed(self) -> bool:
        """Some inner level meets several outer levels."""
        return self.outer_of_row is not None

    def inner_of_row(self) -> IntArray:
        """The inner level of each row, in the order used."""
        return np.repeat(np.arange(self.n_inner), self.counts)

    def outer_of_inner(self) -> IntArray:
        """Nested: the outer level of each inner level."""
        assert self.outer_starts is not None
        return np.repeat(np.arange(self.n_outer), np.diff(self.outer_starts, append=self.n_inner))


def factor_runs(data: pd.DataFrame, names: tuple[str, ...]) -> Runs:
    """The factor made of the combination of the columns `names` (which have no missing values)."""
    n = len(data)
    runs = [_column_runs(data[name]) for name in names]
    if len(runs) == 1:
        return runs[0]
    starts = _union(*(run.starts for run in runs))
    codes = np.zeros(len(starts), dtype=np.int64)
    for run in runs:
        codes = codes * len(run.labels) + codes_at(run, starts)
    numbers = pd.factorize(codes)[0]
    first = np.flatnonzero(~pd.Index(numbers).duplicated())
    parts = [pd.Series(run.labels[codes_at(run, starts[first])]).astype(str) for run in runs]
    labels = parts[0]
    for part in parts[1:]:
        labels = labels + ":" + part
    keep = np.flatnonzero(np.diff(numbers, prepend=-1))
    return Runs(starts[keep], numbers[keep], labels.to_numpy(dtype=object)) if n else runs[0]


def _column_runs(column: pd.Series) -> Runs:
    values = column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else column
    array: Any = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array
    change = np.flatnonzero(np.asarray(array[1:] != array[:-1], dtype=bool)) + 1
    starts = np.concatenate([[0], change]).astype(np.int64)
    heads: Any = array[starts] if isinstance(column.dtype, np.dtype) else column.iloc[starts]
    codes, levels = pd.factorize(heads)
    return Runs(starts, codes.astype(np.int64), np.asarray(levels))


def codes_at(runs: Runs, rows: IntArray) -> IntArray:
    """The level at each of `rows`."""
    if len(rows) == len(runs.starts) and np.array_equal(rows, runs.starts):
        return runs.codes
    return runs.codes[np.searchsorted(runs.starts, rows, side="right") - 1]


def codes_of_rows(runs: Runs, n: int) -> IntArray:
    """The level of every row."""
    return np.repeat(runs.codes, np.diff(runs.starts, append=n))


def is_nested(inner: Runs, outer: Runs) -> bool:
    """Every level of `inner` meets one level of `outer`."""
    starts = _union(inner.starts, outer.starts)
    inner_codes, outer_codes = codes_at(inner, starts), codes_at(outer, starts)
    outer_of_level = np.empty(len(inner.labels), dtype=np.int64)
    outer_of_level[inner_codes] = outer_codes
    return bool(np.array_equal(outer_of_level[inner_codes], outer_codes))


def _union(*starts: IntArray) -> IntArray:
    """The sorted union of sorted row numbers."""
    marks = np.zeros(max(int(rows[-1]) for rows in starts) + 1, dtype=bool)
    for rows in starts:
        marks[rows] = True
    return np.flatnonzero(marks)


def group_rows(n: int, inner: Runs, outer: Runs | None, *, time: FloatArray | None = None) -> Grouping:
    """Sort rows by outer level (where it nests), inner level and time, and say where the levels begin.

    Parameters
    ----------
    n : int
        Number of rows.
    inner, outer : Runs
    time : (n,) float array, optional
        Orders the rows within each inner level (serially correlated residuals).
    """
    nested = outer is not None and is_nested(inner, outer)
    together = inner.contiguous and (not nested or outer is None or outer.contiguous)
    if together and time is not None:
        backwards = np.diff(time) < 0
        backwards[inner.starts[1:] - 1] = False
        together = not backwards.any()
    order: IntArray | None = None
    if together:
        starts, labels = inner.starts, inner.labels
        outer_at_start = None if outer is None else codes_at(outer, starts)
    else:
        codes = codes_of_rows(inner, n)
        rank = codes
        if nested and outer is not None:
            outer_of_level = np.empty(len(inner.labels), dtype=np.int64)
            outer_of_level[inner.codes] = codes_at(outer, inner.starts)
            place = np.empty(len(inner.labels), dtype=np.int64)
            place[np.argsort(outer_of_level, kind="stable")] = np.arange(len(inner.labels))
            rank = place[codes]
        order = _stable_order(rank, None if time is None else np.argsort(time, kind="stable"))
        ordered = codes[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        labels = inner.labels[ordered[starts]]
        outer_at_start = None if outer is None else codes_at(outer, order[starts])
    counts = np.diff(starts, append=n)
    if outer is None or outer_at_start is None:
        return Grouping(order, starts, counts, labels)
    if not nested:
        rows = codes_of_rows(outer, n)
        rows = rows if order is None else rows[order]
        return Grouping(order, starts, counts, labels, outer_of_row=rows, outer_labels=outer.labels)
    first = np.flatnonzero(np.diff(outer_at_start, prepend=-1))
    return Grouping(order, starts, counts, labels, outer_starts=first, outer_labels=outer.labels[outer_at_start[first]])


def _stable_order(codes: IntArray, order: IntArray | None) -> IntArray:
    """The order that sorts non-negative codes and keeps ties as they stand in `order`.

    Sixteen bits at a time, because numpy sorts those by counting: a million rows in hundredths of a second.
    """
    order = np.arange(len(codes)) if order is None else order
    largest = int(codes.max())
    for shift in range(0, max(largest.bit_length(), 1), 16):
        part = ((codes >> shift) & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(part[order], kind="stable")]
    return order
