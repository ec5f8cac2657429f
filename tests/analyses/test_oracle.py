"""The limit of detection: what it says of tiny series against the world's own law written out."""

import dataclasses
import itertools

import numpy as np
import pytest
from detector_study.oracle import LONGEST, has_known_law, known_world, true_prior
from detector_study.worlds import FURTHER_WORLDS, WORLDS, DetectorWorld, simulate_world
from scipy import stats

from alliance_stats.rupture.latent.courses import Courses
from alliance_stats.rupture.latent.windows import windows


def path_chance(world, state):
    """Chance of a path of open (1) and closed (0) sessions, by the simulation's rules."""
    lengths = {k: 0.5**k for k in range(1, 60)} if world.lengths == "brief" else dict.fromkeys(range(3, 9), 1 / 6)
    chance, t, last = 1.0, world.first_onset - 1, len(state)
    if any(state[:t]):
        return 0.0
    while t < last:
        if not state[t]:
            chance, t = chance * (1 - world.onset_rate), t + 1
            continue
        length = next((k for k in range(t, last) if not state[k]), last) - t
        if t + length == last:
            return chance * world.onset_rate * sum(p for k, p in lengths.items() if k >= length)
        chance, t = chance * world.onset_rate * lengths.get(length, 0.0), t + length + 1
    return chance


@pytest.mark.parametrize("lengths", ["brief", "long"])
def test_prior_odds_are_those_of_the_simulation(lengths):
    world = DetectorWorld(name="w", n_sessions=9, lengths=lengths, onset_rate=0.1)
    candidates = windows(9, LONGEST[lengths], 2)
    prior = true_prior(world, candidates, np.array([9]))[0]
    none = path_chance(world, [0] * 9)
    for start, stop, odds in zip(candidates.start, candidates.stop, prior):
        state = [int(start <= t < stop) for t in range(9)]
        assert odds == pytest.approx(path_chance(world, state) / none)
    every = sum(path_chance(world, state) for state in itertools.product([0, 1], repeat=9))
    assert every == pytest.approx(1.0)


def test_it_knows_what_bayes_theorem_gives():
    """Every path of the world enumerated, depths (gamma) and the patient's SD (log-normal) integrated numerically."""
    world = DetectorWorld(name="w", n_sessions=5, onset_rate=0.1, depth=3.0)
    scores = simulate_world(world, n_patients=25, seed=1).sessions["alliance"].to_numpy(copy=True).reshape(25, 5)
    scores[0] = [6, 6.2, 2.5, 6.1, 2.7]  # two ruptures
    time = np.arange(1.0, 6.0)
    series = Courses(scores, np.tile(time, (25, 1)), np.full(25, 5))
    smoothed, evidence = known_world(world, series)
    quantile = (np.arange(12) + 0.5) / 12
    depths = world.depth * stats.gamma(16, scale=1 / 16).ppf(quantile)
    mean = 5 + 0.02 * (time - 3)
    paths = [np.array(p) for p in itertools.product([0, 1], repeat=5) if path_chance(world, p) > 0]
    weight = np.zeros((len(paths), 25))
    for own_sd in np.exp(0.25 * stats.norm.ppf(quantile) - 0.0625):
        lag = np.abs(np.subtract.outer(time, time))
        own = own_sd**2 * (0.5 * 0.3**lag + 0.5 * np.eye(5))
        matrix = own + 1.5 + 0.03**2 * np.outer(time - 3, time - 3)
        density = stats.multivariate_normal(mean, matrix)
        for k, path in enumerate(paths):
            number = np.cumsum(np.diff(path, prepend=0) == 1) * path
            for depth in itertools.product(depths, repeat=number.max()):
                fall = np.array([0.0, *depth])[number]
                weight[k] += path_chance(world, path) * density.pdf(scores + fall) / len(depths) ** number.max()
    exact = np.array(paths).T @ weight / weight.sum(axis=0)
    error = np.abs(smoothed - exact.T)  # five depths of a log-normal law, five SDs: an approximation
    assert error.mean() < 0.005
    assert error.max() < 0.06
    np.testing.assert_allclose(evidence, np.log(weight.sum(axis=0) / weight[0]), rtol=0.1, atol=0.1)
    assert evidence.max() > 3
    assert smoothed[0, 2] > 0.8
    assert smoothed[0, 4] > 0.8


def test_worlds_beyond_its_law_have_no_limit():
    covered = {name for name, world in (WORLDS | FURTHER_WORLDS).items() if has_known_law(world)}
    assert {"brief, 8 sessions", "long, depth 3", "ruptures from the second session"} <= covered
    beyond = {"brief, ceiling", "brief, holes, unequal lengths", "slow declines", "medium length", "five points"}
    assert not covered & beyond
    assert not has_known_law(dataclasses.replace(WORLDS["brief, 16 sessions"], noise_df=3.0))
