"""One row per patient: patterns, therapists, endings."""

from dataclasses import replace

import pandas as pd
import pytest
from naive_rules import POINTS, sessions_of

from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.tables.schema import DataError


def test_patterns():
    rule = replace(POINTS, window=1)
    sessions = sessions_of([6, 6], [6, 3, 7, 7], [6, 3, 3, 3], [6, 3, 7, 4, 4, 4], [6, 6, 3])
    endings = pd.DataFrame({"patient": [1, 2, 0, 3, 4], "ending": ["completed", "dropout", *["ongoing"] * 3]})
    table = summarise_patients(
        sessions.assign(therapist="t", phq9=sessions["session"] * 1.0),
        detect_ruptures(sessions, score="alliance", rule=rule),
        endings=endings,
        measures=["phq9"],
    )
    assert table["pattern"].tolist() == ["none", "repaired", "unrepaired", "mixed", "censored"]
    assert table["n_ruptures"].tolist() == [0, 1, 1, 2, 1]
    assert table["ending"].tolist() == ["ongoing", "completed", "dropout", "ongoing", "ongoing"]
    assert table["phq9_pre"].tolist() == [1.0] * 5
    assert table["phq9_post"].tolist() == table["n_sessions"].tolist() == table["n_phq9"].tolist()


def test_the_main_therapist_is_the_one_of_most_sessions():
    sessions = sessions_of([5, 5, 5, 5, 5], [5, 5], [5]).assign(therapist=["a", "b", "b", "b", "a", "c", "d", None])
    table = summarise_patients(sessions, detect_ruptures(sessions, score="alliance", rule=POINTS))
    assert table["therapist"].fillna("-").tolist() == ["b", "c", "-"]
    assert table["n_therapists"].tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ("endings", "message"),
    [
        ({"patient": [0, 0], "ending": ["dropout", "dropout"]}, "twice"),
        ({"patient": [0], "ending": ["drop-out"]}, "Did you mean 'dropout'"),
        ({"patient": ["0"], "ending": ["dropout"]}, "same ids"),
        ({"patient": [0]}, "ending"),
    ],
)
def test_endings_that_do_not_fit(endings, message):
    sessions = sessions_of([5, 5, 5])
    events = detect_ruptures(sessions, score="alliance", rule=POINTS)
    with pytest.raises(DataError, match=message):
        summarise_patients(sessions, events, endings=pd.DataFrame(endings))
