"""The filter against the model written out as one multivariate normal, its score against differences."""

import numpy as np
import pytest

from alliance_stats.dynamics.answers import next_state
from alliance_stats.dynamics.fitting import fit_series
from alliance_stats.dynamics.likelihood import Likelihood
from alliance_stats.dynamics.panels import Panel, make_batches
from alliance_stats.dynamics.parameters import Layout


def covariance(matrices, times, k, *, slopes):
    """Of the (times x k) cells; levels at time 0, slopes per step."""
    start = [matrices.start]
    for _ in range(1, times):
        start.append(matrices.lagged @ start[-1] @ matrices.lagged.T + matrices.shock)
    full = np.zeros((times, k, times, k))
    for t in range(times):
        for u in range(t, times):
            full[u, :, t] = np.linalg.matrix_power(matrices.lagged, u - t) @ start[t]
            full[t, :, u] = full[u, :, t].T
    load = np.vstack([np.hstack([np.eye(k), t * np.eye(k)] if slopes else [np.eye(k)]) for t in range(times)])
    flat = full.reshape(times * k, times * k)
    return flat + load @ matrices.between @ load.T + np.kron(np.eye(times), np.diag(matrices.error))


def log_likelihoods(panel, groups, coefficients, *, slopes):
    """Of each series."""
    n, times, k = panel.y.shape
    p = panel.shared.shape[2]
    own = 0 if panel.own is None else panel.own.shape[3]
    values = np.empty(n)
    for i in range(n):
        matrices = groups[panel.groups[i]]
        mean = panel.shared @ coefficients[:p]
        if own:
            mean = mean + panel.own[i] @ coefficients[p : p + own]
        if panel.inputs is not None:
            acts, w = coefficients[p + own :].reshape(k, -1), np.zeros(k)
            for t in range(1, times):
                w = matrices.lagged @ w + acts @ panel.inputs[i, t - 1]
                mean[t] += w
        e = (panel.y[i] - mean).reshape(-1)
        seen = ~np.isnan(e)
        v = covariance(matrices, times, k, slopes=slopes)[np.ix_(seen, seen)]
        e = e[seen]
        values[i] = -(len(e) * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + e @ np.linalg.solve(v, e)) / 2
    return values


def line(times, k):
    shared = np.zeros((times, k, 2 * k))
    for j in range(k):
        shared[:, j, j], shared[:, j, k + j] = 1, np.arange(times)
    return shared


def panel_with_holes(k=2, *, own=False, inputs=False, groups=False, n=30, times=6, seed=0):
    random = np.random.default_rng(seed)
    y = random.normal(size=(n, times, k)) + random.normal(size=(n, 1, k))
    y[random.random(y.shape) < 0.2] = np.nan
    y[:8, 3:] = np.nan
    y[:, 0, 0] = np.where(np.isnan(y).all(axis=(1, 2)), 0.3, y[:, 0, 0])
    return Panel(
        y,
        line(times, k),
        random.normal(size=(n, times, k, 2)) if own else None,
        random.normal(size=(n, times, 1)) if inputs else None,
        np.arange(n) % 2 if groups else None,
    )


