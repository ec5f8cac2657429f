"""`alliance-stats init`: a study file is guessed from a data file, passes `check`, or says what to fill in."""

import tomllib

import pandas as pd
import pytest
from shared_data import real_data

import alliance_stats as als
from alliance_stats.cli import main
from alliance_stats.report.checking import check_study
from alliance_stats.report.proposing import propose
from alliance_stats.report.writing import demo_study

WRITERS = {
    "s.csv": lambda table, path: table.to_csv(path, index=False),
    "s.xlsx": lambda table, path: table.to_excel(path, index=False),
    "s.dta": lambda table, path: table.to_stata(path, write_index=False),
    "s.parquet": lambda table, path: table.to_parquet(path),
}


def guessed(path, **options):
    made = propose(path, **options)
    return tomllib.loads("\n".join(made.lines)), made.questions


@pytest.mark.parametrize("name", WRITERS)
def test_the_shipped_study_is_guessed_from_any_kind_of_file(name, tmp_path):
    table = pd.read_csv(demo_study().parent / "simulated_sessions.csv").rename(columns={"patient": "pat_id"})
    WRITERS[name](table, tmp_path / name)
    toml, questions = guessed(tmp_path / name)
    assert questions == []
    read = toml["read"]
    roles = {"patient": "pat_id", **{role: role for role in ("session", "therapist", "date", "attendance")}}
    assert {role: read[role] for role in roles} == roles
    assert read["ranges"] == {"phq9": [0, 27]}
    assert toml["score"] == [{"instrument": "WAI-SR", "items": "wai_{item}", "into": "alliance"}]
    assert (toml["detect"]["score"], toml["outcome"]["symptom"]) == ("alliance", "phq9")
    assert toml["dynamics"] == {"symptom": "phq9", "trend": "random", "start": "stationary"}


def test_the_command_writes_checks_and_never_replaces(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = demo_study().parent / "simulated_sessions.csv"
    assert main(["init", str(data), "--out", "my.toml"]) == 0
    assert "0 error(s)" in capsys.readouterr().out
    before = (tmp_path / "my.toml").read_text(encoding="utf-8")
    assert main(["init", str(data), "--out", "my.toml"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "my.toml").read_text(encoding="utf-8") == before
    assert main(["init", "nothing.csv"]) == 1


def test_codes_dates_and_rows_that_are_no_sessions(tmp_path):
    rows = [f"{p};{s};1{s}.02.2026;{-99 if s == 2 else f'2{s}'}" for p in (101, 102, 103) for s in (1, 2, 3, "FU")]
    text = "\n".join(["Klient;Sitzung;Datum;bdi", *rows]).replace("1FU.", "19.").replace("2FU", "24")
    (tmp_path / "s.csv").write_text(text)
    toml, questions = guessed(tmp_path / "s.csv")
    assert toml["read"] == {
        "file": "s.csv",
        "patient": "Klient",
        "session": "Sitzung",
        "not_sessions": ["FU"],
        "date": "Datum",
        "date_format": "%d.%m.%Y",
        "missing_codes": {"bdi": [-99]},
    }
    assert questions == ["the alliance score to detect ruptures on, one of 'bdi'"]


def test_what_never_changes_within_a_patient_is_no_score(tmp_path):
    rows = [f"p{p},{s},{30 + p},{p % 2},{p + s}" for p in range(1, 5) for s in range(1, 4)]
    (tmp_path / "s.csv").write_text("\n".join(["patient,session,age,female,felt", *rows]))
    questions = guessed(tmp_path / "s.csv")[1]
    assert questions == ["the alliance score to detect ruptures on, one of 'felt'"]


def test_a_wide_file_and_its_items(tmp_path):
    columns = [f"srs{item}_t{session}" for session in (1, 2, 3) for item in (1, 2, 3, 4)]
    (tmp_path / "w.csv").write_text("\n".join([",".join(["nr", *columns]), *(f"{p}" + ",5" * 12 for p in range(5))]))
    toml, _ = guessed(tmp_path / "w.csv")
    assert toml["read"]["wide"] == {"srs{item}": "srs{item}_t{session}"}
    sessions = als.read_sessions(tmp_path / "w.csv", patient="nr", wide=toml["read"]["wide"])
    assert list(sessions) == ["patient", "session", "srs1", "srs2", "srs3", "srs4"]


def test_an_export_of_redcap(tmp_path):
    head = "record_id,redcap_event_name,therapist,wai_1"
    rows = [f"{p},session_{s}_arm_1,T{p % 2},{3 + s % 2}" for p in range(1, 6) for s in range(1, 5)]
    (tmp_path / "r.csv").write_text("\n".join([head, *rows]))
    toml, _ = guessed(tmp_path / "r.csv")
    assert toml["redcap"]["event"] == "session_{session}_arm_1"
    assert "read" not in toml


@pytest.mark.parametrize(
    "name",
    [
        "cbasp_sessions.csv",
        "hsaur3_btheb_long.csv",
        "reframed_phq9.csv",
        "reframed_phq9_assessment.csv",
        "sgdata_wide.csv",
    ],
)
def test_real_files_pass_the_check_or_ask(name, tmp_path):
    (tmp_path / name).write_bytes(real_data(name).read_bytes())
    made = propose(tmp_path / name)
    (tmp_path / "study.toml").write_text("\n".join(made.lines), encoding="utf-8")
    found = check_study(tmp_path / "study.toml")
    assert not (found["severity"] == "error").any()
    assert made.questions, "no alliance score is in these files"
