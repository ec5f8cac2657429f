"""The alliance with its measurement error taken out."""

import numpy as np
import pytest

import alliance_stats as als
from alliance_stats.outcome.calibrated import calibrate

SERIES = np.array([0, 0, 0, 1, 1, 1])
SCORE = np.array([4.0, 2, 3, 5, 5, 2])


def test_by_hand_from_states():
    is_open = np.array([0, 0.5, 0, 0, 0, 1])
    found = calibrate(SERIES, SCORE, is_open, 0.25, {"depth": 2.0, "within_sd": 1.0})
    assert found.reliability == 0.75
    np.testing.assert_allclose(found.values, 0.75 * SCORE - 0.25 * 2 * is_open)


def test_by_hand_from_events():
    """Patient 0 is open at 2 against 3.5, patient 1 at 2 against 5: falls of 1.5 and 3, equal weights."""
    is_open = np.array([0.0, 1, 0, 0, 0, 1])
    found = calibrate(SERIES, np.array([3.5, 2, 3.5, 5, 5, 2]), is_open, 0.1, {})
    rest = np.array([0.25, -0.5, 0.25]) * (2.25 - 1.5)  # what the mean depth of 2.25 leaves in the first patient
    variance = 2 * (2 / 3 * 0.75**2) / 4
    assert rest @ rest > 0
    assert found.reliability == pytest.approx(1 - 0.1 / variance)
    shift = found.values - found.reliability * np.array([3.5, 2, 3.5, 5, 5, 2])
    np.testing.assert_allclose(shift, -(1 - found.reliability) * 2.25 * is_open)


@pytest.mark.parametrize("error", [-0.1, 1.0, np.nan])
def test_an_error_that_leaves_no_reliability_is_refused(error):
    with pytest.raises(als.DataError, match="not below the variance of the alliance within patients"):
        calibrate(SERIES, SCORE, None, error, {"depth": 1.0, "within_sd": 1.0})


def test_without_ruptures_the_coefficient_is_divided_by_the_reliability():
    sessions = als.simulate_study(n_patients=60, seed=1).sessions
    options = {"symptom": "phq9", "alliance": "alliance"}
    plain = als.fit_next_session(sessions, **options)
    mended = als.fit_next_session(sessions, **options, error=0.04)
    reliability = mended.diagnostics["within_reliability"]
    assert 0.4 < reliability < 0.9
    coefficient = [fit.tidy().set_index("term")["estimate"]["alliance_within"] for fit in (plain, mended)]
    assert coefficient[1] * reliability == pytest.approx(coefficient[0], rel=1e-4)
    assert any("measured without error" in note for note in plain.diagnostics["notes"])
    assert not any("measured without error" in note for note in mended.diagnostics["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_known_error_frees_the_rupture_effect_of_the_alliance(effect):
    """40 studies, an alliance effect of -1.5 and true states: without `error` the rupture takes over .5 points."""
    found = []
    for seed in range(40):
        study = als.simulate_study(
            seed=seed, n_patients=250, n_sessions=14, sessions_sd=5, bounded=False, rupture_rate=0.05,
            rupture_depth=2.5, rupture_length=3, rupture_effect=effect, repair_effect=0.0, halo=0.0,
        )  # fmt: skip
        error = study.truth.parameters["error_sd"] ** 2
        for value in (None, error):
            fit = als.fit_next_session(study.sessions, study.events, symptom="phq9", alliance="alliance", error=value)
            found.append(fit.tidy().set_index("term")["estimate"][["rupture_open", "alliance_within"]].to_numpy())
    ignored, mended = np.array(found[::2]), np.array(found[1::2])
    assert ignored[:, 0].mean() > effect + 0.35
    np.testing.assert_allclose(mended.mean(axis=0), [effect, -1.5], atol=0.25)
