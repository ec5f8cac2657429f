"""Soft bounds: a score made of several bounded answers nears its ceiling gradually; arrays only.

The mean of items that are each cut at the top of their scale does not run straight into the ceiling: some items are at
the top already while others still can rise, so that the score's steps become smaller the closer it comes. Near a
ceiling a patient's course is therefore skewed downwards without any rupture. Here a latent score x is seen as the mean
of answers that scatter around x with SD t (in points) before they are cut,

    y = high - t g((high - x) / t),  g(z) = z Phi(z) + phi(z),

and likewise at the lowest score. As t goes to 0, y is x cut at the bounds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from alliance_stats.tables.arrays import FloatArray

NEGLIGIBLE = 1e-6
"""Below this share of the range a soft bound is treated as a cut."""
LOWEST, PER_UNIT = -6.0, 300
"""Where the table of g(z) begins, and its entries per unit of z."""


def bend(latent: FloatArray, bounds: tuple[float, float], reach: FloatArray | float) -> FloatArray:
    """Scores (..., draws) as seen between soft bounds; `reach` (t above, in points) is one number or one per draw.

    >>> bend(np.array([1.0, 4.0, 5.0, 9.0]), (1.0, 5.0), 0.0).round(4).tolist()
    [1.0, 4.0, 5.0, 5.0]
    >>> bend(np.array([3.0, 5.0, 9.0]), (1.0, 5.0), 0.5).round(2).tolist()
    [3.0, 4.8, 5.0]
    """
    low, high = bounds
    if high <= low:
        return np.full_like(latent, low)
    t = np.maximum(reach, NEGLIGIBLE * (high - low))
    seen: FloatArray = low + t * _cut_mean((high - t * _cut_mean((high - latent) / t) - low) / t)
    return seen


def unbend(seen: FloatArray, bounds: tuple[float, float], reach: float) -> FloatArray:
    """The latent score behind each score strictly between the bounds: the inverse of :func:`bend`.

    >>> unbend(bend(np.array([3.0, 4.5]), (1.0, 5.0), 0.5), (1.0, 5.0), 0.5).round(9).tolist()
    [3.0, 4.5]
    """
    low, high = bounds
    if high <= low:
        return seen.copy()
    t = max(reach, NEGLIGIBLE * (high - low))
    latent: FloatArray = high - t * _inverse((high - low - t * _inverse((seen - low) / t)) / t)
    return latent


def _cut_mean(z: FloatArray) -> FloatArray:
    """The mean of max(x, 0) for normal x with mean z and SD 1: to 1e-6, by linear interpolation."""
    _, means = _grid()
    mean: FloatArray = np.array(z, order="C")
    near = np.flatnonzero(mean < 5.0)  # above, z and its mean differ by less than 6e-8
    place = np.maximum((mean.ravel()[near] - LOWEST) * PER_UNIT, 0.0)
    below = place.astype(np.int64)
    mean.ravel()[near] = means[below] + (place - below) * (means[below + 1] - means[below])
    return mean


def _inverse(mean: FloatArray) -> FloatArray:
    """The z with that mean, by linear interpolation; below -6 it counts as -6, above 8 it is the mean itself."""
    z, means = _grid()
    found: FloatArray = np.where(mean >= 8.0, mean, np.interp(mean, means, z))
    return found


@lru_cache(maxsize=1)
def _grid() -> tuple[FloatArray, FloatArray]:
    """Values of z from -6 to 8, and the mean g(z) = z Phi(z) + phi(z) of each."""
    from scipy.special import ndtr

    z = LOWEST + np.arange(14 * PER_UNIT + 1) / PER_UNIT
    return z, z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
