"""The reader's promises: types, report, flow, wide patterns, codes, CHECK; and the tables about a study."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als

GOOD = "id,sess,wai,th,note\n2,1,6,b,x\n1,1,5,a,\n1,2,-9,a,late\n2,3,7,b,y\n"


def read(tmp_path, text, name="study.csv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return als.read_sessions(path, **{"patient": "id", "session": "sess", **options})


# -- the table -------------------------------------------------------------------------------------------------
def test_a_small_file_by_hand(tmp_path):
    got = read(
        tmp_path, GOOD, therapist="th", measures={"alliance": "wai"}, missing_codes=[-9], ranges={"alliance": [1, 7]}
    )
    assert list(got) == ["patient", "session", "therapist", "alliance", "note"]
    assert got["patient"].tolist() == [1, 1, 2, 2]
    assert got["session"].tolist() == [1, 2, 1, 3]
    assert got["alliance"].dtype == np.float64
    assert np.allclose(got["alliance"], [5, np.nan, 6, 7], equal_nan=True)
    assert got["therapist"].tolist() == ["a", "a", "b", "b"]


def test_the_report_is_plain_and_counts(tmp_path):
    got = read(tmp_path, GOOD, missing_codes=[-9])
    report = json.loads(json.dumps(got.attrs))["report"]
    assert report["rows"] == report["rows_in_file"] == 4
    assert report["patients"] == 2
    assert report["missing"] == {"wai": 1}
    assert (report["encoding"], report["delimiter"]) == ("utf-8", "comma")


@pytest.mark.parametrize(
    ("ids", "want"),
    [
        (["7", "12"], [7, 12]),
        (["7.0", "12.0"], [7, 12]),
        (["007", "12"], ["007", "12"]),
        (["1.10", "1.1"], ["1.10", "1.1"]),
        (["True", "False"], ["False", "True"]),
        (["p1", "7"], ["7", "p1"]),
        ([" a ", "b"], ["a", "b"]),
        (["99999999999999999999", "1"], ["1", "99999999999999999999"]),
        (["-1", "2"], [-1, 2]),
    ],
)
def test_ids_stay_what_they_are(tmp_path, ids, want):
    got = read(tmp_path, "id,sess,wai\n" + "".join(f"{name},1,5\n" for name in ids))
    assert sorted(got["patient"].tolist(), key=str) == sorted(want, key=str)


def test_a_therapist_may_be_missing(tmp_path):
    got = read(tmp_path, "id,sess,wai,th\n1,1,5,3\n1,2,5,\n2,1,4,NA\n2,2,3,4\n", therapist="th")
    assert got["therapist"].isna().tolist() == [False, True, True, False]
    assert got["therapist"].dropna().tolist() == [3, 4]


def test_measures_may_be_a_pattern_and_other_text_rides_along(tmp_path):
    text = "id,sess,wai_1,wai_2,grade\n1,1,5,4,A\n1,2,3,2,3\n"
    got = read(tmp_path, text, measures=["wai_{item}"])
    assert got["grade"].tolist() == ["A", "3"]
    assert got["wai_2"].tolist() == [4, 2]


def test_codes_by_column(tmp_path):
    text = "id,sess,wai,phq9\n1,1,9,9\n1,2,3,2\n"
    got = read(tmp_path, text, missing_codes={"wai": [9]})
    assert np.isnan(got["wai"].iloc[0])
    assert got["phq9"].iloc[0] == 9
    with pytest.raises(als.DataError, match="missing_codes: the table has no column 'wia'"):
        read(tmp_path, text, missing_codes={"wia": [9]})


# -- large files -----------------------------------------------------------------------------------------------
def large(cell, at=60_000, rows=80_000):
    """A file that is read in several pieces, with one odd cell far from its beginning."""
    lines = [f"{row // 20},{row % 20 + 1},{row % 7 + 1}" for row in range(rows)]
    lines[at] = f"{at // 20},{at % 20 + 1},{cell}"
    return "id,sess,wai\n" + "\n".join(lines) + "\n"


def test_a_text_far_down_is_found_with_its_line(tmp_path):
    with pytest.raises(als.DataError, match=r"1 cell of 'wai' holds text.*row 60002.*'5,5x'"):
        read(tmp_path, large('"5,5x"'), measures=["wai"])


@pytest.mark.parametrize(("cell", "want"), [("", np.nan), ("2.5", 2.5), ("NA", np.nan)])
def test_an_odd_cell_far_down_is_read_as_it_would_be_alone(tmp_path, cell, want):
    got = read(tmp_path, large(cell))["wai"]
    assert np.allclose(got[60_000], want, equal_nan=True)
    assert got[got.index != 60_000].tolist() == [row % 7 + 1 for row in range(80_000) if row != 60_000]


@pytest.mark.parametrize("cell", ["late", "True", "2024-01-03", "1.50"])
def test_a_column_that_begins_empty_is_read_as_it_would_be_in_one_piece(tmp_path, cell):
    rows = [f"{row // 20},{row % 20 + 1},{row % 7 + 1},{'' if row < 70_000 else cell}" for row in range(80_000)]
    got = read(tmp_path, "id,sess,wai,note\n" + "\n".join(rows) + "\n")["note"]
    alone = read(tmp_path, "id,sess,wai,note\n1,1,5,\n" + "\n".join(f"2,{row},5,{cell}" for row in range(9)) + "\n")[
        "note"
    ]
    assert got[:70_000].isna().all()
    assert got.dtype == alone.dtype
    assert got[79_999] == alone[9]


@pytest.mark.parametrize("cell", ["5,5", ""])
def test_a_line_of_another_length_far_down(tmp_path, cell):
    text = large(cell)
    if cell:
        with pytest.raises(als.DataError, match="Line 60002 has 4 cells"):
            read(tmp_path, text)
    else:  # a blank line in the middle: the lines after it keep their numbers
        with pytest.raises(als.DataError, match="row 70003"):
            read(tmp_path, large("x", at=70_000).replace("\n3000,1,", "\n\n3000,1,"), measures=["wai"])


def test_ids_beyond_64_bits_are_not_wrapped(tmp_path):
    got = read(tmp_path, "id,sess,wai\n18446744073709551615,1,5\n9223372036854775813,1,4\n")
    assert got["patient"].tolist() == ["18446744073709551615", "9223372036854775813"]


@pytest.mark.parametrize("dtype", ["Int64", "UInt64"])
def test_missing_ids_in_nullable_columns_are_found_row_by_row(tmp_path, dtype):
    ids = pd.array([1, None, None], dtype=dtype)
    pd.DataFrame({"id": ids, "sess": [1, 2, 3], "wai": [5.0, 4, 3]}).to_parquet(tmp_path / "study.parquet")
    found = als.check_file(tmp_path / "study.parquet", patient="id", session="sess")
    assert found.loc[found["rule"] == "missing patient", "session"].tolist() == [2, 3]


def test_ids_of_mixed_kinds_far_apart_stay_exact(tmp_path):
    rows = [f"{9007199254740993 + row},1,5" for row in range(40_000)]
    got = read(tmp_path, "id,sess,wai\n" + "\n".join([*rows, "18446744073709551615,1,5"]) + "\n")
    assert {"9007199254740993", "18446744073709551615"} <= {str(name) for name in got["patient"]}
    got = read(tmp_path, "id,sess,wai\n" + "\n".join([*rows, "p1,1,5"]) + "\n")
    assert {"9007199254740993", "p1"} <= set(got["patient"])


# -- wide ------------------------------------------------------------------------------------------------------
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


# -- options ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"session": None}, "Name the session= column"),
        ({"therapist": "id"}, "named for two roles"),
        ({"duplicates": "mean"}, "duplicates='mean'"),
        ({"ranges": {"wai": [7, 1]}}, "ranges['wai']"),
        ({"header_row": 0}, "header_row=0"),
        ({"decimal": ";"}, "decimal=';'"),
        ({"session_format": "S"}, "must hold {session}"),
        ({"attendance_codes": {"1": "came"}}, "attendance_codes['1']='came'"),
        ({"number_by": "months"}, "number_by='months'"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, GOOD, **options)


def test_unknown_options_name_the_nearest(tmp_path):
    with pytest.raises(TypeError, match=r"'mising_codes' is not an option.*'missing_codes'"):
        als.check_file(tmp_path / "x.csv", patient="id", session="sess", mising_codes=[1])


def test_check_file_never_raises_for_the_file(tmp_path):
    found = als.check_file(tmp_path / "nothing.csv", patient="id", session="sess")
    assert found["severity"].tolist() == ["error"]
    assert "no file" in found["problem"].iloc[0]


def test_check_lists_every_cell(tmp_path):
    path = tmp_path / "study.csv"
    path.write_text("id,sess,wai\n1,1,55\n1,2,x\n,3,5\n2,1.5,5\n2,2,5\n2,2,6\n", encoding="utf-8")
    found = als.check_file(path, patient="id", session="sess", measures=["wai"], ranges={"wai": [1, 7]})
    errors = found[found["severity"] == "error"]
    assert sorted(zip(errors["rule"], errors["row"])) == [
        ("duplicate", 7),
        ("missing patient", 4),
        ("out of range", 2),
        ("session", 5),
        ("text in numbers", 3),
    ]
    assert errors.set_index("rule").loc["out of range", "value"] == 55
    with pytest.raises(als.DataError, match="4 more problems: check_file lists them all"):
        als.read_sessions(path, patient="id", session="sess", measures=["wai"], ranges={"wai": [1, 7]})


def test_a_clean_file_gives_an_empty_check(tmp_path):
    path = tmp_path / "study.csv"
    path.write_text("id,sess,wai\n1,1,5\n1,2,4\n2,1,3\n", encoding="utf-8")
    assert als.check_file(path, patient="id", session="sess").empty


def test_numbering_by_weeks_and_days(tmp_path):
    text = "id,wai,day\n1,5,2024-01-01\n1,4,2024-01-09\n1,3,2024-01-29\n"
    weeks = read(tmp_path, text, session=None, date="day", number_by="weeks")
    assert weeks["session"].tolist() == [1, 2, 5]
    days = read(tmp_path, text, session=None, date="day", number_by="days")
    assert days["session"].tolist() == [1, 9, 29]


# -- flow ------------------------------------------------------------------------------------------------------
def test_keep_records_who_was_lost(tmp_path):
    got = read(tmp_path, GOOD, missing_codes=[-9])
    kept = als.keep(got, got["wai"] > 5, because="alliance above 5")
    flow = als.flow(kept)
    assert flow["step"].tolist() == ["in the file", "read", "alliance above 5"]
    assert flow[["patients_lost", "sessions_lost"]].iloc[-1].tolist() == [1, 2]
    assert als.flow(got).shape[0] == 2
    with pytest.raises(ValueError, match="in words"):
        als.keep(got, got["wai"] > 5, because=" ")


# -- two raters ------------------------------------------------------------------------------------------------
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
    with pytest.raises(als.DataError, match="No patient and session stands in both"):
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


# -- REDCap ----------------------------------------------------------------------------------------------------
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
    got = als.load.read_redcap(path, event="session_{session}_arm_{arm}", therapist="therapist")
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
    got = als.load.read_redcap(path, instruments="session", event="treatment_arm_{arm}", therapist="ther")
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


# -- codebook --------------------------------------------------------------------------------------------------
def test_codebook_by_hand():
    table = pd.DataFrame(
        {
            "patient": [1, 1, 1, 2, 2],
            "session": [1, 2, 4, 1, 2],
            "therapist": ["a", "a", "a", "a", "b"],
            "date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-22", "2024-02-01", "2024-02-03"]),
            "wai": [7.0, 7, np.nan, 1, 3],
        }
    )
    row = als.describe_sessions(table, ranges={"wai": [1, 7]}).iloc[0]
    assert (row["n"], row["n_missing"], row["n_patients"]) == (4, 1, 2)
    assert (row["share_floor"], row["share_ceiling"]) == (0.25, 0.5)
    # Means 7 and 2: between 2 x 2.5^2 + 2 x 2.5^2 = 25, within (1 + 1) / 2 = 1, n0 = 2: (25 - 1) / 2 = 12; 12 / 13
    assert row["share_between"] == pytest.approx(12 / 13)
    facts = als.load.describe_study(table, ["wai"]).set_index("fact")
    assert facts.loc["session numbers left out per patient", "maximum"] == 1
    assert facts.loc["days between neighbouring sessions", "median"] == 7
    assert facts.loc["therapists per patient", "maximum"] == 2
    assert facts.loc["sessions with wai per patient", "minimum"] == 2
    patterns = als.load.missing_patterns(table, ["wai"])
    assert patterns["sessions"].tolist() == [4, 1]


# -- privacy ---------------------------------------------------------------------------------------------------
def test_pseudonyms_are_stable_across_files_and_formats():
    key = "a secret that is long"
    numbers = pd.DataFrame({"patient": [7, 8], "therapist": [7, 7], "session": [1, 1]})
    text = pd.DataFrame({"patient": ["8", "7"], "session": [1, 1]})
    first, second = als.load.pseudonymise(numbers, key=key), als.load.pseudonymise(text, key=key)
    assert first["patient"].tolist() == second["patient"].tolist()[::-1]
    assert first["patient"].iloc[0].split("-")[1] != first["therapist"].iloc[0].split("-")[1]
    assert als.load.pseudonymise(numbers, key=key + "!")["patient"].tolist() != first["patient"].tolist()
    assert numbers["patient"].tolist() == [7, 8]
    with pytest.raises(ValueError, match="16 or more"):
        als.load.pseudonymise(numbers, key="short")


def test_dates_move_together():
    table = pd.DataFrame({"patient": [1, 1, 2], "date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-01"])})
    got = als.load.pseudonymise(table, key="a secret that is long", shift_dates=True)
    assert (got["date"].diff().iloc[1]).days == 7
    assert (got["date"] - table["date"]).abs().max() <= pd.Timedelta(days=182)


def test_nothing_that_could_hold_an_id_stays_in_attrs(tmp_path):
    got = read(tmp_path, "id,sess,wai\nanna,1,5\nAnna,1,4\n")
    assert "anna" in str(got.attrs)
    assert "anna" not in str(als.load.pseudonymise(got, key="a secret that is long").attrs)


def test_missing_ids_stay_missing():
    table = pd.DataFrame({"patient": ["a", "b"], "therapist": ["t", None]})
    assert als.load.pseudonymise(table, key="a secret that is long")["therapist"].isna().tolist() == [False, True]
