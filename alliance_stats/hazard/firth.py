"""Firth's penalised likelihood: estimates and intervals where events are few or separate.

The likelihood times the root of the determinant of the information (Jeffreys' prior) has a maximum even where the
likelihood itself has none (Firth 1993; binary regression: Heinze & Schemper 2002; Cox: Heinze & Schemper 2001). Wald
intervals are poor there, so intervals and tests come from the profile of the penalised likelihood.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import chdtri

from alliance_stats.hazard.binary import row_terms, solve_information
from alliance_stats.hazard.cox import evaluate, information_of, score_of
from alliance_stats.hazard.risk_sets import RiskSets
from alliance_stats.tables.arrays import FloatArray


class Likelihood(Protocol):
    """A likelihood: from coefficients to its penalised logarithm, the derivative of that, and the information."""

    def __call__(self, beta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Penalised log-likelihood, score (p,) and unpenalised information (p, p)."""
        ...


class Binary(NamedTuple):
    """The penalised likelihood of a binary regression."""

    y: FloatArray
    design: FloatArray
    link: str

    def __call__(self, beta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """See `Likelihood`."""
        linear = self.design @ beta
        value, residual, weight = row_terms(linear, self.y, self.link)
        information = (self.design * weight[:, None]).T @ self.design
        # The derivative of log|I| / 2 in a row's linear predictor is w'(eta) / 2 times x' I^-1 x.
        spread = (self.design @ solve_information(information, np.eye(len(beta))) * self.design).sum(axis=1)
        penalised = residual + 0.5 * _weight_slope(linear, weight, self.link) * spread
        return float(value.sum()) + _half_log_det(information), penalised @ self.design, information


class Cox(NamedTuple):
    """The penalised partial likelihood of a Cox regression; the design is centred."""

    design: FloatArray
    sets: RiskSets
    ties: str

    def __call__(self, beta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """See `Likelihood`."""
        value, sums = evaluate(beta, self.design, self.sets, self.ties, None)
        information = information_of(self.design, self.sets, sums)
        score = score_of(self.design, self.sets, sums)
        # The information's own derivative would need third moments over every risk set; central differences do.
        for j in range(len(beta)):
            step = np.zeros(len(beta))
            step[j] = 1e-4 * max(float(self.design[:, j].std()), 1e-12) ** -1
            up, down = (_half_log_det(self._information(beta + sign * step)) for sign in (1, -1))
            score[j] += (up - down) / (2 * step[j])
        return value + _half_log_det(information), score, information

    def _information(self, beta: FloatArray) -> FloatArray:
        return information_of(self.design, self.sets, evaluate(beta, self.design, self.sets, self.ties, None)[1])


class FirthFit(NamedTuple):
    """A penalised fit."""

    coefficients: FloatArray  # (p,)
    covariance: FloatArray  # (p, p): inverse (unpenalised) information at the estimate
    log_likelihood: float  # Penalised
    # (p,): the signed root of the penalised likelihood-ratio statistic of each coefficient being 0
    statistic: FloatArray
    converged: bool
    iterations: int
    likelihood: Likelihood

    def limits(self, level: float) -> tuple[FloatArray, FloatArray]:
        """Where the profile of the penalised likelihood has fallen by half the chi-square quantile of `level`."""
        goal = float(np.sqrt(chdtri(1, 1.0 - level)))
        ends = [[self._end(j, side * goal) for j in range(len(self.coefficients))] for side in (-1.0, 1.0)]
        return np.array(ends[0]), np.array(ends[1])

    def _end(self, j: int, goal: float) -> float:
        """Where the signed root of the profile's likelihood ratio is `goal`: nearly a line, so Newton's method."""
        beta, width = self.coefficients.copy(), float(np.sqrt(self.covariance[j, j]))
        beta[j] += goal * width
        for _ in range(100):
            top = _maximise(self.likelihood, beta, fixed=j)
            beta = top.beta
            root = np.copysign(np.sqrt(max(2 * (self.log_likelihood - top.value), 1e-12)), goal)
            step = (root - goal) * root / top.score[j]  # d root / d beta_j = -score_j / root
            beta[j] += float(np.clip(step, -3 * width, 3 * width))
            if abs(step) < 1e-8 * width:
                return float(beta[j])
        return float(np.copysign(np.inf, goal))


class _Top(NamedTuple):
    """The maximum of a penalised likelihood."""

    beta: FloatArray
    value: float
    score: FloatArray
    information: FloatArray
    converged: bool
    iterations: int


def fit_firth(likelihood: Likelihood, n_terms: int) -> FirthFit:
    """Maximise a penalised likelihood, and test each coefficient by its profile."""
    top = _maximise(likelihood, np.zeros(n_terms))
    statistic = np.zeros(n_terms)
    for j in range(n_terms):
        start = top.beta.copy()
        start[j] = 0.0
        fallen = top.value - _maximise(likelihood, start, fixed=j).value
        statistic[j] = np.copysign(np.sqrt(max(2 * fallen, 0.0)), top.beta[j])
    covariance = solve_information(top.information, np.eye(n_terms))
    covariance = (covariance + covariance.T) / 2
    return FirthFit(top.beta, covariance, top.value, statistic, top.converged, top.iterations, likelihood)


def _maximise(likelihood: Likelihood, start: FloatArray, fixed: int | None = None) -> _Top:
    """Scoring with step halving, one coefficient held where `fixed` says so."""
    beta = start.copy()
    free = np.array([j for j in range(len(beta)) if j != fixed], dtype=np.int64)
    value, score, information = likelihood(beta)
    for iteration in range(1, 200):
        step = np.zeros_like(beta)
        if len(free):
            step[free] = solve_information(information[np.ix_(free, free)], score[free])
        # The penalty's own curvature is left out of the step: it converges linearly, and may go too far.
        if abs(float(score @ step)) < 1e-15:
            return _Top(beta, value, score, information, True, iteration)
        step /= max(float(np.abs(step).max()) / 5.0, 1.0)
        new = likelihood(beta + step)
        halvings = 0
        while not new[0] >= value - 1e-12 * abs(value) and halvings < 40:
            step, halvings = step / 2, halvings + 1
            new = likelihood(beta + step)
        beta, (value, score, information) = beta + step, new
    return _Top(beta, value, score, information, False, iteration)


def _half_log_det(information: FloatArray) -> float:
    sign, value = np.linalg.slogdet(information)
    return float(value / 2) if sign > 0 else -np.inf


def _weight_slope(linear: FloatArray, weight: FloatArray, link: str) -> FloatArray:
    """Derivative of a row's expected information in its linear predictor."""
    if link == "logit":
        return np.asarray(-weight * np.tanh(linear / 2))  # w (1 - 2 mu)
    rate = np.exp(np.clip(linear, -700.0, 300.0))
    return np.asarray(weight * (2.0 - rate - rate / np.maximum(np.expm1(np.minimum(rate, 700.0)), 1e-300)))
