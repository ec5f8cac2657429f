"""Agreement between raters and with coders, and attendance as a marker: by hand, and against plain counting."""

import itertools

import numpy as np
import pandas as pd
import pytest

from alliance_stats.rupture.describe.agreement import (
    attendance_markers,
    coder_agreement,
    cohen_kappa,
    compare_raters,
    gwet_ac1,
)
from alliance_stats.rupture.describe.matching import match_within
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import DataError

RULE = Rule(name="points", reference="previous", unit="points", size=2.0, bridge=None)


def study(seed=1, patients=60, t=12):
    rng = np.random.default_rng(seed)
    alliance = np.round(rng.normal(5, 0.4, (patients, t)), 1)
    alliance[rng.random((patients, t)) < 0.08] -= 2.5
    therapist = np.round(alliance + rng.normal(0, 0.5, (patients, t)), 1)
    return pd.DataFrame(
        {
            "patient": np.repeat([f"p{number:02d}" for number in range(patients)], t),
            "session": np.tile(np.arange(1, t + 1), patients),
            "alliance": alliance.ravel(),
            "alliance_therapist": therapist.ravel(),
        }
    )


def largest_matching(a, b, margin):
    """The most pairs there can be, by trying all."""
    if len(a) > len(b):
        a, b = b, a
    return max(
        sum(abs(x - y) <= margin for x, y in zip(a, chosen, strict=True))
        for chosen in itertools.permutations(b, len(a))
    )


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_matching_pairs_as_many_as_can_be(margin):
    rng = np.random.default_rng(margin)
    for _ in range(150):
        a = np.sort(rng.choice(12, rng.integers(0, 6), replace=False))
        b = np.sort(rng.choice(12, rng.integers(0, 6), replace=False))
        left, right = match_within(np.zeros(len(a)), a, np.zeros(len(b)), b, margin=margin)
        assert len(set(left)) == len(left)
        assert len(set(right)) == len(right)
        assert (np.abs(a[left] - b[right]) <= margin).all()
        assert len(left) == largest_matching(list(a), list(b), margin)


def test_matching_keeps_patients_apart():
    a, b = match_within([0, 1, 1], [5, 5, 8], [1, 0, 2], [5, 9, 8], margin=1)
    assert (a.tolist(), b.tolist()) == ([1], [0])


def test_kappa_and_ac1_by_hand():
    assert cohen_kappa([20, 5, 10, 15]) == pytest.approx(0.4)  # observed .7, by chance .5
    assert gwet_ac1([20, 5, 10, 15]) == pytest.approx((0.7 - 2 * 0.55 * 0.45) / (1 - 2 * 0.55 * 0.45))
    assert np.isnan(cohen_kappa([0, 0, 0, 10]))
    assert gwet_ac1([0, 0, 0, 10]) == 1.0


def test_coder_agreement_by_hand():
    sessions = pd.DataFrame({"patient": 1, "session": range(1, 11), "alliance": [6, 3, 7, 7, 7, 4, 7, 7, 7, 7.0]})
    events = detect_ruptures(sessions, score="alliance", rule=RULE)  # onsets at 2 and 6
    codes = pd.DataFrame({"patient": 1, "session": [3, 9], "type": ["withdrawal", "confrontation"]})
    table = coder_agreement(sessions, events, codes, seed=1, draws=50).set_index("quantity")
    assert table.loc["sensitivity", ["count", "of"]].tolist() == [1, 2]
    assert table.loc["precision", ["count", "of"]].tolist() == [1, 2]
    assert table.loc["specificity", ["count", "of"]].tolist() == [7, 8]
    assert table.loc["sensitivity: withdrawal", "estimate"] == 1.0
    assert table.loc["sensitivity: confrontation", "estimate"] == 0.0
    assert table.loc["kappa", "estimate"] == pytest.approx(cohen_kappa([1, 1, 1, 7]))
    exact = coder_agreement(sessions, events, codes, seed=1, margin=0, draws=50).set_index("quantity")
    assert exact.loc["sensitivity", "count"] == 0


