"""Detection against the definition as a naive loop, and invariances."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rules import POINTS, VARIANTS, naive_events, random_sessions, sessions_of

from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import EVENTS_COLUMNS, EVENTS_DTYPES


def test_a_fall_and_a_repair_past_baseline():
    events = detect_ruptures(sessions_of([5, 6, 4, 3, 6, 6.5, 6]), score="alliance", rule=POINTS)
    assert events.loc[0, ["onset", "nadir", "repaired_at"]].tolist() == [3, 4, 6]
    assert events.loc[0, ["baseline", "nadir_score", "repair_score", "drop", "drop_units"]].tolist() == [
        6,
        3,
        6.5,
        3,
        3,
    ]
    assert events.loc[0, "status"] == "repaired"
    assert events.loc[0, "sessions_to_repair"] == 3


@pytest.mark.parametrize("rule", VARIANTS, ids=[rule.name for rule in VARIANTS])
def test_the_definition_as_a_naive_loop(rule):
    n_events = 0
    for seed in range(3):
        sessions = random_sessions(seed, step=[0.5, 1 / 12, 1.0][seed], level=[5.0, 6.0, 5.5][seed])
        events = detect_ruptures(sessions.sample(frac=1, random_state=seed), score="alliance", rule=rule)
        expected = naive_events(sessions, rule)
        got = list(
            zip(
                events["patient"],
                events["onset"],
                events["nadir"],
                [None if pd.isna(value) else int(value) for value in events["repaired_at"]],
                events["status"],
                strict=True,
            )
        )
        assert got == [row[:5] for row in expected]
        numbers = events[["baseline", "drop", "drop_units"]].to_numpy()
        assert np.allclose(numbers, np.array([row[5:] for row in expected]).reshape(-1, 3), rtol=1e-9, atol=1e-12)
        n_events += len(events)
    assert n_events > 0 or rule.name in {"chart_3sigma", "sudden_loss", "own_trend_2sd"}


scores = st.lists(st.one_of(st.none(), st.integers(2, 14).map(lambda value: value / 2)), min_size=1, max_size=12)


rules = st.builds(
    lambda base, window, overlap, repair, strict, holds: replace(
        base,
        window=window,
        overlap=overlap,
        repair=repair[0],
        repair_amount=repair[1],
        strict=strict,
        repair_holds=holds,
    ),
    st.sampled_from(VARIANTS),
    st.sampled_from([None, 1, 2, 4]),
    st.sampled_from(["absorb", "restart"]),
    st.sampled_from([("past_baseline", None), ("to_baseline", None), ("share_of_fall", 0.4), ("within_points", 0.5)]),
    st.booleans(),
    st.sampled_from([1, 1, 2, 3]),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(courses=st.lists(scores, min_size=1, max_size=5), rule=rules)
def test_events_are_what_they_say(courses, rule):
    sessions = sessions_of(*courses)
    events = detect_ruptures(sessions, score="alliance", rule=rule)
    if sessions["alliance"].notna().any():
        assert [row[:5] for row in naive_events(sessions, rule)] == [
            (*row[:3], None if pd.isna(row[3]) else row[3], row[4])
            for row in events[["patient", "onset", "nadir", "repaired_at", "status"]].itertuples(index=False)
        ]
    for _, part in events.groupby("patient"):
        assert (part["onset"] <= part["nadir"]).all()
        ends = part["repaired_at"].fillna(10**6)
        assert (part["nadir"] < ends).all()
        assert (np.diff(part["onset"]) > 0).all()
    assert (events["repaired_at"].isna() == (events["status"] != "repaired")).all()


@pytest.mark.parametrize("rule", list(RULES.values()), ids=list(RULES))
def test_row_order_labels_shift_and_scale(rule):
    sessions = random_sessions(5, patients=60)
    events = detect_ruptures(sessions, score="alliance", rule=rule)
    columns = ["onset", "nadir", "repaired_at", "status"]
    shuffled = sessions.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(detect_ruptures(shuffled, score="alliance", rule=rule), events)
    indexed = sessions.set_index(pd.MultiIndex.from_arrays([range(len(sessions)), ["x"] * len(sessions)]))
    pd.testing.assert_frame_equal(detect_ruptures(indexed, score="alliance", rule=rule), events)
    numbered = sessions.assign(patient=pd.factorize(sessions["patient"], sort=True)[0])
    again = detect_ruptures(numbered, score="alliance", rule=rule)
    pd.testing.assert_frame_equal(again[columns], events[columns])
    nullable = sessions.convert_dtypes()
    pd.testing.assert_frame_equal(detect_ruptures(nullable, score="alliance", rule=rule)[columns], events[columns])
    if rule.unit not in ("percent",) and rule.fall != "sudden":
        moved = sessions.assign(alliance=sessions["alliance"] + 100)
        pd.testing.assert_frame_equal(detect_ruptures(moved, score="alliance", rule=rule)[columns], events[columns])
    if rule.unit != "points":
        scaled = sessions.assign(alliance=sessions["alliance"] * 12)
        pd.testing.assert_frame_equal(detect_ruptures(scaled, score="alliance", rule=rule)[columns], events[columns])


@pytest.mark.parametrize("rule", list(RULES.values()), ids=list(RULES))
def test_prospective_rules_do_not_look_ahead(rule):
    """Cutting the series after any session changes no earlier onset of a prospective rule in points."""
    sessions = random_sessions(8, patients=90)
    fixed = replace(rule, unit="points", size=1.0, reliability=None) if rule.prospective else rule
    whole = detect_ruptures(sessions, score="alliance", rule=fixed)
    looked_ahead = False
    for last in range(2, 14):
        cut = detect_ruptures(sessions[sessions["session"] <= last], score="alliance", rule=fixed)
        earlier = whole[whole["onset"] <= last]
        same = (
            cut[["patient", "onset"]]
            .reset_index(drop=True)
            .equals(earlier[["patient", "onset"]].reset_index(drop=True))
        )
        looked_ahead |= not same
        if fixed.prospective:
            assert same
    if not rule.prospective:
        assert looked_ahead
    assert whole.attrs["prospective"] == rule.prospective


@pytest.mark.parametrize("reference", ["running_mean", "running_max", "previous"])
@pytest.mark.parametrize("unit", ["earlier_sd", "pooled_sd", "percent"])
def test_later_ratings_in_another_order_change_no_earlier_onset(reference, unit):
    """Another order leaves the study's pooled variance as it is, so only a look ahead could change an earlier onset."""
    sessions = random_sessions(12, patients=60, missing=0.0)
    rule = Rule(reference=reference, unit=unit, size=1.0, min_ratings=2)
    whole = detect_ruptures(sessions, score="alliance", rule=rule)
    for last in (3, 5, 8):
        later = sessions["session"] > last
        turned = sessions.copy()
        turned.loc[later, "alliance"] = (
            sessions[later].groupby("patient")["alliance"].transform(lambda scores: scores.to_numpy()[::-1])
        )
        assert not turned.equals(sessions)
        other = detect_ruptures(turned, score="alliance", rule=rule)
        ours, theirs = (
            events.loc[events["onset"] <= last, ["patient", "onset"]].reset_index(drop=True)
            for events in (whole, other)
        )
        pd.testing.assert_frame_equal(ours, theirs)
    assert rule.prospective


def test_adding_a_patient_changes_nobody_elses_events_under_own_units():
    sessions = random_sessions(3)
    more = pd.concat([sessions, pd.DataFrame({"patient": "zzz", "session": range(1, 9), "alliance": 4.0})])
    for name in ("own_mean_2sd", "previous_1sd", "chart_2sigma", "own_trend_1sd"):
        events = detect_ruptures(sessions, score="alliance", rule=name)
        pd.testing.assert_frame_equal(detect_ruptures(more, score="alliance", rule=name), events)


def test_events_keep_their_columns_and_types_with_and_without_rows():
    for sessions in (random_sessions(1), sessions_of([5, 5, 5])):
        before = sessions.copy()
        events = detect_ruptures(sessions, score="alliance", rule="previous_1sd")
        pd.testing.assert_frame_equal(sessions, before)
        assert tuple(events.columns) == EVENTS_COLUMNS
        for name, dtype in EVENTS_DTYPES.items():
            assert events[name].dtype == dtype
        assert events["patient"].dtype == sessions["patient"].dtype
        assert events.attrs["rule"] == "previous_1sd"
        assert Rule(**events.attrs["settings"]) == RULES["previous_1sd"]
