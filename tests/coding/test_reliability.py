"""Coder reliability: equal to R, by hand, invariant; drift."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.coding import coder_drift, coder_reliability

HERE = Path(__file__).parents[1] / "reference" / "coding"


@pytest.fixture(scope="module")
def rated():
    wide = pd.read_csv(HERE / "ratings.csv")
    words = np.array(["none", "withdrawal", "confrontation"], dtype=object)
    rows = [
        pd.DataFrame(
            {
                "patient": wide["patient"],
                "session": wide["session"],
                "coder": coder,
                "rupture": (wide[f"cat{coder}"] > 0).astype(int),
                "type": np.where(wide[f"cat{coder}"] > 0, words[wide[f"cat{coder}"]], None),
                "resolution": wide[coder].astype(float),
            }
        )
        for coder in "ABC"
    ]
    return pd.concat(rows, ignore_index=True)


def found_in(table, measure):
    return table.loc[table["measure"] == measure].set_index("coefficient")["estimate"]


def test_every_coefficient_equals_r(rated):
    expected = json.loads((HERE / "agreement.json").read_text())
    table = coder_reliability(rated, seed=1, draws=50)
    numbers, kinds = found_in(table, "resolution"), found_in(table, "type")
    for name, value in (
        ("kappa", "weighted_kappa"), ("alpha", "alpha_interval"), ("ICC(2,1)", "icc21"), ("ICC(2,k)", "icc2k")
    ):  # fmt: skip
        assert numbers[name] == pytest.approx(expected[value], rel=1e-10), name
    for name, value in (("kappa", "kappa"), ("alpha", "alpha_nominal"), ("AC1", "ac1"), ("agreement", "agreement")):
        assert kinds[name] == pytest.approx(expected[value], rel=1e-10), name


def test_coders_needed_by_spearman_brown(rated):
    single = found_in(coder_reliability(rated, seed=1, draws=10), "resolution")["ICC(2,1)"]
    for target in (0.7, 0.9, 0.95):
        needed = found_in(coder_reliability(rated, seed=1, draws=10, target=target), "resolution")["coders needed"]
        reached = needed * single / (1 + (needed - 1) * single)
        one_less = (needed - 1) * single / (1 + (needed - 2) * single) if needed > 1 else 0
        assert one_less < target <= reached


def test_intervals_hold_the_estimate_and_follow_the_seed(rated):
    table = coder_reliability(rated, seed=1, draws=200)
    inside = table.loc[table["coefficient"].isin(["alpha", "kappa", "ICC(2,1)"])]
    assert (inside["ci_low"] <= inside["estimate"]).all()
    assert (inside["estimate"] <= inside["ci_high"]).all()
    pd.testing.assert_frame_equal(table, coder_reliability(rated.sample(frac=1, random_state=2), seed=1, draws=200))


def test_a_session_with_one_coder_counts_for_nothing_and_two_are_enough(rated):
    more = pd.concat([rated, rated.loc[rated["coder"] == "A"].assign(session=lambda rows: rows["session"] + 100)])
    pd.testing.assert_frame_equal(coder_reliability(more, seed=1, draws=20), coder_reliability(rated, seed=1, draws=20))
    fewer = rated.drop(rated.index[(rated["coder"] == "C") & (rated["session"] > 3)])
    table = coder_reliability(fewer, seed=1, draws=20)
    assert table["n_sessions"].eq(16).all()
    assert found_in(table, "resolution")["alpha"] > 0.5


def test_bootstrap_intervals_cover(rated):
    """Two coders with independent errors: the interval of alpha covers its limit in about 95 of 100 studies."""
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(60):
        true = rng.standard_normal((40, 3)).ravel()
        two = true[:, None] + rng.standard_normal((120, 2)) * 0.5
        study = pd.DataFrame(
            {"patient": np.repeat(np.arange(120) // 3, 2), "session": np.repeat(np.arange(120), 2),
             "coder": ["A", "B"] * 120, "rupture": 1, "resolution": two.ravel()}
        )  # fmt: skip
        row = coder_reliability(study, seed=1, draws=200, measures=["resolution"]).set_index("coefficient").loc["alpha"]
        covered.append(row["ci_low"] <= 1 / 1.25 <= row["ci_high"])
    assert 0.85 <= np.mean(covered) <= 1


def test_drift_shows_a_coder_who_becomes_severe():
    rng = np.random.default_rng(5)
    seen = rng.random(90) < 0.3
    late = np.arange(90) >= 60
    second = np.where(late, seen | (rng.random(90) < 0.6), seen)
    rated = pd.DataFrame(
        {"patient": np.tile(np.arange(90), 2), "session": np.tile(np.arange(90), 2), "coder": np.repeat(["A", "B"], 90),
         "rupture": np.r_[seen, second].astype(int)}
    )  # fmt: skip
    drift = coder_drift(rated)
    assert drift["n_sessions"].tolist() == [30, 30, 30]
    assert drift["alpha"][0] == 1
    assert drift["alpha"][2] < 0.7
    assert drift["mean_B"][2] > drift["mean_A"][2] + 0.2


def test_what_cannot_be_judged_says_so(rated):
    with pytest.raises(als.DataError, match="Fewer than two sessions were coded by two coders"):
        coder_reliability(rated.loc[rated["coder"] == "A"], seed=1)
    with pytest.raises(als.DataError, match="for 40 parts"):
        coder_drift(rated, parts=40)
