"""Alliance without ruptures: a model of the scores, and draws from it; arrays only.

The model. On a latent scale without bounds, patient i scores at session t

    level_i + slope_i (t - mean session) + course(t) + size_i shape(t)
    + sd_i width(t) (sqrt(1 - noise) a_it + sqrt(noise) e_it).

course(t) is the mean course of all patients, a smooth curve in log t and log^2 t beside the straight trend; size_i says
how much of the curve's shape a patient has beyond the mean. a_it is a stationary AR(1) process over session numbers,
e_it independent measurement noise. sd_i is lognormal over patients and may depend on their level; width(t) lets the
spread grow or shrink over sessions. What is seen has passed the score's soft bounds (module ``bounds``) and is rounded
to its grid. Sessions and holes are those of the data. Each draw takes every patient's level from what the data leave
open about it (its posterior, levels being normal over patients, with ratings at a bound counted as at or beyond it).

Ruptures in the data must not leak into the null. So its parameters are estimated (module ``null_fit``) together with a
rate of ruptures, which the null leaves out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.chance.bounds import bend, unbend
from alliance_stats.rupture.chance.frame import Frame
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

DEPTH, LASTING, FOR_GOOD = 2.5, 3.0, 0.2
"""The ruptures of the estimate: depth in within SD, mean length in ratings, and the share that never ends."""


class NullParameters(NamedTuple):
    """What the null was estimated to be, on the scale of the score."""

    sd: float  # Within-patient SD around the own line, root mean square over patients, before bounds and rounding
    # Autocorrelation of the state from one session number to the next; down to -.4, so that none is estimated
    # fairly
    ar: float
    noise: float  # Share of the within-patient variance that is measurement noise
    spread: float  # SD of the logarithm of the patients' within SD
    # slope, slope_sd: Mean and SD over patients of the change per session
    slope: float
    slope_sd: float
    # shift, stretch: What the patients' levels had to be moved, and stretched around their mean, to look as the
    # data do
    shift: float
    stretch: float
    reach: float  # Over what distance the bounds are felt, in robust within-patient SD; 0: scores are cut at them
    tilt: float  # How the logarithm of the within SD goes with the patient's level, per SD of the levels
    # narrowing, narrowing_late: How the logarithm of the within SD changes over sessions: per SD of log t, and of
    # what t adds to it
    narrowing: float
    narrowing_late: float
    # curve_sd, together: SD over patients of the size of the curve, and its correlation with their slopes
    curve_sd: float
    together: float
    # curve, curve_late: The mean course beyond its straight trend: how much of log t, and of what log^2 t adds to
    # it
    curve: float
    curve_late: float


class Normals(NamedTuple):
    """The randomness of some draws: state and noise (n, draws); spread, slope, level and size (p, draws)."""

    state: FloatArray
    noise: FloatArray
    spread: FloatArray
    slope: FloatArray
    level: FloatArray
    size: FloatArray


def draw_normals(frame: Frame, draws: int, rng: np.random.Generator) -> Normals:
    """The randomness of `draws` draws."""
    n, p = len(frame.series.score), frame.series.n_patients
    return Normals(*(rng.standard_normal((rows, draws)) for rows in (n, n, p, p, p, p)))


def draw_falls(frame: Frame, draws: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    """At each rating (n, draws): the rate from which on a rupture begins there, and how many ratings it would last."""
    shape = len(frame.series.score), draws
    length = np.where(rng.random(shape) < FOR_GOOD, len(frame.series.score), rng.geometric(1.0 / LASTING, shape))
    return rng.random(shape), length


def ruptured(series: Series, rate: float, falls: tuple[FloatArray, IntArray]) -> BoolArray:
    """Whether a rupture is under way at each rating, (n, draws); none begins at a patient's first rating."""
    begins, length = falls
    under_way = np.zeros(begins.shape, dtype=bool)
    left = np.zeros((series.n_patients, begins.shape[1]), dtype=np.int64)
    for rows in series.places[1:]:
        here = left[: len(rows)]
        here -= 1
        np.copyto(here, length[rows], where=(here <= 0) & (begins[rows] < rate))
        under_way[rows] = here > 0
    return under_way


