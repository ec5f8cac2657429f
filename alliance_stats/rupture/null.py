"""Alliance without ruptures: a model of the scores, robust estimates of it, and draws from it; arrays only.

The model. On a latent scale without bounds, patient i scores at session t

    level_i + slope_i (t - mean session) + sd_i (sqrt(1 - noise) a_it + sqrt(noise) e_it),

a_it being a stationary AR(1) process over session numbers, e_it independent measurement noise, slope_i normal over
patients and sd_i lognormal (patients differ in spread). What is seen has passed the score's soft bounds
(:mod:`alliance_stats.rupture.bounds`) and is rounded to its grid. Sessions and holes are those of the data. Each draw
takes every patient's level from what the data leave open about it (its posterior, levels being normal over patients,
with ratings at a bound counted as at or beyond it).

The estimates. Ruptures in the data must not leak into the null. So the parameters are matched, by simulation, on
statistics that ruptures hardly touch (robust indirect inference: Gourieroux, Monfort & Renault 1993; Genton & Ronchetti
2003): a variogram with bounded weights d^2 / (d^2 + c^2) at several lags, over the ratings that do not lie far below
the patient's own (upper-trimmed) centre, the part of the scores above that centre, and how scores crowd below the
ceiling. The draws go through the same screen, which keeps the estimates consistent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.bounds import bend, unbend
from alliance_stats.rupture.series import BoolArray, FloatArray, IntArray, Series

LAGS = (1, 2, 3, 5, 8, 13)
CROWDING = (0.5, 1.0, 2.0)
"""Distances below the highest score, in robust SD, within which scores are counted."""
SCREEN = 1.5
"""Ratings more than so many robust SD below the patient's centre take no part in the estimates."""
FIT_RATINGS = 120_000
"""About so many simulated ratings serve one evaluation of the fit."""
MIN_PAIRS = 20
SCATTER = 1.7
"""Standard errors by which the draws' parameters scatter; see :meth:`NullFit.around`."""

LOW = np.array([1e-6, -0.4, 0.0, 0.0, -np.inf, 0.0, -np.inf, 0.2, 0.0])
HIGH = np.array([np.inf, 0.95, 1.0, 0.8, np.inf, np.inf, np.inf, 3.0, 4.0])


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
        if np.mean(on_grid) >= 0.98:
            number, above = number[on_grid], above[on_grid]
            return float(number @ above / (number @ number))
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


class NullFit(NamedTuple):
    """Estimated parameters (9,), a root (9, 9) of their covariance, and what to be wary of."""

    parameters: FloatArray
    root: FloatArray
    warnings: list[str]

    def around(self, draws: int, rng: np.random.Generator) -> FloatArray:
        """Parameters (9, draws) scattered around the estimate by :data:`SCATTER` standard errors."""
        moved = self.parameters[:, None] + SCATTER * self.root @ rng.standard_normal((len(self.parameters), draws))
        moved[0] = np.maximum(moved[0], 0.3 * self.parameters[0])
        clipped: FloatArray = np.clip(moved, LOW[:, None], HIGH[:, None])
        return clipped

    def exact(self) -> NullFit:
        """The same estimate, from which draws do not scatter."""
        return self._replace(root=np.zeros_like(self.root))


