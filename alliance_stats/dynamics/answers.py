"""What a fit says beyond its estimates: the state each series is in, profile intervals, bootstrap tests."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from alliance_stats.dynamics.filtering import run
from alliance_stats.dynamics.fitting import SeriesFit
from alliance_stats.dynamics.panels import Panel
from alliance_stats.dynamics.parameters import Layout, Matrices
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.progress import advance


def next_state(fit: SeriesFit) -> tuple[FloatArray, FloatArray, IntArray]:
    """The deviation of each series from the mean course one time after the last at which it was observed.

    Mean (N, k) and covariance matrix (N, k, k) given all that was observed, without measurement error, in the caller's
    units; and (N,) that last time.
    """
    k, point, sd = fit.layout.k, fit.optimum.point, fit.units.sd
    n = len(fit.panel.y)
    last = fit.panel.last
    mean, covariance = np.empty((n, k)), np.empty((n, k, k))
    for batch in fit.likelihood.batches:
        system = fit.layout.system(point.groups[batch.group])
        filtered = run(batch, system)
        at = last[batch.rows]
        pattern = np.arange(len(at)) if batch.pattern is None else batch.pattern
        columns = filtered.columns_state[at, :, :, pattern]
        state = filtered.state[at, :, np.arange(len(at))] - columns @ point.beta
        ahead = state @ system.move[:k].T
        if batch.inputs is not None:
            wide = batch.inputs.shape[1]
            ahead += batch.inputs[at, :, pattern] @ point.beta[len(point.beta) - k * wide :].reshape(k, wide).T
        mean[batch.rows] = ahead * sd
        spread = system.move[:k] @ filtered.covariance[at, :, :, pattern] @ system.move[:k].T + system.shock
        covariance[batch.rows] = spread * np.outer(sd, sd)
    return mean, covariance, last


def draw(
    panel: Panel, layout: Layout, groups: list[Matrices], coefficients: FloatArray, random: np.random.Generator
) -> FloatArray:
    """Values of the model at every time of every series, (N, T, k), in the caller's units."""
    n, times, k = panel.y.shape
    p = panel.shared.shape[2]
    at = p + (0 if panel.own is None else panel.own.shape[3])
    mean = np.broadcast_to(panel.shared @ coefficients[:p], panel.y.shape).copy()
    if panel.own is not None:
        mean += panel.own @ coefficients[p:at]
    acts = coefficients[at:].reshape(k, -1)
    values = np.empty((n, times, k))
    for group, matrices in enumerate(groups):
        rows = np.flatnonzero(panel.groups == group)
        effects, w = _normal(random, matrices.between, len(rows)), _normal(random, matrices.start, len(rows))
        for t in range(times):
            if t:
                w = w @ matrices.lagged.T + _normal(random, matrices.shock, len(rows))
                if panel.inputs is not None:
                    w = w + panel.inputs[rows, t - 1] @ acts.T
            level = effects[:, :k] + (t * effects[:, k:] if layout.slopes else 0.0)
            noise = random.standard_normal((len(rows), k)) * np.sqrt(matrices.error)
            values[rows, t] = mean[rows, t] + level + w + noise
    return values


def _normal(random: np.random.Generator, covariance: FloatArray, n: int) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(random.standard_normal((n, len(values))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)


def profile_interval(
    fit: SeriesFit, group: int, row: int, column: int, *, level: float, std_error: float
) -> tuple[float, float]:
    """The lagged coefficients at which the profile likelihood ratio reaches its critical value.

    The signed root of the ratio is nearly linear in the coefficient, so secant steps on it end soon. NaN for an end
    that is not reached within 12 steps.
    """
    estimate = float(fit.groups[group].lagged[row, column])
    critical, top = float(ndtri((1 + level) / 2)), fit.log_likelihood
    ends = []
    for sign in (-1, 1):
        near, root_near, value, nearest = 0.0, 0.0, critical * std_error, fit
        for _ in range(12):
            try:
                layout = nearest.held(group, row, column, estimate + sign * value)
                nearest = nearest.refit(layout, only_from_here=True)
            except (FloatingPointError, np.linalg.LinAlgError):
                value = (near + value) / 2
                continue
            root = float(np.sqrt(max(2 * (top - nearest.log_likelihood), 0.0)))
            if abs(root - critical) < 1e-4:
                break
            slope = (root - root_near) / (value - near) if value != near else 0.0
            following = value + (critical - root) / slope if slope > 0 else 2 * value
            near, root_near, value = value, root, float(np.clip(following, value / 3, 3 * value))
        else:
            value = np.nan
        ends.append(estimate + sign * value)
    return ends[0], ends[1]


def signed_root(fit: SeriesFit, group: int, row: int, column: int) -> float:
    """The root of the likelihood ratio of a lagged coefficient against zero, with the sign of the estimate."""
    without = fit.refit(fit.held(group, row, column, 0.0))
    root = np.sqrt(max(2 * (fit.log_likelihood - without.log_likelihood), 0.0))
    return float(np.copysign(root, fit.groups[group].lagged[row, column]))


def bootstrap_ratio(small: SeriesFit, large: Layout, *, draws: int, seed: int) -> FloatArray:
    """Likelihood ratio statistics of a model against a smaller one, with data drawn from the smaller one, (draws,)."""
    random = np.random.default_rng(seed)
    statistics = np.empty(draws)
    for at in range(draws):
        values = draw(small.panel, small.layout, small.groups, small.coefficients, random)
        under = small.refit(y=values)
        over = under.refit(large)
        statistics[at] = 2 * (over.log_likelihood - under.log_likelihood)
        advance()
    return statistics
