"""Mean course, spread by session, verdicts where the question cannot be answered, and levels after a rupture."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from detector_study.worlds import CALIBRATION_WORLDS, simulate_world

import alliance_stats as als
from alliance_stats.rupture.latent.courses import as_courses
from alliance_stats.rupture.latent.fit import Estimate, starting_values
from alliance_stats.rupture.latent.model import covariance, mean_course, width
from alliance_stats.rupture.latent.null import null_courses
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.recovery import last_open, level_changes
from alliance_stats.rupture.latent.skewness import noise_skewness
from alliance_stats.rupture.latent.verdict import (
    ABSENT,
    AMBIGUOUS,
    COARSE,
    LASTING,
    SKEWED,
    SUPPORTED,
    TOO_FEW,
    VERDICTS,
    Evidence,
    verdict_of,
)

PARAMETERS = LatentParameters(
    onset_rate=0.05,
    repair_rate=0.3,
    depth=1.8,
    depth_cv=0.3,
    autocorrelation=0.3,
    state_share=0.5,
    within_sd=0.9,
    within_sd_df=9.0,
    level=5.0,
    level_sd=1.1,
    trend=0.03,
    trend_sd=0.04,
    centre=6.0,
    rise=1.2,
    rise_sd=0.7,
    rise_time=2.5,
    rise_lifts=0.6,
    narrowing=0.3,
)


def test_mean_course_and_spread_by_hand():
    time = np.array([1.0, 4.0, 6.0])
    expected = [5 - 5 * 0.03 - 1.2, 5 - 2 * 0.03 - 1.2 * np.exp(-3 / 2.5), 5 - 1.2 * np.exp(-2)]
    np.testing.assert_allclose(mean_course(PARAMETERS, time), expected)
    np.testing.assert_allclose(width(PARAMETERS, time), [6**0.3, (4 / 6) ** -0.3, 1.0])


def test_drawn_series_have_the_stated_mean_and_covariance():
    """The covariance that the scan works with is the one of series drawn from the same parameters."""
    like = as_courses(np.repeat(np.arange(4000), 5), np.tile([1, 2, 3, 6, 12], 4000), np.zeros(20_000))
    alike = dataclasses.replace(PARAMETERS, within_sd_df=1e6)
    drawn = null_courses(alike, like, noise_df=np.inf, rng=np.random.default_rng(1)).score
    expected = alike.within_sd**2 * covariance(alike, like.time[:1])[0]
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.25)
    np.testing.assert_allclose(drawn.mean(axis=0), mean_course(alike, like.time[0]), atol=0.08)


def test_a_rise_that_saturates_and_a_shrinking_spread_are_estimated():
    world = dataclasses.replace(CALIBRATION_WORLDS["saturating rise"], narrowing=0.5)
    p = als.detect_latent(simulate_world(world, n_patients=300, seed=1).sessions, score="alliance").parameters
    assert p.rise == pytest.approx(1.5, abs=0.4)
    assert p.rise_sd == pytest.approx(0.75, abs=0.35)
    assert p.rise_lifts == pytest.approx(0.0, abs=0.4)
    assert p.narrowing == pytest.approx(0.25, abs=0.07)  # 16 ** -.25 = .5
    plain = als.detect_latent(
        simulate_world(CALIBRATION_WORLDS["clear ruptures"], n_patients=150, seed=1).sessions, score="alliance"
    ).parameters
    assert abs(plain.narrowing) < 0.1
    assert abs(plain.rise) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "saturating rise", "shrinking spread", "autocorrelation .6", "ceiling"])
def test_stated_probabilities_are_what_happens(name):
    """In bins of the stated probability, the share in a true rupture lies within .1 (2 errors of sampling beside)."""
    parts = []
    for seed in range(4):
        sessions = simulate_world(CALIBRATION_WORLDS[name], n_patients=200, seed=seed).sessions
        table = als.detect_latent(sessions, score="alliance").probabilities
        parts.append(table.assign(truth=sessions["in_rupture"]))
    table = pd.concat(parts)
    for version in ("p_filtered", "p_smoothed"):
        for _, part in table.groupby(np.digitize(table[version], [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9])):
            share, n = part["truth"].mean(), len(part)
            assert abs(share - part[version].mean()) < 0.1 + 2 * np.sqrt(share * (1 - share) / n)


def estimate_with(**changes):
    series = as_courses(np.repeat(np.arange(4), 3), np.tile([1, 2, 3], 4), np.arange(12.0))
    start = starting_values(series, floor=-np.inf, ceiling=np.inf)
    parts = {
        "log_likelihood": -100.0,
        "log_likelihood_null": -150.0,
        "mirror": 3.0,
        "skewness": 0.0,
        "skewness_z": 0.0,
    } | changes
    rates = {name: parts.pop(name, value) for name, value in (("repair_rate", 0.3), ("never_ends", 0.2))}
    return Estimate(dataclasses.replace(start, **rates), n_patients=100, converged=True, inflation=1.0, **parts)


@pytest.mark.parametrize(
    ("changes", "evidence", "verdict"),
    [
        ({}, {}, SUPPORTED),
        ({"mirror": 1.0}, {}, AMBIGUOUS),
        ({"log_likelihood": -149.0}, {}, ABSENT),
        ({"log_likelihood": -149.0}, {"median_ratings": 6.0}, TOO_FEW),
        ({"repair_rate": 0.01}, {}, LASTING),
        ({"never_ends": 0.55}, {}, SUPPORTED),
        ({"never_ends": 0.65}, {}, LASTING),
        ({"repair_rate": 0.01, "log_likelihood": -145.0}, {}, LASTING),
        ({"repair_rate": 0.01, "log_likelihood": -149.0}, {}, ABSENT),
        ({"skewness": -0.3, "skewness_z": -4.0}, {}, SKEWED),
        ({"skewness": -0.3, "skewness_z": -2.5}, {}, SUPPORTED),
        ({"skewness": -0.05, "skewness_z": -4.0}, {}, SUPPORTED),
        ({}, {"n_values": 2}, COARSE),
        ({}, {"step": 2.5}, COARSE),
    ],
)
def test_verdicts(changes, evidence, verdict):
    usual = {"n_values": 30, "step": 0.1, "median_ratings": 16.0}
    assert verdict_of(estimate_with(**changes), Evidence(**(usual | evidence))) == verdict
    assert verdict in VERDICTS


@pytest.mark.parametrize(
    ("world", "verdict"),
    [
        ("two-valued scores", COARSE),
        ("skewed noise", SKEWED),
        ("lasting falls in half the patients", LASTING),
        ("clear ruptures", SUPPORTED),
    ],
)
def test_worlds_in_which_the_question_cannot_be_answered(world, verdict):
    sessions = simulate_world(CALIBRATION_WORLDS[world], n_patients=200, seed=5).sessions
    found = als.detect_latent(sessions, score="alliance")
    assert found.verdict == verdict
    assert VERDICTS[verdict] in found.summary()
    quantities = set(found.diagnostics["quantity"])
    assert {"skewness", "skewness_z", "score_values", "score_step", "median_ratings"} <= quantities


def test_a_rupture_lasts_as_long_as_it_is_more_likely_open_than_not():
    chance = np.array([[0, 0.9, 0.6, 0.2, 0.7, 0.0], [0, 0.3, 0.2, 0, 0, 0]])
    last = last_open(chance, np.array([0, 1]), np.array([1, 1]), np.array([4, 6]))
    assert last.tolist() == [2, 1]


def test_level_changes_are_the_textbook_regression():
    """One patient: generalised least squares with the prior as two further observations."""
    rng = np.random.default_rng(2)
    series = as_courses(np.zeros(9, dtype=int), np.arange(1, 10), 5 + rng.standard_normal(9))
    owner, onset, last = np.array([0]), np.array([3]), np.array([4])
    centre, scale, degrees, n_after = level_changes(PARAMETERS, series, owner, onset, last)
    p = PARAMETERS
    fall = np.isin(np.arange(9), [3, 4])
    design = np.vstack([np.column_stack([-fall.astype(float), np.arange(9) > 4]), np.eye(2)])
    outcome = np.r_[series.score[0] - mean_course(p, series.time[0]), p.depth, 0.0]
    blocks = np.zeros((11, 11))
    blocks[:9, :9] = covariance(p, series.time)[0]
    blocks[9, 9], blocks[10, 10] = (0.3 * p.depth / p.within_sd) ** 2, (p.depth / p.within_sd) ** 2
    precision = np.linalg.inv(blocks)
    variance = np.linalg.inv(design.T @ precision @ design)
    estimate = variance @ design.T @ precision @ outcome
    left = outcome - design @ estimate
    assert centre[0] == pytest.approx(estimate[1])
    assert degrees[0] == p.within_sd_df + 9
    spread = (p.within_sd_df * p.within_sd**2 + left @ precision @ left) / degrees[0]
    assert scale[0] == pytest.approx(np.sqrt(spread * variance[1, 1]))
    assert n_after[0] == 4


def test_recovery_tells_past_from_short():
    """Series that come back a depth above, to, and a depth below where they were."""
    rng = np.random.default_rng(3)
    score = 5 + 0.4 * rng.standard_normal((90, 14)) + rng.standard_normal((90, 1))
    score[:60, 5:8] -= 2.0
    score[:20, 8:] += 1.2
    score[40:60, 8:] -= 1.2
    sessions = pd.DataFrame(
        {"patient": np.repeat(np.arange(90), 14), "session": np.tile(np.arange(1, 15), 90), "alliance": score.ravel()}
    )
    parameters = dataclasses.replace(
        PARAMETERS, within_sd=0.4, within_sd_df=20.0, depth=2.0, trend=0.0, trend_sd=0.01, rise=0.0, narrowing=0.0
    )
    found = als.detect_latent(sessions, score="alliance", parameters=parameters)
    table = found.recovery()
    assert np.allclose(table[["p_past", "p_at", "p_short"]].dropna().sum(axis=1), 1.0)
    first = table[(table["onset"] == 6) & (table["event"] == 1)].set_index("patient")
    assert first.loc[first.index < 20, "p_past"].mean() > 0.8
    assert first.loc[first.index >= 40, "p_short"].mean() > 0.8
    middle = first[(first.index >= 20) & (first.index < 40)]
    assert middle[["p_past", "p_short"]].mean().max() < 0.5
    assert ((middle["ci_low"] < 0) & (middle["ci_high"] > 0)).mean() > 0.8
    wide = found.recovery(band=50.0)
    assert (wide["p_at"].dropna() > 0.99).all()
    with pytest.raises(ValueError, match="band"):
        found.recovery(band=-1)
    with pytest.raises(ValueError, match="level"):
        found.recovery(level=95)


def test_a_rupture_at_the_last_rating_has_no_afterwards():
    sessions = pd.DataFrame({"patient": [1] * 6, "session": range(1, 7), "alliance": [5.0, 5, 5, 5, 5, 1.0]})
    found = als.detect_latent(sessions, score="alliance", parameters=PARAMETERS)
    table = found.recovery(found.events(false_alarm=0.3))
    assert table["n_after"].tolist() == [0]
    assert table[["difference", "p_past", "p_at", "p_short"]].isna().all(axis=None)
    assert found.recovery(found.events().iloc[:0]).empty


def test_skewness_of_the_noise_is_seen_beside_ruptures():
    """Series with known parameters: ruptures alone give none, skewed errors give theirs, with or without ruptures."""
    rng = np.random.default_rng(3)
    n, last = 300, 12
    fall = np.zeros((n, last))
    for i in range(0, n, 2):
        begin = rng.integers(2, last)
        fall[i, begin : begin + 3] = 2.0
    levels, noise = rng.standard_normal((n, 1)), rng.standard_normal((n, last))
    skewed = 2 - rng.standard_gamma(4.0, (n, last)) / 2  # mean 0, variance 1, skewness -1
    known = dataclasses.replace(
        PARAMETERS, depth=2.0, within_sd=1.0, within_sd_df=200.0, level_sd=1.0, level=5.0, trend=0.0, trend_sd=1e-3,
        rise=0.0, rise_sd=0.0, narrowing=0.0, state_share=0.01, repair_rate=1 / 3,
    )  # fmt: skip

    def of(errors, fall):
        score = 5 + levels + errors - fall
        return noise_skewness(
            known, as_courses(np.repeat(np.arange(n), last), np.tile(np.arange(1, last + 1), n), score.ravel())
        )

    assert abs(of(noise, fall)[1]) < 2.5
    assert of(skewed, fall)[0] < -0.4
    assert of(skewed, fall)[1] < -4
    assert of(skewed, 0 * fall)[1] < -4
    near = as_courses(np.repeat(np.arange(20), 3), np.tile([1, 2, 3], 20), np.full(60, 5.0))
    assert noise_skewness(dataclasses.replace(known, ceiling=6.0), near) == (0.0, 0.0)
