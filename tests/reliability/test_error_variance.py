"""The error variance of a session's score that its items imply."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als


@pytest.fixture(scope="module")
def answered():
    study = als.simulate_study(seed=3, n_patients=200, n_sessions=12, halo=0.0, bounded=False)
    return study, study.sessions.merge(study.items, on=["patient", "session"])


def test_it_is_the_simulated_error_where_items_err_one_by_one(answered):
    study, sessions = answered
    found = als.reliability.error_variance(sessions, "wai_{item}", score="alliance", instrument="WAI-SR")
    assert found == pytest.approx(study.truth.parameters["error_sd"] ** 2, rel=0.05)


def test_it_follows_the_scale_of_the_score(answered):
    _, sessions = answered
    mean = als.reliability.error_variance(sessions, "wai_{item}", score="alliance")
    total = sessions.assign(total=12 * sessions["alliance"] - 3)
    assert als.reliability.error_variance(total, "wai_{item}", score="total") == pytest.approx(144 * mean)


def test_by_hand():
    """Two patients, two sessions, two items: the residual of each item about patient-item and session effects."""
    sessions = pd.DataFrame(
        {"patient": [1, 1, 2, 2], "session": [1, 2, 1, 2], "a": [1.0, 3, 2, 2], "b": [1.0, 1, 4, 2]}
    ).assign(score=lambda table: table[["a", "b"]].mean(axis=1))
    # a - b is 0, 2 in patient 1 and -2, 0 in patient 2: about the patient's mean -1, 1, -1, 1
    residual = 2 * 4 * 0.5**2 / 2  # two items, half the difference each, over (4 - 2) x (2 - 1) degrees of freedom
    assert als.reliability.error_variance(sessions, ["a", "b"], score="score") == pytest.approx(residual / 2)


def test_a_score_of_other_items_is_refused(answered):
    _, sessions = answered
    with pytest.raises(als.DataError, match="not a linear function of the mean of its 12 items"):
        als.reliability.error_variance(sessions, "wai_{item}", score="alliance_therapist")
    with pytest.raises(als.DataError, match="not a linear function"):
        als.reliability.error_variance(sessions.assign(alliance=np.float64(3)), "wai_{item}", score="alliance")
