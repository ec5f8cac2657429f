"""ENDINGS are checked in one place, and a patient without an ending has one answer."""

import pandas as pd
import pytest

from alliance_stats.tables.endings import check_endings, resolve_endings
from alliance_stats.tables.schema import DataError

PATIENTS = pd.Index(["a", "b"])


def endings(*rows, index=None):
    return pd.DataFrame(rows, columns=["patient", "ending"], index=index)


def test_rows_come_in_the_order_of_the_patients_with_their_labels():
    got = check_endings(endings(("b", "dropout"), ("a", "ongoing"), index=[7, 9]), PATIENTS)
    assert got["ending"].tolist() == ["ongoing", "dropout"]
    assert got.index.tolist() == [9, 7]


@pytest.mark.parametrize(
    ("rows", "problem", "place"),
    [
        ([("a", "completed")], r"1 patient\(s\) of sessions have no ending", {"patient": "b"}),
        ([("a", "completed"), ("b", None)], "'ending' must be one of", {"patient": "b", "row": 1}),
        ([("a", "completed"), ("b", "drop-out")], "Did you mean 'dropout'", {"value": "drop-out", "row": 1}),
        ([("a", "completed"), ("b", "ongoing"), ("a", "ongoing")], "names a patient twice", {"row": 2}),
        ([("a", "completed"), ("b", "ongoing"), ("c", "ongoing")], "patient that sessions does not have", {"row": 2}),
        ([(1, "completed"), (2, "ongoing")], "same ids, of the same type", {"patient": 1}),
        ([], r"2 patient\(s\) of sessions have no ending", {"patient": "a"}),
    ],
)
def test_refused(rows, problem, place):
    with pytest.raises(DataError, match=problem) as caught:
        check_endings(endings(*rows), PATIENTS)
    assert {name: getattr(caught.value, name) for name in place} == place


def test_the_column_of_sessions_serves_where_no_endings_are_given():
    sessions = pd.DataFrame({"patient": ["a", "a", "b"], "session": [1, 4, 2], "ending": ["dropout", None, "ongoing"]})
    got = resolve_endings(sessions, PATIENTS, None)
    assert got.ending.tolist() == ["dropout", "ongoing"]
    assert got.last_session.tolist() == [4, 2]
    with pytest.raises(DataError, match="'ending' differs within a patient"):
        resolve_endings(sessions.assign(ending=["dropout", "ongoing", "ongoing"]), PATIENTS, None)
    with pytest.raises(DataError, match="neither endings= nor a column"):
        resolve_endings(sessions.drop(columns="ending"), PATIENTS, None)


@pytest.mark.parametrize("last", [0, 2.5])
def test_a_last_session_is_a_session_of_the_patient(last):
    sessions = pd.DataFrame({"patient": ["a", "b"], "session": [1, 1]})
    given = endings(("b", "dropout"), ("a", "ongoing"), index=[7, 9]).assign(last_session=[last, None])
    with pytest.raises(DataError, match="whole session number") as caught:
        resolve_endings(sessions, PATIENTS, given)
    assert (caught.value.row, caught.value.patient) == (7, "b")
