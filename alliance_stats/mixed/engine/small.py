"""Small matrices of many groups at once: structures of arrays, the group on the last axis."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from alliance_stats.tables.arrays import FloatArray, IntArray


def segment_sum(values: FloatArray, starts: IntArray) -> FloatArray:
    """Sums over the consecutive segments that begin at `starts`, along the last axis."""
    return np.asarray(np.add.reduceat(values, starts, axis=-1))


def group_blocks(starts: IntArray, n: int, *, rows: int = 32_768) -> Iterator[tuple[slice, slice]]:
    """Consecutive blocks of whole groups of about `rows` rows, to keep intermediate arrays small: groups and rows."""
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(starts, starts[first] + rows)) if n - starts[first] > rows else len(starts)
        last = max(last, first + 1)
        yield slice(first, last), slice(int(starts[first]), int(starts[last]) if last < len(starts) else n)
        first = last


def times(left: FloatArray, right: FloatArray) -> FloatArray:
    """The matrix product of every group: (a, b, m) by (b, c, m)."""
    return np.asarray(np.einsum("abm,bcm->acm", left, right))


def paired(left: FloatArray, right: FloatArray) -> FloatArray:
    """The sum over groups of left' right: (a, b, m) and (a, c, m) give (b, c)."""
    return np.asarray(sum(left[i] @ right[i].T for i in range(len(left))))


def apply(matrix: FloatArray, values: FloatArray) -> FloatArray:
    """One (b, a) matrix times the (a, ...) values of every group."""
    if len(matrix) == 1 and matrix.shape[1] == 1:
        return np.asarray(values * matrix[0, 0])
    return np.asarray((matrix @ values.reshape(len(values), -1)).reshape(len(matrix), *values.shape[1:]))


def sandwich(matrix: FloatArray, gram: FloatArray) -> FloatArray:
    """M g M of every group, for one symmetric (a, a) matrix M and symmetric (a, a, m) matrices g."""
    if len(matrix) == 1:
        return np.asarray(gram * matrix[0, 0] ** 2)
    half = apply(matrix, gram)
    return np.asarray(apply(matrix, half.transpose(1, 0, 2)))


@lru_cache(maxsize=64)
def _triangle(a: int) -> tuple[Any, Any, Any]:
    """Rows and columns of the upper triangle, and the place of each (i, j) in it."""
    rows, columns = np.triu_indices(a)
    where = np.empty((a, a), dtype=np.int64)
    where[rows, columns] = where[columns, rows] = np.arange(len(rows))
    return rows, columns, where


def triangle_places(a: int) -> IntArray:
    """The place of each (i, j) of a symmetric matrix in its upper triangle, row by row."""
    return np.asarray(_triangle(a)[2])


def determinant(gram: FloatArray) -> FloatArray:
    """The determinants of positive semi-definite matrices where the closed forms use them (a of 1 or 2), else empty."""
    if len(gram) == 1:
        return np.asarray(gram[0, 0])
    if len(gram) == 2:
        return np.asarray(np.maximum(gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2, 0.0))
    return np.empty(0)


def posterior(gram: FloatArray, det: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
    """det(I + K D) of every group, and G = (I + K D)^-1 K = (K^-1 + D)^-1.

    Closed forms for one and two effects, written so that nothing cancels where D is large; `det` is det(K) there.
    Columns of K beyond the rows of D have no random effect of their own (D is zero there).
    """
    a = len(cov)
    if a < len(gram):
        head = gram[:a, :a]
        size, core = posterior(head, determinant(head), cov)
        tail = gram[:a, a:]
        out = np.empty_like(gram)
        out[:a, :a] = core
        pulled = apply(cov, tail)
        out[:a, a:] = tail - times(core, pulled)
        out[a:, :a] = out[:a, a:].transpose(1, 0, 2)
        out[a:, a:] = gram[a:, a:] - times(pulled.transpose(1, 0, 2), out[:a, a:])
        return size, out
    if a == 1:
        size = 1 + gram[0, 0] * cov[0, 0]
        return size, gram / size
    if a == 2:
        det_cov = cov[0, 0] * cov[1, 1] - cov[0, 1] ** 2
        size = 1 + (gram[0, 0] * cov[0, 0] + 2 * gram[0, 1] * cov[0, 1] + gram[1, 1] * cov[1, 1]) + det * det_cov
        out = np.empty_like(gram)
        inverse = 1 / size
        out[0, 0] = (gram[0, 0] + det * cov[1, 1]) * inverse
        out[1, 1] = (gram[1, 1] + det * cov[0, 0]) * inverse
        out[0, 1] = out[1, 0] = (gram[0, 1] - det * cov[0, 1]) * inverse
        return size, out
    stacked = np.ascontiguousarray(np.moveaxis(gram, -1, 0))
    matrix = np.eye(a) + stacked @ cov
    solved = np.linalg.solve(matrix, stacked)
    solved = (solved + solved.transpose(0, 2, 1)) / 2
    return np.asarray(np.linalg.det(matrix)), np.ascontiguousarray(np.moveaxis(solved, 0, -1))


def pair_table(values: FloatArray) -> FloatArray:
    """T[p, u, q, v] = sum over groups of g_pu g_qv, of symmetric (a, a, m) matrices g."""
    if len(values) == 1:
        return np.full((1, 1, 1, 1), values[0, 0] @ values[0, 0])
    rows, columns, where = _triangle(len(values))
    flat = values[rows, columns]
    square = flat @ flat.T
    return np.asarray(square[where[:, :, None, None], where[None, None, :, :]])
