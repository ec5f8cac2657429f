"""An outer factor crossed with the groups: patients who change therapist, or raters by subjects.

Every group gets extra columns, one set per outer level it meets (its *slots*): the outer factor's effects over the
rows of that slot. They have no variance of their own within the group, so eliminating the group gives A'V1^-1 U and
U'V1^-1 U as blocks of the extended G; summed by pairs of outer levels they form the Schur complement S, which is dense
but no larger than the outer factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.linalg.lapack import dpotrf, dpotri

from alliance_stats.mixed.design.grouping import Grouping
from alliance_stats.mixed.engine.small import apply, times
from alliance_stats.tables.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class CrossedSpec:
    """The slots of every group.

    Attributes
    ----------
    a, r, levels : int
        Effects of the inner factor's columns, of the outer factor, and outer levels.
    slots : int
        The most outer levels one group meets.
    group, slot, level : (cells,) int arrays
        Each group-by-outer-level cell, sorted by group.
    """

    a: int
    r: int
    levels: int
    slots: int
    group: IntArray
    slot: IntArray
    level: IntArray

    @cached_property
    def cell_pairs(self) -> tuple[IntArray, IntArray]:
        """All ordered pairs of cells of one group."""
        counts = np.bincount(self.group)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        repeat = counts[self.group]
        left = np.repeat(np.arange(len(self.group)), repeat)
        within = np.arange(len(left)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        return left, first[self.group[left]] + within

    @cached_property
    def pair_starts(self) -> IntArray:
        """The first pair of each group."""
        return np.flatnonzero(np.diff(self.group[self.cell_pairs[0]], prepend=-1))

    @cached_property
    def cell_starts(self) -> IntArray:
        """The first cell of each group."""
        return np.flatnonzero(np.diff(self.group, prepend=-1))

    def columns(self, cells: IntArray) -> IntArray:
        """(r, cells): the extended columns of each cell."""
        return self.a + self.slot[cells] * self.r + np.arange(self.r)[:, None]

    def level_at(self, gram: FloatArray, w: FloatArray, cov: FloatArray) -> Crossed:
        """Form S, F and P at one value of the parameters.

        With U_i the outer factor's columns over group i, S = sum_i U_i'V1^-1 U_i and F = sum_i U_i'V1^-1 W are the
        Schur complement of the groups in the mixed model equations (Henderson 1984; Bates et al. 2015, section 5.4,
        solve the same system by a sparse Cholesky factor). A group adds a block to S for every pair of levels it meets.
        """
        left, right = self.cell_pairs
        r, size = self.r, self.levels * self.r
        at, to = self.columns(left), self.columns(right)
        blocks = gram[at[:, None], to[None, :], self.group[left]]
        row = self.level[left] * r + np.arange(r)[:, None]
        column = self.level[right] * r + np.arange(r)[:, None]
        flat = (row[:, None] * size + column[None, :]).ravel()
        summed = np.bincount(flat, weights=blocks.ravel(), minlength=size * size)
        s = summed.astype(np.float64, copy=False).reshape(size, size)
        cells = np.arange(len(self.group))
        own = w[self.columns(cells), :, self.group]  # (r, cells, k)
        f: FloatArray = np.zeros((size, w.shape[1]))
        np.add.at(f, self.level * r + np.arange(r)[:, None], own)
        p, sp, full, log_det = _schur(s, cov, self.levels)
        reach = gram[: self.a, self.columns(cells), self.group]  # (a, r, cells)
        return Crossed(self, s, p, sp, full, f, p @ f, reach, log_det)


@dataclass(frozen=True)
class Crossed:
    """The outer factor at one value of the parameters; it answers as ``Nested`` does."""

    spec: CrossedSpec
    s: FloatArray
    p: FloatArray
    sp: FloatArray
    full_matrix: FloatArray
    f: FloatArray
    pull_flat: FloatArray
    reach: FloatArray
    log_det: float

    @property
    def reduction(self) -> FloatArray:
        """F'P F."""
        return np.asarray(self.f.T @ self.pull_flat)

    def _diagonal(self, matrix: FloatArray) -> FloatArray:
        levels, r = self.spec.levels, self.spec.r
        return np.ascontiguousarray(np.einsum("jajb->abj", matrix.reshape(levels, r, levels, r)))

    @property
    def gram(self) -> FloatArray:
        """U'V1^-1 U of every outer level, (r, r, J)."""
        return self._diagonal(self.s)

    @property
    def full(self) -> FloatArray:
        """U'V^-1 U of every outer level, (r, r, J)."""
        return self._diagonal(self.full_matrix)

    @property
    def cov(self) -> FloatArray:
        """The conditional covariance of every level's effects, (r, r, J)."""
        return self._diagonal(self.p)

    @property
    def cross(self) -> FloatArray:
        """U'V^-1 W, (r, k, J)."""
        flat = self.f - self.s @ self.pull_flat
        return np.ascontiguousarray(flat.reshape(self.spec.levels, self.spec.r, -1).transpose(1, 2, 0))

    def _cell_pull(self) -> FloatArray:
        spec = self.spec
        cells = self.pull_flat[spec.level * spec.r + np.arange(spec.r)[:, None]]
        return np.asarray(cells.transpose(0, 2, 1))  # (r, k, cells)

    def adjust(self, w: FloatArray) -> FloatArray:
        """A'V^-1 W from A'V1^-1 W, over the columns of the inner factor only."""
        moved = times(self.reach, self._cell_pull())
        return np.asarray(w[: self.spec.a] - np.add.reduceat(moved, self.spec.cell_starts, axis=-1))

    def condition(self, gram: FloatArray) -> FloatArray:
        """A'V^-1 A of every group."""
        left, right = self.spec.cell_pairs
        held = times(times(self.reach[:, :, left], self._pair_cov()), self.reach[:, :, right].transpose(1, 0, 2))
        a = self.spec.a
        return np.asarray(gram[:a, :a] - np.add.reduceat(held, self.spec.pair_starts, axis=-1))

    def _pair_cov(self) -> FloatArray:
        spec = self.spec
        left, right = spec.cell_pairs
        row = spec.level[left] * spec.r + np.arange(spec.r)[:, None]
        column = spec.level[right] * spec.r + np.arange(spec.r)[:, None]
        return np.asarray(self.p[row[:, None], column[None, :]])

    def information(self) -> FloatArray:
        """Sums of products of U'V^-1 U over pairs of outer levels, (r, r, r, r)."""
        levels, r = self.spec.levels, self.spec.r
        if r == 1:
            return np.full((1, 1, 1, 1), float(np.vdot(self.full_matrix, self.full_matrix)))
        blocks = self.full_matrix.reshape(levels, r, levels, r)
        return np.asarray(np.einsum("jukv,jwkx->uvwx", blocks, blocks, optimize=True))

    def between(self) -> FloatArray:
        """Sums of products of A_i'V^-1 U_j over the cells (i, j), (a, a, r, r)."""
        seen = self.pair_cross(self.spec.group, self.spec.level)
        return np.asarray(np.einsum("aum,bvm->abuv", seen, seen))

    def take_modes(self, reach: FloatArray) -> None:
        """Subtract the outer effects from the groups' extended coefficients, in place."""
        spec = self.spec
        cells = np.arange(len(spec.group))
        reach[spec.columns(cells), :, spec.group] -= self._cell_pull().transpose(0, 2, 1)

    def add_spread(self, psi: FloatArray, inner: FloatArray) -> None:
        """Add what the uncertain outer effects add to the conditional covariance of the extended coefficients."""
        spec = self.spec
        left, right = spec.cell_pairs
        cov = self._pair_cov()
        lever = np.zeros((len(psi), spec.r, len(spec.group)))
        lever[: spec.a] = -apply(inner, self.reach)
        cells = np.arange(len(spec.group))
        for effect, row in enumerate(spec.columns(cells)):
            lever[row, effect, cells] = 1.0
        moved = times(times(lever[:, :, left], cov), lever[:, :, right].transpose(1, 0, 2))
        psi += np.add.reduceat(moved, spec.pair_starts, axis=-1)

    def pair_cross(self, inner: IntArray, outer: IntArray) -> FloatArray:
        """A_i'V^-1 U_j for pairs (i, j), (a, r, pairs)."""
        spec = self.spec
        out = np.zeros((spec.a, spec.r, len(inner)))
        counts = np.diff(spec.cell_starts, append=len(spec.group))
        ps = self.sp.T.reshape(spec.levels, spec.r, spec.levels, spec.r)
        for step in range(spec.slots):
            has = np.flatnonzero(counts[inner] > step)
            cell = spec.cell_starts[inner[has]] + step
            own = spec.level[cell] == outer[has]
            factor = -ps[spec.level[cell], :, outer[has], :].transpose(1, 2, 0)
            factor[np.arange(spec.r), np.arange(spec.r)] += own
            out[:, :, has] += times(self.reach[:, :, cell], factor)
        return out


