"""The level that each score is compared with, one function per reference of the vocabulary; arrays only.

Each returns the level at every rating, (n,), and where there is one, (n,) bool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import BoolArray, FloatArray


class OwnFit(NamedTuple):
    """Each patient's own centre and the spread around it: level (n,), sum of squares (p,), degrees of freedom (p,)."""

    level: FloatArray
    ss: FloatArray
    df: FloatArray

    @property
    def sd(self) -> FloatArray:
        """The patients' own SD, 0 where there are too few ratings."""
        return np.sqrt(np.divide(self.ss, self.df, out=np.zeros_like(self.ss), where=self.df > 0))


class Earlier(NamedTuple):
    """What came before each rating: the patient's mean as an origin (n,), scores from it (n,), their earlier sum (n,).

    From that origin sums of deviations stay small, so that nothing is lost to rounding.
    """

    origin: FloatArray
    centred: FloatArray
    total: FloatArray


@dataclass(frozen=True)
class Basis:
    """What references and units are computed from; the sums they share are made once, where a rule needs them."""

    series: Series
    trend: bool = False  # the patient's own centre is a line over sessions, not a mean
    cumulative: bool = False  # a fall is measured from where the run of non-rising ratings began
    bridge: int | None = None  # missed sessions across which ratings are still neighbours; None: any number
    reliability: float | None = None  # of the score, for the reliable change index
    of_study: dict[str, FloatArray] = field(default_factory=dict)  # values given are used, others computed and kept

    def study_value(self, name: str, compute: Callable[[], FloatArray]) -> FloatArray:
        """A value of the whole study, (studies,): the one given in `of_study`, or computed and kept there."""
        if name not in self.of_study:
            self.of_study[name] = compute()
        return np.broadcast_to(self.of_study[name], (self.series.n_studies,))

    @cached_property
    def own(self) -> OwnFit:
        """Each patient's own mean, or least-squares line over session numbers, and the squares around it."""
        series = self.series
        level = series.spread(series.mean)
        if self.trend:
            session = series.session.astype(np.float64)
            time = session - series.spread(series.total(session) / series.length)
            sxx = series.total(time * time)
            sxy = series.total(time * (series.score - level))
            slope = np.divide(sxy, sxx, out=np.zeros_like(sxx), where=sxx > 0)
            level = level + series.spread(slope) * time
        residual = series.score - level
        df = np.maximum(series.length - (2.0 if self.trend else 1.0), 0.0)
        return OwnFit(level, series.total(residual * residual), df)

    @cached_property
    def earlier(self) -> Earlier:
        """The patient's earlier ratings, summed, at every rated session."""
        origin = self.series.spread(self.series.mean)
        centred = self.series.score - origin
        return Earlier(origin, centred, self.series.total_before(centred))


def previous(basis: Basis) -> tuple[FloatArray, BoolArray]:
    """The rating before, if it is a neighbour; for a cumulative fall the score at which the run of falls began."""
    series = basis.series
    known = series.neighbours(basis.bridge)
    before = np.empty_like(series.score)
    before[1:] = series.score[:-1]
    before[:1] = 0.0
    if not basis.cumulative:
        return before, known
    begins = ~known | (series.score > before + series.tolerance)
    return series.score[np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))], known


def running_mean(basis: Basis) -> tuple[FloatArray, BoolArray]:
    """The mean of the patient's earlier ratings."""
    position = basis.series.position
    return basis.earlier.origin + basis.earlier.total / np.maximum(position, 1), position > 0


def running_max(basis: Basis) -> tuple[FloatArray, BoolArray]:
    """The highest of the patient's earlier ratings."""
    series = basis.series
    highest = series.score.copy()
    best = np.full(series.n_patients, -np.inf)
    for place, rows in enumerate(series.places):
        best = best[: len(rows)]
        if place:
            highest[rows] = best
        best = np.maximum(best, series.score[rows])
    return highest, series.position > 0


def own_level(basis: Basis) -> tuple[FloatArray, BoolArray]:
    """The patient's own mean, or own line."""
    return basis.own.level, np.ones(len(basis.series.score), dtype=bool)


def own_median(basis: Basis) -> tuple[FloatArray, BoolArray]:
    """The patient's own median, patients of equal length taken together."""
    series = basis.series
    median = np.empty(series.n_patients)
    for length in np.unique(series.length):
        who = np.flatnonzero(series.length == length)
        ordered = np.sort(series.score[series.start[who, None] + np.arange(length)], axis=1)
        median[who] = (ordered[:, (length - 1) // 2] + ordered[:, length // 2]) / 2.0
    return series.spread(median), np.ones(len(series.score), dtype=bool)
