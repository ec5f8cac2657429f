"""Rows kept for a reason: by a mask or by one column."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als

ROWS = pd.DataFrame(
    {"patient": [1, 1, 2, 3], "session": [1, 2, 1, 1], "arm": ["a", "a", "b", None], "x": [1.0, 2, 3, np.nan]}
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ({"column": "arm", "equals": "a"}, [0, 1]),
        ({"column": "arm", "equals": ["a", "b"]}, [0, 1, 2]),
        ({"column": "arm", "not_equals": "a"}, [2]),
        ({"column": "x", "equals": 2}, [1]),
        ({"column": "x", "not_equals": [1, 2]}, [2]),
        ({"column": "x", "at_least": 2}, [1, 2]),
        ({"column": "x", "at_least": 1, "at_most": 2}, [0, 1]),
        ({"where": [True, None, False, True]}, [0, 3]),
    ],
)
def test_what_is_kept(condition, rows):
    kept = als.keep(ROWS, **condition, because="a reason")
    assert kept.index.tolist() == rows
    last = als.flow(kept).iloc[-1]
    assert (last["step"], last["sessions"], last["sessions_lost"]) == ("a reason", len(rows), 4 - len(rows))
    assert ROWS.attrs == {}


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ({}, "State what is kept"),
        ({"column": "arm"}, "State what is kept"),
        ({"where": [True] * 4, "column": "arm", "equals": "a"}, "State what is kept"),
        ({"where": [True]}, "1 values for 4 rows"),
        ({"column": "x", "at_least": "2"}, "must be a number"),
    ],
)
def test_conditions_that_cannot_be_meant(condition, says):
    with pytest.raises(ValueError, match=says):
        als.keep(ROWS, **condition, because="a reason")


def test_no_row_left_names_the_nearest_value():
    with pytest.raises(als.DataError, match="Known: 'a', 'b'"):
        als.keep(ROWS, column="arm", equals="zz", because="arm zz")


def test_flip():
    got = als.flip(ROWS, column="x", into="y", low=0, high=3)
    assert got["y"].tolist()[:3] == [2, 1, 0]
    assert np.isnan(got["y"].iloc[3])
    with pytest.raises(als.DataError, match=r"1 value.*outside 0 to 2.*patient 2"):
        als.flip(ROWS, column="x", into="y", low=0, high=2)
    with pytest.raises(als.DataError, match="'x' already"):
        als.flip(ROWS, column="x", into="x", low=0, high=3)
    with pytest.raises(ValueError, match="low=3"):
        als.flip(ROWS, column="x", into="y", low=3, high=0)


def test_the_loss_is_recorded_after_the_steps_of_reading(tmp_path):
    path = tmp_path / "study.csv"
    path.write_text("id,sess,wai\n1,1,5\n1,2,4\n2,1,6\n2,3,7\n")
    got = als.read_sessions(path, patient="id", session="sess")
    flow = als.flow(als.keep(got, got["wai"] > 5, because="alliance above 5"))
    assert flow["step"].tolist() == ["in the file", "read", "alliance above 5"]
    assert flow[["patients_lost", "sessions_lost"]].iloc[-1].tolist() == [1, 2]
    with pytest.raises(ValueError, match="in words"):
        als.keep(got, got["wai"] > 5, because=" ")
