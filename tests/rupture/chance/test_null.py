"""The model of scores without ruptures: its draws, bounds and grid."""

import numpy as np
import pytest
from calm import noise, world

from alliance_stats.rupture.chance.draws import draw_null
from alliance_stats.rupture.chance.frame import frame_of, grid_of
from alliance_stats.rupture.chance.null import NullParameters, draw_normals, draw_scores
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.series import Series


def parameters_of(*first, **named):
    """Parameters of the null in their order, the others 0."""
    return np.array(NullParameters(*first, *[0.0] * (len(NullParameters._fields) - len(first)))._replace(**named))


def test_draws_have_the_moments_of_the_model():
    rng = np.random.default_rng(1)
    series = noise(300, 20)
    series = series.with_scores(series.score * 0.6 + np.repeat(rng.normal(5, 0.7, 300), 20))
    frame = frame_of(series, bounds=(-50.0, 60.0), step=0.0)
    parameters = parameters_of(0.6, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    scores = draw_scores(frame, parameters, draw_normals(frame, 30, rng)).reshape(300, 20, 30)
    assert (scores[:, 1:] - scores[:, :-1]).var() == pytest.approx(2 * 0.36 * (1 - 0.75 * 0.5), rel=0.02)
    assert (scores[:, 3:] - scores[:, :-3]).var() == pytest.approx(2 * 0.36 * (1 - 0.75 * 0.125), rel=0.02)
    assert scores.mean(axis=(0, 1)).mean() == pytest.approx(series.score.mean(), abs=0.02)
    steep = parameters_of(0.1, 0.0, 0.0, 0.0, 0.05, 0.0, 0.0, 1.0, 0.0)
    scores = draw_scores(frame, steep, draw_normals(frame, 30, rng)).reshape(300, 20, 30)
    assert (scores[:, -1] - scores[:, 0]).mean() == pytest.approx(0.05 * 19, rel=0.02)


def test_autocorrelation_counts_missed_sessions():
    series = noise(400, 12)
    sparse = Series(
        score=series.score, session=series.session * 3, start=series.start, length=series.length, study=series.study
    )
    frame = frame_of(sparse, bounds=(-50.0, 50.0), step=0.0)
    parameters = parameters_of(1.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    scores = draw_scores(frame, parameters, draw_normals(frame, 20, np.random.default_rng(1))).reshape(400, 12, 20)
    assert (scores[:, 1:] - scores[:, :-1]).var() == pytest.approx(2 * (1 - 0.8**3), rel=0.03)
    each = np.repeat(parameters[:, None], 20, axis=1)  # one set of parameters for each draw
    again = draw_scores(frame, each, draw_normals(frame, 20, np.random.default_rng(1))).reshape(400, 12, 20)
    assert np.allclose(scores, again)


def test_draws_keep_bounds_grid_and_ceiling():
    series = world(np.random.default_rng(3), patients=200, level=6.4)
    frame = frame_of(series, bounds=(1.0, 7.0), step=None)
    assert frame.step == pytest.approx(1 / 12)
    fit = fit_null(frame, np.random.default_rng(1))
    scores = draw_null(frame, fit, 20, np.random.default_rng(2))
    assert scores.min() >= 1
    assert scores.max() <= 7
    assert np.allclose(scores * 12, np.rint(scores * 12))
    assert (scores == 7).mean() == pytest.approx((series.score == 7).mean(), abs=0.04)


@pytest.mark.parametrize(("step", "found"), [(1.0, 1.0), (0.5, 0.5), (1 / 12, 1 / 12), (1 / 36, 1 / 36)])
def test_the_grid_is_read_off_the_data(step, found):
    rng = np.random.default_rng(1)
    score = np.clip(np.rint(rng.normal(5, 1, 2000) / step) * step, 1, 7)
    assert grid_of(score) == pytest.approx(found)
    assert grid_of(np.where(rng.random(2000) < 0.01, score + 0.013, score)) == pytest.approx(found, rel=1e-3)
    assert grid_of(rng.normal(5, 1, 2000)) == 0.0
    assert grid_of(np.r_[np.linspace(-0.01, 0.01, 200), 100.0, 137.3]) == 0.0  # all but the outliers at one place
    assert grid_of(np.r_[np.zeros(300), 1.0]) == 1.0


def test_a_curve_and_a_spread_that_narrows_are_drawn():
    series = noise(400, 16)
    frame = frame_of(series, bounds=(-50.0, 50.0), step=0.0)
    normals = draw_normals(frame, 20, np.random.default_rng(1))
    calm = parameters_of(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    named = NullParameters(*calm)
    curved = np.array(named._replace(curve=0.5, narrowing=-0.4, curve_sd=0.3))
    change = draw_scores(frame, curved, normals) - draw_scores(frame, calm, normals)
    change = change.reshape(400, 16, 20)
    assert np.allclose(change.mean(axis=(0, 2)), frame.curves[:16, 0] * 0.5, atol=0.03)
    assert np.allclose(frame.curves.reshape(400, 16, 2).mean(axis=1), 0.0, atol=1e-12)
    width = np.exp(-0.4 * frame.widths[:16, 0])
    assert np.allclose(change.var(axis=(0, 2)), (width - 1) ** 2 + 0.09 * frame.shape[:16] ** 2, rtol=0.1, atol=0.01)


def test_spread_may_depend_on_the_level():
    rng = np.random.default_rng(2)
    series = noise(300, 12)
    series = series.with_scores(0.3 * series.score + np.repeat(rng.normal(5, 1, 300), 12))
    frame = frame_of(series, bounds=(-50.0, 60.0), step=0.0)
    tilted = parameters_of(0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -0.5)
    scores = draw_scores(frame, tilted, draw_normals(frame, 10, rng)).reshape(300, 12, 10)
    level, spread = scores.mean(axis=1), np.log(scores.std(axis=1))
    slope = np.polyfit((level - level.mean()).ravel() / level.std(), spread.ravel(), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.05)
