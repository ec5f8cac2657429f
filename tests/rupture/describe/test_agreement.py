"""Agreement between raters and with coders: by hand, beside chance, and in worlds of pure noise."""

import numpy as np
import pandas as pd
import pytest
from calm import two_raters
from statsmodels.stats.inter_rater import cohens_kappa

from alliance_stats.rupture.describe.agreement import gwet_ac1, kappa
from alliance_stats.rupture.describe.comparing import coder_agreement, compare_raters
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import DataError

RULE = Rule(name="points", reference="previous", unit="points", size=2.0, bridge=None)


def test_kappa_and_ac1_by_hand():
    assert kappa(20, 25 * 30 / 50, 25, 30) == pytest.approx(0.4)  # observed .7, by chance .5
    assert gwet_ac1(20, 25, 30, 50) == pytest.approx((0.7 - 2 * 0.55 * 0.45) / (1 - 2 * 0.55 * 0.45))
    assert np.isnan(kappa(0, 0, 0, 0))
    assert gwet_ac1(0, 0, 0, 10) == 1.0


def test_cohens_kappa_is_that_of_statsmodels():
    for both, first, second, neither in ([20, 5, 10, 15], [3, 40, 1, 200], [0, 4, 7, 90]):
        n_first, n_second, n = both + first, both + second, both + first + second + neither
        expected = cohens_kappa([[both, first], [second, neither]]).kappa
        assert kappa(both, n_first * n_second / n, n_first, n_second) == pytest.approx(expected, rel=1e-12)


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
    # Onsets at 2 and 6, codes at 3 and 9 moved by 0 to 9 sessions: (3, 9) 1 pair, (4, 10) 0, (5, 1) 2, (6, 2) 2,
    # (7, 3) 2, (8, 4) 0, (9, 5) 1, (10, 6) 1, (1, 7) 2, (2, 8) 1: 12 pairs in 10 moves
    assert table.loc["sensitivity", "expected"] == pytest.approx(1.2 / 2, abs=0.1)
    expected = table.loc["sensitivity", "expected"] * 2
    assert table.loc["kappa", "estimate"] == pytest.approx((8 / 10 - (6 + 2 * expected) / 10) / (4 - 2 * expected) * 10)
    assert table.loc["Cohen's kappa, same session", "estimate"] == pytest.approx(-0.25)
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
    sessions = two_raters()
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    codes = events[["patient", "onset"]].rename(columns={"onset": "session"})
    same = coder_agreement(sessions, events, codes, seed=1, draws=100).set_index("quantity")
    assert (
        same.loc[["sensitivity", "precision", "specificity", "kappa", "AC1, same session"], "estimate"].tolist()
        == [1.0] * 5
    )
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
    sessions = two_raters()
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
    sessions = two_raters()
    first = compare_raters(sessions, rule=RULE, seed=3, draws=200)
    again = compare_raters(sessions.sample(frac=1, random_state=2), rule=RULE, seed=3, draws=200)
    pd.testing.assert_frame_equal(first, again)
    assert (first["ci_low"] <= first["estimate"]).all()
    assert (first["estimate"] <= first["ci_high"]).all()
    assert first.loc[[0, 1, 7], "p_value"].max() < 0.05
    assert (first.loc[[0, 1], "estimate"] > first.loc[[0, 1], "expected"]).all()


def noise(seed, patients=400, t=16):
    """Two raters who have nothing to do with each other; one of them rates some patients much less steadily."""
    rng = np.random.default_rng(seed)
    unsteady = np.where(np.arange(patients) % 2, 1.6, 0.6)[:, None]
    return pd.DataFrame(
        {
            "patient": np.repeat(np.arange(patients), t),
            "session": np.tile(np.arange(1, t + 1), patients),
            "alliance": (rng.normal(5, 1, (patients, t)) * 1.0).ravel(),
            "alliance_therapist": (5 + unsteady * rng.normal(0, 1, (patients, t))).ravel(),
        }
    )


