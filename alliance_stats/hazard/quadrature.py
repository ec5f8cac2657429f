"""Binary regression with a normal random intercept, by adaptive Gauss-Hermite quadrature (Pinheiro & Bates 1995).

Each group's integral over its effect is one dimension; the nodes are centred at the effect's mode and scaled by its
curvature. The likelihood is maximised by Newton's method in (coefficients, sd) with the exact observed information
(Louis 1982), so the standard errors allow for the estimation of the variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alliance_stats.hazard.binary import fit_binary, row_terms, solve_information
from alliance_stats.tables.arrays import FloatArray, IntArray

_START_SD = 0.5
_BOUNDARY = 1e-3
MAX_ITERATIONS = 60


class MixedBinaryFit(NamedTuple):
    """A fitted binary regression with a random intercept."""

    coefficients: FloatArray  # (p,)
    covariance: FloatArray  # (p, p)
    sd: float  # Standard deviation of the groups' effects on the linear predictor
    sd_error: float  # Its standard error; NaN on the boundary
    # effects, effects_sd: (groups,); mode of each group's effect given the data, and its conditional standard deviation
    effects: FloatArray
    effects_sd: FloatArray
    # log_likelihood, null_log_likelihood: with, and without, the random intercept
    log_likelihood: float
    null_log_likelihood: float
    converged: bool
    boundary: bool  # The likelihood is highest at sd = 0
    iterations: int


def curvature(linear: FloatArray, y: FloatArray, link: str) -> FloatArray:
    """Minus the second derivative of each row's log-likelihood in its linear predictor (observed, not expected)."""
    if link == "logit":
        return row_terms(linear, y, link)[2]
    rate = np.exp(np.clip(linear, -700.0, 300.0))
    ratio = np.exp(-rate) / np.maximum(-np.expm1(-rate), 1e-300)
    return np.where(y > 0, rate * rate * ratio * (1.0 + ratio) - rate * ratio, rate)


class _Problem(NamedTuple):
    """The rows sorted by group, and the quadrature rule."""

    y: FloatArray
    design: FloatArray
    group: IntArray
    begin: IntArray
    link: str
    node: FloatArray
    log_weight: FloatArray

    def total(self, values: FloatArray) -> FloatArray:
        """Sum within groups."""
        return np.asarray(np.add.reduceat(values, self.begin, axis=0))


class _Point(NamedTuple):
    """The likelihood at one (coefficients, sd), with its first two derivatives."""

    value: float
    score: FloatArray
    information: FloatArray
    mode: FloatArray
    spread: FloatArray


def fit_mixed_binary(
    y: FloatArray,
    design: FloatArray,
    group: IntArray,
    *,
    link: str = "logit",
    nodes: int = 25,
    names: Sequence[str] | None = None,
) -> MixedBinaryFit:
    """Maximum likelihood with a normal intercept for each of the groups 0, 1, ...

    Raises ``ValueError`` with fewer than two groups or without nodes; otherwise as `fit_binary`.
    """
    if int(group.max()) < 1:
        raise ValueError("A random intercept needs at least two groups; there is one.")
    if nodes < 1:
        raise ValueError(f"nodes={nodes!r} must be at least 1.")
    plain = fit_binary(y, design, link=link, names=names)
    order = np.argsort(group, kind="stable")
    node, weight = np.polynomial.hermite.hermgauss(nodes)
    sorted_group = group[order]
    begin = np.flatnonzero(np.r_[True, np.diff(sorted_group) > 0])
    problem = _Problem(y[order], design[order], sorted_group, begin, link, node, np.log(weight) + node**2)
    parameters, point, converged, iterations = _climb(problem, np.r_[plain.coefficients, _START_SD])
    value, null, zero = point.value, plain.log_likelihood, np.zeros(len(begin))
    if parameters[-1] < _BOUNDARY or value <= null:
        beta, errors = plain.coefficients, plain.covariance
        return MixedBinaryFit(
            beta, errors, 0.0, np.nan, zero, zero, null, null, plain.converged, boundary=True, iterations=iterations
        )
    covariance = solve_information(point.information, np.eye(len(parameters)))
    sd = float(parameters[-1])
    return MixedBinaryFit(
        coefficients=parameters[:-1],
        covariance=covariance[:-1, :-1],
        sd=sd,
        sd_error=float(np.sqrt(covariance[-1, -1])),
        effects=sd * point.mode,
        effects_sd=sd * point.spread,
        log_likelihood=value,
        null_log_likelihood=null,
        converged=converged,
        boundary=False,
        iterations=iterations,
    )


