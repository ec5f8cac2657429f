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

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.chance.bounds import bend, unbend
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

LAGS = (1, 2, 3, 5, 8, 13)
MIN_PAIRS = 20
DEPTH, LASTING, FOR_GOOD = 2.5, 3.0, 0.2
"""The ruptures of the estimate: depth in within SD, mean length in ratings, and the share that never ends."""
CURVED = 5.99
"""The 5 % point of chi-squared with 2 df."""


class NullParameters(NamedTuple):
    """What the null was estimated to be, on the scale of the score.

    Attributes
    ----------
    sd : float
        Within-patient SD around the own line, root mean square over patients, before bounds and rounding.
    ar : float
        Autocorrelation of the state from one session number to the next; down to -.4, so that none is estimated fairly.
    noise : float
        Share of the within-patient variance that is measurement noise.
    spread : float
        SD of the logarithm of the patients' within SD.
    slope, slope_sd : float
        Mean and SD over patients of the change per session.
    shift, stretch : float
        What the patients' levels had to be moved, and stretched around their mean, to look as the data do.
    reach : float
        Over what distance the bounds are felt, in robust within-patient SD; 0: scores are cut at them.
    tilt : float
        How the logarithm of the within SD goes with the patient's level, per SD of the levels.
    narrowing, narrowing_late : float
        How the logarithm of the within SD changes over sessions: per SD of log t, and of what t adds to it.
    curve_sd, together : float
        SD over patients of the size of the curve, and its correlation with their slopes.
    curve, curve_late : float
        The mean course beyond its straight trend: how much of log t, and of what log^2 t adds to it.
    """

    sd: float
    ar: float
    noise: float
    spread: float
    slope: float
    slope_sd: float
    shift: float
    stretch: float
    reach: float
    tilt: float
    narrowing: float
    narrowing_late: float
    curve_sd: float
    together: float
    curve: float
    curve_late: float


@dataclass(frozen=True)
class Frame:
    """What every draw shares with the data: who was rated when, the score's grid and bounds, and what is compared.

    Attributes
    ----------
    series : Series
        The data.
    bounds : (float, float)
        Lowest and highest possible score.
    step : float
        Grid of the score; 0 for none.
    scale : float
        Robust within-patient SD of the data, a fixed yardstick.
    lags : tuple of int
        Session distances at which ratings are compared.
    time : (n,) array
        Sessions since the patient's mean session.
    curves : (n, 2) array
        What log t and log^2 t add to a straight line, from the patient's mean, with mean square 1.
    shape : (n,) array
        The curve that patients have more or less of: the mean course beyond its trend where there is one.
    widths : (n, 2) array
        log t, and what t adds to it, with mean 0 and SD 1 over ratings: what the spread may go with.
    course, width : (n,) arrays
        First estimates of the mean course and of the relative spread: a yardstick that data and draws are freed of
        before they are compared, not a part of the model.
    """

    series: Series
    bounds: tuple[float, float]
    step: float
    scale: float
    lags: tuple[int, ...]
    pairs: list[tuple[IntArray, IntArray]] = field(repr=False)
    time: FloatArray = field(repr=False)
    curves: FloatArray = field(repr=False)
    shape: FloatArray = field(repr=False)
    widths: FloatArray = field(repr=False)
    course: FloatArray = field(repr=False)
    width: FloatArray = field(repr=False)
    steps: list[tuple[IntArray, IntArray]] = field(repr=False)


class Normals(NamedTuple):
    """The randomness of some draws: state and noise (n, draws); spread, slope, level and size (p, draws)."""

    state: FloatArray
    noise: FloatArray
    spread: FloatArray
    slope: FloatArray
    level: FloatArray
    size: FloatArray


def frame_of(series: Series, *, bounds: tuple[float, float] | None, step: float | None) -> Frame:
    """What the draws share with the data."""
    low, high = bounds if bounds is not None else (float(series.score.min()), float(series.score.max()))
    gaps = np.diff(series.session)[series.neighbours(None)[1:]]
    unit = max(int(np.median(gaps)), 1) if len(gaps) else 1
    pairs = [(lag * unit, _pairs(series, lag * unit)) for lag in LAGS]
    pairs = [(lag, found) for lag, found in pairs if len(found[0]) >= MIN_PAIRS]
    step = grid_of(series.score) if step is None else step
    scale = robust_scale(series, series.score, step)
    elapsed = 1.0 + (series.session - series.session.min()) / unit
    time, curves = _smooth(series, elapsed * unit, np.log(elapsed))
    course, shape = _mean_course(series, time, curves, scale)
    free = robust_scale(series, series.score - course, step)
    if free < 0.05 * scale:  # a course that explains everything leaves no noise to judge by
        course, free = np.zeros_like(course), scale
    widths = _standardised(np.log(elapsed), elapsed)
    return Frame(
        series=series,
        bounds=(low, high),
        step=step,
        scale=free,
        lags=tuple(lag for lag, _ in pairs),
        pairs=[found for _, found in pairs],
        time=time,
        curves=curves,
        shape=shape,
        widths=widths,
        course=course,
        width=_relative_spread(series, widths, series.score - course),
        steps=_steps(series),
    )


