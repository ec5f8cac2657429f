"""The residual's structure: independent, AR(1) over integer times, CAR(1) over continuous ones, unequal variances.

With correlation rho^gap between neighbours of one group the inverse correlation matrix is tridiagonal. A pair of
neighbouring rows (previous p, current k) a time g apart, with s = rho^g, adds to the identity

    s^2/(1 - s^2) (kk' + pp')  -  s/(1 - s^2) (kp' + pk')

so cross-products are summed once per group and gap (an *entry*); a new rho then costs O(entries), not O(rows). Integer
gaps give few entries per group; continuous times give up to one per row, by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.mixed.products import Products
from alliance_stats.mixed.small import determinant, segment_sum
from alliance_stats.schema import DataError

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Whitened:
    """What the likelihood needs from the residual's structure R at given parameters.

    Attributes
    ----------
    gram : (a, a, m)
        A'R^-1 A.
    det : (m,)
        Its determinant.
    cross : (a, k, m) or None
        A'R^-1 E; None where it is zero (independent residuals).
    total : (k, k)
        E'R^-1 E.
    log_det : float
        log|R|.
    """

    gram: FloatArray
    det: FloatArray
    cross: FloatArray | None
    total: FloatArray
    log_det: float


@dataclass(frozen=True)
class Change:
    """The derivative of a :class:`Whitened` with respect to one residual parameter (None: zero)."""

    gram: FloatArray
    cross: FloatArray | None
    total: FloatArray
    log_det: float
    information: float


@dataclass(frozen=True)
class Pairs:
    """Neighbouring rows of one group, their cross-products summed by group and gap.

    Attributes
    ----------
    gaps : (g,) array
        The distinct gaps, in units of `unit`.
    count : (g,) array
        Pairs of each gap.
    gap_of_entry : (entries,) int array
    groups : (groups with pairs,) int array
    entry_starts : int array
        The first entry of each of `groups`.
    own, lagged : (products, entries) arrays
        Sums of kk' + pp' and kp' + pk' for the upper triangle of A'A, then A'E.
    total_own, total_lagged : (g, moving, moving) arrays
        The same for E'E, by gap.
    unit : float
        What one unit of gap is in the time variable (1 for AR(1)).
    """

    gaps: FloatArray
    count: FloatArray
    gap_of_entry: IntArray
    groups: IntArray
    entry_starts: IntArray
    own: FloatArray
    lagged: FloatArray
    total_own: FloatArray
    total_lagged: FloatArray
    unit: float


def build_pairs(products: Products, time: FloatArray, *, continuous: bool) -> Pairs:
    """Sum the neighbours' cross-products by group and gap; rows are sorted by time within groups.

    Raises
    ------
    DataError
        If two rows of one group have the same time, or AR(1) meets a time that is no whole number.
    """
    first = np.zeros(len(time), dtype=bool)
    first[products.starts] = True
    current = np.flatnonzero(~first)
    if not len(current):
        raise DataError(
            "No group has two rows, so a serial correlation cannot be estimated.", remedy="Fit without correlation=."
        )
    if not continuous and not np.array_equal(np.floor(time), time):
        raise DataError(
            "correlation='ar1' needs whole numbers as time.",
            value=time[np.floor(time) != time][0],
            remedy="Use session numbers, or correlation='car1' for continuous time.",
        )
    gap = time[current] - time[current - 1]
    if (gap <= 0).any():
        raise DataError(
            "Two rows of one group have the same time, so their serial correlation is not defined.",
            value=time[current][gap <= 0][0],
            remedy="Keep one row per time, or fit without correlation=.",
        )
    unit = float(np.quantile(gap, 0.1, method="lower")) if continuous else 1.0
    group = np.repeat(np.arange(len(products.starts)), products.counts)[current]
    if not continuous and gap.max() == 1:
        gaps, gap_code = np.ones(1), np.zeros(len(gap), dtype=np.int64)
    else:
        gaps, gap_code = np.unique(gap / unit, return_inverse=True)
    merge = _Merge(group, gap_code, len(gaps))
    own: list[FloatArray] = []
    lagged: list[FloatArray] = []
    columns, rest = products.columns, products.rest
    a = len(columns)
    for i in range(a):
        for j in range(i, a):
            _add_products(own, lagged, columns[i], columns[j], current, merge)
    for i in range(a):
        for row in rest:
            _add_products(own, lagged, columns[i], row, current, merge)
    moving = len(rest)
    total_own, total_lagged = (np.zeros((len(gaps), moving, moving)) for _ in range(2))
    for i in range(moving):
        for j in range(i, moving):
            both = _neighbours(rest[i], rest[j], current)
            for target, values in zip((total_own, total_lagged), both):
                target[:, i, j] = target[:, j, i] = np.bincount(gap_code, weights=values, minlength=len(gaps))
    entry_starts = np.flatnonzero(np.diff(merge.group, prepend=-1))
    return Pairs(
        gaps=gaps,
        count=np.bincount(gap_code, minlength=len(gaps)).astype(np.float64),
        gap_of_entry=merge.gap,
        groups=merge.group[entry_starts],
        entry_starts=entry_starts,
        own=np.array(own),
        lagged=np.array(lagged),
        total_own=total_own,
        total_lagged=total_lagged,
        unit=unit,
    )


class _Merge:
    """Sums over pairs that share group and gap: first over runs of neighbours, then over a group's equal gaps."""

    def __init__(self, group: IntArray, gap: IntArray, n_gaps: int) -> None:
        key = group * n_gaps + gap
        self.runs = np.flatnonzero(np.diff(key, prepend=-1))
        run_key = key[self.runs]
        self.order = None if (np.diff(run_key) > 0).all() else np.argsort(run_key, kind="stable")
        ordered = run_key if self.order is None else run_key[self.order]
        self.again = np.flatnonzero(np.diff(ordered, prepend=-1))
        self.group, self.gap = np.divmod(ordered[self.again], n_gaps)

    def __call__(self, values: FloatArray) -> FloatArray:
        sums = segment_sum(values, self.runs)
        return sums if self.order is None else segment_sum(sums[self.order], self.again)


