"""The deviance with one parameter held, minimised over all others: what a profile interval is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from alliance_stats.mixed.engine.fitted import Fitted, user_deviance, user_vector
from alliance_stats.mixed.engine.model import build_model
from alliance_stats.mixed.engine.optimiser import minimise
from alliance_stats.mixed.engine.search_space import covariance_blocks, gradient_matrix
from alliance_stats.tables.arrays import FloatArray

Objective = Callable[[FloatArray], tuple[float, FloatArray]]

_GRADIENT = 1e-6
"""Gradient norm, in whitened coordinates, at which a constrained minimum counts as found: 1e-12 of deviance."""


@dataclass(frozen=True)
class Target:
    """The parameter that is held: which block and effects, its estimate and its range."""

    kind: str
    block: int
    i: int
    j: int
    estimate: float
    low: float
    high: float

    def words(self, fit: Fitted) -> dict[str, object]:
        """The parameter as the table of intervals names it."""
        if self.kind in ("sigma", "rho"):
            return {"kind": self.kind, "group": "residual", "term": "", "term_2": ""}
        block = fit.design.blocks[self.block]
        second = block.names[self.j] if self.kind == "correlation" else ""
        return {"kind": self.kind, "group": block.factor, "term": block.names[self.i], "term_2": second}


def targets(fit: Fitted) -> list[Target]:
    """Every variance parameter of a fit: SDs and correlations of each block, sigma, the serial correlation."""
    found = []
    for number, cov in enumerate(fit.covariances):
        sd = np.sqrt(np.maximum(np.diag(cov), 0.0))
        for i in range(len(cov)):
            found.append(Target("sd", number, i, i, float(sd[i]), 0.0, np.inf))
        for i in range(len(cov)):
            for j in range(i + 1, len(cov)):
                scale = sd[i] * sd[j]
                value = float(np.clip(cov[i, j] / scale, -1, 1)) if scale > 0 else 0.0
                found.append(Target("correlation", number, i, j, value, -1.0, 1.0))
    sigma = float(np.sqrt(fit.residual_variance))
    found.append(Target("sigma", -1, 0, 0, sigma, 0.0, np.inf))
    if fit.rho is not None:
        low, high = (-1.0, 1.0) if fit.correlation == "ar1" else (0.0, 1.0)
        found.append(Target("rho", -1, 0, 0, fit.rho, low, high))
    return found


class VarianceProfile:
    """The deviance at a held value of one variance parameter, minimised over the others.

    This is the profile deviance of Bates et al. (2015, section 5.1): zeta(v)^2 = d(v) - d_min.

    Every covariance matrix is written L L' with L lower triangular and the held effects first, so that a standard
    deviation is one element of L and a correlation the direction of its second row. The two lengths beside a held
    correlation are squares of free numbers: a negative one would turn the correlation round.
    """

    def __init__(self, fit: Fitted, target: Target) -> None:
        self.fit, self.target = fit, target
        self.estimate, self.low, self.high = target.estimate, target.low, target.high
        self.reach = {"sd": 0.4, "sigma": 0.15, "correlation": 0.3, "rho": 0.1}[target.kind]
        if target.kind in ("sd", "sigma"):
            self.reach *= target.estimate or float(np.sqrt(fit.residual_variance))
        # V has no inverse at a serial correlation of one, while a correlation of random effects may be one.
        self.open_range = target.kind == "rho"
        labels, self.values = user_vector(fit)
        self.minimum = user_deviance(fit, self.values)[0]
        self.positions = covariance_blocks(fit.model)
        self.rho = next((k for k, label in enumerate(labels) if label[:2] == ("residual", "rho")), None)
        self.orders = [self._order(number, len(cov)) for number, cov in enumerate(fit.covariances)]
        self.scales = []
        sigma = np.sqrt(fit.residual_variance)
        columns = fit.design.user_effects()
        start = []
        for cov, order, block in zip(fit.covariances, self.orders, fit.design.blocks):
            size = np.sqrt(np.mean(columns[:, list(block.columns)] ** 2, axis=0))
            scale = np.maximum(np.sqrt(np.diag(cov)), 0.1 * sigma / np.maximum(size, 1e-300))[order]
            self.scales.append(scale)
            moved = (cov[np.ix_(order, order)]) / np.outer(scale, scale)
            values, vectors = np.linalg.eigh(moved)
            start.append(np.linalg.cholesky((vectors * np.maximum(values, 1e-4)) @ vectors.T))
        self.start = self._pack(start, np.log(fit.residual_variance), fit.rho)
        self.free = self.start
        self.white: FloatArray | None = None

    def _order(self, number: int, q: int) -> list[int]:
        first: list[int] = []
        if number == self.target.block:
            first = [self.target.i] if self.target.kind == "sd" else [self.target.i, self.target.j]
        return [*first, *(k for k in range(q) if k not in first)]

    # -- between the free numbers and the user's parameters ------------------------------------------------------
    def _pack(self, roots: list[FloatArray], log_sigma2: float, rho: float | None) -> FloatArray:
        parts: list[float] = []
        for number, root in enumerate(roots):
            kind = self.target.kind if number == self.target.block else ""
            if kind == "correlation":
                parts += [np.sqrt(root[0, 0]), float(np.sqrt(np.hypot(root[1, 0], root[1, 1])))]
            elif kind != "sd":
                parts.append(root[0, 0])
            begin = 2 if kind == "correlation" else 1
            parts += [root[i, j] for i in range(begin, len(root)) for j in range(i + 1)]
        if self.target.kind != "sigma":
            parts.append(log_sigma2)
        if rho is not None and self.target.kind != "rho":
            parts.append(np.arctanh(rho) if self.fit.correlation == "ar1" else np.log(rho / (1 - rho)))
        return np.array(parts)

    def _unpack(self, free: FloatArray, held: float) -> tuple[list[FloatArray], float, float | None]:
        roots, at = [], 0
        for number, scale in enumerate(self.scales):
            q = len(scale)
            root = np.zeros((q, q))
            kind = self.target.kind if number == self.target.block else ""
            begin = 1
            if kind == "sd":
                root[0, 0] = held / scale[0]
            elif kind == "correlation":
                root[0, 0] = free[at] ** 2
                root[1, :2] = free[at + 1] ** 2 * np.array([held, np.sqrt(max(1 - held**2, 0.0))])
                at, begin = at + 2, 2
            else:
                root[0, 0] = free[at]
                at += 1
            for i in range(begin, q):
                root[i, : i + 1] = free[at : at + i + 1]
                at += i + 1
            roots.append(root)
        if self.target.kind == "sigma":
            sigma2 = held**2
        else:
            sigma2 = float(np.exp(free[at]))
            at += 1
        rho: float | None = None
        if self.rho is not None:
            if self.target.kind == "rho":
                rho = held
            else:
                rho = float(np.tanh(free[at]) if self.fit.correlation == "ar1" else 1 / (1 + np.exp(-free[at])))
        return roots, sigma2, rho

    def objective(self, held: float) -> Objective:
        """Deviance and gradient as a function of the free numbers."""

        def value(free: FloatArray) -> tuple[float, FloatArray]:
            roots, sigma2, rho = self._unpack(free, held)
            values = np.empty(len(self.values))
            for root, scale, order, positions in zip(roots, self.scales, self.orders, self.positions):
                values[positions[np.ix_(order, order)]] = (root @ root.T) * np.outer(scale, scale)
            values[-1] = sigma2
            if self.rho is not None:
                values[self.rho] = rho
            deviance, gradient = user_deviance(self.fit, values)
            return deviance, self._pull(gradient, free, roots, sigma2, rho, held)

        return value

    def _pull(
        self,
        gradient: FloatArray,
        free: FloatArray,
        roots: list[FloatArray],
        sigma2: float,
        rho: float | None,
        held: float,
    ) -> FloatArray:
        """The gradient in the free numbers: d/dL = 2 G L, then along the second row for a held correlation."""
        parts: list[float] = []
        for number, (root, scale, order, positions) in enumerate(zip(roots, self.scales, self.orders, self.positions)):
            matrix = gradient_matrix(gradient, positions[np.ix_(order, order)]) * np.outer(scale, scale)
            of_root = 2 * matrix @ root
            kind = self.target.kind if number == self.target.block else ""
            begin = 1
            if kind == "correlation":
                along = of_root[1, 0] * held + of_root[1, 1] * np.sqrt(max(1 - held**2, 0.0))
                at = len(parts)
                parts += [2 * free[at] * of_root[0, 0], 2 * free[at + 1] * float(along)]
                begin = 2
            elif kind != "sd":
                parts.append(of_root[0, 0])
            parts += [of_root[i, j] for i in range(begin, len(root)) for j in range(i + 1)]
        if self.target.kind != "sigma":
            parts.append(gradient[-1] * sigma2)
        if self.rho is not None and rho is not None and self.target.kind != "rho":
            parts.append(gradient[self.rho] * (1 - rho**2 if self.fit.correlation == "ar1" else rho * (1 - rho)))
        return np.array(parts)

    def __call__(self, held: float) -> float:
        """The profile deviance above its minimum."""
        objective = self.objective(held)
        if not len(self.start):
            return objective(self.start)[0] - self.minimum
        if self.white is None:
            self.white = _whitening(self.objective(self._inside(self.estimate)), self.start)
        best, self.free = _minimum(objective, [self.free, self.start], self.white)
        return best - self.minimum

    def _inside(self, value: float) -> float:
        return float(np.clip(value, -0.99, 0.99)) if self.target.kind in ("correlation", "rho") else value


class FixedProfile:
    """The ML deviance at a held value of one coefficient: that of y - v x_j in the model without the column x_j."""

    def __init__(self, fit: Fitted, j: int) -> None:
        self.low, self.high, self.open_range = -np.inf, np.inf, False
        self.estimate = float(fit.coefficients.iloc[j])
        self.reach = 2 * float(np.sqrt(fit.covariance.to_numpy()[j, j]))
        self.minimum = fit.optimum.deviance.value
        self.start = self.free = fit.optimum.theta
        columns = fit.design.user_x()
        basis = np.linalg.qr(np.delete(columns, j, axis=1))[0]
        # What the other columns explain by least squares is no matter: they are in the model themselves.
        self.y, self.x = (part - basis @ (basis.T @ part) for part in (fit.design.user_outcome(), columns[:, j]))
        others = basis.T * np.sqrt(len(basis))
        names = tuple(f"column {k}" for k in range(len(others)))
        design = replace(fit.design, x=others, names=names, x_map=np.eye(len(others)), y_centre=0.0)
        self.model = build_model(design, correlation=fit.correlation, reml=False)

    def __call__(self, held: float) -> float:
        """The profile deviance above its minimum."""
        found = minimise(self.model.with_outcome(self.y - held * self.x), self.free)
        self.free = found.theta
        return found.deviance.value - self.minimum


def _minimum(objective: Objective, starts: list[FloatArray], white: FloatArray) -> tuple[float, FloatArray]:
    """The lowest minimum found from the starts, by BFGS over whitened coordinates."""
    best, place = np.inf, starts[0]
    for start in starts:
        options: Any = {"gtol": _GRADIENT, "maxiter": 200}
        whitened = _whitened(objective, start, white)
        result = minimize(whitened, np.zeros(len(start)), jac=True, method="BFGS", options=options)
        if result.fun < best - 1e-9:
            best, place = float(result.fun), start + white @ result.x
        if np.array_equal(start, starts[-1]):
            break
    return best, place


def _whitened(objective: Objective, start: FloatArray, white: FloatArray) -> Objective:
    def value(u: FloatArray) -> tuple[float, FloatArray]:
        try:
            deviance, gradient = objective(start + white @ u)
        except np.linalg.LinAlgError:
            return 1e300, np.zeros(len(u))
        return deviance, white.T @ gradient

    return value


def _whitening(objective: Objective, start: FloatArray) -> FloatArray:
    """A square root of the inverse Hessian at `start`, flat directions held to the size of the others."""
    count = len(start)
    hessian = np.empty((count, count))
    for k in range(count):
        step = np.zeros(count)
        step[k] = 1e-4
        hessian[k] = (objective(start + step)[1] - objective(start - step)[1]) / 2e-4
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return np.asarray(vectors / np.sqrt(np.maximum(np.abs(values), 1e-4 * max(np.abs(values).max(), 1e-300))))
