"""Grouping factors: which rows belong to which patient, therapist and clinic, and the order of rows used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Factor:
    """A grouping factor over rows."""

    codes: IntArray  # (n,): the level of each row, numbered by first appearance
    labels: Any  # (levels,): the label of each level


@dataclass(frozen=True)
class Grouping:
    """The rows' grouping factors, rows sorted by inner level.

    The *inner* factor (patients) is eliminated first, level by level. One *outer* factor (therapists) may nest the
    inner levels; outer factors that do not (patients who change therapist), and several of them, have codes by row.
    """

    order: IntArray | None  # (n,) or None: the rows in the order used; None where the data have that order
    # starts, counts: (m,); first row and number of rows of each inner level
    starts: IntArray
    counts: IntArray
    labels: Any  # (m,): the inner levels
    outer_labels: tuple[Any, ...] = ()  # The levels of each outer factor
    outer_codes: tuple[IntArray, ...] = ()  # The level of each row; empty where one outer factor nests the inner one
    # (blocks,) or None: the first inner level of each block of rows that share no level of any factor with others: of
    # each outer level that nests everything else. None where all rows are one block.
    block_starts: IntArray | None = None

    @property
    def n_inner(self) -> int:
        """Number of inner levels."""
        return len(self.starts)

    @property
    def n_outer(self) -> int:
        """Number of outer levels, of all outer factors; 0 without one."""
        return sum(len(labels) for labels in self.outer_labels)

    @property
    def crossed(self) -> bool:
        """No factor nests all others, so that no two parts of the rows are independent."""
        return self.block_starts is None

    def inner_of_row(self) -> IntArray:
        """The inner level of each row, in the order used."""
        return np.repeat(np.arange(self.n_inner), self.counts)

    @cached_property
    def outer_of_row(self) -> IntArray:
        """(outer factors, n): the level of each row, levels of all outer factors numbered through."""
        if self.outer_labels and not self.outer_codes and self.block_starts is not None:
            own = np.repeat(np.arange(self.n_outer), np.diff(self.block_starts, append=self.n_inner))
            return np.asarray(np.repeat(own, self.counts)[None])
        offsets = np.cumsum([0, *(len(labels) for labels in self.outer_labels)])
        rows = [codes + offset for codes, offset in zip(self.outer_codes, offsets)]
        return np.array(rows, dtype=np.int64).reshape(len(rows), int(self.counts.sum()))


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


def group_rows(inner: Factor, outer: Sequence[Factor] = (), *, time: FloatArray | None = None) -> Grouping:
    """Sort rows by the outer level that nests all others (if one does), inner level and `time` (n,), if given."""
    n = len(inner.codes)
    top = next((one for one in outer if all(is_nested(other, one) for other in (inner, *outer))), None)
    keys = [None if top is None else top.codes, inner.codes, time]
    sorting = np.lexsort([key for key in reversed(keys) if key is not None])
    order: IntArray | None = None if np.array_equal(sorting, np.arange(n)) else sorting

    def sort(codes: IntArray) -> IntArray:
        return codes if order is None else codes[order]

    ordered = sort(inner.codes)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts, labels = np.diff(starts, append=n), inner.labels[ordered[starts]]
    if not outer:
        return Grouping(order, starts, counts, labels, block_starts=np.arange(len(starts)))
    blocks = None
    if top is not None:
        at_start = sort(top.codes)[starts]
        blocks = np.flatnonzero(np.diff(at_start, prepend=-1))
        if len(outer) == 1:
            return Grouping(order, starts, counts, labels, (top.labels[at_start[blocks]],), block_starts=blocks)
    codes = tuple(sort(one.codes) for one in outer)
    return Grouping(order, starts, counts, labels, tuple(one.labels for one in outer), codes, blocks)
