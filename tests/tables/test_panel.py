"""Look-ups in many series at once, against a naive loop."""

import numpy as np
import pytest

from alliance_stats.tables.panel import lagged_rows, rows_at, rows_until


def holed(rng, n_series=6):
    """Rows of series with holes, sorted by series and time; some series may have none."""
    rows = [
        (owner, time)
        for owner in range(n_series)
        for time in np.sort(rng.choice(np.arange(-3, 12), size=rng.integers(0, 9), replace=False))
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@pytest.mark.parametrize("seed", range(10))
def test_look_ups_are_those_of_a_naive_loop(seed):
    rng = np.random.default_rng(seed)
    series, time = holed(rng)
    which, when = rng.integers(-1, 8, size=200), rng.integers(-20, 30, size=200)
    at = [next(iter(np.flatnonzero((series == s) & (time == t))), -1) for s, t in zip(which, when)]
    assert rows_at(series, time, which, when).tolist() == at
    until = [int(((series < s) | ((series == s) & (time <= t))).sum()) for s, t in zip(which, when)]
    assert rows_until(series, time, which, when).tolist() == until


@pytest.mark.parametrize("by", [-40, -2, -1, 0, 1, 3, 40])
def test_lagged_rows_are_those_of_a_naive_loop(by):
    series, time = holed(np.random.default_rng(by + 50))
    slow = [next(iter(np.flatnonzero((series == s) & (time == t - by))), -1) for s, t in zip(series, time)]
    assert lagged_rows(series, time, by).tolist() == slow


def test_nothing_is_found_without_rows():
    none = np.zeros(0, dtype=np.int64)
    assert rows_at(none, none, np.array([0]), np.array([1])).tolist() == [-1]
    assert lagged_rows(none, none, 1).tolist() == []
