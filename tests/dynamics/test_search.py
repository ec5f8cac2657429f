"""The search: optimum, boundaries, invariances, standard errors, profile intervals."""

from dataclasses import replace

import numpy as np
import pytest

from alliance_stats.dynamics.answers import bootstrap_ratio, draw, profile_interval
from alliance_stats.dynamics.fitting import fit_series
from alliance_stats.dynamics.panels import Panel
from alliance_stats.dynamics.parameters import Layout, Matrices, stationary

LAGGED, SHOCK = np.array([[0.3, -0.1], [-0.2, 0.4]]), np.array([[1.0, -0.3], [-0.3, 1.0]])
BETWEEN = np.array([[1.0, -0.4], [-0.4, 1.0]])


def line(times):
    shared = np.zeros((times, 2, 4))
    for j in range(2):
        shared[:, j, j], shared[:, j, 2 + j] = 1, np.arange(times)
    return shared


def simulated(n, times, seed, *, between=BETWEEN, error=(0.0, 0.0), lagged=LAGGED, group=None):
    random = np.random.default_rng(seed)
    matrices = Matrices(lagged, SHOCK, stationary(lagged, SHOCK), between, np.array(error))
    panel = Panel(np.zeros((n, times, 2)), line(times), group=group)
    groups = [matrices] * panel.n_groups
    y = draw(panel, Layout(2), groups, np.array([5.0, 16.0, 0.1, -0.6]), random)
    y[random.random((n, times)) < 0.12] = np.nan
    stays = np.where(random.random(n) < 0.5, random.integers(2, times + 1, n), times)
    y[np.arange(times) >= stays[:, None]] = np.nan
    return replace(panel, y=y, group=None if group is None else group).take(np.flatnonzero(~np.isnan(y).all((1, 2))))


def lagged(groups, _):
    return groups[0].lagged.reshape(-1)


def test_no_direction_rises_from_the_optimum_and_the_hessian_is_that_of_the_likelihood():
    fit = fit_series(simulated(120, 6, 1))
    top, q = fit.optimum.point, fit.layout.size
    random = np.random.default_rng(0)
    for _ in range(20):
        step = random.normal(size=q)
        step /= np.linalg.norm(step)
        changes = [fit.likelihood.at(top.theta + size * step).value - top.value for size in (0.01, -0.01)]
        assert max(changes) < 0
        assert sum(changes) == pytest.approx(-1e-4 * step @ fit.optimum.information @ step, rel=2e-2)


def test_the_covariance_matrix_is_the_inverse_of_the_joint_information():
    fit = fit_series(simulated(80, 5, 3))
    x, q = fit.x, fit.layout.size
    information = np.empty((len(x), len(x)))
    for at in range(len(x)):
        step = 1e-5 * np.eye(len(x))[at]
        points = [fit.likelihood.at((x + s)[:q], beta=(x + s)[q:]) for s in (step, -step)]
        high, low = (np.r_[p.scores()[0].sum(axis=0), p.coefficient_scores().sum(axis=0)] for p in points)
        information[at] = -(high - low) / 2e-5
    np.testing.assert_allclose(fit.covariance @ information, np.eye(len(x)), atol=1e-5)


def test_units_order_and_a_doubled_sample_change_what_they_must_and_nothing_else():
    panel = simulated(100, 6, 2)
    fit = fit_series(panel, slopes=True)
    estimate, covariance = fit.delta(lagged)
    moved = fit_series(replace(panel, y=panel.y * [10.0, 0.5] + [1e4, -3.0]), slopes=True)
    scale = np.outer([10, 0.5], [0.1, 2]).reshape(-1)
    np.testing.assert_allclose(moved.delta(lagged)[0], estimate * scale, atol=2e-5)
    assert moved.log_likelihood == pytest.approx(
        fit.log_likelihood - np.isfinite(panel.y).sum((0, 1)) @ np.log([10, 0.5])
    )
    np.testing.assert_allclose(
        moved.groups[0].between[2:, 2:], fit.groups[0].between[2:, 2:] * [[100, 5], [5, 0.25]], atol=1e-3
    )
    mixed = fit_series(panel.take(np.random.default_rng(1).permutation(len(panel.y))), slopes=True)
    np.testing.assert_allclose(mixed.delta(lagged)[0], estimate, atol=1e-5)
    double = fit_series(panel.take(np.repeat(np.arange(len(panel.y)), 2)), slopes=True)
    np.testing.assert_allclose(double.delta(lagged)[0], estimate, atol=1e-5)
    np.testing.assert_allclose(double.delta(lagged)[1], covariance / 2, rtol=1e-3)


