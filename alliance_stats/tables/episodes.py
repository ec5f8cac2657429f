"""The state of on-off episodes over an integer time line: arrays in, arrays out; knows nothing of therapy.

Used wherever "what was known at time t" is needed, so that lagged covariates are built in one place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.panel import rows_until


class EpisodeStates(NamedTuple):
    """What is known at each query, one entry per row (all counts include the time asked about)."""

    # n_started, n_closed: episodes begun, and ended, at or before the time
    n_started: IntArray
    n_closed: IntArray
    is_open: BoolArray  # Some episode has begun and not ended
    since_start: FloatArray  # Time since the latest start; NaN before the first
    since_closed: FloatArray  # Time since the latest end; NaN before the first


def episode_states(series: Any, time: Any, *, episode_series: Any, start: Any, end: Any) -> EpisodeStates:
    """The state of every series at the times asked about (n,), in any order.

    Each of the m episodes belongs to a series 0, 1, ..., begins at `start` and ends at `end` (NaN if never observed).

    >>> states = episode_states([0] * 5, [1, 2, 3, 4, 5], episode_series=[0], start=[2], end=[4.0])
    >>> states.is_open.tolist(), states.n_closed.tolist()
    ([False, True, True, False, False], [0, 0, 0, 1, 1])
    """
    series, time = np.asarray(series, dtype=np.int64), np.asarray(time, dtype=np.int64)
    owner, start = np.asarray(episode_series, dtype=np.int64), np.asarray(start, dtype=np.int64)
    end = np.asarray(end, dtype=np.float64)
    ended = ~np.isnan(end)
    n_started, latest_start = _count_and_latest(series, time, owner, start)
    n_closed, latest_end = _count_and_latest(series, time, owner[ended], end[ended].astype(np.int64))
    return EpisodeStates(n_started, n_closed, n_started > n_closed, time - latest_start, time - latest_end)


def _count_and_latest(series: IntArray, time: IntArray, owner: IntArray, when: IntArray) -> tuple[IntArray, FloatArray]:
    """How many marks of its own series lie at or before each query, and the time of the last of them."""
    if not len(when):
        return np.zeros(len(time), dtype=np.int64), np.full(len(time), np.nan)
    order = np.lexsort((when, owner))
    owner, when = owner[order], when[order]
    until = rows_until(owner, when, series, time)
    count = until - np.searchsorted(owner, series, side="left")
    return count, np.where(count > 0, when[until - 1], np.nan)
