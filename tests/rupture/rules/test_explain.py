"""Explanations agree with detection and name the reason."""

import numpy as np
import pytest
from naive_rules import POINTS, random_sessions, sessions_of

from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.explain import explain
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import UNITS
from alliance_stats.tables.schema import DataError


def test_explain_agrees_with_detection_at_every_session():
    sessions = random_sessions(4, patients=6)
    for rule in (
        RULES["own_mean_2sd"],
        RULES["previous_1sd"],
        RULES["chart_run_rules"],
        POINTS,
        RULES["sudden_loss"],
        RULES["running_mean_2earlier"],
    ):
        events = detect_ruptures(sessions, score="alliance", rule=rule)
        onsets = set(zip(events["patient"], events["onset"], strict=True))
        repairs = {(row.patient, int(row.repaired_at)) for row in events.itertuples() if row.status == "repaired"}
        for patient, session, score in sessions.itertuples(index=False):
            told = explain(sessions, patient=patient, session=session, score="alliance", rule=rule)
            assert (told.verdict == "not rated") == bool(np.isnan(score))
            assert (told.verdict == "onset") == ((patient, session) in onsets)
            assert (told.verdict == "repaired") == ((patient, session) in repairs)
            failed = told.table["holds"].eq(False).any()
            if told.verdict in ("onset", "repaired") and not rule.run_rules:
                assert told.verdict == "repaired" or not failed
            if told.verdict == "no fall":
                assert failed
            assert told.text in str(told)
            assert "<table" in told._repr_html_()


def test_explain_names_the_reason():
    sessions = sessions_of([7, 7, 7, 7, 7, 7, 7], [6, None, None, 3, 3, 7])
    constant = explain(sessions, patient=0, session=3, score="alliance", rule="own_mean_2sd")
    assert constant.verdict == "cannot fire"
    assert "no spread" in constant.text
    gap = explain(sessions, patient=1, session=4, score="alliance", rule="previous_1point")
    assert gap.verdict == "not judgeable"
    assert explain(sessions, patient=1, session=2, score="alliance", rule="previous_1point").verdict == "not rated"
    assert explain(sessions, patient=1, session=40, score="alliance", rule="previous_1point").verdict == "not rated"
    with pytest.raises(DataError, match="not in the sessions"):
        explain(sessions, patient=9, session=1, score="alliance", rule="previous_1point")
    floor = Rule(reference="own_mean", unit="points", size=3.0, bounds=(1, 7))
    low = sessions_of([2, 2, 3, 3])
    assert "below the lowest score" in explain(low, patient=0, session=2, score="alliance", rule=floor).text


def test_the_unit_of_earlier_ratings_explained():
    sessions = sessions_of([5, 6, 4, 5, 1, 7, 1], [5, 6, 4, 5, 5, 5, 5], [3, 4])
    told = explain(sessions, patient=0, session=5, score="alliance", rule="running_mean_2earlier")
    assert told.verdict == "onset"
    assert UNITS["earlier_sd"].words in " ".join(told.table["criterion"])
    early = explain(sessions, patient=0, session=2, score="alliance", rule="running_mean_2earlier")
    assert early.verdict == "not judgeable"
    short = explain(sessions, patient=2, session=2, score="alliance", rule="running_mean_2earlier")
    assert "too few ratings" in short.text
    constant = explain(sessions_of([5] * 6), patient=0, session=4, score="alliance", rule="running_mean_2earlier")
    assert "no spread" in constant.text


def test_ids_of_another_type_are_named():
    with pytest.raises(DataError, match=r"It is 0 there \(int\), not '0' \(str\)"):
        explain(sessions_of([5, 6, 5]), patient="0", session=1, score="alliance", rule="previous_1point")
