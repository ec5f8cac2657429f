"""Sudden falls: three ratings before against three after (Tang & DeRubeis 1999); arrays only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray


class SuddenParts(NamedTuple):
    """Up to three ratings before each (sessions n-2 .. n) against up to three from it on (n+1 .. n+3), (m,) arrays."""

    n_before: FloatArray
    n_after: FloatArray
    mean_before: FloatArray
    mean_after: FloatArray
    pooled_sd: FloatArray
    enough: BoolArray


def sudden_parts(series: Series, at: IntArray) -> SuddenParts:
    """The three before against the three after, at the ratings `at` as the first after; numbers only where `enough`."""
    before, after = np.zeros((2, 3, len(at)))  # count, sum, sum of squares, around the score itself
    for lag in (1, 2, 3):
        _gather(series, at, before, lag=lag, reach=2, anchor=-1)
    for lag in (0, -1, -2):
        _gather(series, at, after, lag=lag, reach=2, anchor=0)
    (n0, s0, q0), (n1, s1, q1) = before, after
    enough = (n0 >= 2) & (n1 >= 2)
    safe0, safe1 = np.maximum(n0, 1.0), np.maximum(n1, 1.0)
    squares = np.maximum(q0 - s0 * s0 / safe0, 0.0) + np.maximum(q1 - s1 * s1 / safe1, 0.0)
    pooled = np.sqrt(squares / np.maximum(n0 + n1 - 2.0, 1.0))
    score = series.score[at]
    return SuddenParts(n0, n1, score + s0 / safe0, score + s1 / safe1, pooled, enough)


def sudden_criteria(series: Series, rule: Rule, at: IntArray) -> BoolArray:
    """Criteria 2 (percent) and 3 (three before against three after) of a sudden fall, at its later session."""
    parts = sudden_parts(series, at)
    df = np.where(parts.enough, parts.n_before + parts.n_after - 2.0, 2.0).astype(np.int64)
    separated = parts.mean_before - parts.mean_after > critical_t(rule.sudden_alpha)[df] * parts.pooled_sd
    previous = series.score[np.maximum(at - 1, 0)]
    large = previous - series.score[at] >= rule.sudden_percent / 100.0 * np.abs(previous) - series.tolerance
    held: BoolArray = parts.enough & separated & large
    return held


def _gather(series: Series, at: IntArray, moments: FloatArray, *, lag: int, reach: int, anchor: int) -> None:
    """Add the rating `lag` places before each to `moments`, if it is within `reach` sessions of the anchor's."""
    n = len(series.score)
    there, pivot = at - lag, at + anchor
    valid = (there >= 0) & (there < n) & (pivot >= 0)
    there, pivot = np.where(valid, there, 0), np.where(valid, pivot, 0)
    owner = series.owner[at]
    valid &= (series.owner[there] == owner) & (series.owner[pivot] == owner)
    valid &= np.abs(series.session[there] - series.session[pivot]) <= reach
    value = np.where(valid, series.score[there] - series.score[at], 0.0)
    moments[0] += valid
    moments[1] += value
    moments[2] += value * value


def critical_t(alpha: float) -> FloatArray:
    """Two-sided critical values of Student's t for 0 .. 4 degrees of freedom (0 and 1 do not occur)."""
    from scipy.special import stdtrit

    return np.array([np.inf, np.inf, *(float(stdtrit(df, 1.0 - alpha / 2.0)) for df in (2, 3, 4))])
