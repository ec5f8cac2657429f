"""The variance parameters that minimise the deviance, boundaries included.

Fisher scoring on the elements of D and T themselves, with the analytic gradient and the expected information, sharpened
by secant updates. A single variance that reaches zero is held there while the gradient keeps it. Where a covariance
matrix runs into its boundary (a correlation of +-1, a zero variance within a block), the search goes on over a square
root L of it, D = L L', with the Hessian of that parametrisation; because a zero column of L has zero gradient even when
the variance wants to grow, the Karush-Kuhn-Tucker condition is checked in D at the end (u'Gu >= 0 for every null vector
u of D) and the search restarted where it fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.mixed.engine.model import Deviance, Model
from alliance_stats.tables.arrays import FloatArray

TOLERANCE = 1e-12
"""Stop when a full step would lower the deviance by less than this."""
START_INNER, START_OUTER = 0.5, 0.1
MAX_EVALUATIONS = 500
PATIENCE = 12
"""Steps over square roots with the expected Hessian, before it is formed by differences."""
_RHO_LIMIT = 1 - 1e-9


@dataclass(frozen=True)
class Optimum:
    """Where the search ended.

    Attributes
    ----------
    theta : (parameters,) array
        Relative to sigma^2, internal units.
    deviance : Deviance
    evaluations : int
    decrement : float
        How much a further full step is expected to lower the deviance.
    converged : bool
    boundary : tuple of int
        Blocks (numbered as in ``Model.design.blocks``) whose covariance matrix is singular.
    held : tuple of int
        Residual parameters at the end of their range (a continuous-time correlation of zero).
    message : str
    """

    theta: FloatArray
    deviance: Deviance
    evaluations: int
    decrement: float
    converged: bool
    boundary: tuple[int, ...]
    held: tuple[int, ...]
    message: str


def minimise(model: Model, start: FloatArray | None = None) -> Optimum:
    """Fit the variance parameters of `model`.

    Parameters
    ----------
    start : (parameters,) array, optional
        Where to begin; by default :func:`start_values`.
    """
    search = _Search(model, start_values(model) if start is None else np.array(start, dtype=np.float64))
    search.scoring()
    for _ in range(10):
        if search.stalled:
            search.by_roots()
        if not search.leave_false_boundary():
            break
    return search.optimum()


def start_values(model: Model) -> FloatArray:
    """Uncorrelated effects with variances usual in this field, in units of sigma^2 (columns have mean square 1)."""
    inner, outer = START_INNER * np.eye(len(model.design.effects)), START_OUTER * np.eye(len(model.outer_columns))
    return model.vector(inner, outer, 0.2)


class _Search:
    """The state of one search: the point, the last secant pairs, how often the deviance was computed."""

    def __init__(self, model: Model, theta: FloatArray) -> None:
        self.model = model
        self.residual = [k for k, parameter in enumerate(model.parameters) if parameter.kind == "residual"]
        self.positive = model.correlation == "car1"
        self.lowest = -14.0 if self.positive else -12.0  # a correlation of 1e-6 (CAR(1)) counts as none
        self.blocks = covariance_blocks(model)
        self.scalars = np.array([indices[0, 0] for indices in self.blocks if len(indices) == 1], dtype=np.int64)
        self.evaluations = 0
        self.pairs: list[tuple[FloatArray, FloatArray]] = []
        self.stalled = False
        self.decrement = np.inf
        self.done = False
        self.x = self._to_search(theta)
        self.at = self._first()

    @property
    def theta(self) -> FloatArray:
        """Where it is."""
        return self._to_theta(self.x)

    # -- coordinates: rho by its Fisher transform (AR(1)) or its logit (CAR(1)) -----------------------------------
    def _to_search(self, theta: FloatArray) -> FloatArray:
        x = theta.copy()
        for k in self.residual:
            rho = min(max(float(theta[k]), 1e-9 if self.positive else -_RHO_LIMIT), _RHO_LIMIT)
            x[k] = math.log(rho / (1 - rho)) if self.positive else math.atanh(rho)
        return x

    def _to_theta(self, x: FloatArray) -> FloatArray:
        theta = x.copy()
        for k in self.residual:
            z = min(max(float(x[k]), -30.0), 30.0)
            theta[k] = 1 / (1 + math.exp(-z)) if self.positive else min(max(math.tanh(z), -_RHO_LIMIT), _RHO_LIMIT)
        return theta

    def _slope(self, theta: FloatArray) -> FloatArray:
        slope = np.ones(len(theta))
        for k in self.residual:
            rho = float(theta[k])
            slope[k] = max(rho * (1 - rho) if self.positive else 1 - rho**2, 1e-300)
        return slope

    def _first(self) -> Deviance:
        at = self._evaluate(self.x)
        if at is None:
            raise np.linalg.LinAlgError("the deviance could not be computed at the starting values")
        return at

    def _evaluate(self, x: FloatArray) -> Deviance | None:
        self.evaluations += 1
        try:
            result = self.model.deviance(self._to_theta(x))
        except np.linalg.LinAlgError:
            return None
        return result if np.isfinite(result.value) else None

    def _point(self, *, sharpened: bool = True) -> tuple[float, FloatArray, FloatArray]:
        """Deviance, gradient and Hessian (expected, sharpened by the secant pairs) in search coordinates."""
        slope = self._slope(self.theta)
        hessian = 2 * self.at.information * (slope[:, None] * slope)
        if sharpened:
            hessian = _sharpened(hessian, self.pairs[-2:], 10.0)
        return self.at.value, self.at.gradient * slope, hessian

    def _gradient(self) -> FloatArray:
        return np.asarray(self.at.gradient * self._slope(self.theta))

    def _move(self, x: FloatArray, at: Deviance) -> None:
        before, step = self._gradient(), x - self.x
        self.x, self.at = x, at
        self.pairs.append((step, self._gradient() - before))

    def _residual_held(self, gradient: FloatArray) -> bool:
        """A continuous-time correlation that has reached zero and would go below."""
        return self.positive and any(self.x[k] <= self.lowest and gradient[k] >= -1e-12 for k in self.residual)

    # -- scoring on D itself ------------------------------------------------------------------------------------
    def scoring(self) -> None:
        """Fisher scoring; ends with ``done``, or with ``stalled`` where a matrix meets its boundary."""
        cut = 0
        for _ in range(2 * PATIENCE):
            value, gradient, hessian = self._point()
            held = np.zeros(len(self.x), dtype=bool)
            held[self.scalars] = (self.x[self.scalars] <= 0) & (gradient[self.scalars] >= 0)
            held[self.residual] = self._residual_held(gradient)
            free = ~held
            step = np.zeros(len(self.x))
            step[free] = -_solve_positive(hessian[free][:, free], gradient[free])
            self.decrement = float(-gradient @ step) / 2
            if self.decrement < TOLERANCE:
                self.done = True
                return
            step[self.residual] = self._residual_step(step[self.residual])
            length = self._room(step)
            cut += length < 1
            if cut > 2 or not self._line_search(step, length, value, gradient):
                break
        self.stalled = True

    def _room(self, step: FloatArray) -> float:
        """The share of a step after which every covariance block of two or more effects is still positive definite."""
        room = 1.0
        for indices in self.blocks:
            if len(indices) > 1:
                here, ahead = self.x[indices], step[indices]
                try:
                    half = np.linalg.inv(np.linalg.cholesky(here))
                except np.linalg.LinAlgError:
                    return 0.0
                lowest = float(np.linalg.eigvalsh(half @ ahead @ half.T)[0])
                if lowest < -0.95:
                    room = min(room, -0.8 / lowest)
        return room

    def _line_search(self, step: FloatArray, length: float, value: float, gradient: FloatArray) -> bool:
        for _ in range(12):
            x = self.x + length * step
            x[self.scalars] = np.maximum(x[self.scalars], 0.0)
            at = self._evaluate(x)
            if at is not None and at.value <= value + 1e-4 * min(float(gradient @ (x - self.x)), 0.0) + _noise(value):
                self._move(x, at)
                return True
            length /= 3
        return False

    # -- the same over square roots, where a block is singular ------------------------------------------------------
    def by_roots(self) -> None:
        """Newton-like steps over L, D = L L'; sets ``done`` when the gradient in L has vanished."""
        self.stalled, self.done = False, False
        for iteration in range(MAX_EVALUATIONS):
            if self.evaluations >= MAX_EVALUATIONS:
                break
            value, gradient, hessian = self._point()
            roots = [_root(self.x[indices]) for indices in self.blocks]
            exact = iteration >= PATIENCE
            jacobian, bend = self._root_map(roots, gradient, positive=not exact)
            if exact:
                hessian = self._differenced_hessian(gradient, hessian)
            slope = jacobian.T @ gradient
            step = -_solve_positive(jacobian.T @ hessian @ jacobian + bend, slope)
            self.decrement = float(-slope @ step) / 2
            if self.decrement < TOLERANCE or not self._root_search(roots, step, value):
                break
        self._settle()
        self.done = self.decrement < 1e-6

    def _root_search(self, roots: list[FloatArray], step: FloatArray, value: float) -> bool:
        """Move along `step` in the roots until the deviance falls."""
        length = 1.0
        for _ in range(15):
            x = self._from_roots(roots, length * step)
            at = self._evaluate(x)
            if at is not None and at.value <= value - 1e-4 * length * self.decrement + _noise(value):
                self._move(x, at)
                return True
            length /= 3
        return False

    def _differenced_hessian(self, gradient: FloatArray, expected: FloatArray) -> FloatArray:
        """The Hessian in search coordinates by forward differences; the expected one where they fail."""
        here = self.x
        out = np.empty_like(expected)
        for k in range(len(here)):
            step = 1e-5 / math.sqrt(max(expected[k, k], 1e-12))
            self.x = here + step * np.eye(len(here))[k]
            at = self._evaluate(self.x)
            if at is None:
                self.x = here
                return expected
            out[k] = (at.gradient * self._slope(self.theta) - gradient) / step
        self.x = here
        return (out + out.T) / 2

    def _root_map(
        self, roots: list[FloatArray], gradient: FloatArray, *, positive: bool
    ) -> tuple[FloatArray, FloatArray]:
        """The derivative of x by (L's elements, residual parameters), and <gradient, d2 D> or its positive part."""
        sizes = [root.size for root in roots]
        width = sum(sizes) + len(self.residual)
        jacobian, bend = np.zeros((len(self.x), width)), np.zeros((width, width))
        at = 0
        for root, indices in zip(roots, self.blocks):
            q = len(root)
            for i in range(q):
                for c in range(q):
                    for j in range(q):
                        jacobian[indices[i, j], at + i * q + c] += root[j, c] * (2.0 if i == j else 1.0)
            matrix = gradient_matrix(gradient, indices)
            values, vectors = np.linalg.eigh(matrix)
            part = (vectors * (np.maximum(values, 0) if positive else values)) @ vectors.T
            bend[at : at + q * q, at : at + q * q] = 2 * np.kron(part, np.eye(q))
            at += q * q
        for place, number in enumerate(self.residual):
            jacobian[number, at + place] = float(not self._residual_held(gradient))
        return jacobian, bend

    def _from_roots(self, roots: list[FloatArray], step: FloatArray) -> FloatArray:
        x, at = self.x.copy(), 0
        for root, indices in zip(roots, self.blocks):
            moved = root + step[at : at + root.size].reshape(root.shape)
            x[indices] = moved @ moved.T
            at += root.size
        x[self.residual] += self._residual_step(step[at:])
        return x

    def _residual_step(self, step: FloatArray) -> FloatArray:
        """A step of the residual parameters, kept within bounds."""
        if not self.residual:
            return step
        here = self.x[self.residual]
        return np.asarray(np.clip(here + np.clip(step, -3.0, 3.0), self.lowest, 12.0) - here)

    def _settle(self) -> None:
        """Set to zero the eigenvalues that are zero but for the last bits of the search."""
        x = self.x.copy()
        for indices in self.blocks:
            values, vectors = np.linalg.eigh(x[indices])
            small = values < 1e-6 * max(1.0, values[-1])
            if small.any():
                kept = np.where(small, 0.0, values)
                x[indices] = (vectors * kept) @ vectors.T
        if not np.array_equal(x, self.x):
            at = self._evaluate(x)
            if at is not None and at.value <= self.at.value + 1e-8:
                self.x, self.at = x, at

    def leave_false_boundary(self) -> bool:
        """Check u'Gu >= 0 for the null vectors of every singular block; step inside where it fails."""
        if self.evaluations >= MAX_EVALUATIONS:
            return False
        _, gradient, hessian = self._point()
        moved = False
        x = self.x.copy()
        for indices in self.blocks:
            values, vectors = np.linalg.eigh(self.x[indices])
            null = vectors[:, values <= 1e-9 * max(1.0, values[-1])]
            if not null.shape[1]:
                continue
            inside, rotation = np.linalg.eigh(null.T @ gradient_matrix(gradient, indices) @ null)
            direction = null @ rotation[:, 0]
            ray = np.outer(direction, direction)
            along = np.zeros(len(self.x))
            along[indices] = ray
            curve = float(along @ hessian @ along)
            if inside[0] < 0 and curve > 0 and inside[0] ** 2 / (2 * curve) > 1e-7:
                x[indices] += ray * (-inside[0] / curve)
                moved = True
        if moved:
            at = self._evaluate(x)
            if at is None or at.value >= self.at.value:
                return False
            self.x, self.at, self.pairs, self.stalled = x, at, [], True
        return moved

    def optimum(self) -> Optimum:
        """What was found."""
        theta = self._to_theta(self.x)
        boundary = []
        for number, indices in enumerate(self.blocks):
            values = np.linalg.eigvalsh(theta[indices])
            if values[0] <= 1e-7 * max(values[-1], 1e-2):
                boundary.append(number)
        held: tuple[int, ...] = ()
        if self._residual_held(self._gradient()):
            held = tuple(self.residual)
            theta[list(held)] = 0.0
            at = self.model.deviance(theta)
            if at.value <= self.at.value + 1e-4:
                self.at = at
        converged = self.done
        message = "converged" if converged else f"stopped after {self.evaluations} evaluations"
        return Optimum(theta, self.at, self.evaluations, self.decrement, converged, tuple(boundary), held, message)


