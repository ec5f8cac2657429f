"""The file of endings goes through the same reader as the sessions: encodings, delimiters, ids."""

import pytest

from alliance_stats.report.sections import open_study
from alliance_stats.report.steps import read_and_score, study_endings
from alliance_stats.report.study import StudyError

TOML = """
[read]
file = "sessions.csv"
patient = "id"
session = "sess"
[endings]
file = "endings.csv"
patient = "id"
{more}
[detect]
score = "alliance"
rule = "previous_2pooled"
"""
IDS = ("Zoë", "007", "p3")


def endings(folder, content, more=""):
    rows = [f"{one},{s},{4 + s % 3}" for one in IDS for s in range(1, 6)]
    (folder / "sessions.csv").write_text("\n".join(["id,sess,alliance", *rows]), encoding="utf-8")
    (folder / "endings.csv").write_bytes(content)
    (folder / "study.toml").write_text(TOML.format(more=more), encoding="utf-8")
    study = open_study(folder / "study.toml")
    return study_endings(study, read_and_score(study))


def text(delimiter=","):
    return "\n".join([f"id{delimiter}ending", *(f"{one}{delimiter}completed" for one in IDS)])


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (text().encode(), ""),
        (text(";").encode("utf-8-sig"), ""),
        (text("\t").encode("utf-16"), ""),
        (text().encode("latin-1"), 'encoding = "latin-1"'),
        (text("|").encode(), 'delimiter = "|"'),
    ],
    ids=["utf-8", "semicolon with mark", "utf-16 with tabs", "latin-1 named", "bars named"],
)
def test_every_encoding_and_delimiter_of_the_sessions(tmp_path, content, more):
    table = endings(tmp_path, content, more)
    assert table["patient"].tolist() == list(IDS)
    assert table["ending"].tolist() == ["completed"] * 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (text().encode("latin-1"), "encoding"),
        (b"", "empty"),
        (b"id,ending\nZo\xc3\xab,completed,extra\n", "cells"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"endings\.csv|file"),
    ],
    ids=["latin-1 not named", "empty", "ragged", "no text"],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, content, says):
    with pytest.raises(StudyError, match=says):
        endings(tmp_path, content)
