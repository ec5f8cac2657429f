"""Episode states against their definition, written as a loop."""

import numpy as np
import pytest

from alliance_stats.tables.states import episode_states


def by_definition(series, time, owner, start, end):
    rows = []
    for s, t in zip(series, time, strict=True):
        starts = [a for o, a in zip(owner, start, strict=True) if o == s and a <= t]
        ends = [b for o, b in zip(owner, end, strict=True) if o == s and b <= t]
        since_start = t - max(starts) if starts else np.nan
        rows.append((len(starts), len(ends), len(starts) > len(ends), since_start))
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_definition(seed):
    rng = np.random.default_rng(seed)
    series, time = rng.integers(0, 6, 80), rng.integers(-3, 15, 80)
    owner, start = rng.integers(0, 6, 12), rng.integers(-2, 12, 12)
    end = np.where(rng.random(12) < 0.4, np.nan, start + rng.integers(1, 5, 12))
    found = episode_states(series, time, episode_series=owner, start=start, end=end)
    for got, expected in zip(found, by_definition(series, time, owner, start, end), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_without_episodes():
    states = episode_states([0, 1], [1, 2], episode_series=[], start=[], end=[])
    assert not states.is_open.any()
    assert np.isnan(states.since_start).all()
