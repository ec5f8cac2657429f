"""The parameters that maximise the likelihood, boundaries included.

Steps are scoring steps with the outer product of the series' scores (Berndt, Hall, Hall & Hausman, 1974) while far
away, sharpened by BFGS updates, and shortened where they overshoot. At the end the exact
Hessian, by differences of the exact gradient, decides about convergence. A zero column of a square root L has zero
gradient even where the variance wants to grow, so the Karush-Kuhn-Tucker condition is checked in the covariance matrix
itself and the search goes on where it fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alliance_stats.dynamics.likelihood import Likelihood, Point
from alliance_stats.dynamics.parameters import root
from alliance_stats.tables.arrays import FloatArray

TOLERANCE = 1e-9  # Done when a full step would raise the log-likelihood by less: about 0.0001 of a standard error
ROUGHLY = 0.05  # The same where several starts are compared before the best goes on
APART = 0.2  # Lagged coefficients that differ by so much belong to different peaks
MAX_EVALUATIONS = 400
NOTHING = 1e-6  # A variance below this share of the measure's variance counts as zero


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the search ended."""

    point: Point
    information: FloatArray  # (q, q): minus the Hessian of the profile log-likelihood in theta (observed information)
    slopes: FloatArray  # (q, p): derivatives of the regression coefficients with respect to theta
    gradient: float  # Largest absolute element of the gradient
    decrement: float  # How much a further full step is expected to raise the log-likelihood
    converged: bool
    boundary: tuple[str, ...]  # Blocks whose covariance matrix is singular, and error variances that are zero
    evaluations: int
    rival: Point | None = None  # An improper maximum that lies higher


def maximise(likelihood: Likelihood, starts: list[FloatArray]) -> Optimum:
    """The best point reached from any of the starts.

    A maximum at which the shocks of different measures are copies of each other (their covariance matrix is singular)
    says nothing about which of the measures moves which. One that is proper is preferred to it, and the improper one is
    kept as ``rival`` where it lies higher.
    """
    searches = [Search(likelihood, start) for start in starts]
    if len(searches) > 1:
        for search in searches:
            search.climb(ROUGHLY)
    kept: list[Search] = []
    for search in sorted(searches, key=lambda search: -search.point.value):
        if all(np.abs(search.lagged() - other.lagged()).max() > APART for other in kept):
            kept.append(search)
    for search in kept:
        search.climb()
    best = max(kept, key=lambda search: search.point.value)
    proper = [search for search in kept if "shock" not in boundary(search.point)]
    chosen = max(proper, key=lambda search: search.point.value) if proper else best
    optimum = chosen.finish(sum(search.evaluations for search in searches))
    return optimum if chosen is best else replace(optimum, rival=best.point)


