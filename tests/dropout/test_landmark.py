"""Landmarks: by hand."""

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

import alliance_stats as als
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.tables.schema import DataError


def test_covariates_are_those_of_the_landmark(data):
    found = als.dropout.landmark_intervals(data, at=[3, 6], horizon=4)
    here = data[data["start"] == 3]
    own = found[found["landmark"] == 3].set_index("patient")
    assert_frame_equal(own[["rupture_open", "x"]], here.set_index("patient")[["rupture_open", "x"]], check_names=False)
    last = data.groupby("patient").last()
    late = last["stop"].reindex(own.index) > 7
    assert (own.loc[late, "ending"] == "").all()
    assert (own.loc[late, "stop"] == 7).all()
    assert (own.loc[~late, "ending"] == last["ending"].reindex(own.index)[~late]).all()


def test_one_model_each_and_one_for_all(data):
    table = als.dropout.landmark_terms("rupture_open + x", data, at=[2, 4, 6], horizon=8)
    assert table["landmark"].tolist() == ["2", "2", "4", "4", "6", "6", "all", "all"]
    alone = fit_dropout("rupture_open + x", als.dropout.landmark_intervals(data, at=4, horizon=8), model="cox")
    np.testing.assert_allclose(table.loc[table["landmark"] == "4", "estimate"], alone.coefficients)
    with pytest.raises(DataError, match="Nobody is in treatment"):
        als.dropout.landmark_intervals(data, at=99)


def test_a_term_that_is_constant_at_one_landmark_is_missing_there(data):
    fixed = data.assign(rupture_open=data["rupture_open"].where(data["start"] != 2, 0))
    table = als.dropout.landmark_terms("rupture_open + x", fixed, at=[2, 4])
    first = table[table["landmark"] == "2"].set_index("term")
    assert first.loc["rupture_open", ["estimate", "std_error", "ratio"]].isna().all()
    assert first.loc["rupture_open", "n_at_risk"] == first.loc["x", "n_at_risk"] == (data["start"] == 2).sum()
    alone = fit_dropout("x", als.dropout.landmark_intervals(fixed, at=2), model="cox")
    np.testing.assert_allclose(first.loc["x", "estimate"], alone.coefficients[0])
    assert table[table["landmark"] == "all"]["estimate"].notna().all()
