"""The tables about a study."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als


def test_codebook_by_hand():
    table = pd.DataFrame(
        {
            "patient": [1, 1, 1, 2, 2],
            "session": [1, 2, 4, 1, 2],
            "therapist": ["a", "a", "a", "a", "b"],
            "date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-22", "2024-02-01", "2024-02-03"]),
            "wai": [7.0, 7, np.nan, 1, 3],
        }
    )
    row = als.describe_sessions(table, ranges={"wai": [1, 7]}).iloc[0]
    assert (row["n"], row["n_missing"], row["n_patients"]) == (4, 1, 2)
    assert (row["share_floor"], row["share_ceiling"]) == (0.25, 0.5)
    # Means 7 and 2: between 2 x 2.5^2 + 2 x 2.5^2 = 25, within (1 + 1) / 2 = 1, n0 = 2: (25 - 1) / 2 = 12; 12 / 13
    assert row["share_between"] == pytest.approx(12 / 13)
    facts = als.load.describe_study(table, ["wai"]).set_index("fact")
    assert facts.loc["session numbers left out per patient", "maximum"] == 1
    assert facts.loc["days between neighbouring sessions", "median"] == 7
    assert facts.loc["therapists per patient", "maximum"] == 2
    assert facts.loc["sessions with wai per patient", "minimum"] == 2
    patterns = als.load.missing_patterns(table, ["wai"])
    assert patterns["sessions"].tolist() == [4, 1]
