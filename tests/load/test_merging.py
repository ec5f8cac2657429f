"""Two raters: in two files, or on two rows of one file."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als


def read(tmp_path, text, name="study.csv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return als.read_sessions(path, **{"patient": "id", "session": "sess", **options})


def test_merging_reports_what_did_not_match():
    first = pd.DataFrame(
        {"patient": ["a", "a", "b"], "session": [1, 2, 1], "wai": [1.0, 2, 3], "therapist": ["t", "t", "u"]}
    )
    second = pd.DataFrame({"patient": ["a", "c"], "session": [2, 1], "wai": [5.0, 6], "therapist": ["t", "v"]})
    got = als.merge_ratings(first, second)
    assert np.allclose(got["wai"], [1, 2, 3, np.nan], equal_nan=True)
    assert got["wai_therapist"].tolist()[1] == 5
    flow = als.flow(got)
    assert flow["sessions"].tolist() == [3, 4]
    assert flow["sessions_lost"].tolist() == [0, 0]
    assert got["therapist"].tolist() == ["t", "t", "u", "v"]
    assert got.attrs["merge"] == {
        "matched": 1,
        "only_first": 2,
        "only_second": 1,
        "patients_only_first": ["b"],
        "patients_only_second": ["c"],
    }
    alone = als.load.unmatched_ratings(first, second)
    assert alone["only_in"].tolist() == ["first", "first", "second"]
    with pytest.raises(als.DataError, match="No session is in both tables"):
        als.merge_ratings(first, second.assign(session=9))
    with pytest.raises(als.DataError, match="numbers in one table and text in the other"):
        als.merge_ratings(first, second.assign(patient=[1, 2]))


def test_two_raters_who_happen_to_agree_stay_two():
    first = pd.DataFrame({"patient": ["a", "a"], "session": [1, 2], "wai": [5.0, 4], "therapist": [1, 1]})
    second = pd.DataFrame({"patient": ["a", "a"], "session": [1, 3], "wai": [5.0, 2], "therapist": [1, 1]})
    got = als.merge_ratings(first, second)
    assert np.allclose(got["wai"], [5, 4, np.nan], equal_nan=True)
    assert np.allclose(got["wai_therapist"], [5, np.nan, 2], equal_nan=True)
    assert got["therapist"].tolist() == [1, 1, 1]
    with pytest.raises(als.DataError, match="'wai_p' already"):
        als.merge_ratings(first.assign(wai_p=1.0), second, suffix="_p")


def test_scores_of_both_raters_keep_their_record():
    answers = {f"i{item}": [4.0, 5.0] for item in range(1, 6)}
    rows = pd.DataFrame({"patient": ["a", "a"], "session": [1, 2], **answers})
    one = als.score_items(rows, "ARM-5", items="i{item}", into="alliance").drop(columns=list(answers))
    two = als.score_items(rows, "ARM-5", items="i{item}", into="alliance").drop(columns=list(answers))
    got = als.merge_ratings(one, two)
    assert set(got.attrs["scored"]) == {"alliance", "alliance_therapist"}
    book = als.describe_sessions(got, ["alliance", "alliance_therapist"])
    assert book["high"].tolist() == [7, 7]


RATERS = "id,sess,rater,wai\n1,1,patient,5\n1,1,therapist,4\n1,2,patient,5\n2,1,therapist,3\n2,1,2,6\n"


def test_a_file_with_a_row_for_each_rater_is_read_once_for_each(tmp_path):
    patients = read(tmp_path, RATERS, only={"rater": "patient"})
    assert patients[["patient", "session", "wai"]].to_numpy().tolist() == [[1, 1, 5], [1, 2, 5]]
    assert patients.attrs["flow"][1] == {"step": "with patient in 'rater'", "patients": 1, "sessions": 2}
    others = read(tmp_path, RATERS, only={"rater": ["therapist"], "wai": [3, 4]})
    assert others["wai"].tolist() == [4, 3]
    assert read(tmp_path, RATERS, only={"rater": 2})["wai"].tolist() == [6]
    merged = als.merge_ratings(patients.drop(columns="rater"), others.drop(columns="rater"))
    assert np.allclose(merged["wai_therapist"], [4, np.nan, 3], equal_nan=True)
    assert merged.attrs["merge"]["second_report"]["file"] == "study.csv"


def test_only_is_checked(tmp_path):
    with pytest.raises(als.DataError, match="no row has 'pateint' in 'rater'"):
        read(tmp_path, RATERS, only={"rater": "pateint"})
    with pytest.raises(als.DataError, match="no column 'ratr'"):
        read(tmp_path, RATERS, only={"ratr": "patient"})
    with pytest.raises(als.DataError, match="No row is left"):
        read(tmp_path, RATERS, only={"rater": ""})
    with pytest.raises(ValueError, match="must be a dict"):
        read(tmp_path, RATERS, only="patient")