def _smooth(series: Series, session: FloatArray, logarithm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Time from the patient's mean, (n,), and what log t and log^2 t add to it, (n, 2): Gram-Schmidt, mean square 1."""
    found: list[FloatArray] = []
    for values in (session, logarithm, logarithm * logarithm):
        column = values - series.spread(series.total(values) / series.length)
        before = np.sqrt(np.mean(column**2))
        for other in found:
            square = other @ other
            column = column - other * ((other @ column) / square if square > 0 else 0.0)
        size = np.sqrt(np.mean(column**2))
        found.append(column if not found else column / size if size > 1e-3 * before and size > 0 else 0.0 * column)
    return found[0], np.column_stack(found[1:])


def _mean_course(series: Series, time: FloatArray, curves: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """The mean course by least squares, deviations bounded at 2.5 robust SD, and the shape of its curve, both (n,).

    Where the curve is no more than chance gives (its statistic below the 5 % point of chi-squared with 2 df, patients
    being the units) the shape is what log t adds to a line.
    """
    design = np.column_stack([time, curves])
    gram = design.T @ design
    coefficients, residual = np.zeros(3), series.score - series.spread(series.mean)
    limit = 2.5 * scale if scale > 0 else np.inf
    for _ in range(5):
        bounded = np.clip(residual - design @ coefficients, -limit, limit)
        bounded -= series.spread(series.total(bounded) / series.length)
        coefficients = coefficients + np.linalg.lstsq(gram, design.T @ bounded, rcond=None)[0]
    score = np.add.reduceat(design * bounded[:, None], series.start, axis=0)
    inverse = np.linalg.pinv(gram)
    variance = (inverse @ (score.T @ score) @ inverse)[1:, 1:]
    strength = float(coefficients[1:] @ np.linalg.pinv(variance) @ coefficients[1:])
    curve = curves @ coefficients[1:]
    size = np.sqrt(np.mean(curve**2))
    return design @ coefficients, curve / size if strength > CURVED and size > 0 else curves[:, 0]


def _standardised(*columns: FloatArray) -> FloatArray:
    """The columns with mean 0 and SD 1, each freed of those before it; 0 where nothing is left."""
    found: list[FloatArray] = []
    for values in columns:
        column, before = values - values.mean(), values.std()
        for other in found:
            column = column - other * np.mean(other * column)
        size = column.std()
        found.append(column / size if size > 1e-3 * before and size > 0 else 0.0 * column)
    return np.column_stack(found)


def _relative_spread(series: Series, widths: FloatArray, score: FloatArray) -> FloatArray:
    """By how much the spread at each rating differs from the average one: log |deviation| regressed on `widths`."""
    deviation = np.abs(score - series.spread(series.total(score) / series.length))
    usable = (deviation > 0) & series.spread(series.length > 2)
    if usable.sum() < MIN_PAIRS:
        return np.ones(len(score))
    logarithm = np.log(deviation[usable]) - np.log(deviation[usable]).mean()
    chosen = widths[usable] - widths[usable].mean(axis=0)
    slope = np.linalg.lstsq(chosen, logarithm, rcond=None)[0]
    width: FloatArray = np.exp(np.clip(widths @ slope, -1.0, 1.0))
    return width


def grid_of(score: FloatArray) -> float:
    """The step of the grid on which at least 98 % of the scores lie, 0 if there is none of at most 400 steps.

    Many different scores at one place of a grid (beside a few far away) are not on it.

    >>> grid_of(np.array([3.0, 3.5, 5.0, 4.5, 6.0]))
    0.5
    """
    distinct = np.unique(np.round(score, 9))
    if len(distinct) < 2:
        return 0.0
    above = score - float(np.median(score))
    above -= above[np.argmin(np.abs(above))]
    for step in np.unique(np.round(np.diff(distinct), 6)):
        if step <= 1e-5 or (distinct[-1] - distinct[0]) / step > 400.0:
            continue
        number = np.rint(above / step)
        on_grid = np.abs(above / step - number) < 0.02
        number, found = number[on_grid], np.unique(np.round(above[on_grid], 9))
        if len(number) >= 0.98 * len(score) and number.any() and len(found) <= 3 * len(np.unique(number)):
            return float(number @ above[on_grid] / (number @ number))
    return 0.0


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
    log_width = np.multiply.outer(frame.widths[:, 0], null.narrowing)
    log_width += np.multiply.outer(frame.widths[:, 1], null.narrowing_late)
    state *= np.exp(log_width.reshape(len(state), -1))
    size = null.curve_sd * (null.together * normals.slope + np.sqrt(1.0 - np.square(null.together)) * normals.size)
    state += np.repeat(null.slope + null.slope_sd * normals.slope, series.length, axis=0) * frame.time[:, None]
    state += np.repeat(size, series.length, axis=0) * frame.shape[:, None]
    mean = np.multiply.outer(frame.curves[:, 0], null.curve) + np.multiply.outer(frame.curves[:, 1], null.curve_late)
    state += mean.reshape(len(state), -1)
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


def part_of(frame: Frame, ratings: int) -> Frame:
    """The frame of a subsample of whole patients, evenly spaced, with about `ratings` ratings."""
    series = frame.series
    share = max(1, series.n_patients * ratings // len(series.score))
    who = np.linspace(0, series.n_patients - 1, share).round().astype(np.int64)
    chosen = np.zeros(series.n_patients, dtype=bool)
    chosen[who] = True
    rows, length = np.flatnonzero(series.spread(chosen)), series.length[who]
    start = np.cumsum(length) - length
    part = Series(series.score[rows], series.session[rows], start, length, series.study[who])
    pairs = [_pairs(part, lag) for lag in frame.lags]
    names = ("time", "curves", "shape", "widths", "course", "width")
    taken = {name: getattr(frame, name)[rows] for name in names}
    return replace(frame, series=part, pairs=pairs, steps=_steps(part), **taken)


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
    log_likelihood /= inflation
    centre, spread = float(means.mean()), max(float(means.std()), 0.1 * sd)
    for _ in range(8):
        weight = log_likelihood - 0.5 * ((grid - centre) / spread) ** 2
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        centre = float((weight @ grid).mean())
        spread = max(float(np.sqrt((weight @ (grid - centre) ** 2).mean())), 0.1 * sd)
    cumulative = np.cumsum(weight, axis=1) - 0.5 * weight
    cumulative = np.clip(cumulative, 0.0, 1.0) + np.arange(len(weight))[:, None]
    uniform = np.clip(ndtr(normals), 1e-6, 1.0 - 1e-6) + np.arange(len(weight))[:, None]
    drawn = np.interp(uniform, cumulative.ravel(), np.tile(grid, len(weight)))
    levels: FloatArray = centre + parameters[6] + parameters[7] * (drawn - centre)
    return levels, (drawn - centre) / spread


def _pairs(series: Series, lag: int) -> tuple[IntArray, IntArray]:
    """The ratings of one patient that are `lag` sessions apart: earlier, later."""
    low = int(series.session.min())
    span = int(series.session.max()) - low + lag + 1
    key = series.owner * span + (series.session - low)
    later = np.minimum(np.searchsorted(key, key + lag), len(key) - 1)
    early = np.flatnonzero(key[later] == key + lag)
    return early, later[early]


def _steps(series: Series) -> list[tuple[IntArray, IntArray]]:
    """For each place in a series after the first: the ratings at that place, and the sessions since the one before."""
    return [(rows, series.session[rows] - series.session[rows - 1]) for rows in series.places[1:]]


def robust_scale(series: Series, score: FloatArray, step: float) -> float:
    """A within-patient SD from the median absolute deviation around the own mean: a fixed yardstick, no estimate."""
    if len(score) == series.n_patients:
        return 0.0
    deviation = score - series.spread(series.total(score) / series.length)
    usable = series.spread(series.length > 1)
    correction = np.sqrt(series.length / np.maximum(series.length - 1.0, 1.0))
    absolute = np.abs(deviation * series.spread(correction))[usable]
    scale = float(np.median(absolute)) / 0.6745
    mean = float(absolute.mean()) * np.sqrt(np.pi / 2.0)
    return float(max(scale, 0.5 * mean, 0.25 * step if mean > 0 else 0.0))
