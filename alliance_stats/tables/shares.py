"""Confidence levels, intervals for shares that respect patients as the unit of sampling, and what agreement needs."""

from __future__ import annotations

from numbers import Real
from statistics import NormalDist
from typing import Any

import numpy as np

from alliance_stats.tables.arrays import FloatArray


def check_level(level: object, *, name: str = "level") -> None:
    """Raise ``ValueError`` unless a confidence level is a number between 0 and 1, both excluded.

    >>> check_level(95)
    Traceback (most recent call last):
        ...
    ValueError: level=95 must be between 0 and 1, such as 0.95.
    """
    if not isinstance(level, Real) or not 0.0 < float(level) < 1.0:
        raise ValueError(f"{name}={level!r} must be between 0 and 1, such as 0.95.")


def normal_quantile(level: float) -> float:
    """The two-sided normal quantile of a confidence level.

    >>> round(normal_quantile(0.95), 4)
    1.96
    """
    check_level(level)
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def wilson(share: Any, n: Any, *, level: float) -> tuple[Any, Any]:
    """The score interval of Wilson (1927) for shares of n, each a number or an array; NaN where n is 0.

    `n` may be an effective number of units. The test proves it equal to statsmodels' ``proportion_confint``, whose
    import would take twice as long as that of pandas.

    >>> tuple(round(bound, 4) for bound in wilson(0.5, 10, level=0.95))
    (0.2366, 0.7634)
    """
    z = normal_quantile(level)
    share, n = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    n = np.where(n > 0, n, np.nan)
    centre = share + z * z / (2.0 * n)
    half = z * np.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    scale = 1.0 + z * z / n
    low, high = np.maximum((centre - half) / scale, 0.0), np.minimum((centre + half) / scale, 1.0)
    return (low, high) if low.ndim else (float(low), float(high))


def clustered_share(part: Any, whole: Any, *, level: float, information: float = 1.0) -> tuple[float, float, float]:
    """The share sum(part) / sum(whole) over patients, NaN of nothing, with an interval that allows for their differing.

    The linearised variance of the ratio over patients gives an effective number of units, never more than
    sum(whole), that enters Wilson's interval (Korn & Graubard 1998). Where `part` sums probabilities, `information` is
    Var(p) / (mean (1 - mean)), the share of the information on what they are probabilities of. They vary less than that
    does: the variance of the ratio is divided by its square, which for patients gives the information on the share of a
    mixture whose components are known.

    Half of ten units, first of ten patients, then of two patients who differ as much as they can:

    >>> [round(value, 2) for value in clustered_share([1] * 5 + [0] * 5, [1] * 10, level=0.95)]
    [0.5, 0.23, 0.77]
    >>> [round(value, 2) for value in clustered_share([5, 0], [5, 5], level=0.95)]
    [0.5, 0.05, 0.95]
    """
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    total, patients = whole.sum(), int((whole > 0).sum())
    if total <= 0:
        return (float("nan"),) * 3
    share = float(part.sum() / total)
    effective = total * information**2
    if patients > 1:
        variance = patients / (patients - 1) * np.square(part - share * whole).sum() / total**2
        if variance > 0:
            effective = min(total, share * (1.0 - share) / variance * information**2)
    low, high = wilson(share, effective, level=level)
    return share, low, high


def log_log_interval(probability: Any, error: Any, *, quantile: float) -> tuple[Any, Any]:
    """Limits of estimated probabilities with standard errors, on the complementary log-log scale.

    They stay between 0 and 1; a probability of 0 or 1 has no width. `quantile` is the two-sided normal or t quantile.

    >>> [round(float(bound), 4) for bound in log_log_interval(0.3, 0.05, quantile=1.96)]
    [0.2141, 0.4103]
    """
    probability, error = np.asarray(probability, dtype=np.float64), np.asarray(error, dtype=np.float64)
    inside = (probability > 0) & (probability < 1)
    safe = np.where(inside, probability, 0.5)
    width = quantile * error / np.abs((1 - safe) * np.log1p(-safe))
    scale = np.log(-np.log1p(-safe))
    low, high = -np.expm1(-np.exp(scale - width)), -np.expm1(-np.exp(scale + width))
    return np.where(inside, low, probability), np.where(inside, high, probability)


def resampled(rng: np.random.Generator, n: int, draws: int) -> FloatArray:
    """How often each patient is in each bootstrap sample, (draws, n)."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=draws).astype(np.float64)


def percentiles(values: Any, level: float) -> tuple[float, float]:
    """The percentile interval of what is not missing; NaN without any."""
    known = np.asarray(values)[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def spearman_brown(single: Any, k: int) -> Any:
    """The reliability of the mean of k raters from that of one (Spearman 1910; Brown 1910)."""
    return k * single / (1 + (k - 1) * single)


def ratio(part: Any, whole: Any) -> Any:
    """Part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)
