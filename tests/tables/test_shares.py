"""Confidence levels and intervals for shares."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from alliance_stats.tables.shares import check_level, clustered_share, normal_quantile, wilson


@pytest.mark.parametrize("level", [95, 0, 1, -0.1, float("nan"), "0.95", None])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match=r"must be between 0 and 1, such as 0\.95"):
        check_level(level)
    with pytest.raises(ValueError, match="level="):
        normal_quantile(level)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_wilson_is_that_of_statsmodels(level):
    count, n = np.array([0.0, 1, 3, 10, 2.5, 700]), np.array([10.0, 10, 10, 10, 10.3, 2000])
    ours = wilson(count / n, n, level=level)
    np.testing.assert_allclose(ours, proportion_confint(count, n, 1 - level, method="wilson"), rtol=1e-12, atol=1e-15)
    assert wilson(0.3, 10, level=level) == (ours[0][2], ours[1][2])


def test_there_is_no_interval_without_any_unit():
    assert np.isnan(wilson(np.nan, 0, level=0.95)).all()
    low, high = wilson(np.array([0.5, np.nan]), np.array([10, 0]), level=0.95)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()
    assert np.isnan(clustered_share([0, 0], [0, 0], level=0.95)).all()


def test_patients_who_do_not_differ_count_every_unit():
    part, whole = np.full(8, 3.0), np.full(8, 12.0)
    assert clustered_share(part, whole, level=0.9) == (0.25, *wilson(0.25, 96, level=0.9))


def test_patients_who_differ_count_for_less():
    rng = np.random.default_rng(1)
    whole = rng.integers(5, 30, size=40).astype(float)
    part = rng.binomial(whole.astype(int), rng.beta(1, 3, size=40))
    share, low, high = clustered_share(part, whole, level=0.95)
    alone = wilson(share, whole.sum(), level=0.95)
    assert low < alone[0] < share < alone[1] < high
    order = rng.permutation(40)
    assert clustered_share(part[order], whole[order], level=0.95) == pytest.approx((share, low, high), rel=1e-12)


@pytest.mark.slow
def test_the_interval_of_onsets_per_session_covers():
    """Patients whose rupture rates differ: the clustered interval covers the mean rate, Wilson's alone would not."""
    rng = np.random.default_rng(1)
    covered, plain = 0, 0
    for _ in range(2000):
        rate = rng.beta(1, 9, 120)
        length = rng.integers(5, 25, 120)
        hits = rng.binomial(length, rate)
        _, low, high = clustered_share(hits, length, level=0.95)
        covered += low <= 0.1 <= high
        low, high = wilson(hits.sum() / length.sum(), length.sum(), level=0.95)
        plain += low <= 0.1 <= high
    assert 0.925 <= covered / 2000 <= 0.965
    assert plain / 2000 < 0.85
