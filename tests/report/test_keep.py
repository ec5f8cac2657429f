"""Rows that a study file says to keep: counted in the flow, with their endings, and never silently."""

import pandas as pd
import pytest

from alliance_stats.cli import main
from alliance_stats.load.keeping import keep
from alliance_stats.report.sections import open_study
from alliance_stats.report.steps import read_and_score, study_endings
from alliance_stats.report.study import StudyError
from alliance_stats.tables.schema import DataError

HEAD = """
[read]
file = "sessions.csv"
patient = "id"
session = "sess"
not_sessions = ["follow-up"]
[endings]
file = "endings.csv"
patient = "id"
[detect]
score = "alliance"
rule = "previous_2pooled"
"""
KEEP = """
[[keep]]
column = "arm"
equals = ["a", "c"]
because = "arms with therapists"
[[keep]]
column = "session"
at_least = 2
at_most = 7
because = "sessions 2 to 7"
"""


def study(folder, keep=KEEP, extra=""):
    numbers = [*range(1, 9), "follow-up"]
    rows = [f"p{k},{s},{arm},{4 + i * k % 3}" for k, arm in enumerate("aabbc", 1) for i, s in enumerate(numbers)]
    (folder / "sessions.csv").write_text("\n".join(["id,sess,arm,alliance", *rows]), encoding="utf-8")
    endings = [f"p{k},completed" for k in range(1, 6)]
    (folder / "endings.csv").write_text("\n".join(["id,ending", *endings]) + extra, encoding="utf-8")
    (folder / "study.toml").write_text(HEAD + keep, encoding="utf-8")
    return folder / "study.toml"


def test_each_condition_is_a_step_of_the_flow(tmp_path):
    sessions = read_and_score(open_study(study(tmp_path)))
    steps = [(one["step"], one["patients"], one["sessions"]) for one in sessions.attrs["flow"]]
    assert steps == [
        ("in the file", 5, 45),
        ("with a session (not 'follow-up')", 5, 40),
        ("read", 5, 40),
        ("arms with therapists", 3, 24),
        ("sessions 2 to 7", 3, 18),
    ]


def test_endings_of_patients_left_out_go_with_them_and_unknown_ones_are_refused(tmp_path):
    known = open_study(study(tmp_path))
    assert study_endings(known, read_and_score(known))["patient"].tolist() == ["p1", "p2", "p5"]
    known = open_study(study(tmp_path, extra="\np9,dropout"))
    with pytest.raises(DataError, match=r"sessions does not have.*p9"):
        study_endings(known, read_and_score(known))


def test_the_report_shows_the_steps(tmp_path):
    assert main(["check", str(study(tmp_path))]) == 0
    assert main(["report", str(study(tmp_path)), "--out", str(tmp_path / "out")]) == 0
    flow = pd.read_csv(tmp_path / "out/tables/flow.csv")
    assert flow["sessions"].tolist() == [45, 40, 40, 24, 18]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "arms with therapists: 3 patients, 24 sessions" in page
    assert "5 row(s) that are no sessions" in page


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ('[[keep]]\ncolumn = "arm"\nequals = "a"', "no key 'because'"),
        ('[[keep]]\ncolumn = "arm"\nbecause = "x"', "State what is kept"),
        ('[[keep]]\ncolumn = "arm"\nequal = "a"\nbecause = "x"', "Did you mean 'equals'"),
        ('[[keep]]\ncolumn = "arms"\nequals = "a"\nbecause = "x"', "Did you mean 'arm'"),
        ('[[keep]]\ncolumn = "arm"\nequals = "A1"\nbecause = "x"', "No row is left"),
        ('[[keep]]\ncolumn = 3\nequals = "a"\nbecause = "x"', "must be text"),
        ('[[keep]]\ncolumn = "arm"\nequals = "a"\nbecause = " "', "because = ..."),
        ('[[keep]]\ncolumn = "arm"\nat_most = 3\nbecause = "x"', "must hold numbers"),
        ('[[keep]]\ncolumn = "session"\nat_most = "3"\nbecause = "x"', "must be a number"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, capsys, keep, says):
    path = study(tmp_path, keep)
    assert main(["report", str(path), "--out", str(tmp_path / "out")]) in (1, 2)
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_numbers_and_missing_cells():
    rows = pd.DataFrame({"patient": [1, 2, 3], "session": 1, "site": [1.0, 2.0, None]})
    assert keep(rows, column="site", equals=1, because="site 1")["patient"].tolist() == [1]
    assert keep(rows, column="site", at_least=1, because="any site")["patient"].tolist() == [1, 2]
    assert rows.attrs == {}


def test_a_study_error_names_the_file(tmp_path):
    with pytest.raises(StudyError, match=r"study\.toml"):
        read_and_score(open_study(study(tmp_path, '[keep]\ncolumn = "x"\nbecause = "y"\nequals = 1')))
