"""The report on the shipped study: the same bytes twice, every number from a table, whole or not at all."""

import contextlib
import hashlib
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from alliance_stats.cli import main
from alliance_stats.report import numbers as printing
from alliance_stats.report.folder import whole_folder
from alliance_stats.report.page import Section, page
from alliance_stats.report.study import StudyError
from alliance_stats.report.writing import demo_study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report on the shipped study, made once."""
    out = tmp_path_factory.mktemp("report") / "out"
    assert main(["report", str(demo_study()), "--out", str(out)]) == 0
    return out


def methods(folder):
    page_text = (folder / "report.html").read_text(encoding="utf-8")
    text = re.search(r'<div class="methods">(.*?)</div>', page_text, re.DOTALL)[1]
    return html.unescape(re.sub(r"</?p>", " ", text)).replace("\N{NO-BREAK SPACE}", " ")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_in_another_process_gives_the_same_bytes(report, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", "MPLBACKEND": "svg", "COLUMNS": "40"}
    command = [sys.executable, "-m", "alliance_stats", "report", str(demo_study()), "--out", "again"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    first, second = files(report), files(tmp_path / "again")
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_the_page_needs_nothing_from_outside(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!#|data:image/svg)', text) == []
    assert not re.search(r"url\(|@import|<script|<link", text)
    assert text.count("<img ") == len(list((report / "figures").glob("*.svg")))
    assert all(re.findall(r'<img [^>]*alt="(.*?)"', text)), "every figure says in words what it shows"


def test_the_manifest_lists_every_file_as_it_is(report):
    manifest = json.loads((report / "manifest.json").read_text(encoding="utf-8"))
    found = files(report)
    listed = {output["file"]: output["sha256"] for output in manifest["outputs"]}
    assert listed == {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items() if name != "manifest.json"
    }
    inputs = {entry["file"]: entry["sha256"] for entry in manifest["inputs"]}
    for name in ("simulated_study.toml", "simulated_sessions.csv", "simulated_endings.csv"):
        assert inputs[name] == hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest()
    assert manifest["seed"] == 1
    assert {"numpy", "pandas", "matplotlib"} <= set(manifest["packages"])
    assert manifest["flow"][0]["sessions"] == 1651
    for name, n_rows in manifest["rows_out"].items():
        assert len(pd.read_csv(report / "tables" / f"{name}.csv")) == n_rows


PRINTERS = (printing.number, printing.percent, printing.p_value, printing.brief, printing.degrees)


def test_every_cited_number_is_that_cell_of_its_table(report):
    cited = pd.read_csv(report / "tables/cited_numbers.csv", dtype=str, keep_default_na=False)
    assert len(cited) > 60
    for text, table, row, column in cited.itertuples(index=False, name=None):
        kept = pd.read_csv(report / f"tables/{table}.csv")
        cells = kept.loc[kept.iloc[:, 0].astype(str) == row, column]
        cell = pd.to_numeric(cells).item()
        whole = [int(cell)] if cell == cell and float(cell).is_integer() else []
        assert text in {show(value) for show in PRINTERS for value in (cell, *whole)}, (text, table, row, column)


def test_every_number_of_the_methods_paragraph_comes_from_a_table_or_the_settings(report):
    text = methods(report)
    cited = pd.read_csv(report / "tables/cited_numbers.csv", dtype=str, keep_default_na=False)["text"]
    for name in ("phq9", "running_mean_2pooled", "(Cranford et al., 2006)"):
        text = text.replace(name, "")
    from_settings = {"95", "2", "1,000", "1"}  # level, the rule's size, draws, lag
    numbers_in = re.findall(r"(?<![\w.])−?[\d,]*\.?\d+(?: %)?(?![\w])", text)
    unexplained = {one for one in numbers_in if one.strip(",") not in set(cited) | from_settings}
    unexplained -= {"95 %"}
    assert {one for one in unexplained if f"< {one}" not in set(cited)} == set()


def test_the_paragraph_is_alive(report, tmp_path):
    """Another study file gives other numbers: nothing is written into the text."""
    toml = demo_study().read_text(encoding="utf-8")
    toml = toml.replace('rule = "running_mean_2pooled"', 'rule = "previous_2pooled"').replace(
        "draws = 1000", "draws = 200"
    )
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    for name in ("simulated_sessions.csv", "simulated_endings.csv"):
        lines = (ROOT / "data" / name).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line[:4] not in {"p001", "p002", "p003"}]
        (tmp_path / name).write_text("\n".join(kept), encoding="utf-8")
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 0
    text = methods(tmp_path / "out")
    assert "117 patients" in text
    assert "previous_2pooled" in text
    assert "200 studies" in text
    assert "120 patients" not in text


def test_ids_stay_out_unless_asked_for(report):
    for name, content in files(report).items():
        if name.endswith((".csv", ".html", ".svg")):
            assert not re.search(rb"\bp\d{3}\b", content), name
    patients = pd.read_csv(report / "tables/patients.csv")
    assert patients["patient"].str.fullmatch(r"P\d{3}").all()
    assert patients["therapist"].str.fullmatch(r"T\d{2}").all()


def test_pseudonyms_are_the_same_in_every_table(report):
    patients = pd.read_csv(report / "tables/patients.csv").set_index("patient")
    events = pd.read_csv(report / "tables/events.csv")
    assert events.groupby("patient").size().to_dict() == patients["n_ruptures"].loc[lambda n: n > 0].to_dict()


def test_data_are_escaped_on_the_page():
    section = Section("x", "<h>")
    section.paragraph("a < b & c")
    section.table(pd.DataFrame({"<c>": ["<script>"]}), "<caption>", labels={"<c>": "<head>"})
    section.notes(["<note>"])
    section.tiles({"<name>": "<value>"})
    section.folded("<summary>", "<text>")
    section.figure(b"<svg/>", "<caption>", alt='"quoted"', file="<file>")
    text = page("<title>", "<lead>", [section])
    for name in ("h", "c", "script", "caption", "head", "note", "name", "value", "summary", "text", "title", "lead"):
        body = text.split("</style>")[1]
        assert f"<{name}>" not in body.replace("<caption>&lt;", "").replace("<summary>&lt;", "").replace("<head>", "")
    assert 'alt="&quot;quoted&quot;"' in text


# -- whole or not at all --------------------------------------------------------------------------------------


def interrupted(out):
    """A run that fails after its first file."""
    with contextlib.suppress(ZeroDivisionError), whole_folder(out) as folder:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError


def test_an_error_half_way_leaves_nothing_and_the_old_report_whole(tmp_path):
    out = tmp_path / "out"
    interrupted(out)
    assert list(tmp_path.iterdir()) == []
    with whole_folder(out) as folder:
        (folder / "manifest.json").write_text('{"outputs": [{"file": "a.txt"}]}')
        (folder / "a.txt").write_text("old")
    interrupted(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "a.txt").read_text() == "old"
    with whole_folder(out) as folder:
        (folder / "b.txt").write_text("new")
    assert [path.name for path in out.iterdir()] == ["b.txt"], "an earlier report is replaced as a whole"


def test_files_of_others_are_never_lost(tmp_path, capsys):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    with pytest.raises(StudyError, match=r"chapter1\.txt"), whole_folder(out):
        pass
    assert main(["report", str(demo_study()), "--out", str(out)]) == 2
    assert (out / "chapter1.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(StudyError, match="is a file"), whole_folder(tmp_path / "file"):
        pass


def stopped_half_way(out, number):
    """A report run that is sent a signal once its first table stands in the unfinished folder."""
    command = [sys.executable, "-m", "alliance_stats", "report", str(demo_study()), "--out", str(out)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # a shell lets its background jobs ignore Ctrl-C, and so would their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(out.parent.glob(f".{out.name}.partial-*/tables/*.csv")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait()


def test_a_killed_run_leaves_no_half_report_and_the_next_one_cleans_up(tmp_path):
    out = tmp_path / "out"
    with whole_folder(out) as folder:
        (folder / "manifest.json").write_text('{"outputs": []}')
    before = files(out)
    assert stopped_half_way(out, signal.SIGKILL) == -signal.SIGKILL
    assert files(out) == before, "the earlier report is whole"
    assert len(list(tmp_path.glob(".out.partial-*"))) == 1
    with whole_folder(out) as folder:
        (folder / "manifest.json").write_text('{"outputs": []}')
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_leaves_nothing_at_all(number, tmp_path):
    assert stopped_half_way(tmp_path / "out", number) == 128 + number
    assert list(tmp_path.iterdir()) == []


# -- parts that the data do not allow --------------------------------------------------------------------------


def test_a_part_that_cannot_be_done_is_said_and_the_rest_is_there(tmp_path, capsys):
    rows = [f"p{p},{s},{5 + (p + s) % 2},{10 + s}" for p in range(4) for s in range(1, 7)]
    (tmp_path / "s.csv").write_text("\n".join(["patient,session,alliance,phq9", *rows]))
    (tmp_path / "study.toml").write_text(
        '[read]\nfile = "s.csv"\npatient = "patient"\nsession = "session"\n'
        '[detect]\nscore = "alliance"\nrule = "own_median_2pooled"\n[outcome]\nsymptom = "phq9"\n'
    )
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "could not be done" in said.err
    assert "could not be done" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "could not be done" in (tmp_path / "out/manifest.json").read_text(encoding="utf-8")
    assert (tmp_path / "out/tables/ruptures.csv").exists()


def test_columns_may_have_any_name(tmp_path, capsys):
    for name in ("simulated_sessions.csv", "simulated_endings.csv"):
        text = (ROOT / "data" / name).read_text(encoding="utf-8").replace("phq9", "PHQ 9 (Summe) $", 1)
        (tmp_path / name).write_text(text, encoding="utf-8")
    toml = demo_study().read_text(encoding="utf-8").replace('"phq9"', '"PHQ 9 (Summe) $"')
    toml = toml.replace('into = "alliance"', 'into = "Allianz, gesamt"')
    toml = toml.replace('score = "alliance"', 'score = "Allianz, gesamt"').replace("draws = 1000", "draws = 100")
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 0
    assert "could not be done" not in capsys.readouterr().err
    assert (tmp_path / "out/figures/next_session.svg").exists()
