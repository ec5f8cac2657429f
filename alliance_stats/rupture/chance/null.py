"""Alliance without ruptures: a model of the scores, draws from it, and what they and the data are compared by.

The model. On a latent scale without bounds, patient i scores at session t

    level_i + slope_i (t - mean session) + sd_i (sqrt(1 - noise) a_it + sqrt(noise) e_it),

a_it being a stationary AR(1) process over session numbers, e_it independent measurement noise, slope_i normal over
patients and sd_i lognormal (patients differ in spread). What is seen has passed the score's soft bounds
(module ``bounds``) and is rounded to its grid. Sessions and holes are those of the data. Each draw
takes every patient's level from what the data leave open about it (its posterior, levels being normal over patients,
with ratings at a bound counted as at or beyond it).

Ruptures in the data must not leak into the null. So its parameters are estimated
(module ``null_fit``) from statistics that ruptures hardly touch: a variogram with bounded weights
d^2 / (d^2 + c^2) at several lags, over the ratings that do not lie far below the patient's own (upper-trimmed) centre,
the part of the scores above that centre, and how scores crowd below the ceiling. Arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.chance.bounds import bend, unbend
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

LAGS = (1, 2, 3, 5, 8, 13)
CROWDING = (0.5, 1.0, 2.0)
"""Distances below the highest score, in robust SD, within which scores are counted."""
SCREEN = 1.5
"""Ratings more than so many robust SD below the patient's centre take no part in the estimates."""
MIN_PAIRS = 20


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
    """

    series: Series
    bounds: tuple[float, float]
    step: float
    scale: float
    lags: tuple[int, ...]
    pairs: list[tuple[IntArray, IntArray]] = field(repr=False)
    time: FloatArray = field(repr=False)
    steps: list[tuple[IntArray, IntArray]] = field(repr=False)


class Normals(NamedTuple):
    """The randomness of some draws: state and noise (n, draws); spread, slope and level (p, draws)."""

    state: FloatArray
    noise: FloatArray
    spread: FloatArray
    slope: FloatArray
    level: FloatArray


def frame_of(series: Series, *, bounds: tuple[float, float] | None, step: float | None) -> Frame:
    """What the draws share with the data."""
    session = series.session.astype(np.float64)
    time = session - series.spread(series.total(session) / series.length)
    low, high = bounds if bounds is not None else (float(series.score.min()), float(series.score.max()))
    gaps = np.diff(series.session)[series.neighbours(None)[1:]]
    unit = max(int(np.median(gaps)), 1) if len(gaps) else 1
    pairs = [(lag * unit, _pairs(series, lag * unit)) for lag in LAGS]
    pairs = [(lag, found) for lag, found in pairs if len(found[0]) >= MIN_PAIRS]
    step = grid_of(series.score) if step is None else step
    return Frame(
        series=series,
        bounds=(low, high),
        step=step,
        scale=_robust_scale(series, step),
        lags=tuple(lag for lag, _ in pairs),
        pairs=[found for _, found in pairs],
        time=time,
        steps=_steps(series),
    )


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
    return Normals(*(rng.standard_normal((rows, draws)) for rows in (n, n, p, p, p)))


def draw_scores(frame: Frame, parameters: FloatArray, normals: Normals) -> FloatArray:
    """Scores without ruptures, (n, draws), from one set of parameters (9,) or one for each draw (9, draws)."""
    sd, ar, noise, spread, slope, slope_sd = parameters[:6]
    series = frame.series
    state = normals.state.copy()
    once, innovation = np.broadcast_to(ar, (1, state.shape[1])), np.sqrt(1.0 - np.square(ar))
    for rows, gap in frame.steps:
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
    state *= np.sqrt(1.0 - noise)
    state += np.sqrt(noise) * normals.noise
    state *= np.repeat(sd * np.exp(spread * normals.spread - np.square(spread)), series.length, axis=0)
    state += np.repeat(slope + slope_sd * normals.slope, series.length, axis=0) * frame.time[:, None]
    state += np.repeat(_levels(frame, parameters, normals.level), series.length, axis=0)
    low, high = frame.bounds
    state = bend(state, frame.bounds, parameters[8] * frame.scale)
    if frame.step > 0:
        state -= low
        state /= frame.step
        np.rint(state, out=state)
        state *= frame.step
        state += low
        state[state > high - 0.25 * frame.step] = high
    return np.clip(state, low, high, out=state)


def statistics(frame: Frame, scores: FloatArray) -> FloatArray:
    """What the data and the draws are compared by, (k, draws): variogram, drift, spread of patients, levels.

    Rows: one per lag; the mean of signed bounded differences at the longest lag up to 8; the between-patient variance
    of the patients' own mean at the shortest lag; mean and SD of the patients' centres, in robust SD; of the part of
    the scores above the centre the mean square, the tail and the spread over patients (the side that no rupture
    touches), and how that mean square goes with the patients' centres; the shares of scores at the highest and the
    lowest score, and within half, one and two SD of the highest.
    """
    series, scale = frame.series, frame.scale
    start, length = series.start, series.length[:, None]
    centre = np.add.reduceat(scores, start, axis=0) / length
    upper = scores > np.repeat(centre - scale, series.length, axis=0)
    centre = np.add.reduceat(scores * upper, start, axis=0) / np.maximum(np.add.reduceat(upper, start, axis=0), 1)
    above = (scores - np.repeat(centre, series.length, axis=0)) / scale
    kept = above >= -SCREEN
    cut = 2.0 * (3.0 * scale) ** 2
    rows: list[FloatArray] = []
    for number, (early, late) in enumerate(frame.pairs):
        difference = scores[late] - scores[early]
        both = kept[late] & kept[early]
        squared = difference * difference
        weight = np.where(both, squared / (squared + cut), 0.0)
        count = np.maximum(both.sum(axis=0), 1)
        rows.append(weight.sum(axis=0) / count)
        if number == 0:
            dispersion = _dispersion(series.owner[late], weight, both)
        if frame.lags[number] <= 8 * frame.lags[0]:
            signed = np.where(both, difference * np.sqrt(cut) / (squared + cut), 0.0)
            drift = signed.sum(axis=0) / count
    if rows:
        rows += [drift, dispersion]
    rows += [centre.mean(axis=0) / scale, centre.std(axis=0) / scale]
    np.clip(above, 0.0, 4.0, out=above)
    tail = np.maximum(above - 1.5, 0.0)
    above *= above
    own = np.add.reduceat(above, start, axis=0) / length
    pooled = above.mean(axis=0)
    rows += [pooled, tail.mean(axis=0), (length * (own - pooled) ** 2).sum(axis=0) / length.sum()]
    rows += [(length * (own - pooled) * (centre - centre.mean(axis=0))).sum(axis=0) / (length.sum() * scale)]
    rows += [(scores >= frame.bounds[1] - distance * scale).mean(axis=0) for distance in CROWDING]
    rows += [(scores >= frame.bounds[1] - 1e-9).mean(axis=0), (scores <= frame.bounds[0] + 1e-9).mean(axis=0)]
    return np.array(rows)


def part_of(frame: Frame, ratings: int) -> Frame:
    """The frame of about so many ratings: of some patients, evenly spaced, with all of theirs."""
    series = frame.series
    share = max(1, series.n_patients * ratings // len(series.score))
    who = np.linspace(0, series.n_patients - 1, share).round().astype(np.int64)
    chosen = np.zeros(series.n_patients, dtype=bool)
    chosen[who] = True
    rows, length = np.flatnonzero(series.spread(chosen)), series.length[who]
    start = np.cumsum(length) - length
    part = Series(series.score[rows], series.session[rows], start, length, series.study[who])
    pairs = [_pairs(part, lag) for lag in frame.lags]
    return replace(frame, series=part, pairs=pairs, time=frame.time[rows], steps=_steps(part))


def _dispersion(owner: IntArray, weight: FloatArray, both: BoolArray) -> FloatArray:
    """The variance over patients of their mean bounded difference, each weighted by its number of pairs."""
    begins = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    count = np.add.reduceat(both, begins, axis=0).astype(np.float64)
    total = np.add.reduceat(weight, begins, axis=0)
    mean = total / np.maximum(count, 1.0)
    grand = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1.0)
    spread: FloatArray = (count * (mean - grand) ** 2).sum(axis=0) / np.maximum(count.sum(axis=0), 1.0)
    return spread


def _levels(frame: Frame, parameters: FloatArray, normals: FloatArray) -> FloatArray:
    """Latent levels (p, draws) drawn from what each patient's ratings leave open about the level.

    The posterior on a grid: normal levels over patients (mean and SD by expectation-maximisation), normal ratings,
    those at a bound counted as at or beyond it, and fewer ratings than there are by the factor that autocorrelation
    inflates the variance of a mean with.
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
    return levels


