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

    The products are those of the upper triangle of A'A, then of A'E: (products,) below.

    Attributes
    ----------
    gaps : (g,) array
        The distinct gaps, in units of `unit`.
    count : (g,) array
        Pairs of each gap.
    common : (c,) int array
        The gaps most groups have; their sums are held for every group.
    dense : (2 c, products * m) array
        Sums of kk' + pp', then of kp' + pk', for the common gaps.
    gap_of_entry : (entries,) int array
        The other gaps, one entry per group and gap.
    groups, entry_starts : int arrays
        The groups with entries, and the first entry of each.
    own, lagged : (products, entries) arrays
        Sums of kk' + pp' and kp' + pk'.
    total_own, total_lagged : (g, moving, moving) arrays
        The same for E'E, by gap.
    unit : float
        What one unit of gap is in the time variable (1 for AR(1)).
    """

    gaps: FloatArray
    count: FloatArray
    common: IntArray
    dense: FloatArray
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
    inside = np.ones(len(time), dtype=bool)
    inside[products.starts] = False
    inside = inside[1:]  # of the n - 1 pairs of neighbouring rows, those within one group
    step = np.diff(time)
    _check_times(time, step, inside, continuous=continuous)
    unit = float(np.quantile(step[inside], 0.1, method="lower")) if continuous else 1.0
    gaps, gap_code = _codes(step, inside, unit)
    group = np.repeat(np.arange(len(products.starts)), products.counts)[1:]
    merge = _Merge(np.where(inside, group * len(gaps) + gap_code, -1), len(gaps))
    columns, rest = products.columns, products.rest
    a, moving = len(columns), len(rest)
    sums = [merge.pair(columns[i], columns[j]) for i in range(a) for j in range(i, a)]
    sums += [merge.pair(columns[i], row) for i in range(a) for row in rest]
    total = np.zeros((2, len(gaps), moving, moving))
    for i in range(moving):
        for j in range(i, moving):
            for kind, values in enumerate(merge.pair(rest[i], rest[j])):
                by_gap = np.bincount(merge.gap, weights=values, minlength=len(gaps))
                total[kind, :, i, j] = total[kind, :, j, i] = by_gap
    own, lagged = np.array([pair[0] for pair in sums]), np.array([pair[1] for pair in sums])
    common, dense, left = _common_gaps(own, lagged, merge, len(gaps), len(products.starts))
    entry_starts = np.flatnonzero(np.diff(merge.group[left], prepend=-1))
    return Pairs(
        gaps=gaps,
        count=np.bincount(gap_code[inside], minlength=len(gaps)).astype(np.float64),
        common=common,
        dense=dense,
        gap_of_entry=merge.gap[left],
        groups=merge.group[left][entry_starts],
        entry_starts=entry_starts,
        own=own[:, left],
        lagged=lagged[:, left],
        total_own=total[0],
        total_lagged=total[1],
        unit=unit,
    )


def _check_times(time: FloatArray, step: FloatArray, inside: Any, *, continuous: bool) -> None:
    if not inside.any():
        raise DataError(
            "No group has two rows, so a serial correlation cannot be estimated.", remedy="Fit without correlation=."
        )
    if not continuous and not np.array_equal(np.floor(time), time):
        raise DataError(
            "correlation='ar1' needs whole numbers as time.",
            value=time[np.floor(time) != time][0],
            remedy="Use session numbers, or correlation='car1' for continuous time.",
        )
    twice = inside & (step <= 0)
    if twice.any():
        raise DataError(
            "Two rows of one group have the same time, so their serial correlation is not defined.",
            value=time[1:][twice][0],
            remedy="Keep one row per time, or fit without correlation=.",
        )


def _codes(step: FloatArray, inside: Any, unit: float) -> tuple[FloatArray, IntArray]:
    """The distinct gaps, and the number of each pair's gap among them (0 where the pair is of two groups)."""
    gap = np.where(inside, step / unit, 0.0)
    largest = gap.max()
    if largest <= 10_000 and unit == 1:
        whole = gap.astype(np.int64)
        present = np.bincount(whole[inside], minlength=int(largest) + 1) > 0
        return np.flatnonzero(present).astype(np.float64), (np.cumsum(present) - 1).clip(0)[whole]
    gaps, code = np.unique(gap[inside], return_inverse=True)
    out = np.zeros(len(gap), dtype=np.int64)
    out[inside] = code
    return gaps, out


class _Merge:
    """Sums over pairs that share group and gap: first over runs of neighbours, then over a group's equal gaps."""

    def __init__(self, key: IntArray, n_gaps: int) -> None:
        self.runs = np.flatnonzero(np.diff(key, prepend=-2))
        run_key = key[self.runs]
        self.kept = np.flatnonzero(run_key >= 0)
        run_key = run_key[self.kept]
        if not (np.diff(run_key) > 0).all():
            order = np.argsort(run_key, kind="stable")
            self.kept, run_key = self.kept[order], run_key[order]
        self.again = np.flatnonzero(np.diff(run_key, prepend=-1))
        self.group, self.gap = np.divmod(run_key[self.again], n_gaps)

    def pair(self, left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The sums of kk' + pp' and of kp' + pk' of two columns."""
        square = left * right
        own = square[1:] + square[:-1]
        lagged = left[1:] * right[:-1]
        lagged += lagged if left is right else left[:-1] * right[1:]
        return self._sum(own), self._sum(lagged)

    def _sum(self, values: FloatArray) -> FloatArray:
        sums = segment_sum(values, self.runs)[self.kept]
        return sums if len(self.again) == len(sums) else segment_sum(sums, self.again)


def _common_gaps(
    own: FloatArray, lagged: FloatArray, merge: _Merge, n_gaps: int, m: int
) -> tuple[IntArray, FloatArray, Any]:
    """Spread the entries of gaps that a quarter of the groups have over all groups; which entries are left.

    A new rho then costs one product of a matrix with a vector for them.
    """
    common = np.flatnonzero(4 * np.bincount(merge.gap, minlength=n_gaps) >= m)
    dense = np.zeros((2, len(common), len(own), m))
    left = np.ones(len(merge.gap), dtype=bool)
    for place, gap in enumerate(common):
        chosen = np.flatnonzero(merge.gap == gap)
        left[chosen] = False
        dense[0, place][:, merge.group[chosen]] = own[:, chosen]
        dense[1, place][:, merge.group[chosen]] = lagged[:, chosen]
    return common, dense.reshape(2 * len(common), len(own) * m), left


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
    weight = np.concatenate([own[pairs.common], -lagged[pairs.common]])
    sums = (weight @ pairs.dense).reshape(len(pairs.own), m)
    if len(pairs.gap_of_entry):
        rare = pairs.own * own[pairs.gap_of_entry] - pairs.lagged * lagged[pairs.gap_of_entry]
        if len(pairs.entry_starts) < rare.shape[1]:
            rare = segment_sum(rare, pairs.entry_starts)
        sums[:, pairs.groups] += rare
    gram, cross = np.zeros((a, a, m)), np.zeros((a, k, m))
    row = 0
    for i in range(a):
        for j in range(i, a):
            gram[i, j] = sums[row]
            if j > i:
                gram[j, i] = gram[i, j]
            row += 1
    for i in range(a):
        for j in moving:
            cross[i, j] = sums[row]
            row += 1
    total = np.zeros((k, k))
    total[np.ix_(moving, moving)] = np.tensordot(own, pairs.total_own, 1) - np.tensordot(lagged, pairs.total_lagged, 1)
    return gram, cross, total
