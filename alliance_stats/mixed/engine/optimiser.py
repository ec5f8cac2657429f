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

import numpy as np

from alliance_stats.mixed.design.columns import INTERCEPT
from alliance_stats.mixed.engine.model import Deviance, Model
from alliance_stats.mixed.engine.search_space import gradient_matrix, search_space, square_root
from alliance_stats.tables.arrays import FloatArray

TOLERANCE = 1e-12  # Stop when a full step would lower the deviance by less than this, or than a tenth of its last digit
START_INTERCEPT, START_SLOPE, START_OUTER = 0.35, 0.1, 0.02
MAX_EVALUATIONS = 500
_TRUST = 10.0
PATIENCE = 12  # Steps over square roots with the expected Hessian, before it is formed by differences


@dataclass(frozen=True)
class Optimum:
    """Where the search ended."""

    theta: FloatArray  # (parameters,): relative to sigma^2, internal units
    deviance: Deviance
    evaluations: int
    decrement: float  # How much a further full step is expected to lower the deviance
    converged: bool
    boundary: tuple[int, ...]  # Blocks (numbered as in ``Model.design.blocks``) whose covariance matrix is singular
    held: tuple[int, ...]  # Residual parameters at the end of their range (a continuous-time correlation of zero)
    message: str


def minimise(model: Model, start: FloatArray | None = None) -> Optimum:
    """Fit the variance parameters of `model`, beginning at `start` or at :func:`start_values`."""
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
    inner = [START_INTERCEPT if name == INTERCEPT else START_SLOPE for name in model.design.effect_names]
    return model.vector(np.diag(inner), START_OUTER * np.eye(len(model.outer_columns)), 0.2)