class Search:
    """One search."""

    def __init__(self, likelihood: Likelihood, theta: FloatArray) -> None:
        self.likelihood = likelihood
        self.evaluations = 1
        self.move_to(likelihood.at(theta))
        self.hessian = self.outer()

    def move_to(self, point: Point) -> None:
        """Take a point and its scores."""
        self.point = point
        self.scores, self.gradients = point.scores()
        self.gradient = self.scores.sum(axis=0)

    def lagged(self) -> FloatArray:
        """The lagged coefficients where it is."""
        return np.stack([matrices.lagged for matrices in self.point.groups])

    def outer(self) -> FloatArray:
        """The outer product of scores and the bending at boundaries, kept away from singularity."""
        product = self.scores.T @ self.scores + self.likelihood.layout.bending(self.gradients)
        return product + 1e-6 * np.diag(np.diag(product) + 1e-6 * np.trace(product))

    def climb(self, tolerance: float = TOLERANCE) -> None:
        """Go up until a step gains nothing."""
        while self.evaluations < MAX_EVALUATIONS:
            step = self._step()
            slope = float(step @ self.gradient)
            if slope / 2 < tolerance:
                return
            length, point = 1.0, self._try(self.point.theta + step)
            while point is None or point.value < self.point.value + 1e-4 * length * slope:
                if length < 1e-6:
                    return
                fallen = np.inf if point is None else (self.point.value - point.value) / (length * slope)
                length *= float(np.clip(0.5 / (1.0 + fallen), 0.1, 0.5))
                point = self._try(self.point.theta + length * step)
            before = self.gradient
            self.move_to(point)
            self._learn(length * step, before - self.gradient, far=slope > 1.0)

    def _step(self) -> FloatArray:
        try:
            root = np.linalg.cholesky(self.hessian)
        except np.linalg.LinAlgError:
            self.hessian = self.outer()
            root = np.linalg.cholesky(self.hessian)
        return np.asarray(np.linalg.solve(root.T, np.linalg.solve(root, self.gradient)))

    def _learn(self, step: FloatArray, change: FloatArray, *, far: bool) -> None:
        if far:
            self.hessian = self.outer()
        curve, old = float(step @ change), self.hessian @ step
        if curve > 1e-8 * float(step @ old):
            self.hessian = self.hessian + np.outer(change, change) / curve - np.outer(old, old) / float(step @ old)

    def _try(self, theta: FloatArray) -> Point | None:
        self.evaluations += 1
        try:
            return self.likelihood.at(theta)
        except (FloatingPointError, np.linalg.LinAlgError):
            return None

    def finish(self, evaluations: int) -> Optimum:
        """Leave false boundaries, polish with the exact Hessian, and say how it ended."""
        for _ in range(10):
            if not self._leave_false_boundary():
                break
            self.climb()
        for _ in range(6):
            information, slopes = observed(self.likelihood, self.point, self.gradient)
            values, vectors = np.linalg.eigh(information)
            good = values > 1e-9 * values[-1]
            along = vectors[:, good].T @ self.gradient
            decrement = float((along**2 / np.abs(values[good])).sum()) / 2
            worse = values[0] < -1e-6 * values[-1]
            if decrement < 10 * TOLERANCE and not worse:
                break
            here = self.point.value
            step = vectors[:, good] @ (along / values[good]) if not worse else vectors[:, 0] * 0.1
            point = self._try(self.point.theta + step)
            if point is not None and point.value >= here:
                self.move_to(point)
            self.hessian = (vectors * np.maximum(np.abs(values), 1e-6 * values[-1])) @ vectors.T
            self.climb()
            if self.point.value - here < TOLERANCE / 10:
                break
        return Optimum(
            point=self.point,
            information=information,
            slopes=slopes,
            gradient=float(np.abs(self.gradient).max()),
            decrement=decrement,
            converged=bool(decrement < 100 * TOLERANCE and not worse),
            boundary=boundary(self.point),
            evaluations=evaluations,
        )

    def _leave_false_boundary(self) -> bool:
        blocks = self.likelihood.layout.blocks
        theta, moved = self.point.theta.copy(), False
        if not boundary(self.point):
            return False
        gradients, matrices = self.gradients, self.point.groups[0]
        tolerance = 1e-4 * self.likelihood.n_series
        for name, part in blocks.items():
            if name == "error":
                low = ((matrices.error < NOTHING) & (gradients["error"] > tolerance))[
                    self.likelihood.layout.free_errors
                ]
                theta[part] = np.where(low, 0.1, theta[part])
                moved |= bool(low.any())
                continue
            matrix = getattr(matrices, name)
            values, vectors = np.linalg.eigh(matrix)
            null = vectors[:, values < NOTHING]
            if not null.shape[1]:
                continue
            wants, turn = np.linalg.eigh(null.T @ gradients[name] @ null)
            if wants[-1] > tolerance:
                u = null @ turn[:, -1]
                theta[part] = root(matrix + 0.01 * np.outer(u, u))
                moved = True
        if moved:
            point = self._try(theta)
            if point is None:
                return False
            self.move_to(point)
            self.hessian = self.outer()
        return moved


def boundary(point: Point) -> tuple[str, ...]:
    """Singular covariance matrices and zero error variances."""
    matrices, layout = point.groups[0], point.likelihood.layout
    names = [name for name in layout.blocks if name != "error"]
    found = [name for name in names if np.linalg.eigvalsh(getattr(matrices, name))[0] < NOTHING]
    return (*found, *(f"error[{j}]" for j in layout.free_errors if matrices.error[j] < NOTHING))


def observed(likelihood: Likelihood, point: Point, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Minus the Hessian by differences of the gradient, and the derivatives of beta with respect to theta."""
    size = 1e-6
    gradients, betas = likelihood.gradients(point.theta + size * np.eye(len(point.theta)))
    hessian = -(gradients - gradient) / size
    return (hessian + hessian.T) / 2, (betas - point.beta) / size
