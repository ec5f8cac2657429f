"""Intervals by resampling patients; arrays only."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.tables.arrays import FloatArray


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


def ratio(part: Any, whole: Any) -> Any:
    """Part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)