def test_only_coded_sessions_count():
    sessions = pd.DataFrame({"patient": 1, "session": range(1, 11), "alliance": [6, 3, 7, 7, 7, 4, 7, 7, 7, 7.0]})
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    coded = pd.DataFrame({"patient": 1, "session": [1, 2, 3, 4]})
    codes = pd.DataFrame({"patient": [1], "session": [3]})
    table = coder_agreement(sessions, events, codes, coded=coded, seed=1, draws=50).set_index("quantity")
    assert table.loc["precision", ["count", "of"]].tolist() == [1, 1]
    assert table.loc["coded per session", ["count", "of"]].tolist() == [1, 4]
    with pytest.raises(DataError, match="does not list"):
        coder_agreement(sessions, events, codes.assign(session=9), coded=coded, seed=1)


def test_perfect_and_absent_agreement():
    sessions = study()
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    codes = events[["patient", "onset"]].rename(columns={"onset": "session"})
    same = coder_agreement(sessions, events, codes, seed=1, draws=100).set_index("quantity")
    assert same.loc[["sensitivity", "precision", "specificity", "kappa", "AC1"], "estimate"].tolist() == [1.0] * 5
    none = coder_agreement(sessions, events.iloc[:0], codes, score="alliance", seed=1, draws=100).set_index("quantity")
    assert none.loc["sensitivity", "estimate"] == 0.0


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({"patient": ["zz"], "session": [1]}, "not in the sessions"),
        ({"patient": ["p01"], "session": [1], "type": ["withdrawl"]}, "Did you mean 'withdrawal'"),
        ({"patient": ["p01"]}, "session"),
    ],
)
def test_codes_that_do_not_fit(codes, message):
    sessions = study()
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    with pytest.raises(DataError, match=message):
        coder_agreement(sessions, events, pd.DataFrame(codes), seed=1)


def test_raters_who_saw_it_and_who_saw_it_first():
    base = [6, 6, 6, 6, 6, 6, 6, 6, 6, 6.0]
    patient = [[6, 6, 3, 7, 6, 6, 6, 6, 6, 6], [6, 3, 7, 6, 6, 6, 6, 6, 6, 6], base]
    therapist = [[6, 6, 6, 3, 7, 6, 6, 6, 6, 6], [6, 3, 7, 6, 6, 6, 6, 6, 6, 6], [6, 6, 6, 6, 6, 3, 7, 6, 6, 6]]
    sessions = pd.DataFrame(
        {
            "patient": np.repeat([1, 2, 3], 10),
            "session": np.tile(np.arange(1, 11), 3),
            "alliance": np.ravel(patient),
            "alliance_therapist": np.ravel(therapist),
        }
    ).astype({"alliance": float, "alliance_therapist": float})
    table = compare_raters(sessions, rule=RULE, seed=1, draws=50).set_index("quantity")
    assert table.loc["also in alliance_therapist, of those in alliance", ["count", "of"]].tolist() == [2, 2]
    assert table.loc["also in alliance, of those in alliance_therapist", ["count", "of"]].tolist() == [2, 3]
    assert table.loc["first in alliance, of those in both", ["count", "of"]].tolist() == [1, 2]
    assert table.loc["in the same session, of those in both", "count"] == 1
    swapped = compare_raters(sessions, scores=("alliance_therapist", "alliance"), rule=RULE, seed=1, draws=50)
    assert swapped.set_index("quantity").loc["first in alliance, of those in both", "count"] == 1


def test_bootstrap_intervals_hold_the_estimate_and_repeat():
    sessions = study()
    first = compare_raters(sessions, rule=RULE, seed=3, draws=200)
    again = compare_raters(sessions.sample(frac=1, random_state=2), rule=RULE, seed=3, draws=200)
    pd.testing.assert_frame_equal(first, again)
    assert (first["ci_low"] <= first["estimate"]).all()
    assert (first["estimate"] <= first["ci_high"]).all()


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
    sessions = study(patients=150, t=14)
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