def draw_scores(
    frame: Frame, parameters: FloatArray, normals: Normals, under_way: BoolArray | None = None
) -> FloatArray:
    """Scores (n, draws) from one set of parameters (16,) or one for each draw (16, draws).

    Without ruptures, unless some are said to be `under_way`.
    """
    null = NullParameters(*parameters)
    series = frame.series
    state = normals.state.copy()
    once, innovation = np.broadcast_to(null.ar, (1, state.shape[1])), np.sqrt(1.0 - np.square(null.ar))
    for rows, gap in frame.steps:  # a_t = ar^gap a_(t - gap) + sqrt(1 - ar^(2 gap)) innovation
        before = state[rows - 1]
        before *= once
        here = state[rows]
        here *= innovation
        here += before
        wide = np.flatnonzero(gap > 1)
        if len(wide):
            carry = once ** gap[wide, None]
            here[wide] = carry * state[rows[wide] - 1] + np.sqrt(1.0 - carry * carry) * state[rows[wide]]
        state[rows] = here
    state *= np.sqrt(1.0 - null.noise)
    state += np.sqrt(null.noise) * normals.noise
    level, place = _levels(frame, parameters, normals.level)
    own = null.sd * np.exp(null.spread * normals.spread - np.square(null.spread) + null.tilt * place)
    state *= np.repeat(own, series.length, axis=0)
    state *= np.exp(frame.widths @ parameters[10:12].reshape(2, -1))
    size = null.curve_sd * (null.together * normals.slope + np.sqrt(1.0 - np.square(null.together)) * normals.size)
    state += np.repeat(null.slope + null.slope_sd * normals.slope, series.length, axis=0) * frame.time[:, None]
    state += np.repeat(size, series.length, axis=0) * frame.shape[:, None]
    state += frame.curves @ parameters[14:16].reshape(2, -1)
    state += np.repeat(level, series.length, axis=0)
    if under_way is not None:
        state -= DEPTH * null.sd * under_way
    low, high = frame.bounds
    state = bend(state, frame.bounds, null.reach * frame.scale)
    if frame.step > 0:
        state -= low
        state /= frame.step
        np.rint(state, out=state)
        state *= frame.step
        state += low
        state[state > high - 0.25 * frame.step] = high
    return np.clip(state, low, high, out=state)


def _levels(frame: Frame, parameters: FloatArray, normals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Latent levels (p, draws) drawn from what each patient's ratings leave open about the level, and as z values.

    The posterior on a grid of levels: p(level | ratings) ~ N(level; centre, spread^2) prod_t p(y_t | level), where
    p(y_t | level) is a normal density inside the bounds and a tail probability at one. The log-likelihood is divided by
    1 + 2 (1 - noise) ar / (1 - ar), the factor by which AR(1) inflates the variance of a mean of many ratings. Centre
    and spread of the levels are found by expectation-maximisation; draws invert the cumulative posterior.
    """
    from scipy.special import log_ndtr, ndtr

    sd, ar, noise = (float(np.mean(parameters[row])) for row in range(3))
    series, (low, high), half = frame.series, frame.bounds, frame.step / 2.0
    at_low, at_high = series.score <= low + 1e-9, series.score >= high - 1e-9
    inside = ~(at_low | at_high)
    n_inside = series.total(inside)
    reach = max(float(np.mean(parameters[8])), 0.0) * frame.scale
    half = max(half, 1e-3 * sd)
    latent = unbend(np.clip(series.score, low + half, high - half), frame.bounds, reach)
    lowest, highest = unbend(np.array([low + half, high - half]), frame.bounds, reach)
    mean = series.total(latent * inside) / np.maximum(n_inside, 1.0)
    points = 101 if series.n_patients <= 20_000 else 51
    means = series.total(latent) / series.length
    grid = np.linspace(means.min() - 3.0 * sd, means.max() + 3.0 * sd, points)
    inflation = 1.0 + 2.0 * (1.0 - noise) * ar / (1.0 - ar)
    log_likelihood = -0.5 * n_inside[:, None] * ((mean[:, None] - grid) / sd) ** 2
    log_likelihood += np.outer(series.total(at_high), log_ndtr((grid - highest) / sd))
    log_likelihood += np.outer(series.total(at_low), log_ndtr((lowest - grid) / sd))
    likelihood = np.exp((log_likelihood - log_likelihood.max(axis=1, keepdims=True)) / inflation)
    centre, spread = float(means.mean()), max(float(means.std()), 0.1 * sd)
    for _ in range(8):
        away = grid - centre
        prior = np.exp(np.maximum(-0.5 * (away / spread) ** 2, -300.0))
        total, first, second = (likelihood @ np.column_stack([prior, prior * away, prior * away**2])).T
        moved = float((first / total).mean())
        centre, spread = centre + moved, max(float(np.sqrt((second / total).mean() - moved**2)), 0.1 * sd)
    weight = likelihood * prior
    weight /= weight.sum(axis=1, keepdims=True)
    cumulative = np.cumsum(weight, axis=1) - 0.5 * weight
    cumulative = np.clip(cumulative, 0.0, 1.0) + np.arange(len(weight))[:, None]
    uniform = np.clip(ndtr(normals), 1e-6, 1.0 - 1e-6) + np.arange(len(weight))[:, None]
    drawn = np.interp(uniform, cumulative.ravel(), np.tile(grid, len(weight)))
    levels: FloatArray = centre + parameters[6] + parameters[7] * (drawn - centre)
    return levels, (drawn - centre) / spread
