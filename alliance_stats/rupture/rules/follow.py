"""Follow every fall to its repair, or to the end: all patients in step, one rated session at a time; arrays only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.rules.criterion import Judged
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.rupture.rules.vocabulary import REPAIRS
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.schema import CENSORED, REPAIRED, STATUSES, UNREPAIRED


class Ruptures(NamedTuple):
    """Ruptures (m,) in order of patient and onset; positions are those of the ratings in the series."""

    onset: IntArray
    nadir: IntArray  # the lowest rating while it was open
    repaired: IntArray  # -1 if none did
    resumed: IntArray  # the first rating that no longer belonged to it
    status: IntArray  # an index into STATUSES

    @property
    def is_repaired(self) -> BoolArray:
        """Whether each was repaired."""
        repaired: BoolArray = self.repaired >= 0
        return repaired


def follow(judged: Judged, *, fires: BoolArray | None = None) -> Ruptures:
    """The ruptures and repairs of all patients; `fires` (n,): where the criterion holds, if not as `judged` says."""
    series, rule = judged.series, judged.rule
    fires = judged.fires if fires is None else fires
    firing = np.flatnonzero(fires)
    if not len(firing):
        none = np.zeros(0, dtype=np.int64)
        return Ruptures(none, none, none, none, none)
    before = np.zeros(len(fires) + 1, dtype=np.int64)  # firing ratings before each
    np.cumsum(fires, out=before[1:])
    number, following = before[series.start], before[series.stop]
    some = following > number
    onset, last = firing[number[some]], series.stop[some] - 1
    at, nadir, low, baseline = onset.copy(), onset.copy(), series.score[onset], judged.baseline[onset]
    held = np.zeros(len(onset), dtype=np.int64)  # ratings in a row that meet the repair target
    closed: list[tuple[IntArray, ...]] = []
    while len(onset):
        at += 1
        ended = at > last
        here = np.minimum(at, last)
        score = series.score[here]
        going = ~ended
        if rule.window is not None:
            going &= series.session[here] <= series.session[onset] + rule.window
        met = meets_target(rule, score, baseline, low, series.tolerance) & going
        held = np.where(going, (held + 1) * met, held)
        regained = met & (held >= rule.repair_holds)
        lower = score < low - series.tolerance
        lower &= going
        lower &= ~met
        going ^= regained  # open after this rating
        if rule.overlap == "restart":
            restarted = lower & fires[here]
            lower &= ~restarted
            going &= ~restarted
        deeper = np.flatnonzero(lower)
        nadir[deeper], low[deeper] = here[deeper], score[deeper]
        done = np.flatnonzero(~going)
        if not len(done):
            continue
        regained, of, final = regained[done], onset[done], last[done]
        repaired = np.where(regained, at[done], -1)
        resumed = at[done] + regained
        cut_short = ended[done] & _too_early(series, rule, of, final, held[done])
        unregained = np.where(cut_short, STATUSES.index(CENSORED), STATUSES.index(UNREPAIRED))
        status = np.where(regained, STATUSES.index(REPAIRED), unregained)
        closed.append((of, nadir[done], repaired, resumed, status))
        following = before[resumed]
        found = following < len(firing)
        again = firing[np.minimum(following, len(firing) - 1)]
        found &= again <= final
        again, final = again[found], final[found]
        keep = np.flatnonzero(going)
        onset, at, nadir = (np.concatenate([values[keep], again]) for values in (onset, at, nadir))
        held = np.concatenate([held[keep], np.zeros(len(again), dtype=np.int64)])
        last = np.concatenate([last[keep], final])
        low = np.concatenate([low[keep], series.score[again]])
        baseline = np.concatenate([baseline[keep], judged.baseline[again]])
    columns = [np.concatenate(parts) for parts in zip(*closed, strict=True)]
    order = np.full(len(firing), -1)  # every onset is a firing rating of its own: a place for each, no sorting
    order[before[columns[0]]] = np.arange(len(columns[0]))
    order = order[order >= 0]
    return Ruptures(*(column[order] for column in columns))


def meets_target(rule: Rule, score: FloatArray, baseline: FloatArray, low: FloatArray, tolerance: float) -> BoolArray:
    """Whether a score regains what was lost; `low` is the lowest score of the rupture before it."""
    repair = REPAIRS[rule.repair]
    target = repair.target(baseline, low, float(rule.repair_amount or 0.0))
    met: BoolArray = score > target + tolerance if repair.above else score >= target - tolerance
    if rule.bounds is not None:
        met |= score >= rule.bounds[1] - tolerance
    return met


def _too_early(series: Series, rule: Rule, onset: IntArray, last: IntArray, held: IntArray) -> BoolArray:
    """Whether a rupture that is open at the last rating could not yet be decided.

    With a window, if the window is not over. Without, if too few ratings follow the onset for a repair that holds, or
    the last ratings meet the target and more of them are needed.
    """
    if rule.window is not None:
        early: BoolArray = series.session[last] < series.session[onset] + rule.window
        return early
    return (last - onset < rule.repair_holds) | (held > 0)
