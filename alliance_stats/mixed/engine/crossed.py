"""Outer factors that one nested level cannot hold: patients who change therapist, clinics above therapists, raters.

Every group gets extra columns, one set per outer level it meets (its *slots*): that factor's effects over the rows of
the slot. They have no variance of their own within the group, so eliminating the group gives A'V1^-1 U and U'V1^-1 U as
blocks of the extended G; summed by pairs of outer effects they form the Schur complement S of the groups in the mixed
model equations (Henderson 1984; Bates et al. 2015, section 5.4). S is as sparse as the factors are: two effects meet in
it only where some group meets both. Any number of outer factors is handled in one way: their levels are numbered
through, and T is a block for each factor.

With T = L D L', D of ones (minus one where a difference step leaves the cone), and M = D + L'S L,

    P = T (I + S T)^-1 = L M^-1 L',     U'V^-1 U = L'^-1 (D - D M^-1 D) L^-1,     L' U'V^-1 U = D M^-1 L'S,

where only the entries of M^-1 at places where S has one are needed (:mod:`~alliance_stats.mixed.engine.sparse`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from alliance_stats.mixed.engine.small import apply
from alliance_stats.mixed.engine.sparse import TINY, Elimination, Pattern, Sparse, as_array
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

_FLOOR = 1e-11
"""The smallest eigenvalue of T that is told from zero, over the largest precision of an effect: the
deviance moves by less than the search resolves, and it keeps the formulas above free of cancellation."""
_AT_ONCE = 256  # Columns solved for together


@dataclass(frozen=True)
class CrossedSpec:
    """The outer effects of every group."""

    a: int  # Columns of the inner factor
    # place, level: (size,); of every outer effect: its row of T, and its level, levels of all factors numbered through
    place: IntArray
    level: IntArray
    levels: int
    parts: tuple[tuple[int, ...], ...]  # The rows of T of each factor
    # group, column, effect: (cells,); A cell is an outer effect that a group meets: the group (sorted), the extended
    # column, the effect's number
    group: IntArray
    column: IntArray
    effect: IntArray

    @property
    def size(self) -> int:
        """Outer effects."""
        return len(self.place)

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
    def cell_starts(self) -> IntArray:
        """The first cell of each group."""
        return np.flatnonzero(np.diff(self.group, prepend=-1))

    @cached_property
    def pattern(self) -> Pattern:
        """The places of S: the pairs of effects that some group meets."""
        left, right = self.cell_pairs
        return Pattern.of(self.effect[left], self.effect[right], self.size)

    @cached_property
    def pair_place(self) -> IntArray:
        """The place of each pair of cells in the pattern."""
        left, right = self.cell_pairs
        return self.pattern.find(self.effect[left], self.effect[right])

    @cached_property
    def pair_group(self) -> IntArray:
        """The group of each pair of cells."""
        return self.group[self.cell_pairs[0]]

    @cached_property
    def met(self) -> tuple[IntArray, int]:
        """The number of each cell's group and level among the pairs that meet, and how many of these there are."""
        number, found = pd.factorize(self.group.astype(np.int64) * self.levels + self.level[self.effect])
        return number, len(found)

    @cached_property
    def level_blocks(self) -> list[tuple[int, int, IntArray, IntArray]]:
        """For two rows of T of one factor: both rows, and the effects of every level in them."""
        at = np.full((int(self.place.max()) + 1, self.levels), -1)
        at[self.place, self.level] = np.arange(self.size)
        found = []
        for p in range(len(at)):
            for q in range(len(at)):
                both = np.asarray(np.minimum(at[p], at[q]) >= 0)
                if both.any():
                    found.append((p, q, at[p, both], at[q, both]))
        return found

    @cached_property
    def _level_pairs(self) -> tuple[IntArray, int]:
        """The number of each place of the pattern among the pairs of levels, and how many pairs there are."""
        key = self.level[self.pattern.row].astype(np.int64) * self.levels + self.level[self.pattern.column]
        number, found = pd.factorize(key)
        return number, len(found)

    def blank(self, cov: FloatArray) -> BoolArray:
        """The places of the pattern in a row or column of T that is zero."""
        zero = np.asarray(~cov.any(axis=1))[self.place]
        return np.asarray(zero[self.pattern.row] | zero[self.pattern.column])

    def by_level(self, matrix: FloatArray) -> Sparse:
        """I x matrix: one block for each level, (size, size)."""
        rows, columns, values = [], [], []
        for p, q, at, to in self.level_blocks:
            rows.append(at)
            columns.append(to)
            values.append(np.full(len(at), matrix[p, q]))
        at, to = np.concatenate(rows), np.concatenate(columns)
        if self.size <= TINY:
            out = np.zeros((self.size, self.size))
            out[at, to] = np.concatenate(values)
            return out
        return sparse.csr_array((np.concatenate(values), (at, to)), shape=(self.size, self.size))

    def level_at(self, gram: FloatArray, w: FloatArray, cov: FloatArray) -> Crossed:
        """Form S, F, P and U'V^-1 U at one value of the parameters."""
        left, right = self.cell_pairs
        pattern = self.pattern
        blocks = gram[self.column[left], self.column[right], self.group[left]]
        s = pattern.matrix(np.bincount(self.pair_place, blocks, len(pattern.row)).astype(np.float64))
        cells = (own[self.column, self.group] for own in w.transpose(1, 0, 2))
        f = np.array([np.bincount(self.effect, own, self.size) for own in cells]).T
        root, back, sign = _square_root(cov, self.parts, _FLOOR / max(float(s.diagonal().max()), 1e-300))
        lift = self.by_level(root)
        seen = lift.T @ s
        elimination = Elimination.of(pattern, pattern.at(seen @ lift), sign[self.place])
        inverse = elimination.inverse
        drop, turn = self.by_level(back), self.by_level(np.diag(sign))
        p = pattern.at(lift @ inverse @ lift.T)
        p[self.blank(cov)] = 0.0  # exactly, where a factor has no variance
        full = -pattern.at(drop.T @ (turn @ inverse @ turn) @ drop)
        own = np.zeros(
            (len(cov), len(cov), self.levels)
        )  # the blocks of single levels, where D - D M^-1 D would cancel
        seen_t = seen.T if self.size <= TINY else seen.T.tocsr()
        for u, v, at, to in self.level_blocks:
            own[u, v, self.level[at]] = sign[u] * np.asarray((inverse[at] * seen_t[to]).sum(axis=1)).ravel()
        own = np.einsum("ub,uvj->bvj", back, own)
        own = (own + own.transpose(1, 0, 2)) / 2
        for u, v, at, to in self.level_blocks:
            full[pattern.find(at, to)] = own[u, v, self.level[at]]
        reach = gram[: self.a, self.column, self.group]  # (a, cells)

        def solve(columns: FloatArray) -> FloatArray:
            return np.asarray(columns - s @ (lift @ elimination.solve(lift.T @ columns)))

        pull = lift @ elimination.solve(lift.T @ f)
        return Crossed(self, s, p, full, own, cov, f, pull, reach, elimination.log_det, solve)


