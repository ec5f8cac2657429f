"""Scores without ruptures: their mean course and covariance, given the parameters."""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats, Patterns
from alliance_stats.rupture.latent.parameters import LatentParameters


def covariance(parameters: LatentParameters, time: Floats) -> Floats:
    """Covariance of a series without ruptures in units of its own variance, (p, T, T) for `time` (p, T)."""
    lag = np.abs(time[:, :, None] - time[:, None, :]).astype(np.int64)
    from_centre = time - parameters.centre
    powers = np.power(parameters.autocorrelation, np.arange(lag.max(initial=0) + 1.0))
    matrix = (parameters.state_share * powers)[lag]
    matrix += (parameters.level_sd / parameters.within_sd) ** 2
    matrix += (parameters.trend_sd / parameters.within_sd) ** 2 * (from_centre[:, :, None] * from_centre[:, None, :])
    diagonal = np.arange(time.shape[1])
    matrix[:, diagonal, diagonal] += 1.0 - parameters.state_share
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
    mean = parameters.level + parameters.trend * (series.time - parameters.centre)
    return np.asarray(np.where(series.rated, series.score - mean, 0.0))
