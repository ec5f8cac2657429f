"""Repair by chance: events of pure noise are repaired as chance has it, true ruptures later."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.rupture.chance.repair import chance_of_repair
from alliance_stats.rupture.describe.repair import growth_after_repair, repair_times
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import DataError


def noise(seed, patients=120, t=14, ruptured=0.0):
    rng = np.random.default_rng(seed)
    score = 5 + rng.normal(0, 0.7, (patients, 1)) + rng.normal(0, 0.6, (patients, t))
    for patient in np.flatnonzero(rng.random(patients) < ruptured):
        onset = rng.integers(4, t - 5)
        score[patient, onset : onset + 5] -= 2.5
    return pd.DataFrame(
        {
            "patient": np.repeat(np.arange(patients), t),
            "session": np.tile(np.arange(1, t + 1), patients),
            "alliance": score.ravel(),
        }
    )


@pytest.mark.parametrize("rule", ["running_mean_2pooled", "previous_1sd"])
def test_noise_is_repaired_as_chance_has_it(rule):
    sessions = noise(3)
    found = chance_of_repair(sessions, score="alliance", rule=rule, seed=1, draws=200)
    assert (found["p_value"] > 0.01).all()
    shares = found[found["quantity"].str.startswith("ruptures")]
    assert shares["observed"].to_numpy() == pytest.approx(shares["expected"].to_numpy(), abs=0.15)
    events = detect_ruptures(sessions, score="alliance", rule=rule)
    decided = events[events["status"] != "censored"]
    assert found["observed"].iloc[0] == pytest.approx((decided["status"] == "repaired").mean())
    curve = repair_times(sessions, events).set_index("sessions")["repaired"]
    assert found["observed"].iloc[2] == pytest.approx(curve[curve.index <= 3].iloc[-1])
    assert found["observed"].iloc[-1] == pytest.approx(growth_after_repair(sessions, events)["mean"].iloc[0])
    again = chance_of_repair(sessions.sample(frac=1, random_state=1), score="alliance", rule=rule, seed=1, draws=200)
    pd.testing.assert_frame_equal(found, again)


@pytest.mark.parametrize("seed", [4, 7])
def test_true_ruptures_are_repaired_later_than_noise(seed):
    found = chance_of_repair(
        noise(seed, ruptured=0.6), score="alliance", rule="running_mean_2pooled", seed=1, draws=200
    ).set_index("quantity")
    early = found.loc["ruptures repaired within 3 session(s)"]
    assert early["observed"] < early["chance_low"] < early["expected"]
    assert early["p_value"] < 0.05


def test_nothing_to_judge():
    sessions = noise(1).assign(alliance=5.0)
    with pytest.raises(DataError, match="finds no rupture"):
        chance_of_repair(sessions, score="alliance", rule="previous_1point", seed=1)


def test_one_patient_and_a_rule_that_never_fires_by_chance():
    sessions = pd.DataFrame({"patient": 1, "session": range(1, 9), "alliance": [5.0, 5, 5, 5, 1, 5.5, 5, 5]})
    found = chance_of_repair(sessions, score="alliance", rule="previous_1point", seed=1, draws=100)
    assert found["observed"].iloc[0] == 1.0
    quiet = noise(1, patients=40)
    quiet.loc[(quiet["patient"] == 3) & (quiet["session"] == 5), "alliance"] -= 30
    found = chance_of_repair(quiet, score="alliance", rule=Rule(reference="previous", unit="points", size=20.0), seed=1)
    assert found[["expected", "p_value"]].isna().all().all()


@pytest.mark.slow
def test_p_values_of_noise_are_at_most_nominal():
    """60 studies without ruptures: each quantity significant at .05 in at most 12 % of them, expected right to .03."""
    tables = [
        chance_of_repair(noise(seed, patients=80), score="alliance", rule="running_mean_2pooled", seed=1, draws=200)
        for seed in range(60)
    ]
    p_values = np.array([table["p_value"] for table in tables])
    assert (np.nanmean(p_values <= 0.05, axis=0) <= 0.12).all()
    gap = np.array([table["observed"] - table["expected"] for table in tables])
    assert (np.abs(np.nanmean(gap, axis=0)) < 0.03 + 2 * np.nanstd(gap, axis=0) / np.sqrt(60)).all()
