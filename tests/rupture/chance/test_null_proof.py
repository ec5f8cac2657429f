"""The chance level proved by simulation: ratio and p-values in worlds without ruptures, power with them."""

import numpy as np
import pytest
from calm import FIVE_POINTS, world

from alliance_stats.rupture.chance.draws import count_study, draw_fitted
from alliance_stats.rupture.chance.fit_check import INSEPARABLE
from alliance_stats.rupture.chance.frame import frame_of
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.members import RULES

WORLDS = {
    "ordinary": {},
    "short, no autocorrelation": {"length": 8, "ar": 0.0},
    "ceiling, strong autocorrelation": {"level": 6.4, "ar": 0.5},
    "whole points": {"step": 1.0},
    "five points, ceiling": FIVE_POINTS,
    "long, many holes": {"length": 30, "fixed": True, "missing": 0.3, "patients": 60},
    "half missing, no trend": {"length": 20, "missing": 0.5, "slope": 0.0, "slope_sd": 0.0},
    "long, slow state": {"length": 40, "fixed": True, "ar": 0.7, "noise": 0.2, "patients": 60},
    "few patients": {"length": 10, "patients": 40},
    "no bounds, no grid, steep trends": {"step": 0.0, "bounds": (-50.0, 60.0), "slope_sd": 0.06},
    "equal patients": {"spread": 0.0, "ar": 0.1},
    "very unequal patients": {"spread": 0.6},
    "items cut at the ceiling": {"items": 12, "level": 6.2, "sd": 0.4, "bounds": (1.0, 7.0)},
    "rise that saturates": {"rise": 1.2, "rise_sd": 0.6, "bounds": (-9.0, 19.0)},
    "spread that shrinks": {"narrowing": 0.8},
    "rise and shrinking spread": {"rise": 0.8, "rise_sd": 0.4, "narrowing": 0.6},
    # written down after the null was finished, and changed nothing
    "quarter points, noisy": {
        "length": 12,
        "missing": 0.2,
        "ar": 0.4,
        "noise": 0.5,
        "spread": 0.4,
        "level": 5.8,
        "step": 0.25,
    },
    "short, many patients": {"patients": 150, "length": 6, "ar": 0.2, "level": 6.0, "spread": 0.45},
    "noise alone, long": {"length": 25, "noise": 1.0, "ar": 0.0, "slope": 0.05, "slope_sd": 0.03, "patients": 50},
    "whole points near the floor": {"level": 2.0, "step": 1.0, "sd": 0.8, "ar": 0.2},
}
PROVED = ("own_mean_2sd", "running_mean_2pooled", "previous_1point")


def study_of_the_null(kwargs, seed, *, draws, rules=PROVED):
    """For each rule: observed, expected, p-values, and the verdict."""
    rng = np.random.default_rng(seed)
    series = world(rng, **kwargs)
    frame = frame_of(series, bounds=kwargs.get("bounds", (1.0, 7.0)), step=kwargs.get("step"))
    fit = fit_null(frame, rng)
    rows = []
    for name in rules:
        counts, judged, _ = count_study(series, RULES[name])
        seen = counts.total[0]
        drawn = draw_fitted(fit, judged, frame, draws, rng, rng)
        totals, expected = drawn.totals, drawn.expected
        p = (1 + (totals >= seen).sum(axis=0)) / (len(totals) + 1)
        rows.append((seen, expected, p, drawn.verdict))
    return rows


def test_the_null_is_right_in_a_few_studies():
    rows = [
        study_of_the_null({"patients": 80}, seed, draws=150, rules=("own_mean_2sd", "previous_1point"))
        for seed in range(8)
    ]
    for rule in range(2):
        seen = np.sum([study[rule][0] for study in rows], axis=0)
        expected = np.sum([study[rule][1] for study in rows], axis=0)
        assert np.allclose(seen / expected, 1.0, atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_without_ruptures_the_ratio_is_one_and_p_as_stated(name):
    """The ratio is 1 within 8 % and two Monte Carlo errors, and at most 3 of 12 studies are significant at .05.

    Studies whose verdict is that ruptures cannot be told from noise do not count.
    """
    rows = [study_of_the_null(WORLDS[name], seed, draws=200) for seed in range(12)]
    rows = [study for study in rows if study[0][3] != INSEPARABLE]
    print(f"{name:34s} {len(rows):2d} studies", end=" ")
    for rule in range(3 if len(rows) > 3 else 0):
        seen = np.array([study[rule][0][1] for study in rows])
        expected = np.array([study[rule][1][1] for study in rows])
        significant = np.mean([study[rule][2][1] <= 0.05 for study in rows])
        ratio = seen.sum() / expected.sum()
        error = np.std(seen - ratio * expected, ddof=1) * np.sqrt(len(rows)) / expected.sum()
        print(f"{PROVED[rule]} {ratio:.2f} ({error:.2f}) p<=.05 {significant:.2f}", end="; ")
        assert abs(ratio - 1.0) < 0.08 + 2.0 * error
        assert significant <= 0.25


@pytest.mark.slow
def test_with_ruptures_there_is_power():
    """Ruptures of 2.5 SD in 30 % of 100 patients: significant in most studies, the ratio above 1 in nearly all."""
    rows = [study_of_the_null({"ruptured": 0.3}, seed, draws=250, rules=("own_median_2pooled",)) for seed in range(10)]
    p = np.array([study[0][2][0] for study in rows])
    ratio = np.array([study[0][0][0] / study[0][1][0] for study in rows])
    print(f"power {(p <= 0.05).mean():.2f}, ratio {ratio.mean():.2f}")
    assert (p <= 0.05).mean() > 0.5