def _pairs(series: Series, lag: int) -> tuple[IntArray, IntArray]:
    """The ratings of one patient that are `lag` sessions apart: earlier, later."""
    low = int(series.session.min())
    span = int(series.session.max()) - low + lag + 1
    key = series.owner * span + (series.session - low)
    later = np.minimum(np.searchsorted(key, key + lag), len(key) - 1)
    early = np.flatnonzero(key[later] == key + lag)
    return early, later[early]


def _steps(series: Series) -> list[tuple[IntArray, IntArray]]:
    """For each place in a series after the first: the ratings standing there, and the sessions since the one before."""
    return [(rows, series.session[rows] - series.session[rows - 1]) for rows in series.places[1:]]


def _robust_scale(series: Series, step: float) -> float:
    """A within-patient SD from the median absolute deviation around the own mean: a fixed yardstick, no estimate."""
    if len(series.score) == series.n_patients:
        return 0.0
    deviation = series.score - series.spread(series.mean)
    usable = series.spread(series.length > 1)
    correction = np.sqrt(series.length / np.maximum(series.length - 1.0, 1.0))
    absolute = np.abs(deviation * series.spread(correction))[usable]
    scale = float(np.median(absolute)) / 0.6745
    mean = float(absolute.mean()) * np.sqrt(np.pi / 2.0)
    return float(max(scale, 0.5 * mean, 0.25 * step if mean > 0 else 0.0))
