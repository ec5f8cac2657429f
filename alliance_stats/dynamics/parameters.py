"""From the numbers that are searched over to the matrices of the model, with the derivatives.

The search moves the lagged coefficients themselves, and each covariance matrix by the elements of a lower triangular
L with D = L L', whose diagonal may be zero or negative: so it can reach singular matrices. Error variances are squares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from alliance_stats.dynamics.filtering import Scores, System
from alliance_stats.tables.arrays import FloatArray


class Matrices(NamedTuple):
    """The model of one group: w' = lagged w + e, e ~ N(0, shock); w at time 0 ~ N(0, start); (b, s) ~ N(0, between).

    Further axes in front, in all of them, are those of several parameter vectors.
    """

    lagged: FloatArray
    shock: FloatArray
    start: FloatArray
    between: FloatArray
    error: FloatArray


@dataclass(frozen=True)
class Layout:
    """Which parameters there are."""

    k: int  # Measures
    slopes: bool = False  # Random slopes over time beside the random levels
    stationary: bool = False  # The deviations start in the distribution they keep; else with a free covariance matrix
    # Known error variances of the measures, 0 for none, NaN for one that is estimated
    error: tuple[float, ...] = (0.0, 0.0)
    n_groups: int = 1  # Groups with lagged coefficients of their own
    # Half the number of steps from the first time to the last. Slopes are per `half` steps and levels those of the
    # middle, for good conditioning.
    half: float = 1.0
    # Lagged coefficients (group, row, column) that are not parameters, and their values
    held: dict[tuple[int, int, int], float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return int(max(part.stop for part in self.blocks.values()))

    @property
    def effects(self) -> int:
        """Random effects of a series."""
        return self.k * (2 if self.slopes else 1)

    @cached_property
    def free_errors(self) -> list[int]:
        """The measures whose error variance is a parameter."""
        return [j for j, value in enumerate(self.error) if np.isnan(value)]

    @cached_property
    def free_lagged(self) -> list[tuple[int, int, int]]:
        """The lagged coefficients that are parameters."""
        every = [(g, i, j) for g in range(self.n_groups) for i in range(self.k) for j in range(self.k)]
        return [entry for entry in every if entry not in self.held]

    @cached_property
    def blocks(self) -> dict[str, slice]:
        """Where each covariance matrix has its elements in theta."""
        at, blocks = len(self.free_lagged), {}
        sizes = {"shock": self.k, "start": 0 if self.stationary else self.k, "between": self.effects}
        for name, size in sizes.items():
            if size:
                blocks[name] = slice(at, at + size * (size + 1) // 2)
                at = blocks[name].stop
        if self.free_errors:
            blocks["error"] = slice(at, at + len(self.free_errors))
        return blocks

    def matrices(self, theta: FloatArray) -> list[Matrices]:
        """The matrices of each group, of one or several parameter vectors (..., q).

        Raises ``FloatingPointError`` for a stationary start where no stationary distribution exists.
        """
        sets = theta.shape[:-1]
        lagged = np.zeros((self.n_groups, *sets, self.k, self.k))
        for (g, i, j), fixed in self.held.items():
            lagged[g, ..., i, j] = fixed
        for at, (g, i, j) in enumerate(self.free_lagged):
            lagged[g, ..., i, j] = theta[..., at]
        blocks = {name: theta[..., part] for name, part in self.blocks.items()}
        shock, between = _square(blocks["shock"]), _square(blocks["between"])
        error = np.broadcast_to(self.error, (*sets, self.k)).copy()
        if self.free_errors:
            error[..., self.free_errors] = blocks["error"] ** 2
        start = None if self.stationary else _square(blocks["start"])
        return [
            Matrices(phi, shock, stationary(phi, shock) if start is None else start, between, error) for phi in lagged
        ]

    def theta(self, groups: list[Matrices]) -> FloatArray:
        """The parameters that make these matrices (those of the first group, where groups share them)."""
        one = groups[0]
        parts = [np.array([groups[g].lagged[i, j] for g, i, j in self.free_lagged]), root(one.shock)]
        parts += [] if self.stationary else [root(one.start)]
        parts += [root(one.between)]
        return np.concatenate([*parts, np.sqrt(one.error[self.free_errors])])

    def system(self, matrices: Matrices) -> System:
        """The state-space form of a group's matrices."""
        k, m = self.k, self.k + self.effects
        move = np.zeros((*matrices.lagged.shape[:-2], m, m))
        move[...] = np.eye(m)
        move[..., :k, :k] = matrices.lagged
        move[..., :k, k : 2 * k] = np.eye(k) - matrices.lagged
        if self.slopes:
            move[..., :k, 2 * k :] = move[..., k : 2 * k, 2 * k :] = np.eye(k) / self.half
        load = self._loading
        first = load @ matrices.between @ load.T
        first[..., :k, :k] += matrices.start
        return System(move, matrices.shock, first, matrices.error)

    def natural(self, matrices: Matrices, parts: Scores) -> dict[str, FloatArray]:
        """The scores with respect to the model's own matrices, each (N, ..., rows, columns); errors (N, ..., k)."""
        k, load = self.k, self._loading
        lagged, shock, first, error = (np.moveaxis(part, -1, 0) for part in parts)
        start = first[..., :k, :k]
        if self.stationary:  # S = Phi S Phi' + Psi: the score of S acts on Psi and Phi through the adjoint equation
            phi = matrices.lagged
            through = np.linalg.solve(
                _without_square(np.swapaxes(phi, -1, -2)), start.reshape(*start.shape[:-2], -1, 1)
            )
            through = through.reshape(start.shape)
            shock = shock + through
            lagged = lagged + 2 * through @ (phi @ matrices.start)
        return {"lagged": lagged, "shock": shock, "start": start, "between": load.T @ first @ load, "error": error}

    def score(self, theta: FloatArray, group: int, natural: dict[str, FloatArray]) -> FloatArray:
        """Derivatives with respect to theta of each series' log-likelihood, (N, ..., q)."""
        result = np.zeros((*natural["error"].shape[:-1], theta.shape[-1]))
        for at, (g, i, j) in enumerate(self.free_lagged):
            if g == group:
                result[..., at] = natural["lagged"][..., i, j]
        for name, part in self.blocks.items():
            if name == "error":
                result[..., part] = 2 * theta[..., part] * natural["error"][..., self.free_errors]
            else:
                low = _triangle(theta[..., part])
                result[..., part] = 2 * (natural[name] @ low)[..., *_corner(low.shape[-1])]
        return result

    def bending(self, gradients: dict[str, FloatArray]) -> FloatArray:
        """What the squares of the parametrisation add to minus the Hessian where the likelihood pushes to a boundary.

        D = L L' gives -2 G[i, i'] for two elements of one column of L, G the gradient in D. It is zero at an optimum
        inside; at a boundary it is all the curvature there is. Only its positive part is returned.
        """
        q = self.size
        result = np.zeros((q, q))
        for name, part in self.blocks.items():
            if name == "error":
                result[part, part] = np.diag(np.maximum(-2 * gradients[name][self.free_errors], 0.0))
                continue
            values, vectors = np.linalg.eigh(-2 * gradients[name])
            push = (vectors * np.maximum(values, 0.0)) @ vectors.T
            rows, columns = _corner(len(push))
            result[part, part] = push[np.ix_(rows, rows)] * (columns[:, None] == columns)
        return result

    @cached_property
    def _loading(self) -> FloatArray:
        """What (b, s) at the middle add to the state (c, l, s) at time 0."""
        eye, zero = np.eye(self.k), np.zeros((self.k, self.k))
        if not self.slopes:
            return np.vstack([eye, eye])
        return np.block([[eye, -eye], [eye, -eye], [zero, eye]])


