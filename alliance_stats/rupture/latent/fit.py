"""Estimating the latent model: penalised maximum likelihood; scores at the scale's bounds are drawn from their tail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats, Patterns, patterns
from alliance_stats.rupture.latent.draws import imputed
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scale import LIMITS, RATES, penalties, to_line, unpack
from alliance_stats.rupture.latent.scan import Shared, shared_by, single_odds, whole_problem
from alliance_stats.rupture.latent.skewness import noise_skewness
from alliance_stats.rupture.latent.windows import several, window_prior
from alliance_stats.tables.progress import advance

FIT_PATIENTS = 1500
"""More patients than this add nothing to the estimates that matters; as many are taken, evenly spaced."""

CORRELATION = (
    "autocorrelation",
    "state_share",
    "level_sd",
    "trend_sd",
    "rise_sd",
    "rise_time",
    "rise_lifts",
    "narrowing",
)
"""What the covariance depends on, in units of the within-patient variance as the optimiser has them."""
COVARIANCE = (*CORRELATION, "within_sd", "within_sd_df", "level", "trend", "rise")
STEP = 1e-8
"""Of the forward differences on the optimiser's scale."""
STAGES = 3
"""Steps that `estimate` tells the progress bar."""
MOST_ITERATIONS = 120
RUPTURES = (*RATES, "depth", "depth_cv")


@dataclass(frozen=True)
class Estimate:
    """Parameters with the log-likelihoods that say whether ruptures are needed."""

    parameters: LatentParameters
    # log_likelihood, log_likelihood_null: Of the model with ruptures, and of the same model without any
    log_likelihood: float
    log_likelihood_null: float
    mirror: float  # z value for falls against *rises* of the same kind: noise with heavy tails lends itself to both
    # skewness, skewness_z: Of the noise, ruptures apart, and its z value
    skewness: float
    skewness_z: float
    n_patients: int  # Patients the estimates rest on
    converged: bool
    # How many times larger the variance of the (logit) onset rate is than if all else were known, from all patients
    inflation: float


def estimate(
    series: Courses,
    *,
    floor: float,
    ceiling: float,
    step: float,
    max_length: int,
    seed: int,
    min_ratings: int = 2,
) -> Estimate:
    """Fit the model to series of at least two ratings each."""
    sample = evenly_spaced(series)
    longest = max_length
    start = starting_values(sample, floor=floor, ceiling=ceiling)
    start = replace(start, step=step, min_ratings=min_ratings, max_length=max_length)
    unit, found = start.within_sd, patterns(sample)
    complete, parameters = sample, start
    at_bound = (sample.rated & ((sample.score <= floor) | (sample.score >= ceiling))).any()
    rng = np.random.default_rng(seed)
    rounds = (8, 8) if at_bound else ()
    for r, iterations in enumerate(rounds):
        complete = imputed(parameters, sample, complete, found, rng, sweeps=12, with_ruptures=r > 0, longest=longest)
        parameters, _, _ = _maximise(parameters, complete, found, COVARIANCE + RUPTURES, unit, iterations, longest)
    if at_bound:
        complete = imputed(parameters, sample, complete, found, rng, sweeps=12, with_ruptures=True, longest=longest)
    advance(now="ruptures")
    parameters, height, converged = _maximise(
        parameters, complete, found, COVARIANCE + RUPTURES, unit, MOST_ITERATIONS, longest
    )
    advance(now="no ruptures")
    null, height_null, _ = _maximise(parameters, complete, found, COVARIANCE, unit, MOST_ITERATIONS, 0)
    advance(now="falls against rises")
    mirrored = mirror_statistic(null, complete, unit, longest)
    skewness, z = noise_skewness(parameters, complete)
    inflation = _inflation(parameters, complete, found, unit, longest) * len(series.n_rated) / len(sample.n_rated)
    return Estimate(parameters, height, height_null, mirrored, skewness, z, len(sample.n_rated), converged, inflation)


