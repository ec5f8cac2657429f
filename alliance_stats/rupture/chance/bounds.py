"""Soft bounds: a score made of several bounded answers nears its ceiling gradually; arrays only.

The mean of items that are each cut at the top of their scale does not run straight into the ceiling: some items are at
the top already while others still can rise, so that the score's steps become smaller the closer it comes. Near a
ceiling a patient's course is therefore skewed downwards without any rupture. Here a latent score x is seen as

    y = high - t log(1 + exp((high - x) / t)),

and likewise at the lowest score; t, in points, says over what distance the bound is felt. As t goes to 0, y is x cut at
the bounds.
"""

from __future__ import annotations

import numpy as np

from alliance_stats.tables.arrays import FloatArray

NEGLIGIBLE = 1e-6
"""Below this share of the range a soft bound is treated as a cut."""


def bend(latent: FloatArray, bounds: tuple[float, float], reach: FloatArray | float) -> FloatArray:
    """Scores (..., draws) as seen between soft bounds; `reach` (t above, in points) is one number or one per draw.

    >>> bend(np.array([1.0, 4.0, 5.0, 9.0]), (1.0, 5.0), 0.0).round(4).tolist()
    [1.0, 4.0, 5.0, 5.0]
    >>> bend(np.array([3.0, 5.0, 9.0]), (1.0, 5.0), 0.5).round(2).tolist()
    [3.0, 4.65, 5.0]
    """
    low, high = bounds
    if high <= low:
        return np.full_like(latent, low)
    t = np.maximum(reach, NEGLIGIBLE * (high - low))
    seen: FloatArray = low + t * _softplus((high - t * _softplus((high - latent) / t) - low) / t)
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
    latent: FloatArray = high - t * _inverse_softplus((high - low - t * _inverse_softplus((seen - low) / t)) / t)
    return latent


def _softplus(z: FloatArray) -> FloatArray:
    """log(1 + exp(z)), safe for large z."""
    positive: FloatArray = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))
    return positive


def _inverse_softplus(z: FloatArray) -> FloatArray:
    """log(exp(z) - 1); z at or below 0 counts as a sliver above it."""
    z = np.maximum(z, 1e-9)
    inverse: FloatArray = z + np.log(-np.expm1(-z))
    return inverse
