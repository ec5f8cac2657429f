"""Sixty-odd study files with the mistakes real files have, each with its message or its correct result."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

import alliance_stats as als

COLUMNS: dict[str, Any] = {"patient": "id", "session": "sess"}
SCORED = {**COLUMNS, "measures": ["wai"], "ranges": {"wai": [1, 7]}}
GOOD = "id,sess,wai\n1,1,5\n1,2,4\n2,1,6\n2,2,7\n"


@dataclass(frozen=True)
class BadFile:
    """A file and what comes of it: an error whose text holds every part of `error`, or a result `good` accepts."""

    name: str
    content: str | bytes | Callable[[Path], None]
    error: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=lambda: dict(SCORED))
    good: Callable[[pd.DataFrame], bool] | None = None
    suffix: str = ".csv"

    def write(self, folder: Path) -> Path:
        path = folder / f"study{self.suffix}"
        if callable(self.content):
            self.content(path)
        elif isinstance(self.content, str):
            path.write_bytes(self.content.encode())
        else:
            path.write_bytes(self.content)
        return path


def sheet(rows: list[list[Any]]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)

    return write


def two_sheets(path: Path) -> None:
    book = openpyxl.Workbook()
    for page in (book.active, book.create_sheet("therapist")):
        page.append(["id", "sess", "wai"])
        page.append([1, 1, 5])
    book.save(path)


def hollow_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nothing.txt", "x")


def values(table: pd.DataFrame, column: str = "wai") -> list[Any]:
    return [None if pd.isna(value) else value for value in table[column]]


LONG_TEXT = "x" * 200_000

BAD_FILES = [
    # -- nothing there ------------------------------------------------------------------------------------------
    BadFile("empty file", b"", ("empty (0 bytes)",)),
    BadFile("blank lines only", "\n \n\n", ("empty",)),
    BadFile("byte-order mark only", b"\xef\xbb\xbf", ("empty",)),
    BadFile("header only", "id,sess,wai\n", ("no rows",)),
    BadFile("header and empty rows", "id,sess,wai\n,,\n,,\n", ("no rows",)),
    BadFile("no header", "1,1,5\n1,2,4\n", ("holds numbers alone", "header_row")),
    # -- encodings ----------------------------------------------------------------------------------------------
    BadFile("utf-8 with mark", b"\xef\xbb\xbf" + GOOD.encode(), good=lambda t: values(t) == [5, 4, 6, 7]),
    BadFile("utf-16 with mark", GOOD.encode("utf-16"), good=lambda t: values(t) == [5, 4, 6, 7]),
    BadFile("utf-16 without mark", GOOD.encode("utf-16-le"), good=lambda t: values(t) == [5, 4, 6, 7]),
    BadFile(
        "latin-1 unnamed",
        "id,sess,wai\nJosé,1,5\nJosé,2,4\n".encode("latin-1"),
        ("not UTF-8", "line 2", "0xe9", "encoding='cp1252'", "José"),
    ),
    BadFile(
        "latin-1 named",
        "id,sess,wai\nJosé,1,5\nJosé,2,4\n".encode("latin-1"),
        options={**SCORED, "encoding": "latin-1"},
        good=lambda t: values(t, "patient") == ["José", "José"],
    ),
    BadFile(
        "utf-8 named latin-1",
        "id,sess,wai\nJosé,1,5\nJosé,2,4\n",
        ("is UTF-8 text, not latin-1", "Leave encoding= out"),
        options={**SCORED, "encoding": "latin-1"},
    ),
    BadFile("encoding unknown", GOOD, ("encoding='utf8x'",), options={**SCORED, "encoding": "utf8x"}),
    BadFile("zero byte", "id,sess,wai\n1,1,5\n1,2,\x004\n", ("Line 3", "zero byte")),
    BadFile("workbook called csv", b"PK\x03\x04junk", ("not text but an Excel workbook",)),
    BadFile("spss called csv", b"$FL2@(#) junk", ("not text but an SPSS",)),
    # -- delimiters and quotes ----------------------------------------------------------------------------------
    BadFile("semicolons, decimal commas", "id;sess;wai\n1;1;5,5\n1;2;4\n", good=lambda t: values(t) == [5.5, 4]),
    BadFile("tabs", "id\tsess\twai\n1\t1\t5\n1\t2\t4\n", good=lambda t: values(t) == [5, 4]),
    BadFile("bars", "id|sess|wai\n1|1|5\n1|2|4\n", good=lambda t: values(t) == [5, 4]),
    BadFile(
        "wrong delimiter named",
        GOOD,
        ("Split at ';' the file has one column", "delimiter=','"),
        options={**SCORED, "delimiter": ";"},
    ),
    BadFile("tsv ending, commas inside", GOOD, ("one column", "delimiter=','"), suffix=".tsv"),
    BadFile("decimal comma in comma file", "id,sess,wai\n1,1,5,5\n1,2,4\n", ("Line 2 has 4 cells", "has 3")),
    BadFile("unclosed quote", 'id,sess,wai,note\n1,1,5,"late\n1,2,4,fine\n', ("line 2", "never closed")),
    BadFile(
        "line break in a cell",
        'id,sess,note,wai\n1,1,"a\nb",5\n1,2,c,x\n',
        ("text where numbers belong", "row 4", "'x'", "session 2"),
    ),
    BadFile(
        "stray quote in a cell",
        'id,sess,note,wai\n1,1,5" nail,5\n1,2,c,4\n',
        good=lambda t: values(t, "note") == ['5" nail', "c"],
    ),
    BadFile(
        "trailing empty columns",
        "id,sess,wai,,\n1,1,5,,\n1,2,4,,\n",
        good=lambda t: list(t) == ["patient", "session", "wai"],
    ),
    BadFile("trailing delimiters in rows", "id,sess,wai\n1,1,5,\n1,2,4,\n", good=lambda t: values(t) == [5, 4]),
    BadFile("blank lines between", "id,sess,wai\n\n1,1,5\n\n1,2,99\n", ("row 5", "99")),
    BadFile("old Mac line ends", GOOD.replace("\n", "\r").encode(), good=lambda t: values(t) == [5, 4, 6, 7]),
    BadFile("no last line end", GOOD.rstrip("\n"), good=lambda t: values(t) == [5, 4, 6, 7]),
    BadFile("giant cell", f"id,sess,wai,note\n1,1,5,{LONG_TEXT}\n1,2,4,\n", good=lambda t: values(t) == [5, 4]),
    BadFile(
        "title above the header",
        "Export of 3 May\nid,sess,wai\n1,1,5\n1,2,4\n",
        options={**SCORED, "header_row": 2},
        good=lambda t: values(t) == [5, 4],
    ),
    BadFile(
        "title above the header, unsaid",
        "Export of 3 May;;\n;;\nid;sess;wai\n1;1;5\n1;2;4\n",
        ("column names are in line 3", "header_row=3"),
    ),
    BadFile(
        "title above the header of a sheet",
        sheet([["Export of 3 May"], [], ["id", "sess", "wai"], [1, 1, 5]]),
        ("no column 'id'", "header_row=3"),
        suffix=".xlsx",
    ),
    # -- columns ------------------------------------------------------------------------------------------------
    BadFile(
        "row numbers of R",
        '"","id","sess","wai"\n"1","1",1,5\n"2","1",2,NA\n',
        good=lambda t: list(t) == ["patient", "session", "wai"] and values(t) == [5, None],
    ),
    BadFile("row names of R without a name", "id sess wai\n1 1 1 5\n2 1 2 4\n", ("no column 'id'",)),
    BadFile("column missing", "ID,sess,wai\n1,1,5\n", ("no column 'id'", "Did you mean 'ID'?")),
    BadFile("column misspelt", "idd,sess,wai\n1,1,5\n", ("no column 'id'", "'idd'")),
    BadFile("header twice", "id,sess,wai,wai\n1,1,5,6\n", ("two columns named 'wai'", "columns 3 and 4")),
    BadFile("measure missing", "id,sess,way\n1,1,5\n1,2,5\n", ("no column 'wai'", "'way'")),
    BadFile("blanks around names", " id , sess ,wai \n1,1,5\n1,2,4\n", good=lambda t: values(t) == [5, 4]),
    BadFile(
        "own column called patient",
        "id,sess,wai,patient\n1,1,5,anna\n1,2,4,anna\n",
        good=lambda t: values(t, "patient_in_file") == ["anna", "anna"],
    ),
    # -- ids ----------------------------------------------------------------------------------------------------
    BadFile(
        "leading zeros",
        "id,sess,wai\n007,1,5\n07,1,4\n7,1,3\n",
        good=lambda t: values(t, "patient") == ["007", "07", "7"],
    ),
    BadFile(
        "leading zeros in an extra column",
        "id,sess,wai,clinic\n1,1,5,007\n1,2,4,012\n",
        good=lambda t: values(t, "clinic") == ["007", "012"],
    ),
    BadFile(
        "ids that bite",
        'id,sess,wai\n"a,b",1,5\n"say ""hi""",1,4\n<script>alert(1)</script>,1,3\nZoë,1,6\n🙂,1,7\n=cmd(),1,2\n',
        good=lambda t: set(t["patient"]) == {"a,b", 'say "hi"', "<script>alert(1)</script>", "Zoë", "🙂", "=cmd()"},
    ),
    BadFile(
        "two ways to write an accent",
        "id,sess,wai\nZo\u00eb,1,5\nZoe\u0308,2,4\n",
        good=lambda t: len(set(t["patient"])) == 1,
    ),
    BadFile("patient missing", "id,sess,wai\n1,1,5\n,2,4\n", ("no patient", "row 3")),
    BadFile("patient NA", "id,sess,wai\n1,1,5\nNA,2,4\n", ("no patient", "row 3", "missing_text")),
    BadFile("totals row", "id,sess,wai\n1,1,5\n1,2,4\nMean,,4.5\n", ("no session number", "row 4", "totals")),
    # -- sessions -----------------------------------------------------------------------------------------------
    BadFile(
        "session twice",
        "id,sess,wai\n1,1,5\n1,2,4\n1,2,3\n",
        ("Duplicate patient-session rows: 1", "row 4", "patient 1", "session 2"),
    ),
    BadFile(
        "a row for each rater",
        "id,sess,wai,rater\n1,1,5,patient\n1,1,4,therapist\n1,2,4,patient\n1,2,4,therapist\n",
        ("Duplicate patient-session rows: 2", "only={'rater': 'patient'}", "'therapist'", "merge_ratings"),
    ),
    BadFile(
        "row twice, the first kept",
        "id,sess,wai\n1,1,5\n1,2,4\n1,2,3\n",
        options={**SCORED, "duplicates": "first"},
        good=lambda t: values(t) == [5, 4] and t.attrs["flow"][-1]["sessions"] == 2,
    ),
    BadFile("session with a fraction", "id,sess,wai\n1,1,5\n1,2.5,4\n", ("whole", "row 3", "2.5")),
    BadFile("session missing", "id,sess,wai\n1,1,5\n1,,4\n", ("no session number", "row 3")),
    BadFile("session negative", "id,sess,wai\n1,1,5\n1,-9,4\n", ("outside 0 to 1000", "-9")),
    BadFile("session is a serial date", "id,sess,wai\n1,43831,5\n1,43838,4\n", ("outside 0 to 1000", "date")),
    BadFile("session is a text", "id,sess,wai\n1,S1,5\n1,S2,4\n", ("not a number", "session_format='S{session}'")),
    BadFile(
        "session text with its format",
        "id,sess,wai\n1,Session 01,5\n1,Session 2,4\n",
        options={**SCORED, "session_format": "Session {session}"},
        good=lambda t: values(t, "session") == [1, 2],
    ),
    BadFile("session is a date in text", "id,sess,wai\n1,2024-01-03,5\n1,2024-01-10,4\n", ("not a number", "date=")),
    BadFile("session huge", "id,sess,wai\n1,1e300,5\n1,2,4\n", ("outside 0 to 1000",)),
    BadFile("session infinite", "id,sess,wai\n1,inf,5\n1,2,4\n", ("session",)),
    BadFile("session infinite beside a part", "id,sess,wai\n1,inf,5\n1,2.5,4\n", ("session",)),
    # -- scores -------------------------------------------------------------------------------------------------
    BadFile(
        "text in scores",
        "id,sess,wai\n1,1,5\n1,2,ill\n",
        ("text where numbers belong", "row 3", "'ill'", "missing_codes"),
    ),
    BadFile(
        "labels instead of scores",
        "id,sess,wai\n1,1,Often\n1,2,Always\n1,3,\n",
        ("text where numbers belong", "row 2", "Labels instead of numbers?", "missing_codes=['Often', 'Always']"),
    ),
    BadFile(
        "code -9", "id,sess,wai\n1,1,5\n1,2,-9\n", ("outside its range 1 to 7", "row 3", "-9", "missing_codes=[-9]")
    ),
    BadFile("code 99", "id,sess,wai\n1,1,5\n1,2,99\n", ("outside its range", "missing_codes=[99]")),
    BadFile(
        "codes named",
        "id,sess,wai\n1,1,5\n1,2,-9\n1,3,99\n1,4,k.A.\n",
        options={**SCORED, "missing_codes": [-9, "99", "k.A."]},
        good=lambda t: values(t) == [5, None, None, None],
    ),
    BadFile(
        "code inside the range",
        "id,sess,wai\n1,1,5\n1,2,7\n",
        ("7 lies inside the range 1 to 7",),
        options={**SCORED, "missing_codes": [7]},
    ),
    BadFile("score just outside", "id,sess,wai\n1,1,5\n1,2,7.5\n", ("outside its range", "7.5", "row 3")),
    BadFile("infinite score", "id,sess,wai\n1,1,5\n1,2,inf\n", ("'wai'", "row 3")),
    BadFile("spreadsheet error", "id,sess,wai\n1,1,5\n1,2,#DIV/0!\n", ("text where numbers belong", "#DIV/0!")),
    BadFile("percent", "id,sess,wai\n1,1,5\n1,2,80%\n", ("text where numbers belong", "80%")),
    BadFile(
        "empty measure",
        "id,sess,wai\n1,1,\n1,2,\n",
        good=lambda t: values(t) == [None, None] and "no value" in str(t.attrs),
    ),
    BadFile("all constant", "id,sess,wai\n1,1,5\n1,2,5\n2,1,5\n", good=lambda t: "5 throughout" in str(t.attrs)),
    BadFile("one patient", "id,sess,wai\n1,1,5\n1,2,4\n", good=lambda t: "one patient" in str(t.attrs)),
    BadFile("one session each", "id,sess,wai\n1,1,5\n2,1,4\n", good=lambda t: "one session" in str(t.attrs)),
    BadFile(
        "text and numbers, measures not named",
        "id,sess,wai\n" + "".join(f"1,{i},5\n" for i in range(1, 10)) + "1,10,?\n",
        ("text where numbers belong", "'?'", "row 11"),
        options=COLUMNS,
    ),
    BadFile(
        "a column half numbers, half text",
        "id,sess,wai\n1,1,5\n1,2,ill\n",
        options=COLUMNS,
        good=lambda t: values(t) == ["5", "ill"] and "holds numbers and text" in str(t.attrs["report"]["warnings"]),
    ),
    BadFile(
        "code by eye, measures not named",
        "id,sess,wai\n1,1,5\n1,2,4\n1,3,-99\n",
        options=COLUMNS,
        good=lambda t: "holds -99" in str(t.attrs["report"]["warnings"]),
    ),
    # -- therapists, dates, attendance --------------------------------------------------------------------------
    BadFile(
        "therapist changes",
        "id,sess,wai,th\n1,1,5,a\n1,2,4,b\n2,1,4,b\n",
        options={**SCORED, "therapist": "th"},
        good=lambda t: (
            values(t, "therapist") == ["a", "b", "b"] and "1 patient changes" in str(t.attrs["report"]["notes"])
        ),
    ),
    BadFile(
        "date ambiguous",
        "id,sess,wai,day\n1,1,5,03/04/2024\n1,2,4,10/04/2024\n",
        ("no date as in 2026-01-31", "'%d/%m/%Y' or '%m/%d/%Y'"),
        options={**SCORED, "date": "day"},
    ),
    BadFile(
        "sessions from dates",
        "id,wai,day\n1,5,10.04.2024\n1,4,03.04.2024\n",
        options={"patient": "id", "date": "day", "date_format": "%d.%m.%Y"},
        good=lambda t: values(t) == [4, 5] and values(t, "session") == [1, 2],
    ),
    BadFile(
        "sessions from dates, one missing",
        "id,wai,day\n1,5,2024-04-10\n1,4,\n",
        ("no date", "row 3"),
        options={"patient": "id", "date": "day"},
    ),
    BadFile(
        "two sessions on one date",
        "id,wai,day\n1,5,2024-04-10\n1,4,2024-04-10\n",
        ("Duplicate patient-session rows: 1",),
        options={"patient": "id", "date": "day"},
    ),
    BadFile(
        "attendance in codes",
        "id,sess,wai,att\n1,1,5,1\n1,2,4,2\n",
        ("attendance", "'1'", "attendance_codes"),
        options={**SCORED, "attendance": "att"},
    ),
    # -- workbooks ----------------------------------------------------------------------------------------------
    BadFile(
        "dates as sessions",
        sheet([["id", "sess", "wai"], [1, datetime.datetime(2024, 1, 3), 5], [1, 2, 4]]),
        ("holds a date instead of a session number", "row 2"),
        suffix=".xlsx",
    ),
    BadFile(
        "ids turned into dates",
        sheet([["id", "sess", "wai"], [datetime.datetime(2024, 1, 3), 1, 5], ["3-x", 1, 4]]),
        ("ids are dates", "row 2"),
        suffix=".xlsx",
    ),
    BadFile(
        "numbers as text in a sheet",
        sheet([["id", "sess", "wai"], ["1", "1", "5"], [1, 2, "4,5"]]),
        suffix=".xlsx",
        good=lambda t: values(t) == [5, 4.5] and values(t, "patient") == [1, 1],
    ),
    BadFile("two sheets", two_sheets, ("2 sheets with data", "'therapist'", "sheet="), suffix=".xlsx"),
    BadFile(
        "sheet unknown",
        two_sheets,
        ("no sheet", "'therapist'"),
        options={**SCORED, "sheet": "therapists"},
        suffix=".xlsx",
    ),
    BadFile("empty sheet", sheet([]), ("empty",), suffix=".xlsx"),
    BadFile("sheet not a workbook", b"id,sess,wai\n1,1,5\n", ("not a readable Excel file",), suffix=".xlsx"),
    BadFile("zip not a workbook", hollow_zip, ("not a readable Excel file",), suffix=".xlsx"),
    BadFile("two byte-order marks", b"\xef\xbb\xbf" * 2 + GOOD.encode(), good=lambda t: values(t) == [5, 4, 6, 7]),
    BadFile(
        "giant cell in quotes",
        f'id,sess,wai,note\n1,1,5,"{LONG_TEXT}"\n\n1,2,4,a\n',
        good=lambda t: values(t) == [5, 4],
    ),
    BadFile(
        "a second line of column names",
        "id,sess,wai\nPatient,Session,Alliance\n1,1,5\n1,2,4\n",
        ("text where numbers belong", "row 2", "second line of column names"),
    ),
    BadFile(
        "two lines of descriptions, as Qualtrics writes",
        'id,sess,wai\n"Patient id","No",WAI\n"{""Q"":1}","{""Q"":2}","{""Q"":3}"\n1,1,5\n1,2,4\n',
        ("row 2", "second line of column names"),
    ),
    BadFile(
        "a merged line of column names",
        sheet([["id", "sess", "wai", None], [None, None, "goal", "task"], [1, 1, 5, 4], [1, 2, 4, 3]]),
        ("row 2", "second line of column names"),
        suffix=".xlsx",
    ),
    BadFile(
        "a line of text below the data",
        "id,sess,wai\n1,1,5\n1,2,4\n\nSource: clinic\n",
        ("no session number", "row 5", "line of text below the data"),
    ),
    BadFile(
        "a line that tells Excel the delimiter",
        "sep=;\nid;sess;wai\n1;1;5,5\n1;2;4\n",
        ("column names are in line 2", "header_row=2"),
    ),
    BadFile("spss cut off", b"$FL2@(#) SPSS", ("not a readable SPSS file",), suffix=".sav"),
    BadFile("stata cut off", b"<stata_dta><header>", ("not a readable Stata file",), suffix=".dta"),
    BadFile("parquet cut off", b"PAR1xxxx", ("not a readable Parquet file",), suffix=".parquet"),
    BadFile("feather cut off", b"ARROW1xx", ("not a readable Feather file",), suffix=".feather"),
    BadFile("unknown ending", GOOD, ("'.rds'", "write.csv"), suffix=".rds"),
    BadFile("old workbook", b"\xd0\xcf\x11\xe0", ("not a readable Excel 97-2003 file",), suffix=".xls"),
    # -- wide ---------------------------------------------------------------------------------------------------
    BadFile(
        "wide, codes after the end",
        "id,wai_s1,wai_s2,wai_s3\n1,5,-9,4\n2,6,-9,-9\n",
        options={"patient": "id", "wide": "{measure}_s{session}", "missing_codes": [-9], "ranges": {"wai": [1, 7]}},
        good=lambda t: len(t) == 4 and values(t) == [5, None, 4, 6] and values(t, "session") == [1, 2, 3, 1],
    ),
    BadFile(
        "wide, a score impossible",
        "id,wai_s1,wai_s2\n1,5,55\n",
        ("outside its range", "row 2", "session 2", "55"),
        options={"patient": "id", "wide": {"wai": "wai_s{session}"}, "ranges": {"wai": [1, 7]}},
    ),
    BadFile(
        "wide, nothing fits",
        "id,wai1,wai2\n1,5,5\n",
        ("No column fits the pattern 'wai_s{session}'", "'wai1'"),
        options={"patient": "id", "wide": {"wai": "wai_s{session}"}},
    ),
    BadFile(
        "wide, one session twice",
        "id,wai_s1,wai_s01\n1,5,5\n",
        ("'wai_s1' and 'wai_s01' are both 'wai' of session 1",),
        options={"patient": "id", "wide": {"wai": "wai_s{session}"}},
    ),
    BadFile(
        "wide, patient twice",
        "id,wai_s1,wai_s2\n1,5,4\n1,5,4\n",
        ("Duplicate patient-session rows: 2", "row 3", "patient 1"),
        options={"patient": "id", "wide": {"wai": "wai_s{session}"}},
    ),
]


def test_the_corpus_is_large_and_its_names_are_distinct():
    assert len(BAD_FILES) >= 60
    assert len({case.name for case in BAD_FILES}) == len(BAD_FILES)


@pytest.mark.parametrize("case", BAD_FILES, ids=lambda case: case.name)
def test_bad_file(case, tmp_path):
    path = case.write(tmp_path)
    if case.good is not None:
        sessions = als.read_sessions(path, **case.options)
        assert case.good(sessions)
        assert (als.check_file(path, **case.options)["severity"] != "error").all()
        return
    with pytest.raises(als.DataError) as raised:
        als.read_sessions(path, **case.options)
    message = str(raised.value)
    for part in case.error:
        assert part in message, message
    found = als.check_file(path, **case.options)
    assert (found["severity"] == "error").any()
    assert raised.value.problem in set(found["problem"])
