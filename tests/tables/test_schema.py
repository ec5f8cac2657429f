"""The door every table passes: what it lets in, how it sorts, and what it says when it refuses."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.tables.schema import (
    EVENTS_COLUMNS,
    DataError,
    check_sessions,
    empty_events,
    generator,
    numeric,
    require_choice,
    require_columns,
)


def study(**columns):
    table = {"patient": ["b", "b", "a", "a"], "session": [2, 1, 1, 3], "alliance": [4.0, 5.0, np.nan, 3.0]}
    return pd.DataFrame(table | columns)


def test_sorts_and_keeps_what_rides_along():
    given = study(note=["w", "x", "y", "z"])
    before = given.copy(deep=True)
    table = check_sessions(given, ["alliance"])
    assert table["note"].tolist() == ["y", "z", "x", "w"]
    assert table["session"].tolist() == [1, 3, 1, 2]
    pd.testing.assert_frame_equal(given, before)


@pytest.mark.parametrize("seed", range(5))
def test_row_order_and_index_do_not_matter(seed):
    given = study()
    shuffled = given.sample(frac=1, random_state=seed).set_index("patient", drop=False, append=True)
    shuffled.index.names = ["row", "again"]
    pd.testing.assert_frame_equal(check_sessions(shuffled, ["alliance"]), check_sessions(given, ["alliance"]))


@pytest.mark.parametrize("dtype", ["int64", "Int64", "float64", "Float64", "int8", "object", "string"])
def test_session_numbers_of_any_type(dtype):
    given = study().astype({"session": dtype})
    assert check_sessions(given)["session"].dtype == np.int64


@pytest.mark.parametrize("dtype", ["Float64", "object", "float32"])
def test_measures_come_back_as_float64(dtype):
    given = study()
    table = check_sessions(given.astype({"alliance": dtype}), ["alliance"])
    pd.testing.assert_series_equal(table["alliance"], check_sessions(given, ["alliance"])["alliance"])


@pytest.mark.parametrize("ids", [[2, 2, 1, 1], [2.0, 2.0, 1.0, 1.0], pd.Categorical(["b", "b", "a", "a"])])
def test_ids_of_any_type(ids):
    assert check_sessions(study(patient=ids))["session"].tolist() == [1, 3, 1, 2]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"session": [2, 2, 1, 3]}, r"Duplicate patient-session rows: 1. First at row 1 \(patient 'b', session 2\)"),
        ({"session": [2, 1, 1.5, 3]}, r"whole numbers. First at row 2 \(patient 'a', column 'session'\): 1.5"),
        ({"session": [2, 1, np.nan, 3]}, r"whole numbers. First at row 2 \(patient 'a', column 'session'\)\."),
        ({"patient": ["b", None, "a", "a"]}, r"no patient. First at row 1 \(session 1\)"),
        ({"alliance": ["5", "x", "4", "3"]}, r"'alliance' must hold numbers. First at row 1 .*: 'x'. Correct"),
        ({"alliance": [1.0, 2.0, np.inf, 3.0]}, r"holds infinity. First at row 2 .*: inf"),
        ({"patient": ["b", 1, "a", "a"]}, "mixes numbers and text"),
    ],
)
def test_refuses_and_says_where(columns, message):
    with pytest.raises(DataError, match=message):
        check_sessions(study(**columns), ["alliance"])


def test_missing_column_suggests_the_nearest():
    with pytest.raises(DataError, match=r"no column 'aliance'. Did you mean 'alliance'\?"):
        check_sessions(study(), ["aliance"])


def test_column_that_stands_twice():
    table = study()
    table = pd.concat([table, table[["alliance"]]], axis=1)
    with pytest.raises(DataError, match="2 columns named 'alliance'"):
        require_columns(table, ["alliance"])


def test_no_rows():
    with pytest.raises(DataError, match="no rows"):
        check_sessions(study().iloc[:0])


def test_not_a_frame():
    with pytest.raises(TypeError, match="must be a pandas DataFrame, not dict"):
        check_sessions({"patient": [1]})


def test_booleans_and_text_numbers_are_numbers():
    table = pd.DataFrame({"a": [True, False], "b": ["1.5", " 2 "]})
    assert numeric(table, "a").tolist() == [1, 0]
    assert numeric(table, "b").tolist() == [1.5, 2]


def test_choice():
    with pytest.raises(ValueError, match=r"model='coxx' is not known. Did you mean 'cox'\?"):
        require_choice("coxx", ["cox", "discrete"], name="model")


def test_generator_goes_on_where_it_was():
    one = generator(3)
    assert generator(one) is one
    assert generator(3).random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("ids", [["a"], [1]])
def test_empty_events_keep_the_ids_type(ids):
    patients = pd.Series(ids)
    events = empty_events(patients)
    assert tuple(events.columns) == EVENTS_COLUMNS
    assert events["patient"].dtype == patients.dtype
    assert events.empty
