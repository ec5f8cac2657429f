"""Who is at risk when: start-stop rows as positions on the line of event times (Andersen & Gill 1982).

A row is at risk at the event times t with ``start < t <= stop``: at the positions [first, last) of those times. Sums
over risk sets are then differences of running sums over the event times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.tables.arrays import FloatArray, IntArray


class RiskSets(NamedTuple):
    """Which rows are at risk when."""

    time: FloatArray  # (k,): the event times, of each stratum in order
    n_events: IntArray  # (k,): events at each
    # first, last: (n,); each row is at risk at the positions first .. last - 1.
    first: IntArray
    last: IntArray
    # event_row, event_time: (d,); the rows with an event, and the position of its time
    event_row: IntArray
    event_time: IntArray

    def sum(self, values: FloatArray) -> FloatArray:
        """Sum of `values` (n,) over the rows at risk at each event time."""
        size = len(self.time)
        if (self.last - self.first <= 1).all():
            there = self.last > self.first
            return np.asarray(np.bincount(self.first[there], values[there], size), dtype=np.float64)
        entered = np.bincount(self.first, values, size + 1)
        left = np.bincount(self.last, values, size + 1)
        return np.asarray(np.cumsum((entered - left).astype(np.longdouble))[:-1], dtype=np.float64)

    def over(self, values: FloatArray) -> FloatArray:
        """Sum of `values` (k,) or (k, p) over the event times at which each row is at risk."""
        shape = (1, *values.shape[1:])
        running = np.concatenate([np.zeros(shape), np.cumsum(values, axis=0)])
        return np.asarray(running[self.last] - running[self.first])


def risk_sets(start: FloatArray, stop: FloatArray, event: FloatArray, stratum: IntArray | None = None) -> RiskSets:
    """Reduce start-stop rows to positions on the line of event times.

    Raises ``ValueError`` for a row that does not end after it starts, or no event at all.
    """
    start, stop = np.asarray(start, dtype=np.float64), np.asarray(stop, dtype=np.float64)
    if (stop <= start).any():
        raise ValueError(f"Row {int(np.flatnonzero(stop <= start)[0])} does not stop after it starts.")
    happened = np.asarray(event) > 0
    if not happened.any():
        raise ValueError(f"There is no event in the {len(start)} rows used: a hazard of zero has no model.")
    group = np.zeros(len(start), dtype=np.int64) if stratum is None else np.asarray(stratum, dtype=np.int64)
    first, last = np.zeros(len(start), dtype=np.int64), np.zeros(len(start), dtype=np.int64)
    times, offset = [], 0
    for label in range(int(group.max()) + 1):
        here = slice(None) if stratum is None else np.flatnonzero(group == label)
        own = np.unique(stop[here][happened[here]])
        first[here] = offset + np.searchsorted(own, start[here], side="right")
        last[here] = offset + np.searchsorted(own, stop[here], side="right")
        times.append(own)
        offset += len(own)
    event_row = np.flatnonzero(happened)
    event_time = last[event_row] - 1
    n_events = np.bincount(event_time, minlength=offset)
    return RiskSets(np.concatenate(times), n_events, first, last, event_row, event_time)