def starting_values(series: Courses, *, floor: float, ceiling: float) -> LatentParameters:
    """Rough values from medians, to start from; patients mostly at a bound say nothing about spread."""
    rated = series.rated
    scores, times = series.score[rated], series.time[rated]
    inside = rated & (series.score > floor) & (series.score < ceiling)
    free = (inside.sum(axis=1) >= 0.8 * series.n_rated) & (series.n_rated >= 3)
    use = free if free.sum() >= 5 else series.n_rated >= 2
    count = series.n_rated[use]
    mean = series.score[use].sum(axis=1) / count
    squares = (np.where(rated[use], series.score[use] - mean[:, None], 0.0) ** 2).sum(axis=1)
    within = float(np.sqrt(squares.sum() / max((count - 1).sum(), 1)))
    within = within if within > 0 else float(scores.std()) or 1.0
    every_mean = series.score.sum(axis=1) / series.n_rated
    between = float(every_mean.std()) if len(every_mean) > 1 else within
    return LatentParameters(
        onset_rate=0.04,
        repair_rate=0.4,
        never_ends=0.2,
        depth=1.7 * within,
        depth_cv=0.3,
        autocorrelation=0.3,
        state_share=0.5,
        within_sd=0.9 * within,
        within_sd_df=10.0,
        level=float(np.median(scores)),
        level_sd=max(between, 0.2 * within),
        trend=0.0,
        trend_sd=0.03 * within,
        centre=float(np.median(times)),
        first=float(times.min()),
        rise_sd=0.2 * within,
        rise_time=2.5,
        floor=floor,
        ceiling=ceiling,
    )


def heights_of(
    parameters: LatentParameters, series: Courses, found: Patterns, longest: int, *, shared: Shared | None = None
) -> Floats:
    """Log-likelihood of each patient: no rupture, or one window that stands for all; with ``longest=0`` none at all.

    Several ruptures count with the prior odds that they have, and with the Bayes factors of single ones.

    `shared` is ``shared_by(parameters, found, longest)``, if at hand.
    """
    from scipy.special import gammaln

    shared = shared_by(parameters, found, longest) if shared is None else shared
    problem = whole_problem(parameters, series, found, longest, shared=shared)
    diagonal = np.diagonal(shared.factor, axis1=1, axis2=2)
    log_root = np.log(np.where(diagonal > 0, diagonal, 1.0)).sum(axis=1)[found.of]
    degrees, n = parameters.within_sd_df, series.n_rated
    half = (degrees + n) / 2
    log_density = gammaln(half) - gammaln(degrees / 2) + log_root - n / 2 * np.log(np.pi * problem.scale)
    log_density = log_density - half * np.log1p(problem.square / problem.scale)
    if longest > 0:
        weight, more = single_odds(problem)[0].sum(axis=1), several(parameters, found, problem.prior)
        log_density += np.log1p(weight * more[found.of]) - np.log1p(problem.prior.sum(axis=1) * more)[found.of]
    return np.asarray(log_density)


def _heights_and_slopes(
    vector: Floats,
    *,
    start: LatentParameters,
    series: Courses,
    found: Patterns,
    free: tuple[str, ...],
    unit: float,
    longest: int,
) -> tuple[Floats, Floats]:
    """Log-likelihood of each patient and its derivatives, (n, parameters), at a point of the optimiser."""

    def heights(point: Floats, shared: Shared) -> Floats:
        return heights_of(unpack(start, point, free, unit), series, found, longest, shared=shared)

    shared = shared_by(unpack(start, vector, free, unit), found, longest)
    here, slopes = heights(vector, shared), np.zeros((len(series.n_rated), len(vector)))
    for k, name in enumerate(free):
        moved, kept = vector.copy(), shared
        moved[k] += STEP
        if name in CORRELATION:
            kept = shared_by(unpack(start, moved, free, unit), found, longest, prior=shared.prior)
        elif name in RATES:
            prior = window_prior(unpack(start, moved, free, unit), found, shared.candidates)
            kept = shared._replace(prior=prior)
        slopes[:, k] = (heights(moved, kept) - here) / STEP
    return here, slopes