class _Search:
    """The state of one search: the point, the last secant pairs, how often the deviance was computed.

    Two kinds of step: Fisher scoring x - I(x)^-1 g with the expected information (Jennrich & Sampson 1976), and, where
    a covariance matrix is singular, Newton-like steps over L with D = L L' (as lme4's theta; Bates et al. 2015, section
    2.3). The geometry of both is in :class:`~alliance_stats.mixed.engine.search_space.SearchSpace`.
    """

    def __init__(self, model: Model, theta: FloatArray) -> None:
        self.model = model
        self.space = search_space(model)
        self.evaluations = 0
        self.pairs: list[tuple[FloatArray, FloatArray]] = []
        self.stalled = False
        self.decrement = np.inf
        self.done = False
        self.x = self.space.to_search(theta)
        self.at = self._first()

    @property
    def theta(self) -> FloatArray:
        """Where it is."""
        return self.space.to_theta(self.x)

    def _first(self) -> Deviance:
        at = self._evaluate(self.x)
        if at is None:
            raise np.linalg.LinAlgError("the deviance could not be computed at the starting values")
        return at

    def _evaluate(self, x: FloatArray) -> Deviance | None:
        self.evaluations += 1
        try:
            result = self.model.deviance(self.space.to_theta(x))
        except np.linalg.LinAlgError:
            return None
        return result if np.isfinite(result.value) else None

    def _point(self) -> tuple[float, FloatArray, FloatArray]:
        """Deviance, gradient and Hessian (expected, sharpened by the secant pairs) in search coordinates."""
        slope = self.space.slope(self.theta)
        hessian = _sharpened(2 * self.at.information * (slope[:, None] * slope), self.pairs[-3:])
        return self.at.value, self.at.gradient * slope, hessian

    def _gradient(self) -> FloatArray:
        return np.asarray(self.at.gradient * self.space.slope(self.theta))

    def _move(self, x: FloatArray, at: Deviance) -> None:
        before, step = self._gradient(), x - self.x
        self.x, self.at = x, at
        self.pairs.append((step, self._gradient() - before))

    def _residual_held(self, gradient: FloatArray) -> bool:
        """A continuous-time correlation that has reached zero and would go below."""
        return self.space.positive and any(
            self.x[k] <= self.space.lowest and gradient[k] >= -1e-12 for k in self.space.residual
        )

    # -- scoring on D itself ------------------------------------------------------------------------------------
    def scoring(self) -> None:
        """Fisher scoring; ends with ``done``, or with ``stalled`` where a matrix meets its boundary."""
        cut = 0
        for _ in range(2 * PATIENCE):
            value, gradient, hessian = self._point()
            held = np.zeros(len(self.x), dtype=bool)
            held[self.space.scalars] = (self.x[self.space.scalars] <= 0) & (gradient[self.space.scalars] >= 0)
            held[self.space.residual] = self._residual_held(gradient)
            free = ~held
            step = np.zeros(len(self.x))
            step[free] = -_solve_positive(hessian[free][:, free], gradient[free])
            self.decrement = float(-gradient @ step) / 2
            if self.decrement < max(TOLERANCE, 0.1 * np.spacing(abs(value))):
                self.done = True
                return
            step[self.space.residual] = self.space.residual_step(self.x, step[self.space.residual])
            length = self.space.room(self.x, step)
            cut += length < 1
            if cut > 2 or not self._line_search(step, length, value, gradient):
                break
        self.stalled = True

    def _line_search(self, step: FloatArray, length: float, value: float, gradient: FloatArray) -> bool:
        for _ in range(12):
            x = self.x + length * step
            x[self.space.scalars] = np.maximum(x[self.space.scalars], 0.0)
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
            roots = [square_root(self.x[indices]) for indices in self.space.blocks]
            exact = iteration >= PATIENCE
            jacobian, bend = self.space.root_map(
                roots, gradient, held=self._residual_held(gradient), positive=not exact
            )
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
            x = self.space.from_roots(self.x, roots, length * step)
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
            out[k] = (at.gradient * self.space.slope(self.theta) - gradient) / step
        self.x = here
        return (out + out.T) / 2

    def _settle(self) -> None:
        """Set to zero the eigenvalues that are zero but for the last bits of the search."""
        x = self.x.copy()
        for indices in self.space.blocks:
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
        for indices in self.space.blocks:
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
        theta = self.space.to_theta(self.x)
        boundary = []
        for number, indices in enumerate(self.space.blocks):
            values = np.linalg.eigvalsh(theta[indices])
            if values[0] <= 1e-7 * max(values[-1], 1e-2):
                boundary.append(number)
        held: tuple[int, ...] = ()
        if self._residual_held(self._gradient()):
            held = tuple(self.space.residual)
            theta[list(held)] = 0.0
            at = self.model.deviance(theta)
            if at.value <= self.at.value + 1e-4:
                self.at = at
        converged = self.done
        message = "converged" if converged else f"stopped after {self.evaluations} evaluations"
        return Optimum(theta, self.at, self.evaluations, self.decrement, converged, tuple(boundary), held, message)


def _solve_positive(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """H^-1 g with H made positive definite: flat directions are left out, negative ones turned round."""
    if not len(gradient):
        return gradient
    scale = np.sqrt(np.maximum(np.abs(hessian.diagonal()), 1e-300))
    values, vectors = np.linalg.eigh(hessian / (scale[:, None] * scale))
    good = np.abs(values) > 1e-10 * max(values[-1], 1e-300)
    part = vectors[:, good]
    return np.asarray((part @ ((part.T @ (gradient / scale)) / np.abs(values[good]))) / scale)


def _sharpened(hessian: FloatArray, pairs: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """BFGS updates of a Hessian by steps and the changes of gradient along them, where the two agree within _TRUST."""
    for step, change in pairs:
        bent, along = hessian @ step, float(step @ change)
        curve = float(step @ bent)
        if curve > 0 and curve / _TRUST < along < curve * _TRUST:
            hessian = hessian - bent[:, None] * (bent / curve) + change[:, None] * (change / along)
    return hessian


def _noise(value: float) -> float:
    return 1e-12 * abs(value) + 1e-11
