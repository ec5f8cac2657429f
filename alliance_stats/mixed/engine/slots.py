"""The outer levels that each group meets, and the extra columns that hold the outer factors' effects over them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.grouping import Grouping
from alliance_stats.mixed.engine.crossed import CrossedSpec
from alliance_stats.tables.arrays import FloatArray, IntArray


def crossed_spec(grouping: Grouping, columns: tuple[tuple[int, ...], ...], a: int) -> CrossedSpec:
    """The cells of a grouping; `columns` are the effect columns of each outer factor."""
    inner = grouping.inner_of_row()
    cells: list[tuple[IntArray, IntArray, IntArray]] = []
    place, level, parts = [], [], []
    extended, effects, levels, rows = a, 0, 0, 0
    for codes, labels, own in zip(grouping.outer_codes, grouping.outer_labels, columns):
        count, q = len(labels), len(own)
        group, at, slot = _slots(inner, codes, count)
        for effect in range(q):
            cells.append((group, extended + slot * q + effect, effects + at * q + effect))
        parts.append(tuple(range(rows, rows + q)))
        place.append(rows + np.tile(np.arange(q), count))
        level.append(levels + np.repeat(np.arange(count), q))
        extended, effects = extended + (int(slot.max()) + 1) * q, effects + count * q
        levels, rows = levels + count, rows + q
    group, column, number = (np.concatenate(parts) for parts in zip(*cells))
    order = np.lexsort((number, group))
    cells_of = (group[order], column[order], number[order])
    return CrossedSpec(a, np.concatenate(place), np.concatenate(level), levels, tuple(parts), *cells_of)


def _slots(inner: IntArray, codes: IntArray, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """The group, level and slot of each group-by-level cell of one factor, sorted by group."""
    group, level = np.divmod(np.sort(pd.unique(inner * count + codes)), count)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return group, level, np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))


def slot_columns(grouping: Grouping, columns: tuple[tuple[int, ...], ...], effects: FloatArray) -> FloatArray:
    """The extra columns, (slots of all factors, n): each outer factor's effects over the rows of each slot."""
    inner = grouping.inner_of_row()
    found = []
    for codes, labels, own in zip(grouping.outer_codes, grouping.outer_labels, columns):
        group, level, slot = _slots(inner, codes, len(labels))
        slot = slot[np.searchsorted(group * len(labels) + level, inner * len(labels) + codes)]
        out = np.zeros(((int(slot.max()) + 1) * len(own), len(slot)))
        for effect, column in enumerate(own):
            out[slot * len(own) + effect, np.arange(len(slot))] = effects[column]
        found.append(out)
    return np.concatenate(found)
