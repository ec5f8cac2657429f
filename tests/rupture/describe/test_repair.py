"""Time to repair and the course after it: by hand, and against plain loops over random courses."""

import numpy as np
import pandas as pd
import pytest
from naive_rules import POINTS, random_sessions, sessions_of

from alliance_stats.rupture.describe.repair import growth_after_repair, repair_times
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import DataError

RULES = [
    Rule(name="plain", reference="previous", unit="points", size=1.0, bridge=None),
    Rule(name="window", reference="previous", unit="points", size=1.0, window=3),
    Rule(name="restart", reference="previous", unit="points", size=1.0, window=4, overlap="restart"),
    Rule(name="holds", reference="own_mean", unit="pooled_sd", size=1.0, repair_holds=2),
]


def naive_watch(sessions, events, rule):
    """(sessions watched, repaired, therapy ended) of each event, from the tables alone."""
    rows = []
    for event in events.itertuples():
        course = sessions[(sessions["patient"] == event.patient) & sessions["alliance"].notna()]["session"]
        last = course.max()
        if event.status == "repaired":
            rows.append((event.repaired_at - event.onset, True, False))
            continue
        later = events[(events["patient"] == event.patient) & (events["onset"] > event.onset)]["onset"]
        end = min([last, *later])
        if rule.window is not None:
            end = min(end, event.onset + rule.window) if last >= event.onset + rule.window or len(later) else last
        over = end == last and last not in list(later)  # a new fall at the last rating closes the rupture too
        rows.append((end - event.onset, False, over and (rule.window is None or end < event.onset + rule.window)))
    return rows


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_kaplan_meier_as_a_plain_loop(rule):
    sessions = random_sessions(2, patients=80)
    events = detect_ruptures(sessions, score="alliance", rule=rule)
    seen = naive_watch(sessions, events, rule)
    table = repair_times(sessions.sample(frac=1, random_state=1), events)
    left, incidence, still = 1.0, 0.0, 1.0
    for time in sorted({time for time, _, _ in seen}):
        risk = sum(t >= time for t, _, _ in seen)
        repaired = sum(t == time and done for t, done, _ in seen)
        ended = sum(t == time and over for t, _, over in seen if time > 0)
        left *= 1 - repaired / risk
        incidence += still * repaired / risk
        still *= 1 - (repaired + ended) / risk if time > 0 else 1
        if repaired:
            row = table[table["sessions"] == time].iloc[0]
            assert row[["n_open", "n_repaired"]].tolist() == [risk, repaired]
            assert row["repaired"] == pytest.approx(1 - left)
            assert row["repaired_in_therapy"] == pytest.approx(incidence)
            assert row["ci_low"] <= row["repaired"] <= row["ci_high"]
    assert table["n_repaired"].sum() == (events["status"] == "repaired").sum() > 5
    assert (table["repaired_in_therapy"] <= table["repaired"] + 1e-12).all()


def test_growth_by_hand():
    """Before the onset at 4: 5, 6, 7; repaired at 6 by 8; afterwards 9, 7."""
    sessions = sessions_of([5, 6, 7, 4, 5, 8, 9, 7], [6, 3, 7], [6, 3, 3])
    events = detect_ruptures(sessions, score="alliance", rule=POINTS)
    found = growth_after_repair(sessions, events).iloc[0]
    assert found[["n_repaired", "n_compared", "n_patients"]].tolist() == [2, 1, 1]
    assert found["mean"] == pytest.approx(8 - 6)
    assert growth_after_repair(sessions, events, within=1)["mean"].iloc[0] == pytest.approx(9 - 7)
    assert growth_after_repair(sessions, events, within=2)["mean"].iloc[0] == pytest.approx(8 - 6.5)
    none = growth_after_repair(sessions, events[events["status"] != "repaired"], score="alliance").iloc[0]
    assert none["n_repaired"] == 0
    assert np.isnan(none["mean"])


def test_growth_as_a_plain_loop():
    sessions = random_sessions(4, patients=60)
    events = detect_ruptures(sessions, score="alliance", rule=RULES[0])
    changes = []
    for event in events[events["status"] == "repaired"].itertuples():
        course = sessions[sessions["patient"] == event.patient].dropna()
        before = course[course["session"].between(event.onset - 3, event.onset - 1)]["alliance"]
        after = course[course["session"].between(event.repaired_at + 1, event.repaired_at + 3)]["alliance"]
        if len(before) and len(after):
            changes.append(after.mean() - before.mean())
    found = growth_after_repair(sessions, events, within=3).iloc[0]
    assert found["n_compared"] == len(changes) > 10
    assert found["mean"] == pytest.approx(np.mean(changes))


def test_what_it_refuses():
    sessions = sessions_of([6, 3, 7, 7])
    events = detect_ruptures(sessions, score="alliance", rule=POINTS)
    with pytest.raises(DataError, match="no rupture"):
        repair_times(sessions, events.iloc[:0], score="alliance")
    with pytest.raises(DataError, match="repaired at a session without a rating"):
        repair_times(sessions, events.assign(repaired_at=pd.array([9], dtype="Int64")))
    with pytest.raises(ValueError, match="within=0"):
        growth_after_repair(sessions, events, within=0)
