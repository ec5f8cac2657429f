"""The rows reduced once to one small summary per group (sufficient statistics); the rows are not read again.

Within a group with random-effect columns A (n_i x a) every column w of W = [X y] is split into its least-squares fit
on A and the rest, ``w = A b + e``. What the likelihood needs is then A'A, the coefficients b, and the total E'E. The
split keeps full precision where the residual variance is tiny, and makes groups with one row no special case.

Arrays are structures of arrays: the group is the last axis, (a, a, m) and (a, k, m), so that a formula for one group
reads as a formula for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.engine.small import group_blocks, segment_sum
from alliance_stats.tables.arrays import FloatArray, IntArray

_NEGLIGIBLE = 1e-24
"""Share of a column's square below which nothing of it is left beside the columns before it, within a group."""


@dataclass(frozen=True)
class Basis:
    """The random-effect columns of each group, orthogonalised: ``A = O R`` with O'O = diag(pivots)."""

    rows: list[FloatArray]  # O, a column each
    upper: FloatArray  # (a, a, m): R, unit upper triangular
    pivots: FloatArray  # (a, m): zero where a column is a combination of the columns before it in that group
    ones: bool  # Whether the first column is one in every row


@dataclass(frozen=True)
class Products:
    """Cross-products per group with independent residuals of unit variance."""

    basis: Basis
    gram: FloatArray  # (a, a, m): A'A
    det: FloatArray  # (m,): det(A'A), computed without cancellation
    # Columns of W = [X y] that are columns of A themselves, and which: nothing is left of them
    same: tuple[tuple[int, int], ...]
    moving: tuple[int, ...]  # The other columns of W
    coef: FloatArray  # (a, moving, m): their least-squares coefficients on A
    rest: FloatArray  # (moving, n): E, what is left of them
    total: FloatArray  # (moving, moving): E'E over all rows
    columns: FloatArray  # (a, n): A itself, rows weighted
    starts: IntArray
    counts: IntArray
    log_weights: float

    @property
    def k(self) -> int:
        """Columns of W."""
        return len(self.same) + len(self.moving)

    @cached_property
    def moving_columns(self) -> slice | list[int]:
        """`moving` as an index, a slice where the columns are neighbours."""
        first, count = self.moving[0], len(self.moving)
        together = self.moving == tuple(range(first, first + count))
        return slice(first, first + count) if together else list(self.moving)

    @cached_property
    def moving_block(self) -> tuple[Any, ...]:
        """`moving` x `moving` as an index."""
        return np.ix_(self.moving, self.moving)


def build_products(design: Design, extra: FloatArray | None = None) -> Products:
    """One pass over the rows of a design; `extra` are further columns of A (slots of a crossed factor)."""
    starts, counts = design.grouping.starts, design.grouping.counts
    root = None if design.weights is None else np.sqrt(design.weights)
    columns = design.effects if extra is None else np.concatenate([design.effects, extra])
    columns = columns if root is None else columns * root
    same = _same_columns(design)
    moving = tuple(j for j in range(design.p + 1) if j not in same)
    ones = root is None and design.effect_names[0] == "Intercept"
    a, m = len(columns), len(starts)
    rows = [column if j == 0 else np.empty(design.n) for j, column in enumerate(columns)]
    basis = Basis(rows, np.empty((a, a, m)), np.empty((a, m)), ones)
    coef, rest = np.empty((a, len(moving), m)), np.empty((len(moving), design.n))
    for groups, span in group_blocks(starts, design.n):
        first, lengths = starts[groups] - span.start, counts[groups]
        part = _orthogonalise(columns[:, span], first, lengths, ones=ones)
        basis.upper[..., groups], basis.pivots[:, groups] = part.upper, part.pivots
        for whole, block in zip(rows[1:], part.rows[1:]):
            whole[span] = block
        for place, j in enumerate(moving):
            column = design.x[j, span] if j < design.p else design.y[span]
            column = column if root is None else column * root[span]
            coef[:, place, groups], rest[place, span] = _split(column, part, first, lengths)
    gram = np.einsum("bim,bm,bjm->ijm", basis.upper, basis.pivots, basis.upper)
    return Products(
        basis=basis,
        gram=gram,
        det=np.prod(basis.pivots, axis=0),
        same=tuple(same.items()),
        moving=moving,
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


def _same_columns(design: Design) -> dict[int, int]:
    """Fixed columns that are random-effect columns too: nothing is left of them within a group."""
    same = {}
    for j, name in enumerate(design.names):
        if name in design.effect_names:
            i = design.effect_names.index(name)
            if design.x_map[j, j] == design.effect_map[i, i] and _shift(design.x_map, j) == _shift(
                design.effect_map, i
            ):
                same[j] = i
    return same


def _shift(back: FloatArray, j: int) -> float:
    return float(back[:, j].sum() - back[j, j])


def _orthogonalise(columns: FloatArray, starts: IntArray, counts: IntArray, *, ones: bool) -> Basis:
    """Modified Gram-Schmidt within every group at once; `ones` says that the first column is constant one."""
    a, m = len(columns), len(starts)
    upper, pivots = np.zeros((a, a, m)), np.empty((a, m))
    rows: list[FloatArray] = []
    for j, column in enumerate(columns):
        upper[j, j] = 1.0
        if j == 0 and ones:
            pivots[0] = counts
            rows.append(column)
            continue
        for i in range(j):
            product = column if i == 0 and ones else rows[i] * column
            upper[i, j] = _ratio(segment_sum(product, starts), pivots[i])
            shift = np.repeat(upper[i, j], counts)
            column = column - (shift if i == 0 and ones else np.multiply(shift, rows[i], out=shift))
        left = segment_sum(column * column, starts)
        before = left + sum(upper[i, j] ** 2 * pivots[i] for i in range(j))
        pivots[j] = np.where(left > _NEGLIGIBLE * before, left, 0.0)
        rows.append(column)
    return Basis(rows, upper, pivots, ones)


def _split(column: FloatArray, basis: Basis, starts: IntArray, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Least-squares coefficients of a column on A in every group, and what is left of the column."""
    a, m = basis.pivots.shape
    coef = np.empty((a, m))
    for i in range(a):
        plain = i == 0 and basis.ones
        coef[i] = _ratio(segment_sum(column if plain else basis.rows[i] * column, starts), basis.pivots[i])
        fitted = np.repeat(coef[i], counts)
        column = column - (fitted if plain else np.multiply(fitted, basis.rows[i], out=fitted))
    for i in range(a - 2, -1, -1):
        for j in range(i + 1, a):
            coef[i] -= basis.upper[i, j] * coef[j]
    return coef, column


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
