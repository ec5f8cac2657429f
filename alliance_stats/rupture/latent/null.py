"""How large the evidence for a rupture gets where there is none: series simulated from the fitted model without any."""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats
from alliance_stats.rupture.latent.model import courses_of_patients, mean_course, width
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.posterior import Posterior, posterior

LEAST_SERIES = 4000
"""Null series behind a threshold: 5 % of them are 200, so that the rate realised is within .3 points of the nominal."""
TAILS = np.array([3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 30.0])


def null_courses(parameters: LatentParameters, like: Courses, *, noise_df: float, rng: np.random.Generator) -> Courses:
    """Scores without ruptures at the sessions of `like`, each patient's pattern taken as often as needed.

    Level, trend, the patient's variance and autocorrelation follow `parameters`; `noise_df` below infinity gives the
    errors Student's t tails. Scores are cut off at the bounds.
    """
    n = len(like.n_rated)
    rows = np.arange(max(LEAST_SERIES, 1)) % n if n < LEAST_SERIES else np.linspace(0, n - 1, LEAST_SERIES).astype(int)
    series = like.take(rows)
    return Courses(_draw(parameters, series, noise_df, rng), series.time, series.n_rated)


def _draw(parameters: LatentParameters, series: Courses, noise_df: float, rng: np.random.Generator) -> Floats:
    n, n_positions = series.score.shape
    degrees = parameters.within_sd_df
    sd = parameters.within_sd * np.sqrt(degrees / rng.chisquare(degrees, n))
    noise = _noise(noise_df, (n, n_positions), rng) * np.sqrt(1 - parameters.state_share)
    innovation = _noise(noise_df, (n, n_positions), rng)
    state = np.empty((n, n_positions))
    state[:, 0] = innovation[:, 0]
    carry = np.power(parameters.autocorrelation, np.diff(series.time, axis=1))
    for t in range(1, n_positions):
        state[:, t] = carry[:, t - 1] * state[:, t - 1] + np.sqrt(1 - carry[:, t - 1] ** 2) * innovation[:, t]
    own = width(parameters, series.time) * (np.sqrt(parameters.state_share) * state + noise)
    for variance, shape in courses_of_patients(parameters, series.time):
        own += np.sqrt(variance) * rng.standard_normal((n, 1)) * shape
    score = mean_course(parameters, series.time) + sd[:, None] * own
    if parameters.step:
        bound = parameters.ceiling if np.isfinite(parameters.ceiling) else parameters.floor
        score = bound + np.rint((score - bound) / parameters.step) * parameters.step
    return np.where(series.rated, np.clip(score, parameters.floor, parameters.ceiling), 0.0)


def _noise(noise_df: float, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Errors with mean 0 and variance 1."""
    if np.isinf(noise_df):
        return rng.standard_normal(shape)
    return np.asarray(rng.standard_t(noise_df, shape) * np.sqrt((noise_df - 2) / noise_df))


def null_series(
    parameters: LatentParameters, like: Courses, observed: Posterior, seed: int
) -> tuple[Posterior, Courses, float]:
    """Series without ruptures, what the model says of them, and the tails that make their noise that of `like`."""
    ratio, noise_df, wanted = tail_ratio(observed, like), np.inf, 1.0
    for _ in range(3):
        courses = null_courses(parameters, like, noise_df=noise_df, rng=np.random.default_rng([seed, 7]))
        found = posterior(parameters, courses)
        wanted *= ratio / tail_ratio(found, courses)
        heavier = noise_tails(wanted)
        if not heavier < 0.9 * noise_df:
            break
        noise_df = heavier
    return found, courses, noise_df


def tail_ratio(found: Posterior, series: Courses) -> float:
    """How large the largest upward one-step errors are: their 98th percentile over their median.

    Upward errors alone, from the third rating on, of patients in whom no rupture is credible: these owe nothing to
    ruptures, and measurement noise is taken to be symmetric.
    """
    use = series.rated & (np.arange(series.score.shape[1]) >= 2) & (found.evidence < np.log(2.0))[:, None]
    upward = found.residual[use & (found.residual > 0)]
    return float(np.quantile(upward, 0.98) / np.median(upward)) if len(upward) >= 50 else float("nan")


def noise_tails(excess: float) -> float:
    """Degrees of freedom whose t distribution has a ratio as in :func:`tail_ratio` `excess` times the normal one.

    Infinity where the excess is below 3 per cent, which a few hundred errors cannot tell from none.
    """
    from scipy.special import ndtri, stdtrit

    if not excess > 1.03:
        return float("inf")
    normal = ndtri(0.99) / ndtri(0.75)
    heavier = stdtrit(TAILS, 0.99) / stdtrit(TAILS, 0.75) / normal
    return float(np.interp(-excess, -heavier, TAILS))