def stationary(lagged: FloatArray, shock: FloatArray) -> FloatArray:
    """The covariance matrix S with S = Phi S Phi' + Psi, of (..., k, k) arrays.

    Raises ``FloatingPointError`` if Phi has an eigenvalue of 1 or more.
    """
    if np.abs(np.linalg.eigvals(lagged)).max() >= 1 - 1e-9:
        raise FloatingPointError("no stationary distribution")
    shape = np.broadcast_shapes(lagged.shape, shock.shape)
    right = np.broadcast_to(shock, shape).reshape(*shape[:-2], -1, 1)
    solved = np.linalg.solve(_without_square(lagged), right).reshape(shape)
    return (solved + np.swapaxes(solved, -1, -2)) / 2


def _without_square(phi: FloatArray) -> FloatArray:
    """I - Phi (x) Phi, which takes S to S - Phi S Phi'."""
    k = phi.shape[-1]
    product = phi[..., :, None, :, None] * phi[..., None, :, None, :]
    return np.asarray(np.eye(k * k) - product.reshape(*phi.shape[:-2], k * k, k * k))


@lru_cache
def _corner(size: int) -> tuple[Any, Any]:
    return np.tril_indices(size)


def _triangle(values: FloatArray) -> FloatArray:
    size = int((np.sqrt(8 * values.shape[-1] + 1) - 1) / 2)
    low = np.zeros((*values.shape[:-1], size, size))
    low[..., *_corner(size)] = values
    return low


def _square(values: FloatArray) -> FloatArray:
    low = _triangle(values)
    return np.asarray(low @ np.swapaxes(low, -1, -2))


def root(matrix: FloatArray) -> FloatArray:
    """The lower triangle of L with L L' = matrix, which may be singular."""
    values, vectors = np.linalg.eigh(matrix)
    low = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T)[1].T
    return np.asarray(low[_corner(len(low))])
