"""Whether two measures are one series on two scales, and the refusal to regress such a series on itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.tables.schema import DataError

UNEXPLAINED = 1e-5
"""The share of variance that rounding may leave: a score of 100 points rounded to a tenth leaves 2e-6."""


def is_linear_function(values: Any, of: Any) -> bool:
    """Whether `values` are a linear function of `of` where both are there, up to rounding.

    False with fewer than three such pairs, or where one of them never changes.

    >>> is_linear_function([20.0, 5.0, np.nan, 11.0], [7.0, 22.0, 3.0, 16.0])
    True
    >>> is_linear_function([20.0, 5.0, 9.0, 11.0], [7.0, 22.0, 3.0, 16.0])
    False
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(of, dtype=np.float64)
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return False
    return bool(1 - np.corrcoef(a, b)[0, 1] ** 2 < UNEXPLAINED)


def same_series_error(measure: str, score: str) -> DataError:
    """What to raise where `measure` is a linear function of `score`, the series that ruptures are detected in."""
    return DataError(
        f"{measure!r} is a linear function of {score!r}: they are one series. A fall in it is a worse value of the "
        "outcome by definition, so that every effect would follow from the arithmetic.",
        remedy="Choose an outcome that was measured apart from the alliance; of one series, ask for ruptures, their "
        "chance level and dropout.",
        column=measure,
    )