def test_measures_in_another_order_give_the_same_answer():
    panel = simulated(100, 6, 4, error=(0.4, 0.4))
    error = [np.nan, np.nan]
    fit = fit_series(panel, error=error)
    turned = fit_series(Panel(panel.y[:, :, ::-1], panel.shared[:, ::-1]), error=error)
    assert turned.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(turned.groups[0].lagged[::-1, ::-1], fit.groups[0].lagged, atol=1e-3)


def test_boundaries_are_reached_and_named():
    none = fit_series(simulated(80, 6, 5, between=np.zeros((2, 2))))
    assert none.optimum.converged
    assert np.linalg.eigvalsh(none.groups[0].between)[0] > -1e-12
    without = [fit_series(simulated(150, 8, seed), error=[np.nan, np.nan]) for seed in range(4)]
    assert all(fit.optimum.converged for fit in without)
    assert any("error" in name for fit in without for name in fit.optimum.boundary)


def test_a_search_leaves_a_false_boundary():
    from alliance_stats.dynamics.optimiser import maximise

    fit = fit_series(simulated(100, 6, 6))
    trapped = fit.optimum.point.theta.copy()
    trapped[fit.layout.blocks["between"]] = 0.0  # where the gradient in L is zero
    again = maximise(fit.likelihood, [trapped])
    assert again.point.value == pytest.approx(fit.optimum.point.value, abs=1e-6)


def test_profile_interval_ends_where_the_likelihood_ratio_is_critical():
    fit = fit_series(simulated(60, 5, 7))
    estimate, covariance = fit.delta(lagged)
    low, high = profile_interval(fit, 0, 1, 0, level=0.95, std_error=np.sqrt(covariance[2, 2]))
    assert low < estimate[2] < high
    for end in (low, high):
        there = fit.refit(fit.held(0, 1, 0, end))
        assert 2 * (fit.log_likelihood - there.log_likelihood) == pytest.approx(3.8415, abs=0.01)


def test_groups_with_the_same_data_get_the_same_coefficients():
    panel = simulated(60, 6, 8)
    twice = Panel(np.concatenate([panel.y, panel.y]), panel.shared, group=np.repeat([0, 1], len(panel.y)))
    fit, alone = fit_series(twice), fit_series(panel)
    for matrices in fit.groups:
        np.testing.assert_allclose(matrices.lagged, alone.groups[0].lagged, atol=1e-5)


def test_robust_covariance_of_copies_in_one_cluster():
    """Doubled series in clusters of two: the sandwich must not believe that there are twice as many."""
    panel = simulated(100, 5, 9)
    n = len(panel.y)
    once, twice = fit_series(panel), fit_series(panel.take(np.repeat(np.arange(n), 2)))
    expected = once.delta(lagged, once.robust())[1]
    got = twice.delta(lagged, twice.robust(np.repeat(np.arange(n), 2)))[1]
    np.testing.assert_allclose(got, expected, rtol=1e-2)


def test_bootstrap_of_a_ratio_that_has_a_chi_square_distribution():
    free = fit_series(simulated(150, 5, 10, lagged=np.array([[0.3, 0.0], [-0.2, 0.4]])))
    fit = free.refit(free.held(0, 0, 1, 0.0))
    ratios = bootstrap_ratio(fit, Layout(2, half=2.0), draws=40, seed=1)
    assert ratios.min() > -1e-6
    assert ratios.mean() == pytest.approx(1.0, abs=0.6)


@pytest.mark.slow
def test_bootstrap_of_a_ratio_at_a_true_boundary():
    """No random slopes in truth: ratios of 150 studies, and of one draw from each fit without slopes, are distributed
    alike, and not as the chi-square distribution with 7 degrees of freedom has it."""
    from scipy.stats import chi2, kstest

    ratios, drawn = [], []
    for seed in range(150):
        fit = fit_series(simulated(60, 6, 100 + seed))
        large = replace(fit.layout, slopes=True)
        ratios.append(2 * (fit.refit(large).log_likelihood - fit.log_likelihood))
        drawn.append(bootstrap_ratio(fit, large, draws=1, seed=seed)[0])
    assert min(ratios) > -1e-6
    assert kstest(ratios, drawn).pvalue > 0.01
    assert kstest(ratios, chi2(7).cdf).pvalue < 0.01