def _inflation(best: LatentParameters, series: Courses, found: Patterns, unit: float, longest: int) -> float:
    """Variance of the onset rate with all parameters estimated over that with the others known, from the scores."""
    free = COVARIANCE + RUPTURES
    vector = np.array([to_line(name, getattr(best, name), unit, best) for name in free])
    _, slopes = _heights_and_slopes(
        vector, start=best, series=series, found=found, free=free, unit=unit, longest=longest
    )
    information = slopes.T @ slopes + np.diag(penalties(free)[1] ** -2.0)
    k = free.index("onset_rate")
    return max(float(np.linalg.pinv(information, hermitian=True)[k, k] * information[k, k]), 1.0)


def _maximise(
    start: LatentParameters,
    series: Courses,
    found: Patterns,
    free: tuple[str, ...],
    unit: float,
    iterations: int,
    longest: int,
) -> tuple[LatentParameters, float, bool]:
    """Maximise the penalised likelihood over the parameters named in `free`."""
    from scipy.optimize import minimize

    n = len(series.n_rated)
    low, high = np.array([LIMITS.get(name, (-np.inf, np.inf)) for name in free]).T
    centre, spread = penalties(free)
    heights_and_slopes = partial(
        _heights_and_slopes, start=start, series=series, found=found, free=free, unit=unit, longest=longest
    )

    def loss_and_gradient(point: Floats) -> tuple[float, Floats]:
        vector = first + turn @ point
        inside = np.clip(vector, low, high)
        here, slopes = heights_and_slopes(inside)
        pull, outside = (inside - centre) / spread, vector - inside
        loss = float(0.5 * (pull**2).sum() - here.sum()) / n - at_start + 0.5 * (outside**2).sum()
        gradient = np.where(outside == 0, (pull / spread - slopes.sum(axis=0)) / n, outside)
        return loss, turn.T @ gradient

    first = np.clip([to_line(name, getattr(start, name), unit, start) for name in free], low, high)
    # Curvature is about the covariance of the patients' scores (Berndt, Hall, Hall & Hausman, 1974): as a metric, it
    # spares the optimiser most of its steps.
    here, slopes = heights_and_slopes(first)
    information = np.cov(slopes.T, bias=True) + np.diag(1 / (n * spread**2) + 1e-3)
    turn = np.linalg.inv(np.linalg.cholesky(information)).T
    at_start = (0.5 * (((first - centre) / spread) ** 2).sum() - here.sum()) / n  # so that the unit does not count
    options: Any = {"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-5}
    result = minimize(loss_and_gradient, np.zeros(len(first)), jac=True, method="L-BFGS-B", options=options)
    best = unpack(start, np.clip(first + turn @ result.x, low, high), free, unit)
    return best, float(heights_of(best, series, found, longest).sum()), bool(result.success)


def mirror_statistic(null: LatentParameters, series: Courses, unit: float, longest: int) -> float:
    """Whether falls explain more than rises of the same kind would: a z value (Vuong, 1989).

    Both models start from the parameters fitted without ruptures and free those of the ruptures alone; noise with heavy
    tails lends itself to either, ruptures to falls only.
    """
    part = evenly_spaced(series, 500)
    turned = replace(part, score=np.where(part.rated, 2 * null.level - part.score, 0.0))
    found = patterns(part)
    heights = []
    for values, sign in ((part, 1.0), (turned, -1.0)):
        own = replace(null, trend=sign * null.trend, rise=sign * null.rise)
        best, _, _ = _maximise(own, values, found, RUPTURES, unit, 15, longest)
        heights.append(heights_of(best, values, found, longest))
    gain = heights[0] - heights[1]
    return float(gain.sum() / max(np.sqrt(len(gain)) * gain.std(), 1e-12))


def evenly_spaced(series: Courses, size: int = FIT_PATIENTS) -> Courses:
    """At most `size` patients, evenly spaced."""
    n = len(series.n_rated)
    return series if n <= size else series.take(np.linspace(0, n - 1, size).round().astype(np.int64))
