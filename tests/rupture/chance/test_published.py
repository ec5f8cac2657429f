"""What noise alone gives at a published rule and number of sessions: the figures computed for the field."""

import numpy as np
import pytest

import alliance_stats as als


@pytest.mark.parametrize(
    ("rule", "n_sessions", "patients"),
    [("own_mean_2sd", 8, 0.06), ("own_mean_2sd", 16, 0.26), ("own_mean_2sd", 30, 0.52)],
)
def test_the_table_of_the_field(rule, n_sessions, patients):
    """20,000 patients per cell gave these shares in noise without autocorrelation."""
    found = als.rupture.prevalence_by_chance(rule, n_sessions=n_sessions, seed=1).iloc[0]
    assert found["patients"] == pytest.approx(patients, abs=0.005 + 4 * found["std_error"])


def test_a_ceiling_makes_more_and_five_ratings_none():
    free = als.rupture.prevalence_by_chance("own_mean_2sd", n_sessions=16, seed=1).iloc[0]
    bounded = als.rupture.prevalence_by_chance("own_mean_2sd", n_sessions=16, ceiling=0.31, seed=1).iloc[0]
    assert bounded["patients"] == pytest.approx(0.60, abs=0.03)
    assert free["patients"] < bounded["patients"]
    none = als.rupture.prevalence_by_chance("own_mean_2sd", n_sessions=5, seed=1, n_patients=500).iloc[0]
    assert none["patients"] == 0
    assert np.isnan(none["repaired"])


def test_what_noise_cannot_be_measured_in_is_refused():
    points = als.Rule(name="one point", reference="previous", unit="points", size=1.0)
    with pytest.raises(als.DataError, match="counts in points"):
        als.rupture.prevalence_by_chance(points, n_sessions=10, seed=1)
    with pytest.raises(ValueError, match="ceiling"):
        als.rupture.prevalence_by_chance("own_mean_2sd", n_sessions=10, ceiling=1.5, seed=1)
