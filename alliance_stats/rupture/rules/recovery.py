"""What follows a rupture: how long it was watched, when repair came, how the patient did afterwards; arrays only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.hazard.incidence import Occupation, state_occupation
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.panel import rows_until


class Watched(NamedTuple):
    """For each rupture: session numbers from onset to repair or to the last that was watched, and whether repaired.

    ``ended`` tells whether the series ended while the rupture was open, rather than the rule's window.
    """

    time: IntArray
    repaired: BoolArray
    ended: BoolArray


def watched(series: Series, onset: IntArray, repaired: IntArray, resumed: IntArray, window: int | None) -> Watched:
    """How long each rupture (m,) was watched: its onset, its repair (-1: none), and the first rating after it."""
    owner = series.owner[onset]
    is_repaired, last = repaired >= 0, series.stop[owner] - 1
    end = np.where(is_repaired, repaired, np.minimum(resumed, last))
    time = series.session[end] - series.session[onset]
    if window is not None:
        time = np.minimum(time, window)
    ended = ~is_repaired & (resumed > last)
    if window is not None:
        ended &= series.session[last] < series.session[onset] + window
    return Watched(time, is_repaired, ended)


def repair_curve(seen: Watched, cluster: IntArray) -> tuple[Occupation, Occupation]:
    """The share repaired by each time since onset: where nobody's therapy ended (Kaplan-Meier), and as it was.

    In the first, ruptures whose therapy ended are censored; in the second the end of therapy competes with repair
    (Aalen & Johansen 1978). The states are open, repaired, therapy ended.
    """
    start, stop = np.zeros(len(seen.time)), seen.time.astype(np.float64)
    origin, begun = np.zeros(len(stop), dtype=np.int64), np.array([1.0, 0.0, 0.0])
    return tuple(  # type: ignore[return-value]
        state_occupation(start, stop, origin, target, cluster, n_states=3, initial=begun)
        for target in (np.where(seen.repaired, 1, -1), np.where(seen.repaired, 1, np.where(seen.ended, 2, -1)))
    )


def change_after_repair(series: Series, onset: IntArray, repaired: IntArray, *, sessions: int) -> FloatArray:
    """Mean score in the `sessions` after the repair minus that in the `sessions` before the onset; NaN where unrated.

    The onset and the rating that repaired it are left out: they were chosen for being low and high.
    """
    total = np.concatenate([[0.0], np.cumsum(series.score)])
    owner, at = series.owner[onset], np.maximum(repaired, 0)

    def mean(first: IntArray, stop: IntArray) -> FloatArray:
        n = stop - first
        found: FloatArray = np.divide(total[stop] - total[first], n, out=np.full(len(n), np.nan), where=n > 0)
        return found

    def until(session: IntArray) -> IntArray:
        return rows_until(series.owner, series.session, owner, session)

    before = mean(until(series.session[onset] - sessions - 1), onset)
    after = mean(at + 1, np.maximum(until(series.session[at] + sessions), at + 1))
    return np.where(repaired >= 0, after - before, np.nan)
