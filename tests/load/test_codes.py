"""Files of codes: good ones come through, bad ones are refused with the row and what to do."""

import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.load import check_codes, read_codes

HEAD = "patient,session,coder,type,marker,significance,resolution,strategy,cause,initiator"
SESSIONS = pd.DataFrame(
    {"patient": [1, 1, 1, 2], "session": [1, 2, 3, 1], "attendance": ["attended", "late", "cancelled", "attended"]}
)


def written(tmp_path, text, name="codes.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(*lines, head=HEAD):
    return "\n".join([head, *lines]) + "\n"


GOOD = rows(
    "1,1,A,withdrawal,denial,3,,,misunderstanding,patient",
    "1,1,A,,,,4,disclose,,",
    "1,2,A,none,,,,,,",
    "1,1,B,confrontation,,5,,,,therapist",
    "2,1,B,,,,,,,",
)


def test_a_good_file(tmp_path):
    codes = read_codes(written(tmp_path, GOOD), SESSIONS)
    assert len(codes) == 5
    assert codes["type"].tolist()[0] == "withdrawal"
    assert codes["type"].isna().tolist() == [False, True, True, False, True]
    assert codes["patient"].dtype == SESSIONS["patient"].dtype
    assert codes.attrs["book"] == "3RS"
    rated = als.coding.code_sessions(codes)
    assert rated.loc[rated["coder"] == "A", "rupture"].tolist() == [1, 0]
    assert check_codes(written(tmp_path, GOOD), SESSIONS).empty


def test_other_names_other_words_and_a_book_of_ones_own(tmp_path):
    book = written(
        tmp_path, 'name = "Mine"\ntypes = ["hot", "cold"]\nstrategies = ["talk"]\nsignificance = [0, 3]\n', "mine.toml"
    )
    text = "id;sess;who;kind;grave\n7;2;x;heiss;0\n7;3;x;kein;\n"
    codes = read_codes(
        written(tmp_path, text), book=book, codes={"heiss": "hot"}, none=["kein"],
        columns={"id": "patient", "sess": "session", "who": "coder", "kind": "type", "grave": "significance"},
    )  # fmt: skip
    assert codes["type"].tolist()[0] == "hot"
    assert pd.isna(codes["type"][1])
    assert codes["significance"].tolist()[0] == 0


BAD = {
    "no patient": (rows("1,1,A,withdrawal,,,,,,", ",2,A,,,,,,,"), "Some rows have no patient"),
    "no session": (rows("1,,A,withdrawal,,,,,,"), "Some rows have no session"),
    "no coder": (rows("1,1,,withdrawal,,,,,,"), "Some rows have no coder"),
    "session text": (rows("1,first,A,withdrawal,,,,,,"), "'session' holds text"),
    "half session": (rows("1,1.5,A,withdrawal,,,,,,"), "'session' must hold whole numbers"),
    "unknown type": (rows("1,1,A,withdrawel,,,,,,"), "Did you mean 'withdrawal'"),
    "unknown marker": (rows("1,1,A,,denail,,,,,"), "Did you mean 'denial'"),
    "unknown strategy": (rows("1,1,A,withdrawal,,,,disclosing,,"), "Did you mean 'disclose'"),
    "unknown cause": (rows("1,1,A,withdrawal,,,,,value,"), "Did you mean 'values'"),
    "unknown initiator": (rows("1,1,A,withdrawal,,,,,,nobody"), "'initiator' holds a word"),
    "marker of another type": (rows("1,1,A,confrontation,denial,,,,,"), "is a marker of withdrawal"),
    "significance too high": (rows("1,1,A,withdrawal,,6,,,,"), "outside its range 1 to 5"),
    "significance text": (rows("1,1,A,withdrawal,,high,,,,"), "'significance' holds text"),
    "significance infinite": (rows("1,1,A,withdrawal,,inf,,,,"), "'significance'"),
    "resolution too low": (rows("1,1,A,withdrawal,,,0,,,"), "outside its range 1 to 5"),
    "significance alone": (rows("1,1,A,,,3,,,,"), "filled in where no rupture was coded"),
    "cause alone": (rows("1,1,A,,,,,,values,"), "filled in where no rupture was coded"),
    "initiator alone": (rows("1,1,A,,,,,,,patient"), "filled in where no rupture was coded"),
    "none and a rupture": (rows("1,1,A,withdrawal,,,,,,", "1,1,A,none,,,,,,"), "both 'no rupture' and a rupture"),
    "patient of another study": (rows("9,1,A,withdrawal,,,,,,"), "coded patient is not in the sessions"),
    "session that is not there": (rows("1,8,A,withdrawal,,,,,,"), "coded session is not in the sessions"),
    "session not held": (rows("1,3,A,withdrawal,,,,,,"), "not held is coded"),
    "no coder column": ("patient,session,type\n1,1,withdrawal\n", "no column 'coder'"),
    "neither type nor marker": ("patient,session,coder\n1,1,A\n", "neither a 'type' nor a 'marker'"),
    "only a header": (HEAD + "\n", "no rows"),
    "empty file": ("", "empty"),
    "the same row twice": (
        "patient,session,coder,type\n1,1,A,withdrawal\n1,1,A,withdrawal\n", "A row is there twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_says_what_where_and_what_to_do(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(als.DataError) as raised:
        read_codes(path, SESSIONS)
    assert message in str(raised.value)
    assert raised.value.remedy
    table = check_codes(path, SESSIONS)
    assert (table["severity"] == "error").any()


def test_the_place_is_named_and_all_problems_are_listed(tmp_path):
    text = rows("1,1,A,withdrawal,,9,,,,", "1,2,A,withdrawel,,,,,,")
    with pytest.raises(als.DataError, match=r"First at row 3 \(patient 1, session 2, column 'type'\): 'withdrawel'"):
        read_codes(written(tmp_path, text), SESSIONS)
    assert check_codes(written(tmp_path, text), SESSIONS)["row"].tolist() == [3, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "is not TOML"),
        ('name = "x"\n', "needs types"),
        ('name = "x"\ntypes = ["a"]\nmarkers = 3\n', "unknown key 'markers'"),
        ('name = "x"\n[types]\na = ["m"]\nb = ["m"]\n', "in two types"),
        ('name = "x"\ntypes = ["a"]\nsignificance = [5, 1]\n', "is not a range"),
    ],
)
def test_a_bad_code_book(tmp_path, content, message):
    with pytest.raises(als.DataError, match=message):
        read_codes(written(tmp_path, GOOD), book=written(tmp_path, content, "book.toml"))


def test_unknown_names(tmp_path):
    with pytest.raises(als.DataError, match="no code book '4RS'"):
        read_codes(written(tmp_path, GOOD), book="4RS")
    with pytest.raises(als.DataError, match="no column of CODES"):
        read_codes(written(tmp_path, GOOD), columns={"type": "kind"})
