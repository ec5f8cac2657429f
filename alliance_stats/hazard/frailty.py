"""Cox regression with a shared frailty per group: penalised partial likelihood (Therneau, Grambsch & Pankratz 2003).

Gamma: the marginal likelihood is exact given the partial likelihood, and is maximised over the variance (the EM
estimate of Klein 1992; R's ``frailty(dist="gamma")``). Log-normal: the variance solves Ripatti & Palmgren's (2000)
equation (R's ``frailty(dist="gaussian")``, method REML, with the full matrix rather than its sparse approximation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import digamma, gammaln

from alliance_stats.hazard.cox import Sums, evaluate, fit_cox, information_of, row_weights, score_of
from alliance_stats.hazard.risk_sets import RiskSets
from alliance_stats.tables.arrays import FloatArray, IntArray

_SMALLEST = 1e-5
_LARGEST = 50.0
_GRID = [_SMALLEST, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, _LARGEST]


class FrailtyFit(NamedTuple):
    """A fitted Cox regression with a shared frailty."""

    coefficients: FloatArray  # (p,)
    # (p, p): from the inverse penalised information; the variance of the frailty is taken as known, as in R
    covariance: FloatArray
    variance: float  # Gamma: of the frailty (mean 1). Log-normal: of its logarithm.
    # effects, effects_sd: (groups,); log frailties and their standard errors
    effects: FloatArray
    effects_sd: FloatArray
    # log_likelihood, null_log_likelihood: marginal (gamma: exact given the partial likelihood; log-normal: Laplace),
    # and without frailty
    log_likelihood: float
    null_log_likelihood: float
    converged: bool
    boundary: bool  # The variance is zero
    iterations: int  # Penalised fits made


class _Penalised(NamedTuple):
    """The maximum of the penalised partial likelihood for one variance."""

    beta: FloatArray
    effect: FloatArray
    partial: float
    covariance: FloatArray
    effect_variance: FloatArray
    log_determinant: float
    converged: bool


class _Inverse(NamedTuple):
    """``(diag(a) - B C B')^-1`` by dense inversion or, with many groups, by Woodbury's identity."""

    diagonal: FloatArray
    left: FloatArray
    right: FloatArray
    log_determinant: float

    def times(self, vectors: FloatArray) -> FloatArray:
        scaled = vectors / (self.diagonal if vectors.ndim == 1 else self.diagonal[:, None])
        return np.asarray(scaled + self.left @ (self.right @ vectors))

    def diagonal_of_inverse(self) -> FloatArray:
        return np.asarray(1.0 / self.diagonal + np.einsum("ij,ji->i", self.left, self.right))


def fit_frailty(
    design: FloatArray,
    sets: RiskSets,
    group: IntArray,
    *,
    distribution: str = "gamma",
    method: str = "reml",
    ties: str = "efron",
    names: Sequence[str] | None = None,
) -> FrailtyFit:
    """Fit with a frailty for each of the groups 0, 1, ...; `distribution` is ``gamma`` or ``lognormal``.

    The variance of a log-normal frailty solves the REML-type equation, or is that of the highest likelihood (`method`
    ``ml``). The log-likelihood given is the highest one, which a test of no variance needs. Raises ``ValueError`` with
    fewer than two groups; otherwise as `fit_cox`.
    """
    n_groups = int(group.max()) + 1
    if n_groups < 2:
        raise ValueError("A frailty needs at least two groups; there is one.")
    plain = fit_cox(design, sets, ties=ties, names=names)
    centred = design - design[sets.last > sets.first].mean(axis=0)
    events = np.bincount(group[sets.event_row], minlength=n_groups).astype(np.float64)
    fits: dict[float, _Penalised] = {}
    problem = _Problem(centred, sets, group, events, distribution, ties)
    latest, used = [plain.coefficients, np.zeros(n_groups)], [1.0]

    def at(variance: float) -> _Penalised:
        if variance not in fits:
            # A smaller variance starts from shrunken effects: from large ones Newton's first step would overshoot.
            shrink = min(1.0, variance / used[0])
            fits[variance] = _fit_penalised(problem, variance, latest[0], latest[1] * shrink)
            latest[0], latest[1], used[0] = fits[variance].beta, fits[variance].effect, variance
        return fits[variance]

    likeliest = _gamma_variance if distribution == "gamma" else _lognormal_ml
    top = likeliest(at, events, plain.log_likelihood)
    variance = _lognormal_reml(at, events) if distribution == "lognormal" and method == "reml" else top
    null, zero = plain.log_likelihood, np.zeros(n_groups)
    if variance == 0.0:
        beta, covariance, converged = plain.coefficients, plain.covariance, plain.converged
        return FrailtyFit(beta, covariance, 0.0, zero, zero, null, null, converged, True, len(fits))
    best = at(variance)
    value = _log_likelihood(at(top), events, top, distribution) if top > 0 else null
    spread = np.sqrt(np.maximum(best.effect_variance, 0.0))
    converged = best.converged and variance < _LARGEST * 0.99
    effect = best.effect
    return FrailtyFit(best.beta, best.covariance, variance, effect, spread, value, null, converged, False, len(fits))


def _log_likelihood(fit: _Penalised, events: FloatArray, variance: float, distribution: str) -> float:
    if distribution == "lognormal":
        # Laplace: the integrand at its mode, and the determinant of the penalised information of the effects.
        return float(
            fit.partial - 0.5 * (fit.effect**2 / variance + np.log(variance)).sum() - 0.5 * fit.log_determinant
        )
    # Gamma: the integral over the frailties in closed form (Klein 1992; Therneau, Grambsch & Pankratz
    # 2003), with nu = 1 / variance: a function of nu and of each group's events is added to the penalised fit.
    nu = 1.0 / variance
    integral = events + gammaln(nu + events) - gammaln(nu) - events * np.log(nu + events)
    integral += nu * -np.log1p(events / nu)
    return float(fit.partial + nu * fit.effect.sum() + integral.sum())


def _gamma_variance(at: Any, events: FloatArray, null: float) -> float:
    """The variance of highest marginal likelihood, 0 if that is the boundary."""

    def cost(log_variance: float) -> float:
        variance = float(np.exp(log_variance))
        return -_log_likelihood(at(variance), events, variance, "gamma")

    def slope(log_variance: float) -> float:
        """Derivative in 1 / variance; the penalised fit is at its own maximum, so only the explicit part counts."""
        variance = float(np.exp(log_variance))
        nu, effect = 1.0 / variance, at(variance).effect
        own = (effect - np.expm1(effect)).sum()
        return float(own + (digamma(nu + events) - digamma(nu) - np.log1p(events * variance)).sum())

    grid = np.log(_GRID)
    best = int(np.argmin([cost(point) for point in grid[1:]])) + 1
    low, high = float(grid[best - 1]), float(grid[min(best + 1, len(grid) - 1)])
    if slope(low) > 0:  # the likelihood falls from the smallest variance on
        return 0.0
    variance = _LARGEST if slope(high) < 0 else float(np.exp(brentq(slope, low, high, xtol=1e-9)))
    return 0.0 if -cost(float(np.log(variance))) <= null + 1e-7 else variance


def _lognormal_ml(at: Any, events: FloatArray, null: float) -> float:
    """The variance of highest Laplace likelihood, 0 if that is the boundary."""

    def cost(log_variance: float) -> float:
        variance = float(np.exp(log_variance))
        return -_log_likelihood(at(variance), events, variance, "lognormal")

    grid = np.log(_GRID)
    best = int(np.argmin([cost(point) for point in grid]))
    if best == 0:
        return 0.0
    ends = (float(grid[best - 1]), float(grid[min(best + 1, len(grid) - 1)]))
    found = minimize_scalar(cost, bounds=ends, method="bounded", options={"xatol": 1e-7})
    return 0.0 if -found.fun <= null + 1e-7 else float(np.exp(found.x))


def _lognormal_reml(at: Any, events: FloatArray) -> float:
    """The root of: sum of squared effects + trace of their covariance = groups x variance, 0 if there is none.

    Ripatti & Palmgren (2000); the largest root below 1 is looked for from above.
    """

    def excess(log_variance: float) -> float:
        variance = float(np.exp(log_variance))
        fit = at(variance)
        return float((fit.effect**2).sum() + fit.effect_variance.sum()) / (len(events) * variance) - 1.0

    if excess(np.log(1.0)) > 0:
        ends = (0.0, float(np.log(_LARGEST)))
        return float(np.exp(brentq(excess, *ends, xtol=1e-7))) if excess(ends[1]) < 0 else _LARGEST
    upper = 0.0
    for lower in np.log([0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4]):
        if excess(lower) > 0:
            return float(np.exp(brentq(excess, lower, upper, xtol=1e-7)))
        upper = lower
    return 0.0


class _Problem(NamedTuple):
    """The data, and the density of the effects; `events` are the events of each group."""

    design: FloatArray
    sets: RiskSets
    group: IntArray
    events: FloatArray
    distribution: str
    ties: str

    def penalty(self, effect: FloatArray, variance: float) -> float:
        """Log density of the effects up to a constant."""
        if self.distribution == "gamma":
            return float((effect - np.exp(effect)).sum() / variance)
        return float(-0.5 * (effect**2).sum() / variance)

    def value(self, beta: FloatArray, effect: FloatArray, variance: float) -> tuple[float, Sums]:
        """The penalised log partial likelihood, and its sums over risk sets."""
        value, sums = evaluate(beta, self.design, self.sets, self.ties, effect[self.group])
        return value + self.penalty(effect, variance), sums


def _fit_penalised(problem: _Problem, variance: float, beta: FloatArray, effect: FloatArray) -> _Penalised:
    """Newton's method with step halving in coefficients and effects, from `beta` and `effect`."""
    value, sums = problem.value(beta, effect, variance)
    converged = False
    for _ in range(60):
        inverse, cross, schur, score_beta, score_effect = _system(problem, effect, sums, variance)
        solved = inverse.times(score_effect)
        step_beta = np.linalg.solve(schur, score_beta - cross @ solved)
        step_effect = solved - inverse.times(cross.T @ step_beta)
        if float(score_beta @ step_beta + score_effect @ step_effect) < 1e-11:
            converged = True
            break
        size = 1.0
        new = problem.value(beta + step_beta, effect + step_effect, variance)
        while not new[0] >= value - 1e-10 * abs(value) and size > 1e-8:
            size /= 2
            new = problem.value(beta + size * step_beta, effect + size * step_effect, variance)
        beta, effect, (value, sums) = beta + size * step_beta, effect + size * step_effect, new
    inverse, cross, schur, _, _ = _system(problem, effect, sums, variance)
    covariance = np.linalg.inv(schur)
    loading = inverse.times(cross.T)
    effect_variance = inverse.diagonal_of_inverse() + np.einsum("ij,jk,ik->i", loading, covariance, loading)
    partial = value - problem.penalty(effect, variance)
    covariance = (covariance + covariance.T) / 2
    return _Penalised(beta, effect, partial, covariance, effect_variance, inverse.log_determinant, converged)


def _system(
    problem: _Problem, effect: FloatArray, sums: Sums, variance: float
) -> tuple[_Inverse, FloatArray, FloatArray, FloatArray, FloatArray]:
    """The penalised information as (inverse of the groups' block, cross block, Schur complement), and the score."""
    # As in `cox`: s and d are sums over those at risk and over the events; t holds the weights of Efron's ties.
    design, sets, group = problem.design, problem.sets, problem.group
    n_groups, size = len(effect), len(sets.time)
    t, s1, d1 = sums.ties, sums.s1, sums.d1
    weight = row_weights(sets, sums)
    at_risk = _by_group(sums.risk, sets, group, n_groups)
    dying = np.bincount(
        sets.event_time * n_groups + group[sets.event_row], sums.risk[sets.event_row], size * n_groups
    ).reshape(size, n_groups)
    expected = np.bincount(group, weight, n_groups)
    if problem.distribution == "gamma":
        first, second = (1.0 - np.exp(effect)) / variance, np.exp(effect) / variance
    else:
        first, second = -effect / variance, np.full(n_groups, 1.0 / variance)
    # The groups' block is diag(expected + second) - B C B', with B the groups' sums at each time.
    wide = np.concatenate([at_risk, dying])  # 2k x groups
    mixed = np.concatenate(
        [t.cc0[:, None] * at_risk - t.cc1[:, None] * dying, t.cc2[:, None] * dying - t.cc1[:, None] * at_risk]
    )
    inverse = _invert(expected + second, wide, mixed)
    own = np.stack([np.bincount(group, weight * column, n_groups) for column in design.T]).astype(np.float64)
    cross = np.asarray(own - (s1.T @ mixed[:size] + d1.T @ mixed[size:]), dtype=np.float64)
    schur = information_of(design, sets, sums) - cross @ inverse.times(cross.T)
    return inverse, cross, schur, score_of(design, sets, sums), problem.events - expected + first


def _by_group(risk: FloatArray, sets: RiskSets, group: IntArray, n_groups: int) -> FloatArray:
    """Sum of `risk` at each event time (rows) over the rows at risk of each group (columns)."""
    size = len(sets.time)
    shape = (size + 1) * n_groups
    entered = np.bincount(sets.first * n_groups + group, risk, shape)
    left = np.bincount(sets.last * n_groups + group, risk, shape)
    return np.asarray(np.cumsum((entered - left).reshape(size + 1, n_groups), axis=0)[:-1])


def _invert(diagonal: FloatArray, wide: FloatArray, mixed: FloatArray) -> _Inverse:
    # Woodbury: (A - B'C)^-1 = A^-1 + A^-1 B'(1 - C A^-1 B')^-1 C A^-1, cheaper with more groups than times.
    n_groups, rank = len(diagonal), len(wide)
    if rank >= n_groups:
        whole = np.diag(diagonal) - wide.T @ mixed
        inverse = np.asarray(np.linalg.inv((whole + whole.T) / 2), dtype=np.float64)
        return _Inverse(diagonal, inverse - np.diag(1.0 / diagonal), np.eye(n_groups), _log_det(whole))
    scaled = wide / diagonal
    small = np.eye(rank) - mixed @ scaled.T
    right = np.asarray(np.linalg.solve(small, mixed / diagonal), dtype=np.float64)
    return _Inverse(diagonal, scaled.T, right, float(np.log(diagonal).sum()) + _log_det(small))


def _log_det(matrix: FloatArray) -> float:
    return float(np.linalg.slogdet(matrix)[1])
