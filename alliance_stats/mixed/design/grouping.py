"""Grouping factors: which rows belong to which patient and therapist, nested or crossed, and the order of rows used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Factor:
    """A grouping factor over rows.

    Attributes
    ----------
    codes : (n,) int array
        The level of each row, numbered by first appearance.
    labels : (levels,) array
        The label of each level.
    """

    codes: IntArray
    labels: Any


@dataclass(frozen=True)
class Grouping:
    """The rows' two grouping factors, rows sorted by inner level.

    The *inner* factor (patients) is eliminated first, level by level. The *outer* one (therapists) either nests the
    inner levels, or is crossed with them (patients who change therapist).

    Attributes
    ----------
    order : (n,) int array or None
        The rows in the order used; None where the data have that order.
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
        if self.outer_starts is None:
            raise ValueError("the outer factor does not nest the inner one")
        return np.repeat(np.arange(self.n_outer), np.diff(self.outer_starts, append=self.n_inner))


def factor_of(data: pd.DataFrame, names: tuple[str, ...]) -> Factor:
    """The factor made of the combination of the columns `names` (which have no missing values)."""
    columns = [_column_factor(data[name]) for name in names]
    if len(columns) == 1:
        return columns[0]
    together = np.zeros(len(data), dtype=np.int64)
    for column in columns:
        together = together * max(len(column.labels), 1) + column.codes
    codes, first = pd.factorize(together)[0], np.flatnonzero(~pd.Index(together).duplicated())
    parts = [column.labels[column.codes[first]] for column in columns]
    return Factor(codes, np.array([":".join(map(str, level)) for level in zip(*parts)], dtype=object))


def _column_factor(column: pd.Series) -> Factor:
    codes, levels = pd.factorize(column)
    return Factor(codes.astype(np.int64), np.asarray(levels))


def is_nested(inner: Factor, outer: Factor) -> bool:
    """Every level of `inner` meets one level of `outer`."""
    outer_of_level = np.empty(len(inner.labels), dtype=np.int64)
    outer_of_level[inner.codes] = outer.codes
    return bool(np.array_equal(outer_of_level[inner.codes], outer.codes))


def group_rows(inner: Factor, outer: Factor | None, *, time: FloatArray | None = None) -> Grouping:
    """Sort rows by outer level (where it nests), inner level and time, and say where the levels begin.

    Parameters
    ----------
    inner, outer : Factor
    time : (n,) float array, optional
        Orders the rows within each inner level (serially correlated residuals).
    """
    n = len(inner.codes)
    nested = outer is not None and is_nested(inner, outer)
    keys = [outer.codes if nested and outer is not None else None, inner.codes, time]
    sorting = np.lexsort([key for key in reversed(keys) if key is not None])
    order: IntArray | None = None if np.array_equal(sorting, np.arange(n)) else sorting

    def sort(codes: IntArray) -> IntArray:
        return codes if order is None else codes[order]

    ordered = sort(inner.codes)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts, labels = np.diff(starts, append=n), inner.labels[ordered[starts]]
    if outer is None:
        return Grouping(order, starts, counts, labels)
    outer_of_row = sort(outer.codes)
    if not nested:
        return Grouping(order, starts, counts, labels, outer_of_row=outer_of_row, outer_labels=outer.labels)
    at_start = outer_of_row[starts]
    first = np.flatnonzero(np.diff(at_start, prepend=-1))
    return Grouping(order, starts, counts, labels, outer_starts=first, outer_labels=outer.labels[at_start[first]])
