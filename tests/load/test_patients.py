"""A file with one row per patient joined to the sessions."""

import pandas as pd
import pytest

from alliance_stats.load.keeping import keep
from alliance_stats.load.patients import join_patients
from alliance_stats.tables.schema import DataError

SESSIONS = pd.DataFrame({"patient": [1, 1, 2, 3], "session": [1, 2, 1, 1], "wai": [5.0, 4, 3, 2]})


def joined(folder, text, sessions=SESSIONS, **options):
    (folder / "p.csv").write_text(text)
    return join_patients(sessions, folder / "p.csv", **{"patient": "id", **options})


def test_columns_are_repeated_on_each_row_and_what_does_not_match_is_said(tmp_path):
    table = joined(tmp_path, "id,age,arm\n2,40,b\n1,-9,a\n9,50,a\n", missing_codes={"age": [-9]})
    assert table["age"].fillna(0).tolist() == [0, 0, 40, 0]
    assert table["arm"].fillna("").tolist() == ["a", "a", "b", ""]
    assert table.attrs["per_patient"] == ["age", "arm"]
    assert table.attrs["notes"] == [
        "1 patient(s) of the sessions are not in p.csv.",
        "1 patient(s) of p.csv have no session.",
    ]
    assert "age" not in SESSIONS


def test_ids_match_as_text_and_only_the_columns_named_come_along(tmp_path):
    sessions = SESSIONS.assign(patient=SESSIONS["patient"].astype(str))
    table = joined(tmp_path, "id,age,arm\n1,30,a\n2,40,b\n3,50,c\n", sessions, columns=["age"])
    assert list(table) == ["patient", "session", "wai", "age"]
    assert table.attrs["notes"] == []


def test_patients_left_out_before_are_no_question(tmp_path):
    kept = keep(SESSIONS, column="patient", not_equals=3, because="not 3")
    assert joined(tmp_path, "id,age\n1,30\n2,40\n3,50\n", kept).attrs["notes"] == []


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("id,age\n1,30\n1,31\n", {}, "1 row.s. of a patient who has one already. First at row 3"),
        ("id,wai\n1,30\n", {}, "have a column 'wai' already"),
        ("id,age\n7,30\n", {}, "No patient of the sessions"),
        ("id,age\n1,30\n", {"columns": ["Age"]}, "Did you mean 'age'"),
        ("id,age\n1,30\n", {"patient": "pid"}, "Did you mean 'id'"),
        ("id,age\n1,x30\n2,4\n3,5\n", {"measures": ["age"]}, "x30"),
    ],
)
def test_mistakes(tmp_path, text, options, says):
    with pytest.raises(DataError, match=says):
        joined(tmp_path, text, **options)
