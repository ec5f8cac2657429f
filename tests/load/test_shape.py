"""Wide files: one row per patient, sessions in the column names."""

import re

import numpy as np
import pytest

import alliance_stats as als


def read(tmp_path, text, name="study.csv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return als.read_sessions(path, **{"patient": "id", "session": "sess", **options})


WIDE = """id,age,w1_t1,w2_t1,w1_t2,w2_t2,wt_t1,wt_t2,day_t1,day_t2
1,30,5,4,3,,2,1,2024-01-01,2024-01-08
2,40,1,2,,,,,2024-02-01,
"""


def test_several_measures_and_raters_at_once(tmp_path):
    got = read(
        tmp_path,
        WIDE,
        session=None,
        wide={"wai_{item}": "w{item}_t{session}", "therapist_rated": "wt_t{session}", "date": "day_t{session}"},
        date="date",
    )
    assert len(got) == 3
    assert np.allclose(got["wai_1"], [5, 3, 1])
    assert np.allclose(got["wai_2"], [4, np.nan, 2], equal_nan=True)
    assert np.allclose(got["therapist_rated"], [2, 1, np.nan], equal_nan=True)
    assert got["age"].tolist() == [30, 30, 40]
    assert got["date"].dt.day.tolist() == [1, 8, 1]
    flow = als.flow(got)
    assert flow["sessions"].tolist()[:2] == [4, 3]
    assert flow["sessions_lost"].tolist()[:2] == [0, 1]


@pytest.mark.parametrize(
    ("wide", "message"),
    [
        ("wai", "must hold {session}"),
        ("wai_s{session}", "name the measure"),
        ({"a_{item}": "wai_s{session}"}, "uses {item}"),
        ({"a": "wai_s{session}", "b": "wai_{session}_{session}"}, "names a field twice"),
        ([], "names no pattern"),
    ],
)
def test_wide_patterns_are_checked(tmp_path, wide, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, "id,wai_s1\n1,5\n", session=None, wide=wide)


def test_infinity_beside_a_usual_code_is_infinity(tmp_path):
    (tmp_path / "study.csv").write_text("id,sess,wai\n1,1,-9\n1,2,inf\n1,3,\n")
    found = als.check_file(tmp_path / "study.csv", patient="id", session="sess")
    assert found["rule"].tolist()[0] == "infinity"


@pytest.mark.parametrize("name", ["wai_S3", "wai_ s3", "WAI_s3", "wai-s3"])
def test_a_column_that_nearly_fits_is_not_left_out_silently(tmp_path, name):
    text = f"id,age,wai_s1,wai_s2,{name}\n1,30,5,4,3\n2,40,3,4,5\n"
    for wide in ("{measure}_s{session}", {"wai": "wai_s{session}"}):
        with pytest.raises(als.DataError, match=f"'{name}'.* nearly fit"):
            read(tmp_path, text, session=None, wide=wide)


def test_other_columns_are_not_taken_for_sessions(tmp_path):
    got = read(tmp_path, "id,ses12,wai_s1,wai_s2\n1,1,5,4\n", session=None, wide="{measure}_s{session}")
    assert list(got) == ["patient", "session", "ses12", "wai"]


def test_an_absent_session_is_said_unless_it_is_the_plan(tmp_path):
    gap = read(tmp_path, "id,wai_s1,wai_s2,wai_s4\n1,5,4,3\n", session=None, wide="{measure}_s{session}")
    assert "'wai' has no column for session 3" in str(gap.attrs["report"]["warnings"])
    plan = read(tmp_path, "id,wai_s1,wai_s5,wai_s9\n1,5,4,3\n", session=None, wide="{measure}_s{session}")
    assert "has no column" not in str(plan.attrs["report"]["warnings"])