def covariance_blocks(model: Model) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """For every block of effects the (q, q) positions of its covariances in the parameter vector."""
    found = []
    number = {(parameter.kind, parameter.i, parameter.j): k for k, parameter in enumerate(model.parameters)}
    for block in model.design.blocks:
        kind = "outer" if block.outer else "inner"
        places = [model.outer_columns.index(c) if block.outer else c for c in block.columns]
        indices = [[number[kind, max(i, j), min(i, j)] for j in places] for i in places]
        found.append(np.array(indices, dtype=np.int64))
    return found


def gradient_matrix(gradient: FloatArray, indices: Any) -> FloatArray:
    """The symmetric matrix G with d deviance = <G, dD>, from derivatives by elements (off-diagonals count twice)."""
    matrix = gradient[indices] / 2
    matrix[np.diag_indices(len(indices))] *= 2
    return np.asarray(matrix)


def _root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _solve_positive(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """H^-1 g with H made positive definite: flat directions are left out, negative ones turned round."""
    if not len(gradient):
        return gradient
    scale = np.sqrt(np.maximum(np.abs(hessian.diagonal()), 1e-300))
    values, vectors = np.linalg.eigh(hessian / (scale[:, None] * scale))
    good = np.abs(values) > 1e-10 * max(values[-1], 1e-300)
    part = vectors[:, good]
    return np.asarray((part @ ((part.T @ (gradient / scale)) / np.abs(values[good]))) / scale)


def _sharpened(hessian: FloatArray, pairs: list[tuple[FloatArray, FloatArray]], trust: float) -> FloatArray:
    """BFGS updates of a Hessian by steps and the changes of gradient along them, where the two agree within `trust`."""
    for step, change in pairs:
        bent, along = hessian @ step, float(step @ change)
        curve = float(step @ bent)
        if curve > 0 and curve / trust < along < curve * trust:
            hessian = hessian - bent[:, None] * (bent / curve) + change[:, None] * (change / along)
    return hessian


def _noise(value: float) -> float:
    return 1e-12 * abs(value) + 1e-11
