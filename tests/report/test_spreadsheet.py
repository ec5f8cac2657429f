"""CSV that a spreadsheet shows as it is: text that would be run as a formula is defused, numbers are untouched."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.cli import main
from alliance_stats.report.folder import as_csv, write_table
from alliance_stats.report.study import StudyError


def test_text_that_would_be_run_gets_an_apostrophe_and_numbers_stay():
    cells = ["=HYPERLINK(1)", "+SUM(A1)", "-cmd", "@x", "\tx", "p=1", "-7", "+1.5e3", "-0,5", "–", None]
    table = pd.DataFrame({"id": cells, "x": np.arange(11) - 5.5, "n": pd.array([*range(10), None], dtype="Int64")})
    back = pd.read_csv(io.StringIO(as_csv(table)), dtype=str, keep_default_na=False)
    assert back["id"].tolist() == [*(f"'{cell}" for cell in cells[:5]), *cells[5:10], ""]
    pd.testing.assert_series_equal(pd.to_numeric(back["x"]), table["x"])
    assert back["n"].tolist() == [*map(str, range(10)), ""]
    assert as_csv(pd.DataFrame({"=1+1": [1]})) == "'=1+1\n1\n"


def test_tables_without_such_text_are_written_as_pandas_writes_them():
    mixed = pd.DataFrame({"value": pd.Series([120, 0.5, None, "x"], dtype=object), "c": pd.Categorical(list("abab"))})
    assert as_csv(mixed) == mixed.to_csv(index=False, lineterminator="\n")


def test_ids_of_the_real_study_are_defused_in_every_output(tmp_path, capsys):
    """show_ids = true, ids and a column that rides along chosen by somebody hostile."""
    rows = [f'"=HYPERLINK(""http://x"",{p})",{s},{5 + (p + s) % 2},@SUM(A1)' for p in range(4) for s in range(1, 7)]
    (tmp_path / "s.csv").write_text("\n".join(["patient,session,alliance,+extra", *rows]))
    (tmp_path / "study.toml").write_text(
        '[study]\nshow_ids = true\n[read]\nfile = "s.csv"\npatient = "patient"\nsession = "session"\n'
        '[detect]\nscore = "alliance"\nrule = "previous_2pooled"\n[chance]\ndraws = 100\n'
    )
    study = str(tmp_path / "study.toml")
    assert main(["report", study, "--out", str(tmp_path / "out")]) == 0
    assert main(["score", study, "--out", str(tmp_path / "out/tables/scored.csv")]) == 0
    capsys.readouterr()
    assert main(["detect", study]) == 0
    (tmp_path / "out/tables/detected.csv").write_text(capsys.readouterr().out)
    for path in (tmp_path / "out/tables").iterdir():
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, header=None).to_numpy().ravel()
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+e"))], path.name


def test_a_link_is_followed_and_a_device_is_written_to(tmp_path):
    table = pd.DataFrame({"x": [1]})
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write_table(table, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "x\n1\n"
    before = Path("/dev/null").stat()
    write_table(table, tmp_path / "../../../../../../../../dev/null")
    assert Path("/dev/null").stat().st_rdev == before.st_rdev != 0, "the device is not replaced by a file"
    with pytest.raises(StudyError, match="is a folder"):
        write_table(table, tmp_path)
