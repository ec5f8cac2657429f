"""Series of several measures, sorted into batches that share their observation patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.tables.arrays import FloatArray, IntArray

PATTERNS_PER_BATCH = 1024  # Small enough that the arrays of one step stay in the processor's cache


@dataclass(frozen=True)
class Panel:
    """Series i = 0..N-1 of k measures at times 0..T-1."""

    y: FloatArray  # (N, T, k): NaN where not observed
    shared: FloatArray  # (T, k, p): regressors of the means that every series shares
    own: FloatArray | None = None  # (N, T, k, o): further regressors of the means, each series its own
    # (N, T, l): inputs at time t that act on the state at t + 1; each on every measure, with one coefficient each
    inputs: FloatArray | None = None
    group: IntArray | None = None  # (N,): series of different groups may have different lagged coefficients

    @property
    def k(self) -> int:
        """Measures."""
        return int(self.y.shape[2])

    @property
    def times(self) -> int:
        """Times from the first to the last."""
        return int(self.y.shape[1])

    @property
    def groups(self) -> IntArray:
        """The group of each series."""
        return np.zeros(len(self.y), dtype=np.int64) if self.group is None else self.group

    @property
    def n_groups(self) -> int:
        """Groups, numbered 0, 1, ..."""
        return int(self.groups.max()) + 1

    @property
    def last(self) -> IntArray:
        """The last time at which each series was observed."""
        seen = np.asarray(~np.isnan(self.y).all(axis=2))
        return np.asarray(self.times - 1 - np.argmax(seen[:, ::-1], axis=1))

    @property
    def coefficients(self) -> int:
        """Regression coefficients: of shared regressors, of own ones, and of inputs on each measure."""
        own = 0 if self.own is None else self.own.shape[3]
        inputs = 0 if self.inputs is None else self.inputs.shape[2] * self.k
        return int(self.shared.shape[2] + own + inputs)

    def take(self, rows: IntArray) -> Panel:
        """Some of the series."""
        own, inputs = (None if part is None else part[rows] for part in (self.own, self.inputs))
        return Panel(self.y[rows], self.shared, own, inputs, None if self.group is None else self.group[rows])

    def with_values(self, y: FloatArray) -> Panel:
        """The same panel with other values, observed where these were."""
        return Panel(np.where(np.isnan(self.y), np.nan, y), self.shared, self.own, self.inputs, self.group)


@dataclass(frozen=True)
class Batch:
    """Series of one group, by pattern. The last axis of every array is that of patterns (P) or of series (N)."""

    rows: IntArray  # (N,): which series of the panel
    group: int
    # (T, k, P): 1 where a cell is observed, else 0. What differs between series besides (own regressors, inputs) makes
    # a pattern of its own.
    seen: FloatArray
    pattern: IntArray | None  # (N,) or None where every series has its own
    starts: IntArray  # (P,): where the series of each pattern begin: they lie together
    counts: FloatArray  # (P,): series of each pattern
    y: FloatArray  # (T, k, N): 0 where not observed
    design: FloatArray  # (T, k, p, P) or (T, k, p, 1): regressors of the means
    inputs: FloatArray | None  # (T, l, P)

    def spread(self, values: FloatArray) -> FloatArray:
        """Values of patterns (..., P) as values of series (..., N)."""
        return values if self.pattern is None else values.take(self.pattern, axis=-1)

    def summed(self, values: FloatArray) -> FloatArray:
        """Sums over the series of each pattern, (..., N) -> (..., P)."""
        return values if self.pattern is None else np.add.reduceat(values, self.starts, axis=-1)


def make_batches(panel: Panel) -> list[Batch]:
    """The batches of a panel: by group, long series first, at most `PATTERNS_PER_BATCH` patterns each."""
    seen = ~np.isnan(panel.y)
    n = len(seen)
    last = panel.last
    if panel.own is None and panel.inputs is None:
        packed = np.ascontiguousarray(np.packbits(seen.reshape(n, -1), axis=1))
        pattern = np.unique(packed.view(f"V{packed.shape[1]}")[:, 0], return_inverse=True)[1].reshape(-1)
    else:
        pattern = np.arange(n)
    order = np.lexsort((pattern, -last, panel.groups))
    new = np.r_[True, (np.diff(pattern[order]) != 0) | (np.diff(panel.groups[order]) != 0)]
    batches = []
    for group in range(panel.n_groups):
        inside = np.flatnonzero(panel.groups[order] == group)
        starts = inside[new[inside]]
        for begin in range(0, len(starts), PATTERNS_PER_BATCH):
            end = begin + PATTERNS_PER_BATCH
            stop = starts[end] if end < len(starts) else inside[-1] + 1
            batches.append(_batch(panel, seen, order[starts[begin] : stop], starts[begin:end] - starts[begin], group))
    return batches


def _batch(panel: Panel, seen: Any, rows: IntArray, starts: IntArray, group: int) -> Batch:
    there = np.flatnonzero(seen[rows].any(axis=(0, 2)))
    steps = int(there[-1]) + 1  # all series of a batch are run to the end of its longest
    first = rows[starts]
    alone = len(starts) == len(rows)
    counts = np.diff(np.append(starts, len(rows)))
    design = panel.shared[:steps, ..., None]
    inputs = None
    if panel.own is not None:
        own = np.moveaxis(panel.own[first, :steps], 0, -1)
        design = np.concatenate([np.broadcast_to(design, (*design.shape[:3], len(first))), own], axis=2)
    if panel.inputs is not None:
        inputs = np.ascontiguousarray(np.moveaxis(panel.inputs[first, :steps], 0, -1))
        wide = panel.k * inputs.shape[1]
        nothing = np.zeros((steps, panel.k, wide, design.shape[3]))
        design = np.concatenate([design, nothing], axis=2)
    return Batch(
        rows=rows,
        group=group,
        seen=np.ascontiguousarray(np.moveaxis(seen[first, :steps], 0, -1).astype(np.float64)),
        pattern=None if alone else np.repeat(np.arange(len(starts)), counts),
        starts=starts,
        counts=counts.astype(np.float64),
        y=np.ascontiguousarray(np.moveaxis(np.nan_to_num(panel.y[rows, :steps]), 0, -1)),
        design=np.ascontiguousarray(design),
        inputs=inputs,
    )
