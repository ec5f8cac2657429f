"""Endings from a file: words, ids, and the patients of the sessions."""

import pandas as pd
import pytest

import alliance_stats as als

SESSIONS = pd.DataFrame({"patient": [1, 1, 2, 3], "session": [1, 2, 1, 1], "arm": ["a", "a", "b", "b"]})


def endings(folder, text, sessions=None, **options):
    path = folder / "endings.csv"
    path.write_text(text, encoding="utf-8")
    return als.read_endings(path, sessions, **options)


def test_words_are_translated_and_ids_meet_those_of_the_sessions(tmp_path):
    text = "id,how,last\n3,1,4\n1,2,\n2,2,1\n,,\n"
    got = endings(
        tmp_path,
        text,
        SESSIONS,
        patient="id",
        ending="how",
        last_session="last",
        codes={1: "completed", "2": "dropout"},
    )
    assert got["patient"].tolist() == [3, 1, 2]
    assert got["patient"].dtype == SESSIONS["patient"].dtype
    assert got["ending"].tolist() == ["completed", "dropout", "dropout"]
    assert got["last_session"].isna().tolist() == [False, True, False]
    as_text = SESSIONS.assign(patient=SESSIONS["patient"].astype(str))
    assert endings(tmp_path, "patient,ending\n1,dropout\n2,dropout\n3,dropout\n", as_text)["patient"].tolist() == [
        "1",
        "2",
        "3",
    ]


def test_patients_left_out_by_keep_need_no_ending(tmp_path):
    text = "patient,ending\n1,dropout\n2,dropout\n3,ongoing\n"
    kept = als.keep(SESSIONS, column="arm", equals="b", because="arm b")
    kept = als.keep(kept, kept["patient"] != 2, because="not patient 2")
    assert kept.attrs["patients_left_out"] == [1, 2]
    assert endings(tmp_path, text, kept)["patient"].tolist() == [3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("patient,ending\n1,dropout\n2,died\n3,ongoing\n", "'ending' must be one of.*row 3.*'died'"),
        ("patient,ending\n1,dropout\n1,dropout\n3,ongoing\n", "endings names a patient twice.*row 3"),
        ("patient,ending\n1,dropout\n2,dropout\n4,ongoing\n", "sessions does not have.*row 4"),
        ("patient,ending\n1,dropout\n2,dropout\n", r"1 patient\(s\) of sessions have no ending.*patient 3"),
        ("patient,ending\n1,dropout\n,dropout\n", r"1 row\(s\) have no patient.*row 3"),
        ("patient,ending\n1,dropout\n2,\n3,ongoing\n", "'ending' must be one of.*row 3"),
        ("patient,end\n1,dropout\n", "no column 'ending'"),
    ],
)
def test_what_cannot_be_used_names_the_row(tmp_path, text, says):
    with pytest.raises(als.DataError, match=says):
        endings(tmp_path, text, SESSIONS)
