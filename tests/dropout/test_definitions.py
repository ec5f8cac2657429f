"""Endings by definition: by hand."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.schema import DataError

SESSIONS = pd.DataFrame(
    {
        "patient": [1, 1, 1, 2, 2, 3, 4, 4],
        "session": [1, 2, 3, 1, 2, 1, 1, 2],
        "date": pd.to_datetime(
            [
                *("2024-01-01", "2024-01-08", "2024-03-20"),
                *("2024-01-01", "2024-01-08"),
                "2024-03-25",
                *("2024-01-01", "2024-03-31"),
            ]
        ),
        "phq9": [20.0, 15, 9, 18, 17, 20, 15, np.nan],
        "planned": [3, 3, 3, 3, 3, 1, 3, 3],
        "says": ["completed"] * 3 + ["dropout"] * 2 + ["transferred"] + ["ongoing"] * 2,
    }
)


def derive(definition, **options):
    return als.derive_endings(SESSIONS, definition, **options)


def test_before_planned_end():
    assert derive("before_planned_end", planned=3)["ending"].tolist() == ["completed", *["dropout"] * 3]
    by_patient = derive("before_planned_end", planned="planned")
    assert by_patient["ending"].tolist() == ["completed", "dropout", "completed", "dropout"]
    assert by_patient["last_session"].tolist() == [3, 2, 1, 2]
    assert by_patient.attrs["definition"] == "before_planned_end (planned=planned)"


def test_gap_in_days():
    found = derive("gap_in_days", days=42)
    # 1 and 4 pause longer than 42 days: their therapy ended before the pause; 3 was seen a week ago
    assert found["ending"].tolist() == ["dropout", "dropout", "ongoing", "dropout"]
    assert found["last_session"].tolist() == [2, 2, 1, 1]
    known = pd.DataFrame({"patient": [2, 4], "ending": ["completed", "transferred"]})
    kept = derive("gap_in_days", days=42, known=known)
    assert kept["ending"].tolist() == ["dropout", "completed", "ongoing", "transferred"]


def test_fewer_sessions_judgement_and_change():
    assert derive("fewer_sessions", minimum=2)["ending"].tolist() == [
        *["completed"] * 2,
        "dropout",
        "completed",
    ]
    assert derive("judgement", judgement="says")["ending"].tolist() == [
        *("completed", "dropout", "transferred", "ongoing")
    ]
    change = derive("no_reliable_change", score="phq9", reliable_change=6)
    assert change["ending"].tolist() == ["completed", "dropout", "dropout", "dropout"]
    worse = derive("no_reliable_change", score="phq9", reliable_change=6, lower_is_better=False)
    assert (worse["ending"] == "dropout").all()


def test_missed_sessions_are_not_held():
    came = ["attended", "attended", "no-show", *["attended"] * 5]
    found = als.derive_endings(SESSIONS.assign(attendance=came), "before_planned_end", planned=3)
    assert found["last_session"].tolist() == [2, 2, 1, 2]


def test_comparison():
    table = als.dropout.compare_endings(
        SESSIONS,
        {
            "planned": {"definition": "before_planned_end", "planned": 3},
            "judged": {"definition": "judgement", "judgement": "says"},
        },
    )
    assert table["n_dropout"].tolist() == [3, 1]
    assert table["n_ongoing"].tolist() == [0, 1]
    np.testing.assert_allclose(table["rate"], [3 / 4, 1 / 3])
    # Wilson (1927) for 3 of 4, by hand
    np.testing.assert_allclose(table.loc[0, ["ci_low", "ci_high"]].astype(float), [0.300642, 0.954413], atol=1e-6)
    np.testing.assert_allclose(table["agreement"], [1, 0.5])


def test_errors():
    with pytest.raises(ValueError, match="needs planned="):
        derive("before_planned_end")
    with pytest.raises(ValueError, match=r"'before_end'.*'before_planned_end'"):
        derive("before_end")
    with pytest.raises(DataError, match="'phq9' must say"):
        derive("judgement", judgement="phq9")


def test_a_known_ending_happens_at_the_last_session():
    known = pd.DataFrame({"patient": [1, 4], "ending": ["completed", "transferred"]})
    found = derive("gap_in_days", days=42, known=known)
    assert found["ending"].tolist() == ["completed", "dropout", "ongoing", "transferred"]
    assert found["last_session"].tolist() == [3, 2, 1, 2]  # not at the session before the first gap (2 and 1)
    stated = derive("gap_in_days", days=42, known=known.assign(last_session=[np.nan, 1]))
    assert stated["last_session"].tolist() == [3, 2, 1, 1]
    with pytest.raises(DataError, match="known must give each patient one of"):
        derive("gap_in_days", days=42, known=known.assign(ending="moved"))


def test_every_patient_needs_an_ending_in_a_comparison():
    with pytest.raises(DataError, match="have no ending"):
        als.dropout.compare_endings(SESSIONS, {"half": pd.DataFrame({"patient": [1], "ending": ["dropout"]})})