@pytest.mark.parametrize("margin", [0, 1, 2])
@pytest.mark.parametrize("rule", ["own_mean_2sd", "running_mean_2pooled", "previous_2sd"])
def test_raters_of_pure_noise_agree_as_chance_has_it(rule, margin):
    table = compare_raters(noise(margin), rule=rule, seed=1, margin=margin, draws=200).set_index("quantity")
    assert abs(table.loc["kappa", "estimate"]) < 0.05
    assert abs(table["estimate"] - table["expected"]).iloc[:2].max() < 0.05
    assert table["p_value"].iloc[:5].min() > 0.005
    assert table.iloc[2:5]["expected"].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_codes_of_pure_noise_agree_as_chance_has_it(margin):
    sessions = noise(7, patients=500)
    events = detect_ruptures(sessions, score="alliance", rule="own_mean_2sd")
    rng = np.random.default_rng(margin)
    codes = sessions.sample(frac=0.1, random_state=margin)[["patient", "session"]]
    codes["type"] = rng.choice(["withdrawal", "confrontation"], len(codes))
    table = coder_agreement(sessions, events, codes, seed=1, margin=margin, draws=200).set_index("quantity")
    assert abs(table.loc["kappa", "estimate"]) < 0.04
    for quantity in table.index[table["expected"].notna()][:5]:
        assert table.loc[quantity, "estimate"] == pytest.approx(table.loc[quantity, "expected"], abs=0.06), quantity


@pytest.mark.slow
def test_p_values_of_pure_noise_are_uniform():
    """100 studies and 199 moves: about 5 of 100 below .05, half below one half."""
    rule = Rule(reference="own_mean", unit="points", size=1.2)
    tables = [compare_raters(noise(seed, patients=80), rule=rule, seed=1, draws=199) for seed in range(100)]
    for row in (0, 2):  # seen by both, seen first
        p_values = np.array([table["p_value"].iloc[row] for table in tables])
        assert (p_values <= 0.05).mean() <= 0.11
        assert 0.3 <= (p_values <= 0.5).mean() <= 0.7
    assert abs(np.mean([table["estimate"].iloc[7] for table in tables])) < 0.025


def test_no_mark_at_all_has_no_p_value():
    flat = two_raters().assign(alliance=5.0, alliance_therapist=5.0)
    table = compare_raters(flat, rule=RULE, seed=1, draws=20)
    assert table["p_value"].isna().all()


SPELLS = pd.DataFrame({"patient": 1, "session": range(1, 11), "alliance": [6, 6, 6, 6, 3, 7, 7, 7, 7, 7.0]})


def test_the_nearest_code_is_the_one_that_was_seen():
    events = detect_ruptures(SPELLS, score="alliance", rule=RULE)  # onset at 5
    codes = pd.DataFrame({"patient": 1, "session": [4, 5], "type": ["withdrawal", "confrontation"]})
    table = coder_agreement(SPELLS, events, codes, seed=1, draws=20).set_index("quantity")
    assert table.loc["sensitivity: confrontation", "estimate"] == 1.0
    assert table.loc["sensitivity: withdrawal", "estimate"] == 0.0


def test_two_markers_of_one_session_are_one_rupture():
    events = detect_ruptures(SPELLS, score="alliance", rule=RULE)
    codes = pd.DataFrame({"patient": 1, "session": [5, 5, 5], "type": ["withdrawal", "confrontation", "confrontation"]})
    table = coder_agreement(SPELLS, events, codes, seed=1, draws=20).set_index("quantity")
    assert table.loc["sensitivity", ["count", "of"]].tolist() == [1, 1]
    assert table.loc["coded per session", ["count", "of"]].tolist() == [1, 10]
    assert table.loc[["sensitivity: withdrawal", "sensitivity: confrontation"], "count"].tolist() == [1, 1]


def test_codes_at_sessions_without_a_rating_are_left_out_and_counted():
    sessions = SPELLS.iloc[[0, 1, 3, 4]].assign(alliance=[np.nan, np.nan, 6.0, 3.0])
    events = detect_ruptures(sessions, score="alliance", rule=RULE)
    codes = pd.DataFrame({"patient": 1, "session": range(1, 8)})
    for coded in (None, codes):
        table = coder_agreement(sessions, events, codes, coded=coded, seed=1, draws=20).set_index("quantity")
        assert table.loc["coded per session", ["count", "of"]].tolist() == [2, 2]
        assert table.loc["codes left out (session not rated)", ["count", "of"]].tolist() == [5, 7]
        shares = table["estimate"].drop(["kappa", "Cohen's kappa, same session", "AC1, same session"])
        assert shares.dropna().between(0, 1).all()


def test_ids_of_another_type_are_named():
    events = detect_ruptures(SPELLS, score="alliance", rule=RULE)
    with pytest.raises(DataError, match=r"It is 1 there \(int\), not '1' \(str\)"):
        coder_agreement(SPELLS, events, pd.DataFrame({"patient": ["1"], "session": [5]}), seed=1)
