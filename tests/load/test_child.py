"""Damaged and malicious files of every binary format end in one sentence, and Python lives on."""

import os
import random
import time
import zipfile
from collections import Counter

import numpy as np
import openpyxl
import pandas as pd
import pyreadstat
import pytest

import alliance_stats as als
from alliance_stats.load import child, sheets

ROLES = {"patient": "id", "session": "sess"}
HEAD = '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


def table(rows=40):
    rng = np.random.default_rng(1)
    number = np.arange(rows)
    return pd.DataFrame(
        {"id": number // 10 + 1, "sess": number % 10 + 1, "wai": rng.integers(1, 6, rows) / 1, "note": "some text"}
    )


WRITERS = {
    ".sav": lambda data, path: pyreadstat.write_sav(data, str(path)),
    ".zsav": lambda data, path: pyreadstat.write_sav(data, str(path), compress=True),
    ".por": lambda data, path: pyreadstat.write_por(data, str(path)),
    ".dta": lambda data, path: data.to_stata(path, write_index=False),
    ".xpt": lambda data, path: pyreadstat.write_xport(data, str(path), file_format_version=8),
    ".parquet": lambda data, path: data.to_parquet(path),
    ".feather": lambda data, path: data.to_feather(path),
    ".xlsx": lambda data, path: data.to_excel(path, index=False),
}


def outcome(path):
    """The number of rows, or the message."""
    try:
        return len(als.read_sessions(path, patient="ID" if path.suffix == ".por" else "id", session="sess"))
    except als.DataError as error:
        return str(error)[:2000]


def damaged(whole, rng):
    """A copy with up to eight bytes changed, half of the copies cut off."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.choice([len(data), rng.randrange(8, len(data))])])


@pytest.mark.slow
def test_flipped_bytes_for_minutes(tmp_path):
    """Set FUZZ_SECONDS to run it longer or shorter."""
    rng = random.Random(11)
    whole = {}
    for ending, write in WRITERS.items():
        write(table(), tmp_path / f"study{ending}")
        whole[ending] = (tmp_path / f"study{ending}").read_bytes()
    messages = Counter()
    end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "300"))
    while time.monotonic() < end:
        ending = rng.choice(list(whole))
        path = tmp_path / f"study{ending}"
        path.write_bytes(damaged(whole[ending], rng))
        found = outcome(path)
        kind = next((word for word in ("stopped", "given up", "memory") if word in str(found)), type(found).__name__)
        messages[ending, kind] += 1
    print(dict(messages))
    assert {ending for ending, kind in messages if kind == "int"}


@pytest.mark.parametrize("ending", WRITERS)
def test_flipped_bytes(tmp_path, ending):
    """Twenty damaged copies of a file: each is read or refused, and the next whole file is read as before."""
    path = tmp_path / f"study{ending}"
    WRITERS[ending](table(), path)
    whole = path.read_bytes()
    for seed in range(20):
        path.write_bytes(damaged(whole, random.Random(seed)))
        assert outcome(path)
    path.write_bytes(whole)
    roles = {"patient": "ID", "session": "SESS"} if ending == ".por" else ROLES
    assert len(als.read_sessions(path, **roles)) == 40


def test_a_portable_file_of_spss(tmp_path):
    path = tmp_path / "study.por"
    WRITERS[".por"](table(), path)
    got = als.read_sessions(path, patient="ID", session="SESS", measures={"wai": "WAI"})
    assert got["wai"].tolist() == table()["wai"].tolist()


def test_a_reader_that_dies_or_hangs_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "study.parquet"
    WRITERS[".parquet"](table(), path)
    assert outcome(path) == 40
    child._running[0].kill()
    child._running[0].wait()
    assert outcome(path) == 40  # a new child was started
    monkeypatch.setattr(child, "SECONDS", 0.2)
    monkeypatch.setattr(child, "SECONDS_PER_MB", 0.0)
    monkeypatch.setattr(child, "_START", "import time; time.sleep(60)")
    child.stop()
    start = time.monotonic()
    assert "given up after 0 seconds" in outcome(path)
    assert time.monotonic() - start < 10
    monkeypatch.setattr(child, "SECONDS", 60)
    monkeypatch.setattr(child, "_START", "import os; os.abort()")
    assert "stopped the program that read it" in outcome(path)
    assert not child._running


def test_more_memory_than_allowed(tmp_path, monkeypatch):
    pytest.importorskip("resource")
    path = tmp_path / "study.feather"
    pd.DataFrame({"id": np.zeros(30_000_000, dtype=np.int64), "sess": 1}).to_feather(path, compression="zstd")
    assert path.stat().st_size < 10_000_000  # 480 MB unpacked
    monkeypatch.setattr(child, "MEMORY", 400_000_000)  # less than the libraries themselves reserve, plus the file
    monkeypatch.setattr(child, "MEMORY_PER_BYTE", 1)
    assert "memory" in outcome(path).lower()
    child.stop()


def test_without_a_child_process_files_are_read_here(tmp_path, monkeypatch):
    child.stop()
    monkeypatch.setattr(child.sys, "executable", "")
    path = tmp_path / "study.sav"
    WRITERS[".sav"](table(), path)
    assert outcome(path) == 40
    path.write_bytes(path.read_bytes()[:50])
    assert "not a readable SPSS file" in outcome(path)
    assert not child._running


def workbook(path, rows):
    """A workbook whose first sheet is the given XML rows."""
    openpyxl.Workbook().save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = (HEAD + rows + "</sheetData></worksheet>").encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_sheet_of_more_rows_than_excel_can_hold(tmp_path, monkeypatch):
    path = tmp_path / "study.xlsx"
    workbook(path, "<row><c><v>1</v></c></row>" * 300)
    monkeypatch.setattr(sheets, "MOST_ROWS", 200)
    with pytest.raises(als.DataError, match="more than 200 rows"):
        sheets.read_sheet(path, sheet=None, header_row=1)
    workbook(path, '<row r="1"><c r="A1"><v>1</v></c></row><row r="5000"><c r="A5000"><v>1</v></c></row>')
    with pytest.raises(als.DataError, match="number above 200"):
        sheets.read_sheet(path, sheet=None, header_row=1)


@pytest.mark.slow
def test_a_small_workbook_of_twelve_million_rows(tmp_path):
    path = tmp_path / "study.xlsx"
    workbook(path, "<row><c><v>1</v></c></row>" * 12_000_000)
    assert path.stat().st_size < 4_000_000
    start = time.monotonic()
    assert "more than 1,048,576 rows" in outcome(path)
    print(f"{time.monotonic() - start:.1f} seconds")


def test_formulas_without_a_stored_result_are_refused(tmp_path):
    path = tmp_path / "study.xlsx"
    book = openpyxl.Workbook()
    for row in (["id", "sess", "a", "wai"], [1, 1, 4, "=C2+1"], [1, 2, 5, "=C3+1"]):
        book.active.append(row)
    book.save(path)
    with pytest.raises(als.DataError, match=r"2 cell.*formula without its result, first D2"):
        als.read_sessions(path, **ROLES)
    # A formula whose result is an empty text is not missing its result.
    cells = '<c r="A{0}"><v>1</v></c><c r="B{0}"><v>{0}</v></c><c r="C{0}" t="str"><f>IF(B{0}=1,"","")</f><v></v></c>'
    names = "".join(
        f'<c r="{cell}1" t="inlineStr"><is><t>{name}</t></is></c>' for cell, name in zip("ABC", ("id", "sess", "x"))
    )
    workbook(path, f'<row r="1">{names}</row><row r="2">{cells.format(2)}</row><row r="3">{cells.format(3)}</row>')
    assert outcome(path) == 2
