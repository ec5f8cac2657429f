"""The window scan against the definition written out on tiny series."""

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_t

from alliance_stats.rupture.latent import posterior as posterior_module
from alliance_stats.rupture.latent.courses import Courses, as_courses, patterns
from alliance_stats.rupture.latent.endings import closed_factors
from alliance_stats.rupture.latent.model import covariance
from alliance_stats.rupture.latent.parameters import DEPTH_WEIGHTS, LatentParameters
from alliance_stats.rupture.latent.posterior import posterior
from alliance_stats.rupture.latent.scan import _paths, rupture_odds, single_odds, whole_problem
from alliance_stats.rupture.latent.windows import several, window_prior, windows

PARAMETERS = LatentParameters(
    onset_rate=0.08,
    repair_rate=0.4,
    depth=1.7,
    depth_cv=0.3,
    autocorrelation=0.35,
    state_share=0.6,
    within_sd=0.9,
    within_sd_df=7.0,
    level=5.0,
    level_sd=1.1,
    trend=0.03,
    trend_sd=0.05,
    centre=3.0,
    min_ratings=1,
    never_ends=0.15,
)


def with_(**changes):
    return LatentParameters(**{**vars(PARAMETERS), **changes})


def courses(rng, lengths, last=7, holes=True):
    code, session = [], []
    for i, n in enumerate(lengths):
        numbers = rng.choice(np.arange(1, last + 1), n, replace=False) if holes else np.arange(1, n + 1)
        code += [i] * n
        session += sorted(numbers)
    score = 5 + rng.standard_normal(len(code)) * 1.3
    return as_courses(np.array(code), np.array(session), score)


def log_density(parameters, time, score, fall):
    """A patient's scores given the fall at each, patient effects and variance integrated out: a multivariate t."""
    mean = parameters.level + parameters.trend * (time - parameters.centre) - fall
    shape = parameters.within_sd**2 * covariance(parameters, time[None])[0]
    return multivariate_t(mean, shape, df=parameters.within_sd_df).logpdf(score)


def chain_odds(parameters, state):
    """Prior odds of a path of open (1) and closed (0) sessions without holes against never open, state by state.

    A rupture that never ends (2) is a third state that is never left and cannot be told from 1 by the path.
    """
    onset, repair, never = parameters.onset_rate, parameters.repair_rate, parameters.never_ends
    step = np.array([[1 - onset, onset * (1 - never), onset * never], [repair, 1 - repair, 0], [0, 0, 1]])
    chance = np.array([1.0, 0.0, 0.0])
    for is_open in state[1:]:
        chance = chance @ step * ([0, 1, 1] if is_open else [1, 0, 0])
    return chance.sum() / (1 - onset) ** (len(state) - 1)


@pytest.mark.parametrize(("first", "tolerance"), [(4, 1e-9), (2, 0.02), (1, 0.02)])
def test_probabilities_equal_the_sum_over_every_path(first, tolerance):
    """Every path weighed by the chain, times its exact Bayes factor. One rupture: exact; two or three: nearly so."""
    rng = np.random.default_rng(0)
    parameters = with_(min_ratings=first, depth_cv=1e-9)
    series = courses(rng, [6, 5, 6, 2, 6], holes=False)
    problem = whole_problem(parameters, series, patterns(series), 10)
    odds = rupture_odds(problem, falls=2)
    covered, begun = odds.covered(problem.candidates, 6), odds.begun(problem.candidates, 6)
    for i, n in enumerate(series.n_rated):
        time, score = series.time[i, :n], series.score[i, :n]
        none = log_density(parameters, time, score, np.zeros(n))
        total, by_session, by_onset = 0.0, np.zeros(n), np.zeros(n)
        for state in itertools.product([0, 1], repeat=n):
            state = np.array(state)
            starts = np.diff(state, prepend=0) == 1
            if state[:first].any():
                continue
            factor = sum(
                weight * np.exp(log_density(parameters, time, score, depth * state) - none)
                for weight, depth in zip(DEPTH_WEIGHTS, parameters.depths())
            )
            weight = chain_odds(parameters, state) * factor
            total += weight
            by_session += weight * state
            by_onset += weight * starts
        np.testing.assert_allclose(covered[i, :n] / odds.total[i], by_session / total, atol=tolerance)
        np.testing.assert_allclose(begun[i, :n] / odds.total[i], by_onset / total, atol=tolerance)
        assert np.log(odds.total[i]) == pytest.approx(np.log(total), abs=2 * tolerance)


