"""The command line: its commands, its exit status, and one line where something is wrong."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.cli import main
from alliance_stats.report.writing import demo_study

STUDY = str(demo_study())


@pytest.mark.parametrize(
    "arguments",
    [[], ["reprot", STUDY], ["report", STUDY], ["check"], ["check", STUDY, "--out", "x"], ["--nonsense"]],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"], ["demo", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    assert "usage: alliance-stats" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"alliance_stats {als.__version__}\n"


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['x', '--help']\nfrom alliance_stats.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert not {"numpy", "pandas", "scipy", "matplotlib", "tomllib"} & set(loaded)


@pytest.mark.parametrize("path", ["/no/such/study.toml", "."])
def test_a_study_file_that_is_not_there(path, capsys):
    for command in ("check", "score", "detect"):
        assert main([command, path]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_check_of_a_good_study(capsys):
    assert main(["check", STUDY]) == 0
    assert "0 error(s)" in capsys.readouterr().out


def test_score_and_detect_write_what_the_functions_return(tmp_path, capsys):
    assert main(["score", STUDY, "--out", str(tmp_path / "sessions.csv")]) == 0
    scored = pd.read_csv(tmp_path / "sessions.csv")
    items = [f"wai_{item}" for item in range(1, 13)]
    complete = scored[items].notna().all(axis=1)
    expected = scored.loc[complete, items].mean(axis=1)
    pd.testing.assert_series_equal(scored.loc[complete, "alliance"], expected, check_names=False)
    capsys.readouterr()
    assert main(["detect", STUDY]) == 0
    (tmp_path / "events.csv").write_text(capsys.readouterr().out)
    events = pd.read_csv(tmp_path / "events.csv")
    direct = als.detect_ruptures(scored, score="alliance", rule="running_mean_2pooled")
    assert events["onset"].tolist() == direct["onset"].tolist()
    assert events["patient"].tolist() == direct["patient"].tolist()


def test_a_table_that_cannot_be_written_is_one_line(tmp_path, capsys):
    assert main(["detect", STUDY, "--out", str(tmp_path / "no/such/folder/events.csv")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m alliance_stats score {STUDY} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("patient,")
    assert "Error" not in done.stderr


INSTRUMENT = """
name = "Three lines"
items = 3
low = 0
high = 10
score = "mean"
higher_is = "better"
"""


def test_several_scores_an_instrument_of_ones_own_and_a_question(tmp_path, capsys):
    """[[score]] twice, one by a TOML key beside the study file; items that seem reversed already are asked about."""
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"patient": np.repeat(range(8), 6), "session": np.tile(range(1, 7), 8)})
    level = rng.integers(2, 7, size=len(rows))
    for item in range(1, 6):
        rows[f"arm{item}"] = np.clip(level + rng.integers(-1, 2, size=len(rows)), 1, 7)  # item 3 not as the key says
    for item in range(1, 4):
        rows[f"line{item}"] = np.clip(level + item, 0, 10)
    rows.to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "three.toml").write_text(INSTRUMENT)
    (tmp_path / "study.toml").write_text(
        "[study]\nshow_ids = true\n"
        '[read]\nfile = "s.csv"\npatient = "patient"\nsession = "session"\n'
        '[[score]]\ninstrument = "ARM-5"\nitems = "arm{item}"\ninto = "alliance"\n'
        '[[score]]\ninstrument = "three.toml"\nitems = "line{item}"\ninto = "lines"\n'
        '[[flip]]\ncolumn = "lines"\ninto = "trouble"\nlow = 0\nhigh = 10\n'
        '[detect]\nscore = "alliance"\nrule = "previous_2pooled"\n'
    )
    assert main(["check", str(tmp_path / "study.toml")]) == 0
    assert "note: s.csv: " in capsys.readouterr().out
    assert main(["score", str(tmp_path / "study.toml"), "--out", str(tmp_path / "scored.csv")]) == 0
    scored = pd.read_csv(tmp_path / "scored.csv")
    items = rows[[f"arm{item}" for item in range(1, 6)]].assign(arm3=8 - rows["arm3"])
    assert scored["alliance"].tolist() == pytest.approx(items.mean(axis=1).tolist())
    assert scored["lines"].tolist() == pytest.approx(rows[["line1", "line2", "line3"]].mean(axis=1).tolist())
    assert (scored["trouble"] + scored["lines"] == 10).all()
