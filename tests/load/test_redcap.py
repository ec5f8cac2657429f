"""Exports of REDCap: events, repeating instruments, repeating events, and what is carried to the sessions."""

import numpy as np
import pytest

import alliance_stats as als

LONGITUDINAL = """record_id,redcap_event_name,therapist,wai,wai_complete
1,baseline_arm_1,anna,,2
1,session_1_arm_1,,5,2
1,session_2_arm_1,,4,2
2,baseline_arm_1,ben,,2
2,session_1_arm_1,,6,2
2,followup_arm_1,,3,2
"""
REPEATING = """record_id,redcap_repeat_instrument,redcap_repeat_instance,therapist,wai,phq
1,,,anna,,
1,alliance,1,,5,
1,symptoms,1,,,12
1,alliance,2,,4,
2,,,ben,,
2,alliance,1,,6,
2,symptoms,2,,,9
"""


def test_redcap_longitudinal(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(LONGITUDINAL, encoding="utf-8")
    got = als.load.read_redcap(
        path, event="session_{session}_arm_{arm}", therapist="therapist", carry_from="baseline_arm_1"
    )
    assert got[["patient", "session", "wai"]].to_numpy().tolist() == [[1, 1, 5], [1, 2, 4], [2, 1, 6]]
    assert got["therapist"].tolist() == ["anna", "anna", "ben"]
    assert "wai_complete" not in got
    assert "3 row(s) are no sessions" in str(got.attrs["report"]["notes"])
    with pytest.raises(als.DataError, match="No event fits"):
        als.load.read_redcap(path, event="visit_{session}")


def test_redcap_repeating(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(REPEATING, encoding="utf-8")
    got = als.load.read_redcap(path, instruments=["alliance", "symptoms"], therapist="therapist")
    assert got[["patient", "session"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert np.allclose(got["phq"], [12, np.nan, np.nan, 9], equal_nan=True)
    assert got["therapist"].tolist() == ["anna", "anna", "ben", "ben"]
    with pytest.raises(als.DataError, match="no repeating instrument 'aliance'"):
        als.load.read_redcap(path, instruments="aliance")
    with pytest.raises(ValueError, match="event="):
        als.load.read_redcap(path)


def test_redcap_instruments_that_repeat_in_several_events(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(
        "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,redcap_survey_identifier,ther,wai\n"
        "1,intake_arm_1,,,,anna,\n"
        "1,treatment_arm_1,session,1,a@b.org,,5\n"
        "1,treatment_arm_1,session,2,a@b.org,,4\n"
        "1,booster_arm_1,session,1,a@b.org,,3\n"
    )
    with pytest.raises(als.DataError, match=r"repeat in 2 events.*event='treatment_arm_1'"):
        als.load.read_redcap(path, instruments="session")
    got = als.load.read_redcap(
        path, instruments="session", event="treatment_arm_{arm}", therapist="ther", carry_from=["intake_arm_1"]
    )
    assert got["wai"].tolist() == [5, 4]
    assert got["therapist"].tolist() == ["anna", "anna"]
    assert "redcap_survey_identifier" not in got
    with pytest.raises(als.DataError, match="No event fits 'tretment_arm_1'"):
        als.load.read_redcap(path, instruments="session", event="tretment_arm_1")
    with pytest.raises(ValueError, match=r"must hold \{session\}"):
        als.load.read_redcap(path, event="treatment_arm_1")


@pytest.mark.parametrize(("content", "session", "argument"), [
    (LONGITUDINAL, "redcap_event_name", "event="),
    (REPEATING, "redcap_repeat_instance", "instruments="),
])  # fmt: skip
def test_read_sessions_sends_a_redcap_export_to_its_reader(tmp_path, content, session, argument):
    (tmp_path / "export.csv").write_text(content)
    with pytest.raises(als.DataError, match=f"read_redcap.*{argument}"):
        als.read_sessions(tmp_path / "export.csv", patient="record_id", session=session)


CHANGED = """record_id,redcap_event_name,therapist,symptom,wai
1,baseline_arm_1,anna,20,
1,session_1_arm_1,,,5
1,session_2_arm_1,,,4
1,post_arm_1,,6,
2,baseline_arm_1,ben,15,
2,session_1_arm_1,,,6
2,post_arm_1,,15,
3,baseline_arm_1,ben,,
3,session_1_arm_1,,,6
3,post_arm_1,,9,
"""


def test_only_events_that_are_named_are_carried_from(tmp_path):
    """Patients who changed keep their baseline, and nothing measured at the end is known at the beginning."""
    path = tmp_path / "export.csv"
    path.write_text(CHANGED, encoding="utf-8")
    how = {"event": "session_{session}_arm_{arm}"}
    got = als.load.read_redcap(path, **how, carry_from="baseline_arm_{arm}")
    assert np.allclose(got["symptom"], [20, 20, 15, np.nan], equal_nan=True)
    assert got["therapist"].tolist() == ["anna", "anna", "ben", "ben"]
    alone = als.load.read_redcap(path, **how)
    assert alone["symptom"].isna().all()
    assert "therapist, symptom" in str(alone.attrs["report"]["warnings"])
    with pytest.raises(als.DataError, match=r"two values, at events named in carry_from=, of 'symptom'.*patient 1"):
        als.load.read_redcap(path, **how, carry_from=["baseline_arm_1", "post_arm_1"])
    with pytest.raises(als.DataError, match="No event fits 'base_arm_1'"):
        als.load.read_redcap(path, **how, carry_from="base_arm_1")


def test_an_event_that_repeats_as_a_whole(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(
        "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,ther,wai\n"
        "1,intake_arm_1,,,anna,\n1,session_arm_1,,1,,5\n1,session_arm_1,,2,,4\n2,session_arm_1,,1,,3\n"
    )
    got = als.load.read_redcap(path, event="session_arm_1", carry_from="intake_arm_1")
    assert got[["patient", "session", "wai"]].to_numpy().tolist() == [[1, 1, 5], [1, 2, 4], [2, 1, 3]]
    assert got["ther"].fillna("").tolist() == ["anna", "anna", ""]
    with pytest.raises(als.DataError, match="'intake_arm_1' does not repeat as a whole"):
        als.load.read_redcap(path, event="intake_arm_1")
    path.write_text(REPEATING)
    with pytest.raises(ValueError, match="carry_from= names events; the project has none"):
        als.load.read_redcap(path, instruments="alliance", carry_from="x")
