"""Entries of the inverse of a sparse symmetric matrix, at the places where the matrix has one.

The factor is SuperLU's (`scipy.sparse.linalg.splu`), with pivots on the diagonal in an order of minimum degree. The
inverse Z = M^-1, M = L E L', follows from it column by column, the last first (Takahashi, Fagan & Chen 1973; Erisman &
Tinney 1975, Commun ACM 18, 177-179): with r the rows below the diagonal where column j of L has entries,

    Z[r, j] = -Z[r, r] L[r, j],      Z[j, j] = 1 / E[j] - L[r, j]'Z[r, j],

and Z[r, r] is part of what the column of the first of r needed. Small or crowded matrices are inverted whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse.linalg import splu

from alliance_stats.tables.arrays import FloatArray, IntArray

Sparse = Any  # A scipy sparse matrix, or an array where it is tiny
TINY, SMALL = 150, 400  # Rows up to which a matrix is stored whole, and up to which it is inverted whole
CROWDED = 0.3  # Share of the entries of a factor from which the matrix is inverted whole


@dataclass(frozen=True)
class Pattern:
    """The places of a symmetric sparse matrix, row by row; the diagonal is among them."""

    row: IntArray
    column: IntArray
    size: int

    @staticmethod
    def of(row: IntArray, column: IntArray, size: int) -> Pattern:
        """The distinct places among those given, and the diagonal."""
        key = np.unique(np.concatenate([row.astype(np.int64) * size + column, np.arange(size) * (size + 1)]))
        found, other = np.divmod(key, size)
        return Pattern(found, other, size)

    @cached_property
    def _key(self) -> IntArray:
        return self.row * self.size + self.column

    @cached_property
    def _pointers(self) -> IntArray:
        return np.searchsorted(self.row, np.arange(self.size + 1))

    def find(self, row: IntArray, column: IntArray) -> IntArray:
        """The number of each place."""
        return np.searchsorted(self._key, row.astype(np.int64) * self.size + column)

    def matrix(self, values: FloatArray) -> Sparse:
        """The matrix with `values` at the places; an array where it is tiny."""
        if self.size <= TINY:
            out = np.zeros((self.size, self.size))
            out[self.row, self.column] = values
            return out
        return sparse.csr_array((values, self.column, self._pointers), shape=(self.size, self.size))

    def at(self, matrix: Sparse) -> FloatArray:
        """The values of a sparse matrix at the places; it has entries at no others."""
        if isinstance(matrix, np.ndarray):
            return np.asarray(matrix[self.row, self.column])
        matrix = sparse.csr_array(matrix)
        matrix.sort_indices()
        if matrix.nnz == len(self.row):
            return np.asarray(matrix.data, dtype=np.float64)
        rows = np.repeat(np.arange(self.size), np.diff(matrix.indptr))
        out = np.zeros(len(self.row))
        out[self.find(rows, matrix.indices)] = matrix.data
        return out

    @cached_property
    def fronts(self) -> Fronts | None:
        """The order of elimination and the structure of its factor; None where the matrix is inverted whole."""
        return None if self.size <= SMALL else Fronts.of(self)


@dataclass(frozen=True)
class Fronts:
    """The structure of the factor of every matrix with one pattern."""

    order: IntArray  # (size,): the row eliminated first, second, ...
    starts: IntArray  # (size + 1,): where each column of L begins among `below`
    # The rows below the diagonal where a column of L has entries, by column, in the order of elimination
    below: IntArray
    # For every column the places of its rows in the front of the first of them: its parent, then the parent's rows
    inside: list[IntArray]
    # A leaf is a column with one row and no children: its part of the inverse needs its parent's diagonal only
    leaves: IntArray
    children: IntArray  # (size,): how many columns that are no leaves have each one as parent
    # (places,): of every place of the pattern its number among the diagonal (first `size` numbers) and `below`
    entry: IntArray

    @staticmethod
    def of(pattern: Pattern) -> Fronts | None:
        """Factor a matrix of the pattern in which nothing cancels."""
        n = pattern.size
        values = np.where(pattern.row == pattern.column, 0.0, -1.0)
        values[pattern.row == pattern.column] = np.bincount(pattern.row, minlength=n) + 1.0
        factor = _factor(pattern.matrix(values), "MMD_AT_PLUS_A")
        if factor.L.nnz > CROWDED * n * n / 2:
            return None
        order = np.argsort(factor.perm_c)
        lower = sparse.tril(_factor(pattern.matrix(values)[order][:, order], "NATURAL").L, k=-1).tocsc()
        lower.sort_indices()
        starts, below = lower.indptr.astype(np.int64), lower.indices.astype(np.int64)
        deep = starts[1:] > starts[:-1]
        parents = np.bincount(below[starts[:-1][deep]], minlength=n)
        leaves = np.flatnonzero((np.diff(starts) == 1) & (parents == 0))
        children = parents - np.bincount(below[starts[leaves]], minlength=n)
        inside = []
        for j in range(n):
            rows = below[starts[j] : starts[j + 1]]
            if len(rows):
                theirs = below[starts[rows[0]] : starts[rows[0] + 1]]
                inside.append(np.append(0, np.searchsorted(theirs, rows[1:]) + 1) if len(rows) > 1 else 0 * rows)
            else:
                inside.append(rows)
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        one, other = place[pattern.row], place[pattern.column]
        key = np.repeat(np.arange(n), np.diff(starts)) * n + below
        entry = np.searchsorted(key, np.minimum(one, other) * n + np.maximum(one, other)) + n
        return Fronts(order, starts, below, inside, leaves, children, np.where(one == other, one, entry))

    def inverse(self, lower: FloatArray, pivots: FloatArray) -> FloatArray:
        """M^-1 at the diagonal and at `below`, from the entries of L and E."""
        n = len(pivots)
        diagonal, rest = 1 / pivots, np.zeros(len(self.below))
        left = self.children.copy()
        fronts: dict[int, FloatArray] = {}
        for j in np.setdiff1d(np.arange(n), self.leaves)[::-1].tolist():
            first, last = self.starts[j], self.starts[j + 1]
            if first == last:
                if left[j]:
                    fronts[j] = diagonal[j : j + 1].reshape(1, 1)
                continue
            parent, own = int(self.below[first]), self.inside[j]
            known = fronts[parent][np.ix_(own, own)] if len(own) > 1 else fronts[parent][:1, :1]
            left[parent] -= 1
            if not left[parent]:
                del fronts[parent]
            column = lower[first:last]
            moved = -known @ column
            rest[first:last] = moved
            diagonal[j] -= column @ moved
            if left[j]:
                front = np.empty((len(own) + 1, len(own) + 1))
                front[0, 0], front[0, 1:], front[1:, 0], front[1:, 1:] = diagonal[j], moved, moved, known
                fronts[j] = front
        at = self.starts[self.leaves]
        rest[at] = -diagonal[self.below[at]] * lower[at]
        diagonal[self.leaves] -= lower[at] * rest[at]
        return np.concatenate([diagonal, rest])


@dataclass(frozen=True)
class Elimination:
    """M = D + X factored."""

    inverse: Sparse  # M^-1 at the places of the pattern
    log_det: float  # log|M|, absolute
    solve: Callable[[FloatArray], FloatArray]  # M^-1 times columns

    @staticmethod
    def of(pattern: Pattern, values: FloatArray, sign: FloatArray) -> Elimination:
        """Factor D + X, X given at the places of the pattern and D by its diagonal."""
        values = values.copy()
        values[pattern.find(np.arange(pattern.size), np.arange(pattern.size))] += sign
        matrix, fronts = pattern.matrix(values), pattern.fronts
        if fronts is None:
            whole, log_det = _whole_inverse(as_array(matrix), positive=bool((sign > 0).all()))
            inverse = pattern.matrix(whole[pattern.row, pattern.column])
            return Elimination(inverse, log_det, lambda columns: np.asarray(whole @ columns))
        order = fronts.order
        factor = _factor(matrix[order][:, order], "NATURAL")
        pivots = factor.U.diagonal()
        lower = sparse.tril(factor.L, k=-1).tocsc()
        n = pattern.size
        key = np.repeat(np.arange(n), np.diff(lower.indptr)) * n + lower.indices
        structure = np.repeat(np.arange(n), np.diff(fronts.starts)) * n + fronts.below
        entries = np.zeros(len(structure))
        entries[np.searchsorted(structure, key)] = lower.data
        found = fronts.inverse(entries, pivots)

        def solve(columns: FloatArray) -> FloatArray:
            out = np.empty_like(columns)
            out[order] = factor.solve(columns[order])
            return out

        return Elimination(pattern.matrix(found[fronts.entry]), float(np.log(np.abs(pivots)).sum()), solve)


def as_array(matrix: Sparse) -> FloatArray:
    """A matrix of either kind as an array."""
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())


def _factor(matrix: Sparse, order: Literal["NATURAL", "MMD_AT_PLUS_A"]) -> Any:
    """SuperLU's factor with pivots on the diagonal."""
    return splu(matrix.tocsc(), permc_spec=order, diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _whole_inverse(matrix: FloatArray, *, positive: bool) -> tuple[FloatArray, float]:
    if not positive:  # a difference step outside the cone
        return np.asarray(np.linalg.inv(matrix)), float(np.linalg.slogdet(matrix)[1])
    factor, failed = dpotrf(matrix, lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("I + S T is not positive definite")
    log_det = 2 * float(np.log(factor.diagonal()).sum())
    inverse = dpotri(factor, lower=1, overwrite_c=1)[0]
    return np.tril(inverse) + np.tril(inverse, -1).T, log_det
