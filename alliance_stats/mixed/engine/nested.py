"""An outer level that nests the groups (therapists of patients): a small update per outer level.

With H = G[:, columns], S and F the sums of G[columns, columns] and w[columns] over the groups of an outer level, and
P = T (I + S T)^-1 the conditional covariance of its effects; see :mod:`alliance_stats.mixed.engine.likelihood`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alliance_stats.mixed.engine.small import apply, determinant, pair_table, posterior, sandwich, segment_sum, times
from alliance_stats.tables.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class NestedSpec:
    """Which groups belong to which outer level."""

    columns: tuple[int, ...]  # The columns of A that T acts on
    # starts, counts: (J,); the first group of each outer level, and how many it has
    starts: IntArray
    counts: IntArray

    def level_at(self, gram: FloatArray, w: FloatArray, cov: FloatArray) -> Nested:
        """Form S, F and P at one value of the parameters."""
        chosen = list(self.columns)
        reach = gram[:, chosen]
        s = segment_sum(reach[chosen], self.starts)
        f = segment_sum(w[chosen], self.starts)
        size, full = posterior(s, determinant(s), cov)
        if len(chosen) == 1:  # the same as below, without cancellation
            cross, post = f / size, cov[:, :, None] / size
        else:
            cross, post = f - times(full, apply(cov, f)), cov[:, :, None] - sandwich(cov, full)
        return Nested(self, self.counts, reach, s, full, f, cross, post, np.log(size).sum(), cov)


@dataclass(frozen=True)
class Nested:
    """The outer level at one value of the parameters."""

    spec: NestedSpec
    counts: IntArray
    reach: FloatArray
    # gram, full: (r, r, J); U'V1^-1 U and U'V^-1 U
    gram: FloatArray
    full: FloatArray
    before: FloatArray
    cross: FloatArray  # (r, k, J): U'V^-1 W
    cov: FloatArray  # (r, r, J): P, the conditional covariance of the effects
    log_det: float
    prior: FloatArray

    @property
    def pull(self) -> FloatArray:
        """T U'V^-1 W = P F, by outer level."""
        return apply(self.prior, self.cross)

    @property
    def reduction(self) -> FloatArray:
        """F'P F over all outer levels."""
        pull = self.pull
        return np.asarray(sum(self.before[i] @ pull[i].T for i in range(len(pull))))

    def _spread(self, values: FloatArray) -> FloatArray:
        return np.repeat(values, self.counts, axis=-1)

    def adjust(self, w: FloatArray) -> FloatArray:
        """A'V^-1 W from A'V1^-1 W."""
        return w - times(self.reach, self._spread(self.pull))

    def condition(self, gram: FloatArray) -> FloatArray:
        """A'V^-1 A of every group from A'V1^-1 A."""
        held = times(self.reach, self._spread(self.cov))
        return gram - times(held, self.reach.transpose(1, 0, 2))

    def information(self) -> FloatArray:
        """Sums of products of U'V^-1 U over outer levels, (r, r, r, r)."""
        return pair_table(self.full)

    def between(self) -> FloatArray:
        """Sums of products of A_i'V^-1 U_j over groups i of j, (a, a, r, r)."""
        held = times(self.reach, self._spread(self.cov))
        seen = self.reach - times(held, self._spread(self.gram))
        flat = seen.reshape(-1, seen.shape[-1])
        shape = (*seen.shape[:2], *seen.shape[:2])
        return np.asarray((flat @ flat.T).reshape(shape).transpose(0, 2, 1, 3))

    def take_modes(self, reach: FloatArray) -> None:
        """Subtract the outer effects from the groups' coefficients, in place."""
        reach[list(self.spec.columns)] -= self._spread(self.pull)

    def add_spread(self, psi: FloatArray, inner: FloatArray) -> None:
        """Add what the uncertain outer effects add to Var(b_i + c_j | y), in place; `inner` is D."""
        lever = -apply(inner, self.reach)
        for position, column in enumerate(self.spec.columns):
            lever[column, position] += 1.0
        psi += times(times(lever, self._spread(self.cov)), lever.transpose(1, 0, 2))

    def pair_cross(self, inner: IntArray, outer: IntArray) -> FloatArray:
        """A_i'V^-1 U_j for pairs (i, j), (a, r, pairs): zero where i is not of j."""
        own = np.repeat(np.arange(len(self.counts)), self.counts)[inner] == outer
        chosen = self.reach[:, :, inner]
        held = times(times(chosen, self.cov[:, :, outer]), self.gram[:, :, outer])
        return np.asarray((chosen - held) * own)
