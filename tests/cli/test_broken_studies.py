"""Broken studies, each a mistake from real life: a correct result or one clear line, and never half an output."""

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from alliance_stats.cli import main

TOML = """
[study]
title = "A small study"
[read]
file = "sessions.csv"
patient = "id"
session = "sess"
therapist = "ther"
{read}
[endings]
file = "endings.csv"
patient = "id"
[detect]
score = "alliance"
rule = "previous_2pooled"
"""
PATIENTS = ["p1", "p2", "p3", "p4"]
COURSES = {
    "p1": [5, 5.5, 5, 3, 4, 6, 5.5, 5],
    "p2": [4, 4.5, 4, 4.5, 4, 2, 2.5, 2],
    "p3": [6, 6.5, 6, 6.5, 6, 6.5, 6, 6],
    "p4": [3, 3.5, 4, 4, 4.5, 5, 5, 5.5],
}


def lines(courses=None, names=None):
    """The lines of a good sessions file."""
    names = names or {}
    rows = ["id,sess,ther,alliance"]
    for k, (patient, scores) in enumerate((courses or COURSES).items()):
        rows += [f"{names.get(patient, patient)},{s},t{k % 2},{score}" for s, score in enumerate(scores, start=1)]
    return rows


def endings(patients=PATIENTS):
    return ["id,ending", *(f"{patient},{'dropout' if patient == 'p2' else 'completed'}" for patient in patients)]


def replaced(row, text):
    """A good file with one line replaced; row 2 is the first below the header."""
    changed = lines()
    changed[row - 1] = text
    return changed


@dataclass
class Broken:
    """A study, what the commands must answer, and what they must say."""

    sessions: list | bytes = field(default_factory=lines)
    endings: list | bytes = field(default_factory=endings)
    read: str = ""
    change: tuple[str, str] = ("", "")
    check: int = 0
    report: int = 0
    says: str = ""
    """Must stand in what both commands say (in what `report` says, where `check` finds nothing)."""


ALL_SAME = {patient: [4] * 6 for patient in PATIENTS}
ONE_EACH = {patient: [4 + k] for k, patient in enumerate(PATIENTS)}
WIDE = ["id,ther,wai_s1,wai_s2,wai_s3", "p1,t1,5,3,6", "p2,t1,4,,5", "p3,t2,6,6,6", "p4,t2,3,4,5"]

