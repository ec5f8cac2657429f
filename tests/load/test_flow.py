"""Who was kept and why, from the file through every step to every model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.flow import in_words, with_step

SHIPPED = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def sessions():
    read = als.read_sessions(
        SHIPPED / "simulated_sessions.csv", patient="patient", session="session", therapist="therapist"
    )
    kept = als.keep(read, read["session"] <= 15, because="sessions 1 to 15")
    return als.score_items(kept, "WAI-SR", items="wai_{item}", into="alliance")


@pytest.fixture(scope="module")
def events(sessions):
    return als.detect_ruptures(sessions, score="alliance", rule="running_mean_2pooled")


@pytest.fixture(scope="module")
def patients(sessions, events):
    return als.summarise_patients(sessions, events, measures=["phq9"])


@pytest.fixture(scope="module")
def intervals(sessions, events):
    endings = pd.read_csv(SHIPPED / "simulated_endings.csv")
    endings = endings.assign(last_session=np.minimum(endings["last_session"], 15))
    return als.dropout_intervals(sessions, events, endings=endings, measures=["phq9"])


def check(fit, given, last):
    """The record of the input goes on in the fit, whose last step is what it used; summary and HTML say so."""
    steps = fit.diagnostics["flow"]
    assert steps[: len(given.attrs["flow"])] == given.attrs["flow"]
    assert [step["step"] for step in steps[:3]] == ["in the file", "read", "sessions 1 to 15"]
    assert steps[-1]["step"] == last
    table = als.flow(fit)
    assert table["step"].tolist() == [step["step"] for step in steps]
    assert in_words(steps) in fit.summary()
    assert "sessions 1 to 15" in fit._repr_html_()
    return steps[-1]


def test_every_step_on_the_way_keeps_the_record(sessions, events, patients, intervals):
    told = sessions.attrs["flow"]
    assert len(told) == 3
    assert told[2]["sessions"] == len(sessions)
    tables = [
        als.split_within_between(sessions, "alliance"),
        als.lag(sessions, "phq9"),
        als.mark_ruptures(sessions, events),
        events,
        patients,
        als.detect_ruptures(sessions[sessions["session"] < 2], score="alliance", rule="running_mean_2pooled"),
    ]
    assert all(table.attrs["flow"] == told for table in tables)
    assert intervals.attrs["flow"][:3] == told
    assert intervals.attrs["flow"][3]["sessions"] == len(intervals)
    assert (
        "flow"
        not in als.detect_ruptures(
            pd.DataFrame({"patient": 1, "session": [1, 2], "a": [1.0, 2]}), score="a", rule="running_mean_2pooled"
        ).attrs
    )


def test_mixed(sessions):
    fit = als.fit_mixed("phq9 ~ alliance + (1 | patient)", sessions)
    last = check(fit, sessions, "used by the mixed model")
    complete = sessions.dropna(subset=["phq9", "alliance"])
    assert (last["patients"], last["sessions"]) == (complete["patient"].nunique(), len(complete))
    assert sum(last["lost"].values()) == len(sessions) - len(complete) > 0
    assert fit.with_criterion(reml=False).diagnostics["flow"] == fit.diagnostics["flow"]


def test_outcome(patients):
    fit = als.fit_outcome(patients, post="phq9_post", pre="phq9_pre")
    last = check(fit, patients, "used by the outcome model")
    assert last["patients"] == fit.diagnostics["rows"] == len(patients) - sum(last["lost"].values())
    assert last["sessions"] < patients["n_sessions"].sum()


def test_next_session(sessions, events):
    fit = als.fit_next_session(sessions, events, symptom="phq9", alliance="alliance")
    last = check(fit, sessions, "used by the next-session model")
    assert last["sessions"] == len(fit.data) == len(sessions) - sum(last["lost"].values())
    assert last["lost"] == fit.diagnostics["rows_lost"]


def test_growth(sessions, patients):
    fit = als.fit_growth(sessions, patients, measure="phq9")
    last = check(fit, sessions, "used by the growth model")
    assert last["sessions"] == fit.diagnostics["rows"] == len(sessions) - sum(last["lost"].values())


@pytest.mark.parametrize("model", ["discrete", "cox"])
def test_dropout(intervals, model):
    fit = als.fit_dropout("rupture_open + phq9", intervals, model=model)
    last = check(fit, intervals, "used by the dropout model")
    assert last["sessions"] == fit.diagnostics["n_rows"] == len(intervals) - sum(last["lost"].values())
    table = als.flow(fit)
    assert table["unit"].tolist()[-2:] == ["intervals", "intervals"]
    assert table["sessions_lost"].tolist()[-2:] == [0, len(intervals) - last["sessions"]]


def test_landmarks(sessions, intervals):
    here = als.dropout.landmark_intervals(intervals, at=5)
    last = here.attrs["flow"][-1]
    assert last["step"] == "in treatment at the landmark"
    assert last["patients"] == last["sessions"] == len(here)


def test_without_a_record_a_fit_begins_with_its_own_table():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(np.arange(10), 4), "y": rng.normal(size=40)})
    data.loc[[0, 5], "y"] = np.nan
    flow = als.flow(als.fit_mixed("y ~ 1 + (1 | g)", data))
    assert flow["step"].tolist() == ["at the start", "used by the mixed model"]
    assert flow["sessions"].tolist() == [40, 38]
    assert flow["patients"].isna().all()  # no column of patients: not to be told
    assert flow["why"].tolist() == ["", "no y (2)"]


def test_missing_in_several_columns_at_once_counts_rows_once():
    rng = np.random.default_rng(3)
    data = pd.DataFrame(rng.normal(size=(40, 2)), columns=["x", "y"]).assign(patient=np.repeat(np.arange(10), 4))
    data.loc[[0, 5], ["x", "y"]] = np.nan
    last = als.fit_mixed("y ~ x + (1 | patient)", data).diagnostics["flow"][-1]
    assert sum(last["lost"].values()) == 2


def test_words_pass_over_steps_that_changed_nothing():
    steps = with_step([], "in the file", patients=1, sessions=1000)
    steps = with_step(steps, "read", patients=1, sessions=1000)
    steps = with_step(steps, "used", patients=1, sessions=999, lost={"no phq9": 1, "no alliance": 0})
    assert (
        in_words(steps)
        == "Kept, in the file: 1 patient, 1,000 sessions; used: 1 patient, 999 sessions, left out: no phq9 (1)."
    )


def written(folder, text):
    path = folder / "study.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_declared_to_be_no_sessions_are_left_out_and_counted(tmp_path):
    text = "id,sess,wai\n1,1,5\n1,Post-Rx,99\n1,,4\n2,2,4\n3, Post-Rx ,4\n"
    path = written(tmp_path, text)
    how = {"patient": "id", "session": "sess", "ranges": {"wai": [1, 7]}}
    got = als.read_sessions(path, **how, not_sessions=["Post-Rx", ""])
    assert got["session"].tolist() == [1, 2]
    assert got["wai"].tolist() == [5, 4]
    flow = als.flow(got)
    assert flow["step"].tolist() == ["in the file", "with a session (not empty, 'Post-Rx')", "read"]
    assert flow[["patients_lost", "sessions_lost"]].to_numpy().tolist() == [[0, 0], [1, 3], [0, 0]]
    assert got.attrs["report"]["rows_in_file"] == 5
    assert any("3 row(s) that are no sessions" in note for note in got.attrs["report"]["notes"])
    found = als.check_file(path, **how, not_sessions=["Post-Rx", ""])
    assert (found["severity"] != "error").all()
    assert "not a session" in found["rule"].tolist()
    with pytest.raises(als.DataError, match="no session number"):  # the empty cell was not declared
        als.read_sessions(path, **how, not_sessions=["Post-Rx"])


def test_codes_for_no_session_may_be_numbers(tmp_path):
    path = written(tmp_path, "id,sess,wai\n1,1,5\n1,-8,5\n1,,4\n2,2,4\n")
    for codes in ([-8, ""], ["-8", ""], [-8.0, ""]):
        assert als.read_sessions(path, patient="id", session="sess", not_sessions=codes)["session"].tolist() == [1, 2]


def test_not_sessions_that_cannot_be_meant(tmp_path):
    path = written(tmp_path, "id,sess,day,wai\n1,Post,2026-01-01,5\n")
    with pytest.raises(als.DataError, match="Every row is one of not_sessions"):
        als.read_sessions(path, patient="id", session="sess", not_sessions=["Post"])
    with pytest.raises(ValueError, match=r"must be a list, such as \['Post'\]"):
        als.read_sessions(path, patient="id", session="sess", not_sessions="Post")
    with pytest.raises(ValueError, match="there is none"):
        als.read_sessions(path, patient="id", date="day", not_sessions=["Post"])
