"""The rows reduced once to one small summary per group (sufficient statistics); the rows are not read again.

Within a group with random-effect columns A (n_i x a) every column w of W = [X y] is split into its least-squares fit
on A and the rest, ``w = A b + e``. What the likelihood needs is then A'A, the coefficients b, and the total E'E. The
split keeps full precision where the residual variance is tiny, and makes groups with one row no special case.

Arrays are structures of arrays: the group is the last axis, (a, a, m) and (a, k, m), so that a formula for one group
reads as a formula for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.engine.small import segment_sum
from alliance_stats.tables.arrays import FloatArray, IntArray

_NEGLIGIBLE = 1e-24
"""Share of a column's square below which nothing of it is left beside the columns before it, within a group."""


@dataclass(frozen=True)
class Basis:
    """The random-effect columns of each group, orthogonalised: ``A = O R`` with O'O = diag(pivots)."""

    rows: list[FloatArray]  # O, a column each
    upper: FloatArray  # (a, a, m): R, unit upper triangular
    pivots: FloatArray  # (a, m): zero where a column is a combination of the columns before it in that group


@dataclass(frozen=True)
class Products:
    """Cross-products per group with independent residuals of unit variance."""

    basis: Basis
    gram: FloatArray  # (a, a, m): A'A
    det: FloatArray  # (m,): det(A'A), computed without cancellation
    coef: FloatArray  # (a, k, m): B, the least-squares coefficients of W = [X y] on A
    rest: FloatArray  # (k, n): E, what is left of W
    total: FloatArray  # (k, k): E'E over all rows
    columns: FloatArray  # (a, n): A itself, rows weighted
    starts: IntArray
    counts: IntArray
    log_weights: float


def build_products(design: Design, extra: FloatArray | None = None) -> Products:
    """One pass over the rows of a design; `extra` are further columns of A (slots of a crossed factor)."""
    starts, counts = design.grouping.starts, design.grouping.counts
    root = None if design.weights is None else np.sqrt(design.weights)
    columns = design.effects if extra is None else np.concatenate([design.effects, extra])
    columns = columns if root is None else columns * root
    outcomes = [*design.x, design.y]
    basis = _orthogonalise(columns, starts, counts)
    coef, rest = np.empty((len(columns), len(outcomes), len(starts))), np.empty((len(outcomes), design.n))
    for j, column in enumerate(outcomes):
        coef[:, j], rest[j] = _split(column if root is None else column * root, basis, starts, counts)
    gram = np.einsum("bim,bm,bjm->ijm", basis.upper, basis.pivots, basis.upper)
    return Products(
        basis=basis,
        gram=gram,
        det=np.prod(basis.pivots, axis=0),
        coef=coef,
        rest=rest,
        total=rest @ rest.T,
        columns=columns,
        starts=starts,
        counts=counts,
        log_weights=0.0 if design.weights is None else float(np.log(design.weights).sum()),
    )


def with_outcome(products: Products, design: Design) -> Products:
    """The same products for another outcome (``design.y``): one column instead of all."""
    y = design.y if design.weights is None else design.y * np.sqrt(design.weights)
    coef, rest = products.coef.copy(), products.rest.copy()
    coef[:, -1], rest[-1] = _split(y, products.basis, products.starts, products.counts)
    return replace(products, coef=coef, rest=rest, total=rest @ rest.T)


def _orthogonalise(columns: FloatArray, starts: IntArray, counts: IntArray) -> Basis:
    """Modified Gram-Schmidt within every group at once."""
    a, m = len(columns), len(starts)
    upper, pivots = np.zeros((a, a, m)), np.empty((a, m))
    rows: list[FloatArray] = []
    for j, column in enumerate(columns):
        upper[j, j] = 1.0
        for i in range(j):
            upper[i, j] = _ratio(segment_sum(rows[i] * column, starts), pivots[i])
            column = column - np.repeat(upper[i, j], counts) * rows[i]
        left = segment_sum(column * column, starts)
        before = left + sum(upper[i, j] ** 2 * pivots[i] for i in range(j))
        pivots[j] = np.where(left > _NEGLIGIBLE * before, left, 0.0)
        rows.append(column)
    return Basis(rows, upper, pivots)


def _split(column: FloatArray, basis: Basis, starts: IntArray, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Least-squares coefficients of a column on A in every group, and what is left of the column."""
    a, m = basis.pivots.shape
    coef = np.empty((a, m))
    for i in range(a):
        coef[i] = _ratio(segment_sum(basis.rows[i] * column, starts), basis.pivots[i])
        column = column - np.repeat(coef[i], counts) * basis.rows[i]
    for i in range(a - 2, -1, -1):
        for j in range(i + 1, a):
            coef[i] -= basis.upper[i, j] * coef[j]
    return coef, column


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