BROKEN = {
    # -- encodings and delimiters
    "latin-1 not declared": Broken(
        "\n".join(replaced(2, "p1,1,Müller,5")).encode("latin-1"), check=2, report=2, says="encoding"
    ),
    "latin-1 declared": Broken("\n".join(replaced(2, "p1,1,Müller,5")).encode("latin-1"), read='encoding = "latin-1"'),
    "UTF-16 with its mark": Broken("\n".join(lines()).encode("utf-16")),
    "byte order mark": Broken("\n".join(lines()).encode("utf-8-sig")),
    "semicolons and decimal commas": Broken([line.replace(",", ";").replace(".", ",") for line in lines()]),
    "wrong delimiter declared": Broken(read='delimiter = ";"', check=2, report=2, says="delimiter = ','"),
    "tabs in a .csv": Broken([line.replace(",", "\t") for line in lines()]),
    "a picture": Broken(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x01", check=2, report=2),
    "an empty file": Broken(b"", check=2, report=2, says="empty"),
    "a header and nothing else": Broken(lines()[:1], check=2, report=2),
    "a quote that never ends": Broken(replaced(5, '"p1,4,t0,3'), check=2, report=2),
    # -- rows and cells
    "a row twice": Broken([*lines(), "p4,8,t1,2"], check=1, report=1, says="p4"),
    "text in scores": Broken(replaced(4, "p1,3,t0,n/q"), check=1, report=1, says="n/q"),
    "code -9 outside the range": Broken(
        replaced(4, "p1,3,t0,-9"), read="ranges = { alliance = [1, 7] }", check=1, report=1, says="-9"
    ),
    "code 99 declared": Broken(replaced(4, "p1,3,t0,99"), read="missing_codes = [99]"),
    "session 2.5": Broken(replaced(3, "p1,2.5,t0,5"), check=1, report=1, says="2.5"),
    "session -3": Broken(replaced(3, "p1,-3,t0,5"), check=1, report=1, says="-3"),
    "session ten million": Broken(replaced(9, "p1,10000000,t0,5"), check=1, report=1, says="10000000"),
    "a date for a session": Broken(replaced(3, "p1,2026-03-01,t0,5"), check=1, report=1, says="2026-03-01"),
    "a row without a patient": Broken(replaced(3, ",2,t0,5"), check=1, report=1, says="3"),
    "too many cells in a row": Broken(replaced(3, "p1,2,t0,5,6,7"), check=2, report=2, says="3"),
    "no scores at all": Broken(
        [re.sub(r",[^,]*$", ",", line) if k else line for k, line in enumerate(lines())],
        check=1,
        report=1,
        says="'alliance' holds no rating",
    ),
    "two columns of one name": Broken(
        [f"{line},{line.split(',')[3]}" for line in lines()], check=2, report=2, says="'alliance'"
    ),
    # -- shapes of studies
    "one patient": Broken(lines({"p1": COURSES["p1"]}), endings(["p1"])),
    "one session each": Broken(lines(ONE_EACH), says="too few ratings"),
    "all constant": Broken(lines(ALL_SAME), says="no spread"),
    "a therapist who changes": Broken(replaced(5, "p1,4,t9,3"), says="therapist"),
    "one row per patient, pattern named": Broken(
        WIDE, change=('session = "sess"', 'wide = { alliance = "wai_s{session}" }')
    ),
    "one row per patient, wrong pattern": Broken(
        WIDE, change=('session = "sess"', 'wide = { alliance = "wat_s{session}" }'), check=2, report=2, says="wat_s"
    ),
    # -- endings
    "an unknown ending": Broken(
        endings=[line.replace("dropout", "gone") for line in endings()], check=1, report=1, says="'gone'"
    ),
    "an ending of nobody": Broken(
        endings=[*endings(), "p7,completed"],
        check=1,
        report=1,
        says="sessions does not have",
    ),
    "an ending twice": Broken(endings=[*endings(), "p1,completed"], check=1, report=1, says="a patient twice"),
    "a patient without an ending": Broken(endings=endings()[:-1], check=1, report=1, says="p4"),
    "endings in code": Broken(
        endings=[line.replace("dropout", "2").replace("completed", "1") for line in endings()],
        change=('file = "endings.csv"', 'file = "endings.csv"\ncodes = { 1 = "completed", 2 = "dropout" }'),
    ),
    # -- the study file
    "unknown key": Broken(read='decimals = ","', check=2, report=2, says="Did you mean 'decimal'"),
    "unknown section": Broken(change=("[detect]", "[detcet]"), check=2, report=2, says="Did you mean 'detect'"),
    "not TOML": Broken(read="= 3", check=2, report=2, says="line"),
    "not UTF-8": Broken(read='# "caf\udce9"', check=2, report=2, says="UTF-8"),
    "no such file": Broken(change=("sessions.csv", "session.csv"), check=2, report=2, says="'sessions.csv'"),
    "no such column": Broken(
        change=('patient = "id"\nsession', 'patient = "ids"\nsession'), check=2, report=2, says="'id'"
    ),
    "unknown score": Broken(change=('"alliance"', '"alliannce"'), check=2, report=2, says="'alliance'"),
    "unknown rule": Broken(change=("previous_2pooled", "previous_2pold"), check=2, report=2, says="previous_2pooled"),
    "unknown field of a rule": Broken(
        change=('rule = "previous_2pooled"', "rule = { sizes = 2.0 }"), check=2, report=2, says="Did you mean 'size'"
    ),
    "a rule that cannot be": Broken(
        change=('rule = "previous_2pooled"', 'rule = { size = "big" }'), check=2, report=2, says="size"
    ),
    "a seed in words": Broken(change=('title = "A small study"', 'seed = "one"'), check=2, report=2, says="seed"),
    "a section as a list": Broken(change=("[detect]", "[[detect]]"), check=2, report=2, says="detect"),
    "an option of the wrong kind": Broken(read="encoding = 5", check=2, report=2, says="[read]"),
    "an unknown instrument": Broken(
        read='[score]\ninstrument = "WAI-RS"\nitems = "wai_{item}"\ninto = "alliance"',
        check=2,
        report=2,
        says="Did you mean 'WAI-S'",
    ),
}


def write(folder, study):
    toml = TOML.format(read=study.read).replace(*study.change) if study.change[0] else TOML.format(read=study.read)
    assert study.change[1] in toml
    (folder / "study.toml").write_bytes(toml.encode("utf-8", "surrogateescape"))
    for name, content in (("sessions.csv", study.sessions), ("endings.csv", study.endings)):
        raw = content if isinstance(content, bytes) else "\n".join(content).encode()
        (folder / name).write_bytes(raw)
    return str(folder / "study.toml")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_study_gives_a_result_or_one_clear_line(name, tmp_path, capsys):
    study = BROKEN[name]
    path = write(tmp_path, study)
    before = sorted(tmp_path.iterdir())

    assert main(["check", path]) == study.check
    checked = capsys.readouterr()
    assert sorted(tmp_path.iterdir()) == before, "check writes nothing"

    assert main(["report", path, "--out", str(tmp_path / "out")]) == study.report
    said = capsys.readouterr()
    if study.report == 0:
        html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert study.says in html
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
        assert {output["file"] for output in manifest["outputs"]} == {
            file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.*")
        } - {"manifest.json"}
    else:
        assert sorted(tmp_path.iterdir()) == before, "a refused study leaves nothing behind"
        assert said.err.startswith("alliance-stats: ")
        assert said.err.count("\n") == 1, "one line"
        assert study.says in said.err
        assert said.out == ""
        if study.check:
            assert study.says in checked.out + checked.err
            assert sum("error: " in line for line in checked.out.splitlines()) == (not checked.err), "one cause, once"
    assert "Traceback" not in checked.err + said.err


def test_no_row_is_dropped_silently(tmp_path, capsys):
    path = write(tmp_path, BROKEN["code 99 declared"])
    assert main(["report", path, "--out", str(tmp_path / "out")]) == 0
    overview = pd.read_csv(tmp_path / "out/tables/overview.csv", index_col="quantity")["value"]
    assert (overview["sessions"], overview["rated sessions"]) == (32, 31)
    flow = pd.read_csv(tmp_path / "out/tables/flow.csv")
    assert flow["sessions"].tolist() == [32, 32]


STRANGE = {
    "p1": '"Doe, Jane"',
    "p2": '"say ""hi"" for $5 and $_{"',
    "p3": "<script>alert(1)</script>",
    "p4": "Zoë 🙂 Ærø",
}


@pytest.mark.parametrize("show_ids", [False, True])
def test_strange_ids_are_kept_apart_and_escaped(show_ids, tmp_path, capsys):
    names = next(csv.reader([",".join(STRANGE.values())]))
    study = Broken(
        lines(names=STRANGE),
        ["id,ending", *(f"{name},completed" for name in STRANGE.values())],
        change=('title = "A small study"', f'title = "A <b>small</b> & odd study"\nshow_ids = {str(show_ids).lower()}'),
    )
    path = write(tmp_path, study)
    assert main(["report", path, "--out", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "A &lt;b&gt;small&lt;/b&gt; &amp; odd study" in html
    patients = pd.read_csv(tmp_path / "out/tables/patients.csv")
    assert set(patients["patient"]) == (set(names) if show_ids else {"P01", "P02", "P03", "P04"})
    text = "".join(file.read_text(encoding="utf-8") for file in sorted((tmp_path / "out/tables").iterdir()))
    assert ("Zoë" in text) is show_ids
    assert main(["detect", path]) == 0
    assert ("Doe, Jane" in capsys.readouterr().out) is show_ids


def test_the_shipped_bad_file_lists_all_its_mistakes(tmp_path, capsys):
    data = Path(__file__).parents[2] / "data"
    toml = (data / "simulated_study.toml").read_text(encoding="utf-8")
    toml = toml.replace('"simulated_sessions.csv"', '"bad_sessions.csv"')
    toml = re.sub(r"(?ms)^\[(endings|codes)\].*?(?=^\[)", "", toml).split("[dropout]")[0]
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    (tmp_path / "bad_sessions.csv").write_bytes((data / "bad_sessions.csv").read_bytes())
    assert main(["check", str(tmp_path / "study.toml")]) == 1
    said = capsys.readouterr().out
    for mistake in (
        "'4,25'",
        "5.5",
        "Duplicate patient-session rows: 1",
        "'came'",
        "31.02.2023",
        "no patient",
        "-9",
        "99",
    ):
        assert mistake in said
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()


def test_a_study_file_nested_too_deeply_is_one_line(tmp_path, capsys):
    (tmp_path / "study.toml").write_text("a = " + "[" * 100_000)
    assert main(["check", str(tmp_path / "study.toml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
