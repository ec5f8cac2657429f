"""The shipped study is what its script writes, byte for byte, and what its codebook says."""

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.schema import ATTENDANCES, ENDINGS, check_sessions

DATA = Path(__file__).parents[2] / "data"


def test_files_are_reproduced_byte_for_byte(tmp_path):
    runpy.run_path(str(DATA / "write_data.py"))["write"](tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["bad_sessions.csv", "simulated_codes.csv", "simulated_endings.csv", "simulated_sessions.csv"]
    for name in written:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), f"run `python data/write_data.py`: {name}"


def test_study_reads_and_scores():
    sessions = pd.read_csv(DATA / "simulated_sessions.csv")
    table = check_sessions(als.score_items(sessions, "WAI-SR", items="wai_{item}", into="alliance"), ["alliance"])
    assert table["patient"].nunique() == 120
    assert table["therapist"].nunique() == 12
    assert set(table["attendance"]) <= set(ATTENDANCES)
    assert table["phq9"].dropna().between(0, 27).all()
    endings = pd.read_csv(DATA / "simulated_endings.csv")
    assert set(endings["patient"]) == set(table["patient"])
    assert set(endings["ending"]) == set(ENDINGS)
    codes = als.load.read_codes(DATA / "simulated_codes.csv", sessions)
    assert set(codes["coder"]) == {"A", "B"}


def test_codebook_names_every_column():
    codebook = (DATA / "CODEBOOK.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)`", codebook, flags=re.M))
    columns = {name for file in DATA.glob("simulated_*.csv") for name in pd.read_csv(file, nrows=1)}
    items = {f"wai_{item}" for item in range(1, 13)}
    assert items <= columns
    assert columns - items <= named
    assert "`wai_1` to `wai_12`" in codebook


def test_bad_file_is_refused_at_the_door():
    bad = pd.read_csv(DATA / "bad_sessions.csv")
    with pytest.raises(als.DataError):
        check_sessions(bad, ["wai_1"])
