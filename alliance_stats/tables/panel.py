"""Arithmetic on many short series at once: lags, means and lines per series. Arrays in, arrays out.

Rows are sorted by series and, within it, by an integer time; ``series`` numbers them 0, 1, ... without gaps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

MIN_FOR_LINE = 3  # With two ratings a line passes through both: there is nothing left to call a deviation from it


class Split(NamedTuple):
    """A variable taken apart, each (n,): its deviation within the series, and the level it deviates from."""

    within: FloatArray
    between: FloatArray


def rows_at(series: IntArray, time: IntArray, which: IntArray, when: IntArray) -> IntArray:
    """The row of series `which` at the time `when`, for each of them; -1 where there is none.

    >>> rows_at(np.array([0, 0, 1]), np.array([1, 2, 1]), np.array([0, 1, 1]), np.array([2, 1, 2])).tolist()
    [1, 2, -1]
    """
    row = rows_until(series, time, which, when) - 1
    hit = row >= 0
    hit[hit] = (series[row[hit]] == which[hit]) & (time[row[hit]] == when[hit])
    return np.where(hit, row, -1).astype(np.int64)


def rows_until(series: IntArray, time: IntArray, which: IntArray, when: IntArray) -> IntArray:
    """How many rows there are up to the time `when` of series `which`, all rows of lower series included.

    Rows ``first:rows_until(...)`` of a series that begins at row `first` are its rows at or before the time.

    >>> rows_until(np.array([0, 0, 1]), np.array([1, 3, 2]), np.array([0, 1, 1]), np.array([2, 1, 9])).tolist()
    [1, 2, 3]
    """
    if not len(series):
        return np.zeros(len(which), dtype=np.int64)
    before, after = int(time.min()) - 1, int(time.max()) + 1
    span = after - before
    wanted = which * span + (np.clip(when, before, after - 1) - before)
    return np.searchsorted(series * span + (time - before), wanted, side="right")


def lagged_rows(series: IntArray, time: IntArray, by: int) -> IntArray:
    """The row of the same series `by` time units earlier (negative: later), -1 where there is none.

    >>> lagged_rows(np.array([0, 0, 0, 1]), np.array([1, 2, 4, 1]), 1).tolist()
    [-1, 0, -1, -1]
    """
    return rows_at(series, time, series, time - by)


def earlier_rated(series: IntArray, rated: BoolArray, by: int) -> IntArray:
    """The row of the `by`-th rated entry before each row (negative: after), however long ago; -1 where there is none.

    >>> earlier_rated(np.array([0, 0, 0, 0]), np.array([True, False, True, True]), 1).tolist()
    [-1, 0, 0, 2]
    """
    rows = np.flatnonzero(rated)
    upto = np.cumsum(rated)
    place = upto - rated - by if by > 0 else upto - by - 1
    inside = (place >= 0) & (place < len(rows))
    row = rows[np.clip(place, 0, max(len(rows) - 1, 0))] if len(rows) else np.zeros(len(series), dtype=np.int64)
    if len(rows):
        inside &= series[row] == series
    return np.where(inside, row, -1).astype(np.int64)


def series_means(series: IntArray, values: FloatArray, n_series: int) -> FloatArray:
    """The mean of the values there are, per series (n_series,); NaN for a series without any."""
    there = ~np.isnan(values)
    count = np.bincount(series[there], minlength=n_series)
    centre = float(values[there].mean()) if there.any() else 0.0  # for precision where the level is far from 0
    total = np.bincount(series[there], weights=values[there] - centre, minlength=n_series)
    with np.errstate(invalid="ignore"):
        return np.asarray(centre + total / np.where(count > 0, count, np.nan))


def split(series: IntArray, time: IntArray, values: FloatArray, centre: str) -> Split:
    """Deviation from the series' own mean (``patient``), line (``detrend``) or mean so far (``so_far``)."""
    if centre == "so_far":
        return split_so_far(series, values)
    n_series = int(series.max()) + 1
    if centre == "detrend":
        return split_by_line(series, time, values, n_series)
    return split_by_mean(series, values, n_series)


def split_by_mean(series: IntArray, values: FloatArray, n_series: int) -> Split:
    """Deviation from the series' own mean, and that mean."""
    between = series_means(series, values, n_series)[series]
    return Split(values - between, between)


def split_by_line(series: IntArray, time: IntArray, values: FloatArray, n_series: int) -> Split:
    """Deviation from the series' own least-squares line over time, and the series' mean.

    NaN within a series that has fewer than three values.
    """
    between = series_means(series, values, n_series)
    there = ~np.isnan(values)
    clock = np.where(there, time.astype(np.float64), np.nan)
    away = clock - series_means(series, clock, n_series)[series]
    deviation = values - between[series]
    known = series[there]
    moment = np.bincount(known, weights=away[there] ** 2, minlength=n_series)
    product = np.bincount(known, weights=(away * deviation)[there], minlength=n_series)
    slope = product / np.where(moment > 0, moment, np.nan)
    enough = np.bincount(known, minlength=n_series) >= MIN_FOR_LINE
    return Split(np.where(enough[series], deviation - slope[series] * away, np.nan), between[series])


def split_so_far(series: IntArray, values: FloatArray) -> Split:
    """Deviation from the mean of the series' values so far, this one included, and that mean.

    Every row from the first value on has the mean; a row with a value also has the deviation.
    """
    there = ~np.isnan(values)
    centre = float(values[there].mean()) if there.any() else 0.0
    total = np.concatenate([[0.0], np.cumsum(np.where(there, values - centre, 0.0))])
    count = np.concatenate([[0], np.cumsum(there)])
    first = np.flatnonzero(np.diff(series, prepend=-1))
    n = count[1:] - count[first][series]
    between = centre + (total[1:] - total[first][series]) / np.where(n > 0, n, np.nan)
    return Split(values - between, between)
