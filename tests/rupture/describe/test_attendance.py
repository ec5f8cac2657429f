"""Whether attendance announces ruptures: by hand, and a world in which it does."""

import numpy as np
import pandas as pd
import pytest
from calm import two_raters
from naive_rules import POINTS as RULE

from alliance_stats.rupture.describe.attendance import attendance_markers
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.tables.schema import DataError


def test_attendance_by_hand():
    sessions = pd.DataFrame(
        {
            "patient": 1,
            "session": range(1, 9),
            "attendance": ["attended", "late", "attended", "attended", "no-show", "attended", "attended", "attended"],
            "alliance": [6, 6, 3, 7, np.nan, 4, 7.5, 7],
        }
    )
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    assert events["onset"].tolist() == [3, 6]
    table = attendance_markers(sessions, events, seed=1, draws=20).set_index("signal")
    # at risk: 2, 3, 4 is after the repair, 6, 8; before them: attended, late, attended (4), no-show (6), attended (8)
    assert table.loc["late", ["n_after", "onsets_after"]].tolist() == [1, 1]
    assert table.loc["no-show", ["n_after", "onsets_after"]].tolist() == [1, 1]
    assert table.loc["any", ["n_after", "onsets_after"]].tolist() == [2, 2]
    assert table.loc["any", "onsets_otherwise"] == 0
    assert table.loc["cancelled", "n_after"] == 0


def test_attendance_that_announces_ruptures_is_found():
    rng = np.random.default_rng(2)
    sessions = two_raters(patients=150, t=14)
    sessions["alliance"] = np.round(rng.normal(5, 0.2, len(sessions)), 1)
    signal = rng.random(len(sessions)) < 0.1
    follows = np.r_[False, signal[:-1]] & (sessions["session"] > 1).to_numpy()
    falls = rng.random(len(sessions)) < np.where(follows, 0.3, 0.05)
    sessions.loc[falls, "alliance"] -= 3
    sessions["attendance"] = np.where(signal, "late", "attended")
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    row = attendance_markers(sessions, events, seed=1).set_index("signal").loc["late"]
    assert row["ci_low"] > 2.5
    assert row["ci_low"] < row["risk_ratio"] < row["ci_high"]
    noise = sessions.assign(attendance=rng.permutation(sessions["attendance"].to_numpy()))
    row = attendance_markers(noise, events, seed=1).set_index("signal").loc["late"]
    assert row["ci_low"] < 1 < row["ci_high"]
    with pytest.raises(DataError, match="attendance"):
        attendance_markers(sessions.drop(columns="attendance"), events, seed=1)


def test_signals_by_who_missed_the_session():
    """Only cancellations by the patient announce ruptures."""
    rng = np.random.default_rng(4)
    rows, onsets = [], []
    for patient in range(150):
        for session in range(1, 11):
            cancelled = session % 3 == 2 and rng.random() < 0.8
            who = rng.choice(["patient", "therapist"]) if cancelled else None
            rows.append(
                (patient, session, 5.0 if not cancelled else np.nan, "cancelled" if cancelled else "attended", who)
            )
            if who == "patient" and rng.random() < 0.6 and session < 10:
                onsets.append((patient, session + 1))
    sessions = pd.DataFrame(rows, columns=["patient", "session", "alliance", "attendance", "missed_by"])
    events = pd.DataFrame(onsets, columns=["patient", "onset"]).drop_duplicates("patient")
    events = events.assign(event=1, repaired_at=events["onset"] + 1, status="repaired", rule="coded", score="alliance")
    table = attendance_markers(sessions, events, seed=1, by="missed_by", draws=50).set_index("signal")
    both, own, other = (table.loc[f"cancelled{who}"] for who in ("", " by patient", " by therapist"))
    assert own["n_after"] + other["n_after"] == both["n_after"]
    assert own["rate_after"] > 0.4
    assert other["onsets_after"] == 0
