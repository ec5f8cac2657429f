"""Scores without ruptures: their mean course and covariance, given the parameters."""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats, Patterns
from alliance_stats.rupture.latent.parameters import LatentParameters


def mean_course(parameters: LatentParameters, time: Floats) -> Floats:
    """The mean score of all patients at session numbers `time`."""
    line = parameters.level + parameters.trend * (time - parameters.centre)
    return np.asarray(line - parameters.rise * shortfall(parameters, time))


def shortfall(parameters: LatentParameters, time: Floats) -> Floats:
    """What is left of the early rise: 1 in the first session, then fading exponentially."""
    return np.asarray(np.exp(-np.maximum(time - parameters.first, 0.0) / parameters.rise_time))


def width(parameters: LatentParameters, time: Floats) -> Floats:
    """The within-patient SD as a multiple of that at the central session."""
    elapsed = np.maximum(time - parameters.first, 0.0) + 1.0
    return np.asarray((elapsed / (max(parameters.centre - parameters.first, 0.0) + 1.0)) ** -parameters.narrowing)


def courses_of_patients(parameters: LatentParameters, time: Floats) -> tuple[tuple[float, Floats], ...]:
    """How patients differ: variance, in units of the within-patient one, and shape over `time` of each way to do so."""
    unit = parameters.within_sd
    return (
        ((parameters.level_sd / unit) ** 2, np.ones_like(time)),
        ((parameters.trend_sd / unit) ** 2, time - parameters.centre),
        ((parameters.rise_sd / unit) ** 2, parameters.rise_lifts - shortfall(parameters, time)),
    )


def covariance(parameters: LatentParameters, time: Floats) -> Floats:
    """Covariance of a series without ruptures in units of its own variance, (p, T, T) for `time` (p, T)."""
    session = time.astype(np.int64)
    lag = np.abs(session[:, :, None] - session[:, None, :])
    powers = np.power(parameters.autocorrelation, np.arange(lag.max(initial=0) + 1.0))
    matrix = (parameters.state_share * powers)[lag]
    diagonal = np.arange(time.shape[1])
    matrix[:, diagonal, diagonal] += 1.0 - parameters.state_share
    if parameters.narrowing:
        spread = width(parameters, time)
        matrix *= spread[:, :, None] * spread[:, None, :]
    for variance, shape in courses_of_patients(parameters, time):
        if variance:
            matrix += variance * (shape[:, :, None] * shape[:, None, :])
    return np.asarray(matrix)


def whitening(parameters: LatentParameters, found: Patterns) -> Floats:
    """Inverse Cholesky factors (p, T, T); rows beyond the last rating are zero, so that they take part in nothing."""
    root = np.linalg.cholesky(covariance(parameters, found.time))
    factor = np.zeros_like(root)
    for t in range(root.shape[1]):  # forward substitution, all patterns at once
        factor[:, t, :t] = -(root[:, t, None, :t] @ factor[:, :t, :t])[:, 0]
        factor[:, t, t] = 1.0
        factor[:, t, : t + 1] /= root[:, t, t, None]
    beyond = np.arange(found.time.shape[1]) >= found.n_rated[:, None]
    factor[beyond] = 0.0
    return np.asarray(factor)


def residual(parameters: LatentParameters, series: Courses) -> Floats:
    """Score minus the mean course of all patients."""
    return np.asarray(np.where(series.rated, series.score - mean_course(parameters, series.time), 0.0))
