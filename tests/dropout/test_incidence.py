"""Cumulative incidence: by hand, and what cannot be asked."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import alliance_stats as als
from alliance_stats.tables.schema import DataError


def test_by_hand():
    """Three patients: dropout after 1, completion after 2, one ongoing after 2."""
    rows = pd.DataFrame(
        {
            "patient": [1, 2, 2, 3, 3],
            "start": [1, 1, 2, 1, 2],
            "stop": [2, 2, 3, 2, 3],
            "ending": ["dropout", "", "completed", "", ""],
        }
    )
    found = als.cumulative_incidence(rows).set_index("state")["estimate"]
    np.testing.assert_allclose(found["dropout"], [1 / 3, 1 / 3])
    np.testing.assert_allclose(found["completed"], [0, 1 / 3])


def test_shares_add_up_and_limits_hold(data):
    found = als.cumulative_incidence(data, states=True)
    np.testing.assert_allclose(found.groupby("time")["estimate"].sum(), 1, atol=1e-12)
    assert (found["ci_low"] <= found["estimate"] + 1e-12).all()
    assert (found["ci_high"] >= found["estimate"] - 1e-12).all()
    assert_frame_equal(found, als.cumulative_incidence(data.sample(frac=1, random_state=1), states=True))


def test_a_group_known_only_later_is_refused(data):
    groups = als.cumulative_incidence(data, by="group", cluster="therapist")
    assert sorted(groups["group"].unique()) == [0, 1]
    with pytest.raises(DataError, match="changes within a patient"):
        als.cumulative_incidence(data, by="rupture_state")
