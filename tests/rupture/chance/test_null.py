"""The model of scores without ruptures: its draws, bounds and grid."""

import numpy as np
import pytest
from calm import noise, world

from alliance_stats.rupture.chance.draws import (
    fitted_blocks,
)
from alliance_stats.rupture.chance.null import draw_normals, draw_scores, frame_of, grid_of
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.series import Series


def test_draws_have_the_moments_of_the_model():
    rng = np.random.default_rng(1)
    series = noise(300, 20)
    series = series.with_scores(series.score * 0.6 + np.repeat(rng.normal(5, 0.7, 300), 20))
    frame = frame_of(series, bounds=(-50.0, 60.0), step=0.0)
    parameters = np.array([0.6, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    scores = draw_scores(frame, parameters, draw_normals(frame, 30, rng)).reshape(300, 20, 30)
    assert (scores[:, 1:] - scores[:, :-1]).var() == pytest.approx(2 * 0.36 * (1 - 0.75 * 0.5), rel=0.02)
    assert (scores[:, 3:] - scores[:, :-3]).var() == pytest.approx(2 * 0.36 * (1 - 0.75 * 0.125), rel=0.02)
    assert scores.mean(axis=(0, 1)).mean() == pytest.approx(series.score.mean(), abs=0.02)
    steep = np.array([0.1, 0.0, 0.0, 0.0, 0.05, 0.0, 0.0, 1.0, 0.0])
    scores = draw_scores(frame, steep, draw_normals(frame, 30, rng)).reshape(300, 20, 30)
    assert (scores[:, -1] - scores[:, 0]).mean() == pytest.approx(0.05 * 19, rel=0.02)


def test_autocorrelation_counts_missed_sessions():
    series = noise(400, 12)
    sparse = Series(
        score=series.score, session=series.session * 3, start=series.start, length=series.length, study=series.study
    )
    frame = frame_of(sparse, bounds=(-50.0, 50.0), step=0.0)
    parameters = np.array([1.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
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
    scores = next(iter(fitted_blocks(frame, fit, 20, np.random.default_rng(2))))
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
