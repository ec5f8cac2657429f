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


@pytest.mark.parametrize("codes", [["007", "", "012"], ["007", "NA", "1"]])
def test_leading_zeros_survive_blanks(tmp_path, codes):
    rows = "".join(f"1,{session},5,{code}\n" for session, code in enumerate(codes, 1))
    got = read(tmp_path, "id,sess,wai,clinic\n" + rows)
    assert got["clinic"].fillna("").tolist() == [code.replace("NA", "") for code in codes]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_column_is_text_where_one_of_its_codes_has_a_leading_zero(tmp_path, delimiter, quoted):
    columns = {"id": 1, "sess": 1, "day": "01.02.2026", "a": "0.5", "b": "10", "c": "05", "d": "00", "e": "1e05"}
    lines = [list(columns), [str(cell) for cell in columns.values()], ["1", "2", *"123456"]]
    lines[1][-1] = f'"{lines[1][-1]}"' if quoted else lines[1][-1]
    text = "".join(delimiter.join(cells) + "\n" for cells in lines)
    got = read(tmp_path, text, delimiter=delimiter)
    assert [name for name in "abcde" if not pd.api.types.is_numeric_dtype(got[name])] == ["c", "d"]
    assert got[["c", "d"]].to_numpy().tolist() == [["05", "00"], ["4", "5"]]


@pytest.mark.parametrize("title", ["Export of 3 May\n", "Study; alliance\n\n", '"Export, 3 May"\n'])
def test_a_title_above_the_column_names(tmp_path, title):
    for delimiter in ",;":
        text = title + "id,sess,wai\n1,1,5\n1,2,4\n".replace(",", delimiter)
        line = title.count("\n") + 1
        with pytest.raises(als.DataError, match=f"column names are in line {line}.*header_row={line}"):
            read(tmp_path, text)
        assert read(tmp_path, text, header_row=line)["wai"].tolist() == [5, 4]


def test_day_numbers_of_excel(tmp_path):
    text = "id,sess,wai,day\n1,1,5,45292\n1,2,4,45299\n"
    with pytest.raises(als.DataError, match="Day numbers of Excel"):
        read(tmp_path, text, date="day")
    assert read(tmp_path, text, date="day", date_format="excel")["date"].dt.strftime("%Y-%m-%d").tolist() == [
        "2024-01-01",
        "2024-01-08",
    ]
    with pytest.raises(als.DataError, match="Day numbers of Excel"):
        read(tmp_path, "id,sess,wai\n1,45292,5\n1,45299,4\n")


def test_two_ways_of_writing_dates(tmp_path):
    text = "id,sess,wai,day\n1,1,5,31.01.2024\n1,2,4,2024-02-07\n1,3,4,14.02.2024\n"
    with pytest.raises(als.DataError, match=r"mix ways of writing dates \(2 as %d\.%m\.%Y, 1 as %Y-%m-%d\)"):
        read(tmp_path, text, date="day")


def test_only_takes_long_numbers(tmp_path):
    got = read(tmp_path, "id,sess,wai,site\n1,1,5,1234567\n1,2,4,1234567\n2,1,4,\n", only={"site": 1234567})
    assert got["patient"].tolist() == [1, 1]
