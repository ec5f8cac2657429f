"""Prevalence of ruptures: by hand and against plain counting."""

import numpy as np
import pytest
from naive_rules import POINTS, random_sessions, sessions_of

from alliance_stats.rupture.describe.describe import describe_ruptures, ruptures_by_session
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.tables.schema import DataError


def test_describe_by_hand():
    sessions = sessions_of([6, 3, 7, 6], [6, 6, 6], [6, 3, 3, 3], [None, None])
    events = detect_ruptures(sessions, score="alliance", rule=POINTS)
    table = describe_ruptures(sessions, events).set_index("quantity")
    assert table.loc["patients with a rating", ["count", "of"]].tolist() == [3, 4]
    assert table.loc["patients with a rupture", ["count", "of"]].tolist() == [2, 3]
    assert table.loc["patients with a repaired rupture", "count"] == 1
    # judgeable: all but the first ratings (3 + 2 + 3 = 8); after an onset without repair 2 are not at risk
    assert table.loc["onsets per session at risk", ["count", "of"]].tolist() == [2, 6]
    assert table.loc["rated sessions in an open rupture", ["count", "of"]].tolist() == [1 + 3, 11]
    assert table.loc["ruptures repaired, of those decided", ["count", "of"]].tolist() == [1, 2]
    by_session = ruptures_by_session(sessions, events).set_index("session")
    assert by_session.loc[2, ["n_rated", "n_at_risk", "n_onsets", "n_open"]].tolist() == [3, 3, 2, 2]
    assert by_session["n_onsets"].sum() == 2


def test_describe_agrees_with_plain_counting():
    sessions = random_sessions(2, patients=25)
    for name in ("previous_1sd", "own_median_2pooled", "previous_1point"):
        events = detect_ruptures(sessions, score="alliance", rule=name)
        table = describe_ruptures(sessions, events).set_index("quantity")
        rated = sessions.dropna()
        assert table.loc["patients with a rupture", "count"] == events["patient"].nunique()
        assert table.loc["onsets per rated session", "of"] == len(rated)
        end = events["repaired_at"].astype("float64").fillna(np.inf)
        inside = sum(
            ((events["patient"] == row.patient) & (events["onset"] <= row.session) & (row.session < end)).any()
            for row in rated.itertuples()
        )
        assert table.loc["rated sessions in an open rupture", "count"] == inside
        assert (
            (table["ci_low"] <= table["estimate"]) & (table["estimate"] <= table["ci_high"]) | (table["of"] == 0)
        ).all()
        by_session = ruptures_by_session(sessions, events)
        assert by_session["n_onsets"].sum() == len(events)
        assert by_session["n_open"].sum() == inside
        assert by_session["n_at_risk"].sum() == table.loc["onsets per session at risk", "of"]


def test_describe_refuses_foreign_events():
    sessions = random_sessions(1)
    events = detect_ruptures(sessions, score="alliance", rule="previous_1sd")
    with pytest.raises(DataError, match="a patient that sessions does not have"):
        describe_ruptures(sessions.assign(patient="other-" + sessions["patient"].astype(str)), events)
    with pytest.raises(DataError, match="without a rating"):
        describe_ruptures(sessions.assign(session=sessions["session"] + 50), events)
    plain = events.drop(columns=["score", "rule"])
    plain.attrs.clear()
    with pytest.raises(DataError, match="score="):
        describe_ruptures(sessions, plain)