@dataclass(frozen=True)
class Crossed:
    """The outer factors at one value of the parameters; it answers as ``Nested`` does.

    Arrays by level, (r, ..., J), run over the levels of all factors; they are zero in the rows of other factors.
    """

    spec: CrossedSpec
    s: Sparse  # (size, size): S
    # p, full_pairs: (places,); P and U'V^-1 U at the places of the pattern
    p: FloatArray
    full_pairs: FloatArray
    full: FloatArray  # (r, r, J): U'V^-1 U of every level
    prior: FloatArray  # (r, r): T
    # before, pull_flat: (size, k); F and P F
    before: FloatArray
    pull_flat: FloatArray
    reach: FloatArray  # (a, cells): A'V1^-1 U
    log_det: float
    solve: Callable[[FloatArray], FloatArray]  # (I + S T)^-1 times columns of S

    @property
    def reduction(self) -> FloatArray:
        """F'P F."""
        return np.asarray(self.before.T @ self.pull_flat)

    @property
    def cov(self) -> FloatArray:
        """The conditional covariance of every level's effects, (r, r, J)."""
        spec = self.spec
        out = np.zeros_like(self.full)
        for u, v, at, to in spec.level_blocks:
            out[u, v, spec.level[at]] = self.p[spec.pattern.find(at, to)]
        return out

    @property
    def cross(self) -> FloatArray:
        """U'V^-1 W, (r, k, J)."""
        flat = self.before - self.s @ self.pull_flat
        out = np.zeros((len(self.prior), flat.shape[1], self.spec.levels))
        out[self.spec.place, :, self.spec.level] = flat
        return out

    def adjust(self, w: FloatArray) -> FloatArray:
        """A'V^-1 W from A'V1^-1 W, in place; over the columns of the inner factor only."""
        spec = self.spec
        pull = np.ascontiguousarray(self.pull_flat.T)
        out = w[: spec.a]
        for i, reach in enumerate(self.reach):
            for j in range(len(pull)):  # one by one: the whole array at once does not fit the processor's cache
                out[i, j] -= np.bincount(spec.group, reach * pull[j, spec.effect], w.shape[-1])
        return out

    def condition(self, gram: FloatArray) -> FloatArray:
        """A'V^-1 A of every group."""
        left, right = self.spec.cell_pairs
        held = (self.reach[:, left] * self.p[self.spec.pair_place])[:, None] * self.reach[:, right]
        a = self.spec.a
        return np.asarray(gram[:a, :a] - _sums(held, self.spec.pair_group, gram.shape[-1]))

    def information(self) -> FloatArray:
        """Sums of products of U'V^-1 U over pairs of outer levels that share a group, (r, r, r, r)."""
        spec, r = self.spec, len(self.prior)
        number, pairs = spec._level_pairs
        blocks = np.zeros((r, r, pairs))
        blocks[spec.place[spec.pattern.row], spec.place[spec.pattern.column], number] = self.full_pairs
        flat = blocks.reshape(r * r, -1)
        return np.asarray(flat @ flat.T).reshape(r, r, r, r)

    def between(self) -> FloatArray:
        """Sums of products of A_i'V^-1 U_j over groups i and the levels j they meet, (a, a, r, r)."""
        spec, r = self.spec, len(self.prior)
        left, right = spec.cell_pairs
        ps = spec.pattern.at(spec.by_level(self.prior) @ spec.pattern.matrix(self.full_pairs))
        factor = (left == right) - ps[spec.pair_place]
        number, pairs = spec.met
        blocks = np.zeros((spec.a, r, pairs))
        blocks[:, spec.place[spec.effect], number] = _sums(self.reach[:, left] * factor, right, len(spec.group))
        return np.asarray(np.einsum("aum,bvm->abuv", blocks, blocks, optimize=True))

    def take_modes(self, reach: FloatArray) -> None:
        """Subtract the outer effects from the groups' extended coefficients, in place."""
        spec = self.spec
        reach[spec.column, :, spec.group] -= self.pull_flat[spec.effect]

    def add_spread(self, psi: FloatArray, inner: FloatArray) -> None:
        """Add what the uncertain outer effects add to the conditional covariance of the extended coefficients."""
        spec = self.spec
        left, right = spec.cell_pairs
        lever = np.zeros((len(psi), len(spec.group)))
        lever[: spec.a] = -apply(inner, self.reach)
        lever[spec.column, np.arange(len(spec.group))] = 1.0
        moved = (lever[:, left] * self.p[spec.pair_place])[:, None] * lever[:, right]
        psi += _sums(moved, spec.pair_group, psi.shape[-1])

    def full_between(self, levels: IntArray, others: IntArray) -> FloatArray:
        """U_j'V^-1 U_k for pairs of levels that need not share a group, (r, r, pairs)."""
        spec, r = self.spec, len(self.prior)
        out = np.zeros((r, r, len(levels)))
        at = np.full((r, spec.levels), -1)
        at[spec.place, spec.level] = np.arange(spec.size)
        wanted = np.unique(others)
        for first in range(0, len(wanted), _AT_ONCE):
            some = wanted[first : first + _AT_ONCE]
            rows = np.flatnonzero((others >= some[0]) & (others <= some[-1]))
            for v in range(r):
                kept = rows[at[v, others[rows]] >= 0]
                if len(kept):
                    effects = np.unique(at[v, others[kept]])
                    solved = self.solve(as_array(self.s[:, effects]))
                    column = np.searchsorted(effects, at[v, others[kept]])
                    for u in range(r):
                        there = at[u, levels[kept]] >= 0
                        out[u, v, kept[there]] = solved[at[u, levels[kept[there]]], column[there]]
        return out

    def pair_cross(self, inner: IntArray, outer: IntArray) -> FloatArray:
        """A_i'V^-1 U_j for pairs (i, j), (a, r, pairs)."""
        spec = self.spec
        out = np.zeros((spec.a, len(self.prior), len(inner)))
        counts = np.diff(spec.cell_starts, append=len(spec.group))
        for step in range(int(counts.max(initial=0))):
            has = np.flatnonzero(counts[inner] > step)
            cell = spec.cell_starts[inner[has]] + step
            level, place = spec.level[spec.effect[cell]], spec.place[spec.effect[cell]]
            # the row of I - T U'V^-1 U that belongs to the cell's effect
            factor = -np.einsum("mu,uvm->vm", self.prior[place], self.full_between(level, outer[has]))
            factor[place, np.arange(len(has))] += level == outer[has]
            out[:, :, has] += self.reach[:, None, cell] * factor
        return out


def _sums(values: FloatArray, owner: IntArray, size: int) -> FloatArray:
    """The sums of (..., n) values by the number of their owner, (..., size)."""
    out = np.empty((*values.shape[:-1], size))
    for row, into in zip(values.reshape(-1, values.shape[-1]), out.reshape(-1, size)):
        into[:] = np.bincount(owner, row, size)
    return out


def _square_root(
    cov: FloatArray, parts: tuple[tuple[int, ...], ...], floor: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """L, L^-1 and the diagonal of D, with T = L D L'."""
    root, back, sign = np.zeros_like(cov), np.zeros_like(cov), np.ones(len(cov))
    for part in parts:
        own = np.ix_(part, part)
        values, vectors = np.linalg.eigh(cov[own])
        values = np.where(np.abs(values) < floor, floor, values)
        root[own], back[own] = vectors * np.sqrt(np.abs(values)), (vectors / np.sqrt(np.abs(values))).T
        sign[list(part)] = np.sign(values)
    return root, back, sign
