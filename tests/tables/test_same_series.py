"""One series on two scales is recognised, up to rounding; two measures that merely correlate are not."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.same_series import is_linear_function

RNG = np.random.default_rng(1)
SERIES = RNG.normal(60, 20, 400)


@pytest.mark.parametrize(
    "values", [27 - SERIES, 3 * SERIES + 1, np.round(SERIES, 1), np.where(np.arange(400) % 7 == 0, np.nan, -SERIES)]
)
def test_the_same_series(values):
    assert is_linear_function(values, SERIES)


@pytest.mark.parametrize(
    "values",
    [SERIES + RNG.normal(0, 0.5, 400), SERIES**2, np.full(400, 3.0), np.where(np.arange(400) < 2, SERIES, np.nan)],
)
def test_another_series(values):
    assert not is_linear_function(values, SERIES)


@pytest.fixture(scope="module")
def flipped():
    study = als.simulate_study(n_patients=60, n_therapists=5, seed=3, rupture_rate=0.08)
    return study.sessions.assign(wellbeing=27 - study.sessions["phq9"])


@pytest.fixture(scope="module")
def events(flipped):
    return als.detect_ruptures(flipped, score="wellbeing", rule="previous_2pooled")


def test_no_model_of_outcome_takes_the_series_that_ruptures_are_detected_in(flipped, events):
    patients = als.summarise_patients(flipped, events, measures=["phq9", "wellbeing"])
    assert patients.attrs["linear_in_score"] == ["phq9", "wellbeing"]
    with pytest.raises(als.DataError, match="linear function of 'wellbeing'"):
        als.fit_outcome(patients, post="phq9_post", pre="phq9_pre")
    with pytest.raises(als.DataError, match="linear function of 'wellbeing'"):
        als.fit_next_session(flipped, events, symptom="phq9", alliance="wellbeing")
    with pytest.raises(als.DataError, match="linear function of 'wellbeing'"):
        als.fit_growth(flipped, patients, measure="phq9")
    for question in ("outcome", "next_session"):
        with pytest.raises(als.DataError, match="linear function of 'wellbeing'"):
            als.fit_multiverse(flipped, score="wellbeing", question=question, symptom="phq9")


def test_another_outcome_of_the_same_study_is_fitted(flipped, events):
    patients = als.summarise_patients(flipped, events, measures=["alliance"])
    als.fit_outcome(patients, post="alliance_post", pre="alliance_pre", better="higher")
    als.fit_growth(flipped, patients, measure="alliance")
    als.fit_next_session(flipped, events, symptom="alliance", alliance="wellbeing")
    assert isinstance(patients, pd.DataFrame)