def test_one_rupture_or_more_has_the_odds_of_every_path():
    """In four sessions all paths but "never open" together; in three of five, by the chance of none."""
    series = as_courses(np.array([0] * 4 + [1] * 3), np.array([1, 2, 3, 4, 1, 2, 5]), np.zeros(7))
    found = patterns(series)
    prior = window_prior(PARAMETERS, found, windows(4, 10, 1))
    total = several(PARAMETERS, found, prior) * prior.sum(axis=1)
    paths = [state for state in itertools.product([0, 1], repeat=4) if not state[0]]
    expected = {4: sum(chain_odds(PARAMETERS, state) for state in paths) - 1, 3: (1 - 0.08) ** -4 - 1}
    np.testing.assert_allclose(total, [expected[n] for n in found.n_rated])


def test_bayes_factors_with_holes_equal_the_exact_densities():
    rng = np.random.default_rng(1)
    series = courses(rng, rng.integers(2, 7, 30))
    problem = whole_problem(PARAMETERS, series, patterns(series), 10)
    weight, _ = single_odds(problem)
    for i, n in enumerate(series.n_rated):
        time, score = series.time[i, :n], series.score[i, :n]
        none = log_density(PARAMETERS, time, score, np.zeros(n))
        for k, (start, stop, is_open) in enumerate(zip(*problem.candidates)):
            prior = problem.prior[problem.of[i], k]
            possible = start < n if is_open else stop < n
            assert (prior > 0) == possible
            inside = (np.arange(n) >= start) & (np.arange(n) < stop)
            factor = sum(
                weight * np.exp(log_density(PARAMETERS, time, score, depth * inside) - none)
                for weight, depth in zip(DEPTH_WEIGHTS, PARAMETERS.depths())
            )
            np.testing.assert_allclose(weight[i, k], prior * factor, rtol=1e-8, atol=1e-300)


def test_a_fall_that_partly_stays_weighs_what_the_densities_say():
    series = courses(np.random.default_rng(1), [6, 5, 6, 3, 7, 4])
    problem = whole_problem(PARAMETERS, series, patterns(series), 10)
    found = closed_factors(problem, (0.3, -0.2))
    closed = np.flatnonzero(~problem.candidates.is_open)
    for i, n in enumerate(series.n_rated):
        time, score = series.time[i, :n], series.score[i, :n]
        none = log_density(PARAMETERS, time, score, np.zeros(n))
        for k, window in enumerate(closed):
            start, stop = problem.candidates.start[window], problem.candidates.stop[window]
            if stop >= n:
                continue
            inside, after = (np.arange(n) >= start) & (np.arange(n) < stop), np.arange(n) >= stop
            exact = sum(
                weight / 2 * np.exp(log_density(PARAMETERS, time, score, depth * (inside + share * after)) - none)
                for weight, depth in zip(DEPTH_WEIGHTS, PARAMETERS.depths())
                for share in (0.3, -0.2)
            )
            assert found[i, k] == pytest.approx(exact, rel=1e-8)


def test_a_missed_session_counts_in_prior_and_autocorrelation():
    """Sessions 1, 2, 4: the gap doubles the chance of an onset and squares the autocorrelation."""
    series = as_courses(np.zeros(3, dtype=int), np.array([1, 2, 4]), np.array([5.0, 5.0, 3.0]))
    matrix = covariance(with_(level_sd=1e-9, trend_sd=1e-9), series.time)[0]
    np.testing.assert_allclose(matrix[1, 2], 0.6 * 0.35**2, rtol=1e-9)
    problem = whole_problem(PARAMETERS, series, patterns(series), 10)
    last = (problem.candidates.start == 2) & problem.candidates.is_open
    np.testing.assert_allclose(problem.prior[0, last], (1 - 0.92**2) / 0.92**2, rtol=1e-9)


@pytest.mark.parametrize("ceiling", [np.inf, 5.8])
def test_the_filter_knows_nothing_of_later_sessions(ceiling):
    rng = np.random.default_rng(2)
    parameters = with_(ceiling=ceiling)
    series = courses(rng, [7] * 20 + [5] * 20, last=9)
    series = Courses(np.minimum(series.score, ceiling), series.time, series.n_rated)
    later = np.arange(series.score.shape[1]) >= 3
    other = np.where(later & series.rated, np.minimum(rng.normal(4, 2, series.score.shape), ceiling), series.score)
    first = posterior(parameters, series)
    second = posterior(parameters, Courses(other, series.time, series.n_rated))
    for name in ("filtered", "evidence_so_far", "baseline_so_far"):
        np.testing.assert_allclose(getattr(first, name)[:, :3], getattr(second, name)[:, :3], rtol=1e-8, atol=1e-12)
    assert np.abs(first.filtered - second.filtered)[:, 3:].max() > 0.05
    assert np.abs(first.smoothed - second.smoothed)[:, :3].max() > 0.01