def _climb(problem: _Problem, parameters: FloatArray) -> tuple[FloatArray, _Point, bool, int]:
    """Newton's method with step halving: parameters, the likelihood there, whether it converged, and the steps."""
    point = _evaluate(problem, parameters, np.zeros(len(problem.begin)))
    for iteration in range(1, MAX_ITERATIONS + 1):
        step = _ascent(point)
        gain = float(point.score @ step)
        size = 1.0
        new = _evaluate(problem, parameters + step, point.mode)
        while not new.value >= point.value - 1e-9 * abs(point.value) and size > 1e-6:
            size /= 2
            new = _evaluate(problem, parameters + size * step, point.mode)
        parameters, point = parameters + size * step, new
        if parameters[-1] < 0:  # the likelihood is even in the sd
            parameters[-1] *= -1
            point = _evaluate(problem, parameters, -point.mode)
        if gain < 1e-10 or parameters[-1] < _BOUNDARY / 10:
            return parameters, point, True, iteration
    return parameters, point, False, MAX_ITERATIONS


def _modes(problem: _Problem, linear: FloatArray, sd: float, start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mode of each group's standardised effect, and one over the root of the curvature there."""
    effect = start.copy()
    for _ in range(100):
        shifted = linear + sd * effect[problem.group]
        slope = sd * problem.total(row_terms(shifted, problem.y, problem.link)[1]) - effect
        bend = sd**2 * problem.total(curvature(shifted, problem.y, problem.link)) + 1.0
        step = slope / bend
        effect = effect + np.clip(step, -3.0, 3.0)
        if np.abs(step).max() < 1e-9:
            break
    return effect, 1.0 / np.sqrt(bend)


def _evaluate(problem: _Problem, parameters: FloatArray, start: FloatArray) -> _Point:
    beta, sd = parameters[:-1], float(parameters[-1])
    # Liu & Pierce (1994), Pinheiro & Bates (1995): nodes at mode + sqrt(2) spread x_k, weights w_k exp(x_k^2).
    linear = problem.design @ beta
    mode, spread = _modes(problem, linear, sd, start)
    effect = mode[:, None] + np.sqrt(2.0) * spread[:, None] * problem.node  # groups x nodes
    log_joint = np.empty_like(effect)
    for k in range(effect.shape[1]):
        shifted = linear + sd * effect[problem.group, k]
        log_joint[:, k] = problem.total(row_terms(shifted, problem.y, problem.link)[0])
    log_joint += problem.log_weight - effect**2 / 2
    highest = log_joint.max(axis=1, keepdims=True)
    posterior = np.exp(log_joint - highest)
    mass = posterior.sum(axis=1, keepdims=True)
    value = float((np.log(mass) + highest).sum() + np.log(spread).sum() - 0.5 * len(mode) * np.log(np.pi))
    return _derivatives(problem, linear, sd, effect, posterior / mass, value, mode, spread)


def _derivatives(
    problem: _Problem,
    linear: FloatArray,
    sd: float,
    effect: FloatArray,
    posterior: FloatArray,
    value: float,
    mode: FloatArray,
    spread: FloatArray,
) -> _Point:
    # Louis (1982): information = E(-second derivative) - E(s s') + E(s) E(s)', expectations over each group's effect
    # given its data, s the score of the group for one value of its effect.
    n_groups, p = len(mode), problem.design.shape[1]
    mean_score = np.zeros((n_groups, p + 1))
    information = np.zeros((p + 1, p + 1))
    weight0, weight1 = np.zeros(len(linear)), np.zeros(len(linear))
    weight2 = 0.0
    for k in range(effect.shape[1]):
        node = effect[:, k]
        shifted = linear + sd * node[problem.group]
        residual = row_terms(shifted, problem.y, problem.link)[1]
        bend = curvature(shifted, problem.y, problem.link)
        score = np.empty((n_groups, p + 1))
        score[:, :p] = problem.total(problem.design * residual[:, None])
        score[:, p] = node * problem.total(residual)
        share = posterior[:, k]
        mean_score += share[:, None] * score
        information -= (score * share[:, None]).T @ score
        bend *= share[problem.group]
        weight0 += bend
        weight1 += bend * node[problem.group]
        weight2 += float(bend @ node[problem.group] ** 2)
    information += mean_score.T @ mean_score
    information[:p, :p] += (problem.design * weight0[:, None]).T @ problem.design
    cross = weight1 @ problem.design
    information[:p, p] += cross
    information[p, :p] += cross
    information[p, p] += weight2
    return _Point(value, mean_score.sum(axis=0), (information + information.T) / 2, mode, spread)


def _ascent(point: _Point) -> FloatArray:
    """Newton's step; where the information is not positive definite, one along its eigenvectors with |eigenvalues|."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(point.information)), 1e-12))
    eigenvalue, vector = np.linalg.eigh(point.information / np.outer(scale, scale))
    safe = np.maximum(np.abs(eigenvalue), 1e-8)
    return np.asarray(vector @ ((vector.T @ (point.score / scale)) / safe) / scale)
