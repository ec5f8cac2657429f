"""Parts of a multiverse: the bytes of one run, whatever was run where, and not of another study's."""

import pytest

import alliance_stats as als
from alliance_stats.cli import main

STUDY = """
[read]
file = "sessions.csv"
patient = "patient"
session = "session"
therapist = "therapist"

[endings]
file = "endings.csv"

[detect]
score = "alliance"
rule = "previous_2pooled"

[outcome]
symptom = "phq9"

[[multiverse]]
question = "next_session"
rules = ["previous_2pooled", "running_mean_2pooled", "own_mean_2sd"]
targets = ["past baseline"]
draws = 99

[[multiverse]]
question = "dropout"
rules = ["previous_2pooled"]
draws = 99
"""


@pytest.fixture
def study(tmp_path):
    simulated = als.simulate_study(n_patients=60, n_therapists=10, n_sessions=8, seed=1)
    simulated.sessions.to_csv(tmp_path / "sessions.csv", index=False)
    simulated.endings.to_csv(tmp_path / "endings.csv", index=False)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_merged_parts_are_one_run_to_the_byte_and_the_tables_of_the_report(study, tmp_path):
    parts, whole, merged = tmp_path / "parts", tmp_path / "whole", tmp_path / "merged"
    assert run("multiverse", study, "--out", whole, "--jobs", 2) == 0
    for part in ("3/3", "1/3", "2/3", "1/3"):
        assert run("multiverse", study, "--part", part, "--out", parts) == 0
    assert run("merge", parts, "--out", merged) == 0
    written = {path.name: path.read_bytes() for path in whole.iterdir()}
    names = {f"multiverse_{question}{end}.csv" for question in ("next_session", "dropout") for end in ("", "_joint")}
    assert set(written) == names
    assert {path.name: path.read_bytes() for path in merged.iterdir()} == written
    sessions = als.read_sessions(tmp_path / "sessions.csv", patient="patient", session="session", therapist="therapist")
    test = als.multiverse.joint_test(
        sessions, score="alliance", question="next_session", symptom="phq9", seed=1, draws=99, progress=False,
        rules=["previous_2pooled", "running_mean_2pooled", "own_mean_2sd"], targets=["past baseline"],
    )  # fmt: skip
    assert test.joint.to_csv(index=False).encode().split() == written["multiverse_next_session_joint.csv"].split()


def test_parts_of_changed_data_are_refused(study, tmp_path, capsys):
    assert run("multiverse", study, "--part", "1/2", "--out", tmp_path / "parts") == 0
    sessions = (tmp_path / "sessions.csv").read_text().splitlines()
    (tmp_path / "sessions.csv").write_text("\n".join(sessions[:-1]) + "\n")
    assert run("multiverse", study, "--part", "2/2", "--out", tmp_path / "parts") == 0
    assert run("merge", tmp_path / "parts") == 1
    said = capsys.readouterr().err
    assert "mixes runs: part-2-of-2.json has SHA-256 of sessions.csv" in said