CASES = {
    "random intercepts": ({}, {}),
    "random slopes": ({"slopes": True}, {}),
    "stationary start": ({"stationary": True}, {"groups": True}),
    "error": ({"error": (np.nan, np.nan)}, {"own": True, "inputs": True}),
    "one error known": ({"error": (0.2, np.nan), "slopes": True, "stationary": True}, {"inputs": True, "groups": True}),
    "three measures": ({"k": 3, "error": (0.0, 0.0, 0.1)}, {"own": True}),
    "four measures": ({"k": 4, "error": (0.0,) * 4, "slopes": True}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_likelihood_and_scores_of_the_filter_are_those_of_the_dense_normal(name):
    options, data = CASES[name]
    k = options.get("k", 2)
    panel = panel_with_holes(k, **data)
    layout = Layout(**{"k": k, **options}, n_groups=panel.n_groups, half=1.0)
    random = np.random.default_rng(5)
    theta = random.normal(size=layout.size) * 0.4 + 0.1
    theta[: len(layout.free_lagged)] *= 0.4
    likelihood = Likelihood(layout, make_batches(panel))
    beta = random.normal(size=panel.coefficients)

    def dense(x):
        # The layout's levels are those of the middle, here time 1, and its slopes per step: moved back by hand.
        groups = layout.matrices(x[: len(theta)])
        if layout.slopes:
            turn = np.block([[np.eye(k), -np.eye(k)], [np.zeros((k, k)), np.eye(k)]])
            groups = [one._replace(between=turn @ one.between @ turn.T) for one in groups]
        return log_likelihoods(panel, groups, x[len(theta) :], slopes=layout.slopes)

    x = np.concatenate([theta, beta])
    point = likelihood.at(theta, beta=beta)
    assert point.value == pytest.approx(dense(x).sum(), abs=1e-8)
    scores = np.concatenate([point.scores()[0], point.coefficient_scores()], axis=1)
    for at in range(len(x)):
        step = 1e-5 * np.eye(len(x))[at]
        difference = (dense(x + step) - dense(x - step)) / 2e-5
        np.testing.assert_allclose(scores[:, at], difference, rtol=1e-5, atol=1e-6 * max(1, np.abs(scores).max()))


@pytest.mark.parametrize("name", CASES)
def test_parameter_vectors_side_by_side_are_each_alone(name):
    options, data = CASES[name]
    panel = panel_with_holes(options.get("k", 2), **data)
    layout = Layout(**{"k": 2, **options}, n_groups=panel.n_groups, half=1.0)
    thetas = np.random.default_rng(6).normal(size=(3, layout.size)) * 0.4 + 0.1
    thetas[:, : len(layout.free_lagged)] *= 0.4
    likelihood = Likelihood(layout, make_batches(panel))
    gradients, betas = likelihood.gradients(thetas)
    for theta, gradient, beta in zip(thetas, gradients, betas):
        point = likelihood.at(theta)
        np.testing.assert_allclose(beta, point.beta, rtol=1e-9)
        np.testing.assert_allclose(gradient, point.scores()[0].sum(axis=0), rtol=1e-8, atol=1e-8)


def test_profiled_coefficients_are_generalised_least_squares():
    panel = panel_with_holes(own=True)
    layout = Layout(2, half=1.0)
    point = Likelihood(layout, make_batches(panel)).at(np.full(layout.size, 0.3))
    xx, xy = 0.0, 0.0
    for i, y in enumerate(panel.y):
        x = np.concatenate([panel.shared, panel.own[i]], axis=2).reshape(12, -1)
        seen = ~np.isnan(y.reshape(-1))
        v = covariance(point.groups[0], 6, 2, slopes=False)[np.ix_(seen, seen)]
        xx = xx + x[seen].T @ np.linalg.solve(v, x[seen])
        xy = xy + x[seen].T @ np.linalg.solve(v, y.reshape(-1)[seen])
    np.testing.assert_allclose(point.beta, np.linalg.solve(xx, xy), rtol=1e-9)


def test_next_state_is_the_conditional_mean_of_the_dense_normal():
    panel = panel_with_holes(n=60, inputs=True, seed=3)
    fit = fit_series(panel, slopes=True, error=[0.1, 0.1])
    mean, spread, last = next_state(fit)
    matrices, k = fit.groups[0], 2
    full = covariance(matrices, 7, k, slopes=True)
    acts = fit.coefficients[4:].reshape(k, 1)
    for i in range(0, 60, 7):
        extra, w = np.zeros((7, k)), np.zeros(k)
        for t in range(1, 7):
            w = matrices.lagged @ w + acts @ panel.inputs[i, t - 1]
            extra[t] = w
        e = (panel.y[i] - panel.shared @ fit.coefficients[:4] - extra[:6]).reshape(-1)
        seen = np.flatnonzero(~np.isnan(e))
        ahead = k * (last[i] + 1) + np.arange(k)
        gain = full[np.ix_(ahead, seen)] @ np.linalg.inv(full[np.ix_(seen, seen)])
        np.testing.assert_allclose(mean[i], extra[last[i] + 1] + gain @ e[seen], atol=1e-8)
        without_error = full[np.ix_(ahead, ahead)] - gain @ full[np.ix_(seen, ahead)] - 0.1 * np.eye(k)
        np.testing.assert_allclose(spread[i], without_error, atol=1e-8)


def test_two_measures_against_statsmodels():
    """A VAR(1) with noise, one series, no random effects to speak of: the state-space classes of statsmodels."""
    from statsmodels.tsa.statespace.mlemodel import MLEModel

    lagged, shock = np.array([[0.4, -0.1], [-0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.8]])
    start, error = np.array([[1.5, 0.1], [0.1, 1.2]]), (0.3, 0.2)
    y = np.random.default_rng(2).normal(size=(40, 2))
    y[5, 0], y[9] = np.nan, np.nan
    layout = Layout(2, error=error)
    from alliance_stats.dynamics.parameters import Matrices

    theta = layout.theta([Matrices(lagged, shock, start, np.zeros((2, 2)), np.array(error))])
    nothing = np.zeros((40, 2, 1))
    nothing[:, 0, 0] = 1e-9
    ours = Likelihood(layout, make_batches(Panel(y[None], nothing))).at(theta, beta=np.zeros(1)).value
    model = MLEModel(y, k_states=2, k_posdef=2)
    model["design"], model["selection"], model["transition"] = np.eye(2), np.eye(2), lagged
    model["state_cov"], model["obs_cov"] = shock, np.diag(error)
    model.initialize_known(np.zeros(2), start)
    assert ours == pytest.approx(model.ssm.loglike(), abs=1e-8)
