"""Satterthwaite degrees of freedom for contrasts of the fixed effects (Fai & Cornelius 1996; Kuznetsova et al. 2017).

df = 2 (c'Vc)^2 / (g'A g) with V the covariance of the fixed effects, g the gradient of c'Vc in the variance parameters
and A their asymptotic covariance: twice the inverse Hessian of the deviance (sigma^2 not profiled out), which is formed
by central differences of the analytic gradient. Where a covariance matrix is singular the Hessian is taken along the
boundary, over a square root of the matrix, as lmerTest does over lme4's Cholesky factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from alliance_stats.mixed.engine.model import Model
from alliance_stats.mixed.engine.optimiser import Optimum
from alliance_stats.mixed.engine.search_space import search_space
from alliance_stats.mixed.engine.strata import with_ratios
from alliance_stats.tables.arrays import FloatArray

_STEP = 1e-3
"""Difference step, in standard errors of the parameter: truncation and rounding both near 1e-6 of the Hessian."""


@dataclass(frozen=True)
class VarianceCurvature:
    """What degrees of freedom need, in internal units."""

    # (parameters + 1, parameters + 1): of the deviance in (theta, sigma^2); before sigma^2 come the log ratios of the
    # residual variances of strata
    hessian: FloatArray
    # (parameters + 1, parameters + 1): A, the asymptotic covariance of (theta, sigma^2) along the boundary where there
    # is one
    covariance: FloatArray
    unscaled: FloatArray  # (p, p): (X'V^-1 X)^-1
    change: FloatArray  # (parameters, p, p): d (X'V^-1 X)
    sigma2: float


def variance_curvature(model: Model, optimum: Optimum) -> VarianceCurvature:
    """Hessian and asymptotic covariance of the variance parameters at the optimum."""
    theta, sigma2 = optimum.theta, optimum.deviance.sigma2
    count = len(theta)
    curvature, unscaled = optimum.deviance.evaluation.curvature, optimum.deviance.unscaled
    gradient, change = optimum.deviance.gradient, curvature.cross[:, :-1, :-1]
    error = 1 / np.sqrt(np.maximum(np.diag(optimum.deviance.information), 1e-300))
    hessian = np.zeros((count + 1, count + 1))
    for k in range(count):
        if k in optimum.held:
            continue
        step = _STEP * error[k]
        if model.parameters[k].kind == "residual":
            step = min(step, 0.1 * min(1 - abs(theta[k]), abs(theta[k]) or 1.0))
        ends = []
        for sign in (1.0, -1.0):
            moved = theta.copy()
            moved[k] += sign * step
            ends.append(model.full_gradient(moved, sigma2)[1])
        hessian[k] = (ends[0] - ends[1]) / (2 * step)
    nu = model.freedom
    hessian[count, :count] = hessian[:count, count]
    hessian[count, count] = nu / sigma2**2  # rss = nu sigma^2 at the optimum
    hessian = (hessian + hessian.T) / 2
    if model.design.strata is not None:
        hessian, change = _with_ratios(model, theta, sigma2, hessian, change)
        gradient = np.append(gradient, np.zeros(len(change) - count))
    covariance = _boundary_covariance(model, optimum, hessian, gradient)
    return VarianceCurvature(hessian, covariance, unscaled, change, sigma2)


def _with_ratios(
    model: Model, theta: FloatArray, sigma2: float, hessian: FloatArray, change: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The Hessian and d (X'V^-1 X) with the log ratios of the residual variances of strata, before sigma^2."""
    strata = model.design.strata
    if strata is None:
        return hessian, change
    logs = np.log(strata.ratios[1:])
    moves = 2 * _STEP * np.eye(len(logs))

    def at(move: FloatArray) -> tuple[float, FloatArray, FloatArray, FloatArray]:
        return with_ratios(model, logs + move).full_gradient(theta, sigma2)

    count, extra = len(theta), len(logs)
    out = np.zeros((count + extra + 1, count + extra + 1))
    old = [*range(count), count + extra]
    out[np.ix_(old, old)] = hessian
    middle, ends = at(0 * logs)[0], [(at(move), at(-move)) for move in moves]
    changes = []
    for k, (up, down) in enumerate(ends):
        step = float(moves[k, k])
        out[count + k, old] = out[old, count + k] = (up[1] - down[1]) / (2 * step)
        out[count + k, count + k] = (up[0] - 2 * middle + down[0]) / step**2
        changes.append((np.linalg.inv(up[2]) - np.linalg.inv(down[2])) / (2 * step))
        for j in range(k):
            corners = [at(moves[k] + sign * moves[j])[0] for sign in (1, -1)]
            corners += [at(-moves[k] + sign * moves[j])[0] for sign in (1, -1)]
            mixed = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step**2)
            out[count + k, count + j] = out[count + j, count + k] = mixed
    return out, np.concatenate([change, np.array(changes)])


def _boundary_covariance(model: Model, optimum: Optimum, hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """2 H^-1, along the boundary: over a square root of every block."""
    if not optimum.boundary and not optimum.held:
        return 2 * _positive_inverse(hessian)
    space, theta = search_space(model), optimum.theta
    roots = []
    for number, indices in enumerate(space.blocks):
        values, vectors = np.linalg.eigh(theta[indices])
        floor = 1e-7 * max(values[-1], 1e-2) if number in optimum.boundary else 0.0
        roots.append(vectors * np.sqrt(np.where(values > floor, values, 0.0)))
    jacobian, bend = space.root_map(roots, gradient[: len(theta)], held=bool(optimum.held), positive=False)
    others = np.eye(len(hessian) - len(theta))  # ratios of residual variances, and sigma^2
    jacobian, bend = block_diag(jacobian, others), block_diag(bend, 0 * others)
    curved = jacobian.T @ hessian @ jacobian + bend
    return np.asarray(jacobian @ (2 * _positive_inverse(curved)) @ jacobian.T)


def _positive_inverse(matrix: FloatArray) -> FloatArray:
    """The inverse over the positive eigenvalues, parameters scaled to unit diagonal first."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-300))
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    good = values > 1e-8 * max(values[-1], 1e-300)
    part = vectors[:, good]
    return np.asarray((part / values[good]) @ part.T / np.outer(scale, scale))


def contrast_df(curvature: VarianceCurvature, contrasts: FloatArray) -> FloatArray:
    """Degrees of freedom of each row of `contrasts` (rows, p), in internal units."""
    reach = contrasts @ curvature.unscaled
    size = np.einsum("ri,ri->r", reach, contrasts)
    slope = -curvature.sigma2 * np.einsum("ri,kij,rj->rk", reach, curvature.change, reach)
    slope = np.column_stack([slope, size])
    spread = np.einsum("rk,kl,rl->r", slope, curvature.covariance, slope)
    variance = curvature.sigma2 * size
    return np.asarray(np.divide(2 * variance**2, spread, out=np.full(len(spread), np.inf), where=spread > 0))


def joint_df(df: FloatArray) -> float:
    """Denominator df of an F test from those of its orthogonal one-df contrasts (as ``lmerTest::contestMD``)."""
    q = len(df)
    if q == 1:
        return float(df[0])
    if np.ptp(df) < 1e-8 * df.max():
        return float(df.mean())
    if (df <= 2).any():
        return 2.0
    expected = float(np.sum(df / (df - 2)))
    return 2 * expected / (expected - q)
