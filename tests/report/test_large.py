"""The report of a service so large that chance and detector are judged on a part: its tables against plain loops."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from naive_rules import naive_events

import alliance_stats as als
from alliance_stats.report.writing import write_report

pytestmark = pytest.mark.slow
RULE = als.RULES["running_mean_2pooled"]
STUDY = """
[study]
show_ids = true

[read]
file = "sessions.csv"
patient = "patient"
session = "session"
therapist = "therapist"

[endings]
file = "endings.csv"

[detect]
score = "alliance"
rule = "running_mean_2pooled"

[chance]
draws = 199

[latent]

[dropout]
formula = "rupture_open + repaired_before + session"
cluster = "therapist"
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Sessions and endings as read, and the tables of their report by name."""
    folder = tmp_path_factory.mktemp("large")
    study = als.simulate_study(n_patients=2000, n_therapists=200, n_sessions=12, sessions_sd=3, seed=1)
    columns = ["patient", "session", "therapist", "alliance"]
    study.sessions[columns].sample(frac=1, random_state=1).to_csv(folder / "sessions.csv", index=False)
    study.endings.to_csv(folder / "endings.csv", index=False)
    (folder / "study.toml").write_text(STUDY)
    write_report(folder / "study.toml", folder / "report", progress=False)
    page = (folder / "report" / "report.html").read_text()
    assert re.search(r"a random [\d,]+ of the [\d,]+ rated patients", page)
    tables = {path.stem: pd.read_csv(path) for path in (folder / "report" / "tables").glob("*.csv")}
    return pd.read_csv(folder / "sessions.csv"), pd.read_csv(folder / "endings.csv"), tables


@pytest.fixture(scope="module")
def plain(large):
    """Every rupture, found one patient and one session at a time."""
    columns = ["patient", "onset", "nadir", "repaired_at", "status", "baseline", "drop", "drop_units"]
    return pd.DataFrame(naive_events(large[0], RULE), columns=columns)


def course(sessions, patient):
    own = sessions[sessions["patient"] == patient].sort_values("session")
    return own, own.dropna(subset=["alliance"])


def test_every_rupture_is_the_one_of_plain_loops(large, plain):
    events = large[2]["events"]
    assert len(events) > 300
    assert events[["patient", "onset", "nadir", "status"]].equals(plain[["patient", "onset", "nadir", "status"]])
    for name in ("repaired_at", "baseline", "drop", "drop_units"):
        np.testing.assert_allclose(events[name], plain[name].astype(float), rtol=1e-10)


def test_every_patient_is_counted_as_by_hand(large, plain):
    sessions, endings, tables = large
    patients = tables["patients"].set_index("patient")
    assert sorted(patients.index) == sorted(sessions["patient"].unique())
    for patient in np.random.default_rng(1).choice(patients.index, 200, replace=False):
        own, rated = course(sessions, patient)
        found, ruptures = patients.loc[patient], plain[plain["patient"] == patient]
        counts = [(ruptures["status"] == status).sum() for status in ("repaired", "unrepaired", "censored")]
        assert found[["n_sessions", "n_rated", "n_ruptures"]].tolist() == [len(own), len(rated), len(ruptures)]
        assert found[["n_repaired", "n_unrepaired", "n_censored"]].tolist() == counts
        assert [found["ending"]] == endings.loc[endings["patient"] == patient, "ending"].tolist()
        assert found["therapist"] in own["therapist"].mode().tolist()


def test_prevalence_is_a_plain_count(large, plain):
    sessions, _, tables = large
    rated = sessions.dropna(subset=["alliance"])
    closed = plain.assign(end=plain["repaired_at"].astype(float).fillna(np.inf))
    spans = {patient: list(zip(own["onset"], own["end"])) for patient, own in closed.groupby("patient")}
    inside = [
        session
        for patient, session in zip(rated["patient"], rated["session"])
        if any(onset <= session < end for onset, end in spans.get(patient, []))
    ]
    ruptures = tables["ruptures"].set_index("quantity")
    repaired = plain["status"] == "repaired"
    assert ruptures.loc["patients with a rating", ["count", "of"]].tolist() == [rated["patient"].nunique(), 2000]
    assert ruptures.loc["patients with a rupture", "count"] == plain["patient"].nunique()
    assert ruptures.loc["patients with a repaired rupture", "count"] == plain.loc[repaired, "patient"].nunique()
    assert ruptures.loc["onsets per rated session", ["count", "of"]].tolist() == [len(plain), len(rated)]
    assert ruptures.loc["rated sessions in an open rupture", "count"] == len(inside)
    by_session = tables["ruptures_by_session"].set_index("session")
    for session, row in by_session.iterrows():
        assert row["n_rated"] == (rated["session"] == session).sum()
        assert row["n_onsets"] == (plain["onset"] == session).sum()
        assert row["n_open"] == inside.count(session)


def test_the_share_in_each_state_is_the_aalen_johansen_product(large, plain):
    """Of all patients, session by session: who is in which state, and who moves to which or ends how."""
    sessions, endings, tables = large
    last = sessions.groupby("patient")["session"].max().to_dict()
    ending = endings.set_index("patient")["ending"].to_dict()
    ruptures = {patient: list(zip(own["onset"], own["repaired_at"])) for patient, own in plain.groupby("patient")}

    def state(patient, session):
        if session > last[patient]:
            return ending[patient]
        if session == last[patient] > 1 and ending[patient] == "ongoing":  # no more is known: censored there
            session -= 1
        begun = [end for onset, end in ruptures.get(patient, []) if onset <= session]
        if any(not end <= session for end in begun):
            return "open"
        return "repaired" if begun else "none"

    found = tables["cumulative_incidence"].set_index(["time", "state"])
    share = {"none": 1.0, **dict.fromkeys(("open", "repaired", "completed", "dropout", "transferred"), 0.0)}
    for time in range(2, max(last.values()) + 1):
        moves = Counter(
            (state(patient, time - 1), state(patient, time))
            for patient in last
            if last[patient] >= time or (last[patient] == time - 1 and ending[patient] != "ongoing")
        )
        leaving = {
            one: sum(n for (start, _), n in moves.items() if start == one) for one in ("none", "open", "repaired")
        }
        after = {name: 0.0 if leaving.get(name) else value for name, value in share.items()}
        for (start, end), n in moves.items():
            after[end] += share[start] * n / leaving[start]
        share = after
        for name, value in share.items():
            row = found.loc[(time, name)]
            came = sum(n for (start, end), n in moves.items() if end == name != start)
            assert row["estimate"] == pytest.approx(value, abs=1e-9)
            assert row[["n_at_risk", "n_events"]].tolist() == [leaving.get(name, sum(leaving.values())), came]


def test_every_probability_is_that_of_the_patient_among_others(large):
    """Scores at the ceiling are integrated with random numbers, and those of the study are not those of a part."""
    sessions, _, tables = large
    states = tables["states"]
    assert len(states) == len(sessions)
    patients = np.random.default_rng(2).choice(sessions["patient"].unique(), 100, replace=False)
    part = sessions[sessions["patient"].isin(patients)]
    parameters = als.detect_latent(sessions, score="alliance", seed=1).parameters
    again = als.detect_latent(part, score="alliance", parameters=parameters).states("smoothed")
    found = states[states["patient"].isin(patients)].reset_index(drop=True)
    names = ["rupture_open", "repaired_before", "rupture_begins"]
    apart = (found[names] - again[names]).abs().max(axis=1).groupby(found["patient"]).max()
    ceiling = part.groupby("patient")["alliance"].max() == sessions["alliance"].max()
    assert apart[~ceiling].max() < 1e-9
    assert apart[ceiling].max() < 0.1
    probable = tables["probable"].set_index("quantity")
    assert probable.loc["onsets per rated session", "count"] == pytest.approx(states["rupture_begins"].sum())
