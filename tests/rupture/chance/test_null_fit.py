"""The estimate of the null: it recovers worlds without ruptures, and ruptures hardly enter it."""

from functools import partial

import numpy as np
import pytest
from calm import world

from alliance_stats.rupture.chance.draws import count_draws, count_study, draw_null
from alliance_stats.rupture.chance.frame import frame_of
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.members import RULES


@pytest.mark.parametrize(
    "truth",
    [
        {},
        {"ar": 0.6, "noise": 0.2},
        {"ar": 0.0, "spread": 0.0},
        {"step": 1.0},
        {"level": 6.3, "length": 10},
        {"spread": 0.6},
        {"slope_sd": 0.06, "bounds": (-50.0, 60.0)},
    ],
    ids=str,
)
def test_the_null_recovers_a_world_without_ruptures(truth):
    fits = []
    for seed in (11, 12, 13):
        series = world(np.random.default_rng(seed), **{"patients": 400} | truth)
        frame = frame_of(series, bounds=truth.get("bounds", (1.0, 7.0)), step=None)
        fits.append(fit_null(frame, np.random.default_rng(1)).parameters)
    fit = np.mean(fits, axis=0)
    if "bounds" not in truth:
        assert fit[8] < 0.7  # these scores are cut at their bounds, of which whole points say little
    assert fit[0] == pytest.approx(0.6, rel=0.08)
    ar, share = truth.get("ar", 0.3), truth.get("noise", 0.3)
    assert (1 - fit[2]) * fit[1] == pytest.approx((1 - share) * ar, abs=0.1)  # correlation of neighbouring sessions
    assert fit[3] == pytest.approx(truth.get("spread", 0.3), abs=0.16)
    assert fit[4] == pytest.approx(0.02, abs=0.01)


def test_ruptures_hardly_enter_the_null():
    """With 30 % of patients ruptured by 2.5 SD the plain within SD grows by a tenth, the null's by not half of that.

    In courses of 16 sessions; where many courses are hardly longer than their rupture nothing tells the two apart.
    """
    plain, robust = [], []
    for seed in range(4):
        for ruptured in (0.0, 0.3):
            series = world(np.random.default_rng(seed), patients=200, ruptured=ruptured, fixed=True)
            residual = series.score - series.spread(series.mean)
            plain.append(np.sqrt((residual**2).sum() / (series.length - 1).sum()))
            fit = fit_null(frame_of(series, bounds=(1.0, 7.0), step=None), np.random.default_rng(1))
            robust.append(fit.parameters[0])
    plain, robust = np.reshape(plain, (4, 2)).mean(axis=0), np.reshape(robust, (4, 2)).mean(axis=0)
    assert plain[1] / plain[0] > 1.07
    assert abs(robust[1] / robust[0] - 1) < 0.5 * (plain[1] / plain[0] - 1)


def test_a_ceiling_of_items_is_felt_from_afar():
    """Twelve answers cut at the ceiling skew their mean; cutting the mean itself would expect too few ruptures."""
    rng = np.random.default_rng(5)
    series = world(rng, patients=400, items=12, level=6.2, sd=0.4)
    frame = frame_of(series, bounds=(1.0, 7.0), step=None)
    fit = fit_null(frame, rng)
    assert fit.parameters[8] > 0.4
    counts, judged, _ = count_study(series, RULES["own_mean_2sd"])
    seen = counts.total[0, :2]
    expected = count_draws(frame, judged, partial(draw_null, frame, fit.exact()), 40, rng).total.mean(axis=0)[:2]
    assert np.allclose(seen / expected, 1.0, atol=0.12)