def _schur(s: FloatArray, cov: FloatArray, levels: int) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """P = T (I + S T)^-1, S P, U'V^-1 U = S - S P S and log|I + S T| over all levels.

    With T = L L' and M = I + L'S L all follow from one Cholesky factor: P = L M^-1 L', and for an invertible L
    S P = L'^-1 (I - M^-1) L' and S - S P S = L'^-1 (I - M^-1) L^-1, which spares the products of large matrices.
    """
    size, r = len(s), len(cov)
    values, vectors = np.linalg.eigh(cov)
    if values[0] < 0:  # a difference step outside the cone
        prior = np.kron(np.eye(levels), cov)
        matrix = np.eye(size) + s @ prior
        p = np.linalg.solve(matrix.T, prior.T).T
        sp = s @ p
        return p, sp, _symmetric(s - sp @ s), float(np.linalg.slogdet(matrix)[1])
    root = vectors * np.sqrt(values)
    m = _levelwise(root, s, levels)
    m[np.diag_indices(size)] += 1.0
    factor, failed = dpotrf(m, lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("I + S T is not positive definite")
    log_det = 2 * float(np.log(factor.diagonal()).sum())
    inverse = dpotri(factor, lower=1, overwrite_c=1)[0]
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    p = _levelwise(root.T, inverse, levels)
    if values[0] * s.diagonal().max() < 1e-4:  # I - M^-1 would cancel
        sp = s @ p
        return p, sp, _symmetric(s - sp @ s), log_det
    left = -inverse
    left[np.diag_indices(size)] += 1.0
    back = np.linalg.inv(root)
    full = _levelwise(back, left, levels)
    sp = full * cov[0, 0] if r == 1 else full @ np.kron(np.eye(levels), cov)
    return p, sp, full, log_det


def _levelwise(root: FloatArray, matrix: FloatArray, levels: int) -> FloatArray:
    """(I x root)' matrix (I x root)."""
    r = len(root)
    if r == 1:
        return np.asarray(matrix * root[0, 0] ** 2)
    blocks = matrix.reshape(levels, r, levels, r)
    turned = np.einsum("au,jakb,bv->jukv", root, blocks, root, optimize=True)
    return np.ascontiguousarray(turned.reshape(levels * r, levels * r))


def _symmetric(matrix: FloatArray) -> FloatArray:
    return np.asarray((matrix + matrix.T) / 2)


def crossed_spec(grouping: Grouping, outer_of_row: IntArray, a: int, r: int) -> CrossedSpec:
    """The slots of a crossed grouping."""
    levels = grouping.n_outer
    cell = np.sort(pd.unique(grouping.inner_of_row() * levels + outer_of_row))
    group, level = np.divmod(cell, levels)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    slot = np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))
    return CrossedSpec(a, r, levels, int(slot.max()) + 1, group, slot, level)


def slot_columns(spec: CrossedSpec, grouping: Grouping, outer_of_row: IntArray, effects: FloatArray) -> FloatArray:
    """The extra columns, (slots * r, n): the outer factor's effects over the rows of each slot."""
    cells = spec.group * spec.levels + spec.level
    row_cell = np.searchsorted(cells, grouping.inner_of_row() * spec.levels + outer_of_row)
    slot = spec.slot[row_cell]
    out = np.zeros((spec.slots * spec.r, len(slot)))
    for effect in range(spec.r):
        out[slot * spec.r + effect, np.arange(len(slot))] = effects[effect]
    return out
