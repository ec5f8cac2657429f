"""Confidence intervals for shares that respect patients as the unit of sampling; arrays only."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np


def normal_quantile(level: float) -> float:
    """The two-sided normal quantile of a confidence level in (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} must lie between 0 and 1.")
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def wilson(share: float, n: float, *, level: float) -> tuple[float, float]:
    """The score interval of Wilson (1927) for a share of n; NaN without any.

    >>> tuple(round(bound, 4) for bound in wilson(0.5, 10, level=0.95))
    (0.2366, 0.7634)
    """
    if not n > 0 or np.isnan(share):
        return float("nan"), float("nan")
    z = normal_quantile(level)
    centre = share + z * z / (2.0 * n)
    half = z * float(np.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n)))
    scale = 1.0 + z * z / n
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


def clustered_share(part: Any, whole: Any, *, level: float) -> tuple[float, float, float]:
    """The share sum(part) / sum(whole) over patients, with an interval that allows for patients differing.

    The linearised variance of the ratio over patients gives an effective number of units, never more than
    sum(whole), that enters Wilson's interval (Korn & Graubard 1998).

    Parameters
    ----------
    part, whole : (p,) arrays
        Per patient the count of interest, and what it is counted in.

    Returns
    -------
    (float, float, float)
        Share, lower and upper bound; NaN where there is nothing to count.
    """
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    total, patients = whole.sum(), int((whole > 0).sum())
    if total <= 0:
        return (float("nan"),) * 3
    share = part.sum() / total
    effective = total
    if patients > 1:
        variance = patients / (patients - 1) * np.square(part - share * whole).sum() / total**2
        if variance > 0:
            effective = min(total, share * (1.0 - share) / variance)
    low, high = wilson(share, effective, level=level)
    return share, low, high