def fit_null(frame: Frame, rng: np.random.Generator) -> NullFit:
    """Parameters whose draws resemble the data in :func:`statistics`, and how sure they are.

    A penalised Gauss-Newton search with common random numbers: weights are the inverse variances of the statistics over
    draws, a weak penalty holds what the data cannot tell near ordinary values (ar .2, noise .3, spread .3,
    no trend, bounds felt over .3 SD).
    """
    series, warnings = frame.series, []
    first = np.array([1.1 * frame.scale, 0.2, 0.3, 0.3, 0.0, 0.02 * frame.scale, 0.0, 1.0, 0.3])
    if frame.scale <= 0:
        still = np.array([1e-6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        return NullFit(still, np.zeros((9, 9)), ["No patient's scores vary: there is nothing to estimate."])
    if len(frame.lags) < 2:
        warnings.append(
            "Too few ratings to estimate the null: ordinary values of autocorrelation and noise were taken."
        )
        return NullFit(first, np.zeros((9, 9)), warnings)
    if series.n_patients < 20:
        warnings.append(f"Only {series.n_patients} patients with ratings: the estimated null is rough.")
    draws = int(np.clip(FIT_RATINGS // len(series.score), 2, 60))
    normals = draw_normals(frame, draws, rng)
    target = statistics(frame, series.score[:, None])[:, 0]
    loose = np.array([np.inf, 0.4, 0.4, 0.3, np.inf, 0.05 * frame.scale, np.inf, 0.5, 1.0])
    guess = np.clip(first, LOW, HIGH)
    simulated = statistics(frame, draw_scores(frame, guess, normals))
    variance = _sampling_variance(simulated, len(series.score))
    steps = frame.scale * np.array([0.1, 0.0, 0.0, 0.0, 0.02, 0.02, 0.1, 0.0, 0.0])
    steps[[1, 2, 3, 7, 8]] = 0.15, 0.15, 0.15, 0.1, 0.3

    def mean_at(parameters: FloatArray) -> FloatArray:
        mean: FloatArray = statistics(frame, draw_scores(frame, parameters, normals)).mean(axis=1)
        return mean

    def loss(mean: FloatArray, parameters: FloatArray) -> float:
        return float(np.sum((target - mean) ** 2 / variance) + np.sum(((parameters - first) / loose) ** 2))

    mean = simulated.mean(axis=1)
    jacobian = np.column_stack([(mean_at(guess + step) - mean) / step.sum() for step in np.diag(steps)])
    best = loss(mean, guess)
    for _ in range(8):
        scaled = jacobian / variance[:, None]
        penalty = np.diag(1.0 / loose**2)
        gradient = scaled.T @ (target - mean) - (guess - first) / loose**2
        move = np.linalg.lstsq(jacobian.T @ scaled + penalty, gradient, rcond=None)[0]
        improved = False
        for shrink in (1.0, 0.5, 0.2):
            trial = np.clip(guess + shrink * move, np.maximum(LOW, [0.3 * guess[0], *LOW[1:]]), HIGH)
            change = trial - guess
            at_trial = mean_at(trial)
            if change @ change > 0:
                jacobian += np.outer(at_trial - mean - jacobian @ change, change / steps**2) / np.sum(
                    change**2 / steps**2
                )
            found = loss(at_trial, trial)
            if found < best:
                improved, gain = True, best - found
                guess, mean, best = trial, at_trial, found
                break
        if not improved or gain < 0.01:
            break
    information = jacobian.T @ (jacobian / variance[:, None]) + np.diag(1.0 / loose**2)
    values, vectors = np.linalg.eigh(information * np.outer(steps, steps))
    root = steps[:, None] * vectors / np.sqrt(np.maximum(values, 1e-6))
    return NullFit(guess, root, warnings)


def _sampling_variance(simulated: FloatArray, n: int) -> FloatArray:
    """The variance of each statistic over studies, floored where draws are few."""
    variance = simulated.var(axis=1, ddof=1)
    floor = 1e-3 * np.mean(np.abs(simulated), axis=1) ** 2 / max(n / 100.0, 1.0)
    floored: FloatArray = np.maximum(variance, floor + 1e-12)
    return floored


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
    grid = np.linspace(min(low, lowest) - 3.0 * sd, max(high, highest) + 3.0 * sd, points)
    inflation = 1.0 + 2.0 * (1.0 - noise) * ar / (1.0 - ar)
    log_likelihood = -0.5 * n_inside[:, None] * ((mean[:, None] - grid) / sd) ** 2
    log_likelihood += np.outer(series.total(at_high), log_ndtr((grid - highest) / sd))
    log_likelihood += np.outer(series.total(at_low), log_ndtr((lowest - grid) / sd))
    log_likelihood /= inflation
    means = series.total(latent) / series.length
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
