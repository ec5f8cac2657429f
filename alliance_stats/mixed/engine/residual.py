"""The residual's structure: independent, AR(1) over integer times, CAR(1) over continuous ones, unequal variances.

With correlation rho^gap between neighbours of one group the inverse correlation matrix is tridiagonal. A pair of
neighbouring rows (previous p, current k) a time g apart, with s = rho^g, adds to the identity

    s^2/(1 - s^2) (kk' + pp')  -  s/(1 - s^2) (kp' + pk')

so cross-products are summed once per group and gap (an *entry*); a new rho then costs O(entries), not O(rows). Integer
gaps give few entries per group; continuous times give up to one per row, by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alliance_stats.mixed.engine.pairs import Pairs
from alliance_stats.mixed.engine.products import Products
from alliance_stats.mixed.engine.small import determinant, segment_sum, triangle_places
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class Whitened:
    """What the likelihood needs from the residual's structure R at given parameters."""

    gram: FloatArray  # (a, a, m): A'R^-1 A
    det: FloatArray  # (m,): its determinant
    cross: FloatArray | None  # (a, moving, m) or None: A'R^-1 E; None where it is zero (independent residuals)
    total: FloatArray  # (moving, moving): E'R^-1 E
    log_det: float  # log|R|


@dataclass(frozen=True)
class Change:
    """The derivative of a :class:`Whitened` with respect to one residual parameter (None: zero)."""

    gram: FloatArray
    cross: FloatArray | None
    total: FloatArray
    log_det: float
    information: float


def whiten(products: Products, pairs: Pairs | None, rho: float) -> tuple[Whitened, Change | None]:
    """The cross-products under R at serial correlation `rho` (per unit of gap), and their derivative by it."""
    if pairs is None:
        return Whitened(products.gram, products.det, None, products.total, -products.log_weights), None
    s, slope = _powers(pairs.gaps, rho)
    left = (1 - s) * (1 + s)
    own = np.array([s * s / left, 2 * s / left**2 * slope])  # the weights of the module's formula, and their slopes
    lagged = np.array([s / left, (1 + s * s) / left**2 * slope])
    (gram, gram_change), (cross, cross_change), (total, total_change) = _combine(products, pairs, own, lagged)
    gram += products.gram
    log_det = float(pairs.count @ np.log(left)) - products.log_weights
    white = Whitened(gram, determinant(gram), cross, total + products.total, log_det)
    log_det_change = float(pairs.count @ (-2 * s / left * slope))
    information = float(pairs.count @ ((1 + s * s) / left**2 * slope**2))
    return white, Change(gram_change, cross_change, total_change, log_det_change, information)


def _powers(gaps: FloatArray, rho: float) -> tuple[FloatArray, FloatArray]:
    """rho^gap and its derivative."""
    if rho == 0:
        return np.zeros(len(gaps)), (gaps == 1).astype(np.float64)
    s = np.power(rho, gaps)
    return s, gaps * s / rho


def _combine(
    products: Products, pairs: Pairs, own: FloatArray, lagged: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sum own * (kk' + pp') - lagged * (kp' + pk') by group, for each row of weights: A'.A, A'.E and E'.E."""
    a, moving, m = products.coef.shape
    several, triangle = len(own), a * (a + 1) // 2
    sums = np.concatenate([own[:, pairs.common], -lagged[:, pairs.common]], axis=1) @ pairs.dense
    sums = sums.reshape(several, len(pairs.own), m)
    if len(pairs.gap_of_entry):
        for out, mine, other in zip(sums, own, lagged):
            rare = pairs.own * mine[pairs.gap_of_entry] - pairs.lagged * other[pairs.gap_of_entry]
            if len(pairs.entry_starts) < rare.shape[1]:
                rare = segment_sum(rare, pairs.entry_starts)
            out[:, pairs.groups] += rare
    gram = sums[:, triangle_places(a)]
    cross = sums[:, triangle:].reshape(several, a, moving, m)
    totals = np.tensordot(own, pairs.total_own, 1) - np.tensordot(lagged, pairs.total_lagged, 1)
    return gram, cross, totals