def test_filtered_and_smoothed_agree_at_the_last_session():
    series = courses(np.random.default_rng(3), [4, 7, 2, 6, 7, 1])
    found = posterior(PARAMETERS, series)
    last = np.arange(6), series.n_rated - 1
    np.testing.assert_allclose(found.filtered[last], found.smoothed[last], rtol=1e-8)
    np.testing.assert_allclose(found.evidence_so_far[last], found.evidence, rtol=1e-8)


def test_a_ceiling_is_integrated_over_what_lies_beyond(monkeypatch):
    """Two scores at the ceiling: the averaged draws against numerical integration over both."""
    monkeypatch.setattr(posterior_module, "DRAWS", 6000)
    monkeypatch.setattr(posterior_module, "FALLS", 0)
    parameters = with_(ceiling=6.0, min_ratings=2)
    score = np.array([6.0, 5.2, 3.4, 6.0])
    series = as_courses(np.zeros(4, dtype=int), np.arange(1, 5), score)
    found = posterior(parameters, series)
    grid = 6.0 + np.linspace(0, 1, 120) ** 2 * 12
    weight = np.gradient(grid)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    scores = np.stack([a, np.full_like(a, 5.2), np.full_like(a, 3.4), b], axis=-1)
    area = np.outer(weight, weight)
    time = np.arange(1.0, 5.0)

    def density(fall):
        return float((np.exp(log_density(parameters, time, scores, fall)) * area).sum())

    none, total, last = density(np.zeros(4)), 1.0, 0.0
    for state in itertools.product([0, 1], repeat=4):
        state = np.array(state)
        if state[:2].any() or (np.diff(state, prepend=0) == 1).sum() != 1:
            continue
        factor = sum(w * density(d * state) for w, d in zip(DEPTH_WEIGHTS, parameters.depths())) / none
        total += chain_odds(parameters, state) * factor
        last += chain_odds(parameters, state) * factor * state[2]
    np.testing.assert_allclose(found.smoothed[0, 2], last / total, rtol=0.04)
    np.testing.assert_allclose(found.evidence[0], np.log(total), rtol=0.06)


def test_patients_do_not_touch_each_other():
    rng = np.random.default_rng(4)
    series = courses(rng, rng.integers(1, 8, 40))
    whole = posterior(PARAMETERS, series)
    part = posterior(PARAMETERS, series.take(np.arange(10)))
    width = part.smoothed.shape[1]
    np.testing.assert_allclose(part.smoothed, whole.smoothed[:10, :width], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(part.baseline, whole.baseline[:10, :width], rtol=1e-8, atol=1e-9)


def test_baseline_is_the_expected_score_without_rupture():
    """With the fall put back, level and trend are the best linear predictor; here by the textbook formula."""
    series = courses(np.random.default_rng(5), [6])
    found = posterior(with_(onset_rate=1e-12), series)
    time = series.time[0]
    marginal = covariance(PARAMETERS, series.time)[0]
    level = (1.1 / 0.9) ** 2 + (0.05 / 0.9) ** 2 * np.outer(time - 3, time - 3)
    mean = 5 + 0.03 * (time - 3)
    expected = mean + level @ np.linalg.solve(marginal, series.score[0] - mean)
    np.testing.assert_allclose(found.baseline[0], expected, rtol=1e-8)


def test_paths_are_every_set_of_windows_that_do_not_touch():
    """Forward and backward sums against sets written out; with enormous weights the logarithms stay finite."""
    rng = np.random.default_rng(6)
    candidates = windows(7, 3, 1)
    weight = rng.gamma(0.3, 2.0, (4, len(candidates.start)))
    log_total, share = _paths(weight, candidates, 7)
    n = len(candidates.start)
    sets = [s for size in range(4) for s in itertools.combinations(range(n), size) if apart(s, candidates)]
    assert max(map(len, sets)) == 3
    for i in range(4):
        value = [np.prod(weight[i, list(s)]) for s in sets]
        assert log_total[i] == pytest.approx(np.log(sum(value)))
        held = [sum(v for v, s in zip(value, sets) if k in s) for k in range(n)]
        np.testing.assert_allclose(share[i], np.array(held) / sum(value), rtol=1e-10)
    log_total, share = _paths(np.full((1, len(windows(40, 3, 1).start)), 1e140), windows(40, 3, 1), 40)
    assert np.isfinite(log_total).all()
    assert np.isfinite(share).all()


def apart(chosen, candidates):
    pairs = itertools.combinations(chosen, 2)
    start, stop = candidates.start, candidates.stop
    return all(start[a] > stop[b] or start[b] > stop[a] for a, b in pairs)