def _neighbours(left: FloatArray, right: FloatArray, current: IntArray) -> tuple[FloatArray, FloatArray]:
    """Kk' + pp' and kp' + pk' of two columns over the pairs."""
    square = left * right
    own = square[current] + square[current - 1]
    if left is right:
        lagged = 2 * (left[1:] * left[:-1])[current - 1]
    else:
        lagged = (left[1:] * right[:-1] + left[:-1] * right[1:])[current - 1]
    return own, lagged


def _add_products(
    own: list[FloatArray],
    lagged: list[FloatArray],
    left: FloatArray,
    right: FloatArray,
    current: IntArray,
    merge: _Merge,
) -> None:
    pair = _neighbours(left, right, current)
    own.append(merge(pair[0]))
    lagged.append(merge(pair[1]))


def whiten(products: Products, pairs: Pairs | None, rho: float) -> Whitened:
    """The cross-products under R at serial correlation `rho` (per unit of gap); independent without pairs."""
    if pairs is None:
        return Whitened(products.gram, products.det, None, products.total, -products.log_weights)
    s, _ = _powers(pairs.gaps, rho)
    left = (1 - s) * (1 + s)
    own, lagged = s * s / left, s / left
    gram, cross, total = _combine(products, pairs, own, lagged)
    gram += products.gram
    log_det = float(pairs.count @ np.log(left)) - products.log_weights
    return Whitened(gram, determinant(gram), cross, total + products.total, log_det)


def whitened_change(products: Products, pairs: Pairs, rho: float) -> Change:
    """The derivative with respect to `rho`."""
    s, slope = _powers(pairs.gaps, rho)
    left = (1 - s) * (1 + s)
    own, lagged = 2 * s / left**2 * slope, (1 + s * s) / left**2 * slope
    gram, cross, total = _combine(products, pairs, own, lagged)
    log_det = float(pairs.count @ (-2 * s / left * slope))
    information = float(pairs.count @ ((1 + s * s) / left**2 * slope**2))
    return Change(gram, cross, total, log_det, information)


def _powers(gaps: FloatArray, rho: float) -> tuple[FloatArray, FloatArray]:
    """rho^gap and its derivative."""
    if len(gaps) == 1 and gaps[0] == 1:
        return np.array([rho]), np.ones(1)
    if rho == 0:
        return np.zeros(len(gaps)), (gaps == 1).astype(np.float64)
    s = np.power(rho, gaps)
    return s, gaps * s / rho


def _combine(
    products: Products, pairs: Pairs, own: FloatArray, lagged: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sum own * (kk' + pp') - lagged * (kp' + pk') by group: A'.A, A'.E and E'.E."""
    a, k, m = products.coef.shape
    moving = list(products.moving)
    sums = pairs.own * own[pairs.gap_of_entry]
    sums -= pairs.lagged * lagged[pairs.gap_of_entry]
    if len(pairs.entry_starts) < sums.shape[1]:
        sums = segment_sum(sums, pairs.entry_starts)
    everywhere = len(pairs.groups) == m
    gram, cross = np.zeros((a, a, m)), np.zeros((a, k, m))
    row = 0
    where: Any = slice(None) if everywhere else pairs.groups
    for i in range(a):
        for j in range(i, a):
            gram[i, j, where] = sums[row]
            if j > i:
                gram[j, i] = gram[i, j]
            row += 1
    for i in range(a):
        for j in moving:
            cross[i, j, where] = sums[row]
            row += 1
    total = np.zeros((k, k))
    total[np.ix_(moving, moving)] = np.tensordot(own, pairs.total_own, 1) - np.tensordot(lagged, pairs.total_lagged, 1)
    return gram, cross, total
