"""calibrate: the wanted rate of false alarms, and what chance leaves over."""

import numpy as np
import pytest
from calm import as_sessions, flagged, world

from alliance_stats.rupture.chance.calibrate import calibrate, smallest_size


@pytest.mark.parametrize(("per", "rate"), [("patient", 0.05), ("patient", 0.2), ("session", 0.02)])
def test_calibrated_rules_keep_the_rate_on_new_noise(per, rate):
    series = world(np.random.default_rng(5), patients=200)
    found = calibrate(
        as_sessions(series), score="alliance", rule="own_mean_2pooled", rate=rate, per=per, draws=200, seed=1
    )
    assert rate * 0.97 < found.reached <= rate
    # a study of 200 knows the SD to 1.5 %, which moves the rate of falls this large by a sixth
    fresh = [flagged(world(np.random.default_rng(100 + seed), patients=300), found.rule) for seed in range(8)]
    assert np.mean(fresh, axis=0)[0 if per == "patient" else 1] == pytest.approx(rate, rel=0.3)
    column = f"{per}_rate"
    assert (np.diff(found.curve[column]) <= 0).all()
    assert found.curve.loc[np.isclose(found.curve["size"], found.size), column].iloc[0] == pytest.approx(found.reached)
    zero = found.prevalence
    assert (zero["ci_low"] < 0.02).all()
    assert (zero["ci_high"] > -0.02).all()


def test_exposure_adjusted_prevalence_finds_what_chance_leaves_over():
    series = world(np.random.default_rng(5), patients=150, ruptured=0.5, depth=4.0, fixed=True, spread=0.1)
    found = calibrate(as_sessions(series), score="alliance", rule="own_median_2pooled", draws=200, seed=1)
    row = found.prevalence.set_index("quantity").loc["patients with a rupture"]
    assert row["ci_low"] > 0.05
    assert row["excess"] == pytest.approx(row["observed"] - row["expected"])
    assert found.size == found.chance.rule.size == found.rule.size
    assert "false alarms" in str(found)


def test_smallest_size():
    depth = np.sort(np.r_[np.full(5, -np.inf), [1.0, 2.0, 2.0, 3.0, 4.0]])
    assert smallest_size(depth, 0.2) == pytest.approx(2.5)  # ties cannot be parted
    assert (depth >= smallest_size(depth, 0.3)).mean() <= 0.3
    assert smallest_size(depth, 0.0) > 4
    with pytest.raises(ValueError, match="no session"):
        smallest_size(np.full(3, -np.inf), 0.1)
