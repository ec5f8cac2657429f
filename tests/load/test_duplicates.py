"""Several rows of one patient and session: refused, dropped or merged, and counted."""

import numpy as np
import pytest

import alliance_stats as als

BLANK_FIRST = "id,sess,wai,phq\n1,1,,\n1,1,5,9\n1,2,4,\n1,2,,8\n2,1,3,7\n2,1,3,7\n"


def write(tmp_path, text):
    path = tmp_path / "study.csv"
    path.write_text(text, encoding="utf-8")
    return path


def read(path, **options):
    return als.read_sessions(path, patient="id", session="sess", **options)


def test_rows_that_fill_one_another_are_merged(tmp_path):
    path = write(tmp_path, BLANK_FIRST)
    got = read(path, duplicates="merge")
    assert got[["wai", "phq"]].to_numpy().tolist() == [[5, 9], [4, 8], [3, 7]]
    assert als.flow(got)["step"].tolist()[1] == "one row per patient and session (the rows merged)"
    assert als.flow(got)["sessions_lost"].tolist() == [0, 3, 0]
    assert "3 duplicate patient-session row(s) were merged" in str(got.attrs["report"]["notes"])
    with pytest.raises(als.DataError, match=r"2 duplicate.*different values of 'wai'.*row 2"):
        read(write(tmp_path, "id,sess,wai\n1,1,5\n1,1,4\n"), duplicates="merge")


@pytest.mark.parametrize(("keep", "wai", "fills"), [("first", [np.nan, 4, 3], 2), ("last", [5, np.nan, 3], 1)])
def test_dropped_rows_are_mentioned_with_what_they_held(tmp_path, keep, wai, fills):
    path = write(tmp_path, BLANK_FIRST)
    got = read(path, duplicates=keep)
    assert np.allclose(got["wai"], wai, equal_nan=True)
    found = als.check_file(path, patient="id", session="sess", duplicates=keep)
    dropped = found[found["rule"] == "duplicate dropped"]
    assert len(dropped) == 3
    assert set(dropped["severity"]) == {"warning"}
    assert f"{fills} held a value where the kept row is empty" in dropped["problem"].iloc[0]
    assert "merge" in dropped["remedy"].iloc[0]


def test_dropping_the_same_row_is_a_note(tmp_path):
    path = write(tmp_path, "id,sess,wai\n1,1,5\n1,1,5\n1,2,4\n")
    found = als.check_file(path, patient="id", session="sess", duplicates="first")
    assert found.loc[found["rule"] == "duplicate dropped", "severity"].tolist() == ["note"]


def test_phases_that_count_from_one_are_not_taken_for_raters(tmp_path):
    """With dates that differ the phases are certain; without, both ways out are named."""
    rows = [
        f"1,{s},{phase},2024-0{month}-0{s},5"
        for phase, month in (("inpatient", 1), ("outpatient", 4))
        for s in (1, 2, 3)
    ]
    path = write(tmp_path, "id,sess,phase,day,wai\n" + "\n".join(rows) + "\n")
    with pytest.raises(als.DataError, match="in which phase") as raised:
        read(path, date="day")
    assert "merge_ratings" not in str(raised.value)
    with pytest.raises(als.DataError, match=r"merge_ratings.*in which phase"):
        read(path)
