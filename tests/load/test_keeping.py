"""Rows kept for a reason: by a mask or by one column."""

import datetime

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats import DataError
from alliance_stats.load.keeping import keep

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


DATED = pd.DataFrame(
    {
        "patient": [1, 1, 1, 2, 2],
        "session": [1, 2, 3, 1, 2],
        "date": pd.to_datetime(["2026-01-05", "2026-01-12", None, "2026-02-01T09:30", "2026-02-08"], format="ISO8601"),
        "wai": [5, None, 4, None, 3],
    }
)


def test_patients_with_enough_sessions_or_values_keep_all_their_rows():
    assert keep(DATED, min_sessions=3, because="three sessions")["patient"].tolist() == [1, 1, 1]
    assert keep(DATED, column="wai", min_sessions=2, because="two ratings")["session"].tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="No patient has 4 sessions; the most are 3"):
        keep(DATED, min_sessions=4, because="four")
    with pytest.raises(ValueError, match="two steps"):
        keep(DATED, column="wai", equals=5, min_sessions=2, because="x")


def test_dates_are_limits_themselves_kept():
    day = datetime.date(2026, 1, 12)
    assert keep(DATED, column="date", at_least=day, because="from then on")["session"].tolist() == [2, 1, 2]
    assert keep(DATED, column="date", at_most=datetime.date(2026, 2, 1), because="until")["patient"].tolist() == [
        1,
        1,
        2,
    ]
    with pytest.raises(DataError, match=r"holds dates; the limit is 3\. .*2026-01-31"):
        keep(DATED, column="date", at_least=3, because="x")
    with pytest.raises(DataError, match="'session' holds numbers"):
        keep(DATED, column="session", at_least=day, because="x")
