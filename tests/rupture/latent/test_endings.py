"""How ruptures end: the shares in series and studies whose truth is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.rupture.latent.courses import as_courses
from alliance_stats.rupture.latent.endings import PENALTY, _likelihood, most_likely, rupture_endings
from alliance_stats.rupture.latent.parameters import LatentParameters


def clear_series(remains, lengths, n=150, last=14, seed=4):
    """Every second patient has a deep rupture from session 6 that leaves `remains` of itself behind."""
    rng = np.random.default_rng(seed)
    score = 5 + 0.4 * rng.standard_normal((n, last)) + rng.standard_normal((n, 1))
    for i in range(0, n, 2):
        stop = 5 + lengths[i // 2 % len(lengths)]
        score[i, 5:stop] -= 2.0
        score[i, stop:] -= 2.0 * remains[i // 2 % len(remains)]
    code, session = np.repeat(np.arange(n), last), np.tile(np.arange(1, last + 1), n)
    return as_courses(code, session, score.ravel())


CLEAR = LatentParameters(
    onset_rate=0.08, repair_rate=0.4, depth=2.0, depth_cv=0.1, autocorrelation=0.3, state_share=0.01, within_sd=0.4,
    within_sd_df=40.0, level=5.0, level_sd=1.0, trend=0.0, trend_sd=0.001, centre=7.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("remains", "lengths", "truth"),
    [
        ([0.0, 0.0, -0.3], [2, 3, 4, 1], (1.0, 0.0, 0.0)),
        ([0.0, 0.5], [2, 2, 3, 3], (0.5, 0.5, 0.0)),
        ([0.0], [2, 9, 3, 9], (0.5, 0.0, 0.5)),
    ],
)
def test_clear_endings_are_told_apart(remains, lengths, truth):
    table = rupture_endings(most_likely(CLEAR, clear_series(remains, lengths)), level=0.95)
    assert table["ending"].tolist() == ["repaired", "short", "open"]
    assert table["estimate"].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(table["estimate"], truth, atol=0.06)
    assert (table["ci_low"] < table["estimate"]).all()
    assert (table["ci_high"] > table["estimate"]).all()
    assert (table["ci_high"] - table["ci_low"] < 0.3).all()


def test_expected_numbers_by_hand():
    """Three equal ratings, onset from the second on, every rate 1/2, none lasting: each path weighs as no rupture."""
    one = as_courses(np.zeros(3, dtype=int), np.arange(1, 4), np.full(3, 5.0))
    likelihood = _likelihood(dataclasses.replace(CLEAR, min_ratings=1), one)
    point = np.array([0.0, 0.0, -50.0, 0.0, 0.0])
    closed, still = likelihood.prior(point)
    np.testing.assert_allclose(closed, [[1.0]])  # open in session 2 only
    np.testing.assert_allclose(still, [[1.0, 1.0]])  # open in 2 and 3, in 3 only
    past, at, short = likelihood.closed[:, 0, 0]
    long, last = likelihood.still[0]
    total = 1 + (past + at + short) / 3 + long + last
    np.testing.assert_allclose(likelihood.numbers(point), [(past + at) / 3 / total, short / 3 / total, long / total])
    penalty = 0.5 * (((point - PENALTY[:, 0]) / PENALTY[:, 1]) ** 2).sum()
    assert likelihood.loss(point) == pytest.approx(penalty - np.log(total) + np.log(4))


def test_without_ruptures_nothing_is_said_of_their_endings():
    rng = np.random.default_rng(6)
    score = 5 + 0.4 * rng.standard_normal((60, 12)) + rng.standard_normal((60, 1))
    sessions = pd.DataFrame(
        {"patient": np.repeat(np.arange(60), 12), "session": np.tile(np.arange(1, 13), 60), "alliance": score.ravel()}
    )
    latent = als.detect_latent(sessions, score="alliance")
    assert latent.verdict == "none"
    assert latent.endings()[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="level"):
        latent.endings(level=95)


def test_of_ruptures_that_all_begin_at_the_last_rating_no_ending_is_known():
    three = as_courses(np.repeat(np.arange(9), 3), np.tile([1, 2, 3], 9), np.random.default_rng(1).normal(5, 1, 27))
    assert (
        rupture_endings(most_likely(CLEAR, three), level=0.95)[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    )


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_of_one_patient_with_too_few_ratings_nothing_is_known(n):
    ratings = pd.DataFrame({"patient": ["x"] * n, "session": range(1, n + 1), "alliance": [4.0, 3.0][:n]})
    latent = als.detect_latent(ratings, score="alliance", parameters=CLEAR)
    assert latent.endings()["estimate"].isna().all()
    assert (latent.states("smoothed")[["rupture_open", "short"]] == 0).all(axis=None)


def test_the_share_repaired_and_the_number_of_ruptures_are_recovered():
    """Six studies of 250 patients: shares within 15 % on average, expected numbers within 10 %."""
    found, numbers = [], []
    for seed in range(41, 47):
        study = als.simulate_study(
            n_patients=250, n_sessions=14, sessions_sd=5, max_sessions=26, bounded=False, rupture_rate=0.05,
            rupture_depth=2.5, rupture_length=3, seed=seed,
        )  # fmt: skip
        latent = als.detect_latent(study.sessions, score="alliance")
        rated = study.sessions.loc[study.sessions["alliance"].notna(), ["patient", "session"]]
        inside = study.truth.sessions.query("in_rupture == 1")[["patient", "session"]].merge(rated)
        expected = als.describe_ruptures(study.sessions, latent).set_index("quantity")["count"]
        numbers.append((expected["patients with a rupture"], inside["patient"].nunique()))
        row = latent.endings().set_index("ending").loc["repaired"]
        last = study.sessions.dropna(subset=["alliance"]).groupby("patient")["session"].max()
        begun = study.events["onset"] < study.events["patient"].map(last)
        truth = (study.events.loc[begun, "status"] == "repaired").mean()
        found.append((row["estimate"], truth, row["ci_low"] <= truth <= row["ci_high"]))
    estimate, truth, covered = np.mean(found, axis=0)
    assert estimate == pytest.approx(truth, rel=0.15)
    assert covered >= 0.8
    stated, true = np.sum(numbers, axis=0)
    assert stated == pytest.approx(true, rel=0.1)
