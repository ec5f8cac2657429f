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

from alliance_stats.mixed.pairs import Pairs
from alliance_stats.mixed.products import Products
from alliance_stats.mixed.small import determinant, segment_sum

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


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
