"""What rules find in pure noise: the published rates."""

import numpy as np
import pytest
from calm import flagged, noise

from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.follow import follow
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule

NOISE_ONLY = {  # share of patients (and of sessions), in percent, for 8, 16 and 30 sessions
    "previous_1sd": [(97, 23), (100, 23), (100, 24)],
    "previous_2sd": [(55, 7.5), (83, 7.7), (97, 7.8)],
    "own_mean_2sd": [(6, 0.7), (26, 1.7), (52, 2.0)],
    "own_trend_2sd": [(2, 0.2), (21, 1.3), (48, 1.8)],
    "chart_2sigma": [(13, 1.7), (29, 2.0), (50, 2.1)],
    "chart_3sigma": [(1, 0.1), (2, 0.1), (4, 0.1)],
}


@pytest.mark.parametrize("name", NOISE_ONLY)
def test_pure_noise_gives_ruptures(name):
    for length, (patients, sessions) in zip((8, 16, 30), NOISE_ONLY[name], strict=True):
        share, rate = flagged(noise(4000, length), RULES[name])
        assert share == pytest.approx(patients / 100, abs=0.025)
        assert rate == pytest.approx(sessions / 100, abs=0.005)


def test_autocorrelation_and_ceiling_change_the_noise_rates():
    for length, expected in ((8, 0.41), (16, 0.63), (30, 0.82)):
        assert flagged(noise(4000, length, ar=0.3), RULES["previous_2sd"])[0] == pytest.approx(expected, abs=0.03)
    for length, expected in ((8, 0.21), (16, 0.60), (30, 0.88)):
        series = noise(4000, length)
        ceiling = series.with_scores(np.minimum(series.score, 0.4959))  # 31 % of scores at the ceiling
        assert flagged(ceiling, RULES["own_mean_2sd"])[0] == pytest.approx(expected, abs=0.03)


@pytest.mark.slow
def test_the_noise_only_table_with_20000_patients():
    for name, cells in NOISE_ONLY.items():
        for length, (patients, sessions) in zip((8, 16, 30), cells, strict=True):
            share, rate = flagged(noise(20_000, length), RULES[name])
            assert share == pytest.approx(patients / 100, abs=0.012)
            assert rate == pytest.approx(sessions / 100, abs=0.0025 if sessions < 20 else 0.008)


def test_repair_by_chance():
    """Back to the level before the fall within 3 sessions: 47 % of 1 SD falls, 31 % of 2 SD falls, on noise alone."""
    series = noise(4000, 16)
    scores = series.score.reshape(-1, 16)
    for name, expected in (("previous_1sd", 0.47), ("previous_2sd", 0.31)):
        falls = judge(series, RULES[name]).fires.reshape(-1, 16)[:, 1:13]  # three more sessions follow each
        before = scores[:, :12]
        back = np.logical_or.reduce([scores[:, 1 + ahead : 13 + ahead] >= before for ahead in (1, 2, 3)])
        assert back[falls].mean() == pytest.approx(expected, abs=0.02)


def test_repairs_of_a_rule_that_absorbs_further_falls():
    """Of ruptures, into which further falls are absorbed, fewer are repaired than of falls counted one by one."""
    rule = Rule(reference="previous", unit="own_sd", size=1.0, repair="to_baseline", window=3)
    ruptures = follow(judge(noise(4000, 16), rule))
    complete = ruptures.onset % 16 <= 12
    assert (ruptures.status[complete] == 0).mean() == pytest.approx(0.424, abs=0.02)
