"""Neighbouring rows of one group: their cross-products, summed once by group and gap (an *entry*).

Integer gaps give a few entries a group; continuous times give up to one a row, by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from alliance_stats.mixed.engine.products import Products
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import DataError


@dataclass(frozen=True)
class Pairs:
    """Neighbouring rows of one group, their cross-products summed by group and gap.

    The products are those of the upper triangle of A'A, then of A'E: (products,) below.
    """

    gaps: FloatArray  # (g,): the distinct gaps, in units of `unit`
    count: FloatArray  # (g,): pairs of each gap
    gap_of_entry: IntArray  # (entries,): one entry for each group and gap that occurs
    # groups, entry_starts: the groups with entries, and the first entry of each
    groups: IntArray
    entry_starts: IntArray
    # own, lagged: (products, entries); sums of kk' + pp' and kp' + pk' over the pairs (previous p, current k)
    own: FloatArray
    lagged: FloatArray
    # total_own, total_lagged: (g, k, k); the same for E'E, by gap
    total_own: FloatArray
    total_lagged: FloatArray
    unit: float  # What one unit of gap is in the time variable (1 for AR(1))


def build_pairs(products: Products, time: FloatArray, *, continuous: bool) -> Pairs:
    """Sum the neighbours' cross-products by group and gap; rows are sorted by time within groups, no time twice.

    These are the two sums of the tridiagonal inverse written out in :mod:`~alliance_stats.mixed.engine.residual`
    (Pinheiro & Bates 2000, section 5.3, for AR(1)).

    Raises
    ------
    DataError
        If no group has two rows, or AR(1) meets a time that is no whole number.
    """
    step = _steps(products, time, continuous=continuous)
    before = np.flatnonzero(step)
    unit = float(np.quantile(step[before], 0.1, method="lower")) if continuous else 1.0
    code, gaps = pd.factorize(step[before] / unit, sort=True)
    key = (np.searchsorted(products.starts, before, side="right") - 1) * len(gaps) + code
    order = np.argsort(key, kind="stable")
    before, code, key = before[order], code[order], key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    group, gap_of_entry = np.divmod(key[first], len(gaps))
    entry_starts = np.flatnonzero(np.diff(group, prepend=-1))
    previous, current = (
        [column[rows] for column in (*products.columns, *products.rest)] for rows in (before, before + 1)
    )

    def both(i: int, j: int) -> tuple[FloatArray, FloatArray]:
        return current[i] * current[j] + previous[i] * previous[j], current[i] * previous[j] + previous[i] * current[j]

    size, k = len(products.columns), len(products.rest)
    wanted = [(i, j) for i in range(size) for j in range(i, size)]
    wanted += [(i, size + j) for i in range(size) for j in range(k)]
    sums = np.empty((2, len(wanted), len(first)))
    for number, (i, j) in enumerate(wanted):
        for kind, values in enumerate(both(i, j)):
            sums[kind, number] = np.add.reduceat(values, first)
    total = np.empty((2, len(gaps), k, k))
    for i in range(k):
        for j in range(i, k):
            for kind, values in enumerate(both(size + i, size + j)):
                total[kind, :, i, j] = total[kind, :, j, i] = np.bincount(code, values, len(gaps))
    return Pairs(
        gaps=gaps,
        count=np.bincount(code).astype(np.float64),
        gap_of_entry=gap_of_entry,
        groups=group[entry_starts],
        entry_starts=entry_starts,
        own=sums[0],
        lagged=sums[1],
        total_own=total[0],
        total_lagged=total[1],
        unit=unit,
    )


def _steps(products: Products, time: FloatArray, *, continuous: bool) -> FloatArray:
    """The gaps between neighbouring rows; zero where they are of two groups."""
    step = np.diff(time)
    step[products.starts[1:] - 1] = 0.0
    if len(time) == len(products.starts):
        raise DataError(
            "No group has two rows, so a serial correlation cannot be estimated.", remedy="Fit without correlation=."
        )
    if not continuous and not (_whole(step) and _whole(time[products.starts])):
        raise DataError(
            "correlation='ar1' needs whole numbers as time.",
            value=time[np.floor(time) != time][0],
            remedy="Use session numbers, or correlation='car1' for continuous time.",
        )
    return step


def _whole(values: FloatArray) -> bool:
    return bool((np.floor(values) == values).all())
