"""Whether the fall criterion of a rule holds, at every rated session at once; arrays only, no state."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.rules.references import Basis
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.rupture.rules.vocabulary import REFERENCES, UNITS
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

RUN_LENGTHS = {"two_of_three": (2, 3, 2.0), "four_of_five": (4, 5, 1.0), "eight_in_a_row": (8, 8, 0.0)}
"""Run rule: how many, of how many consecutive ratings, beyond how many units."""


class Judged:
    """The fall criterion at every rated session (n,).

    ``baseline`` is the level each score is compared with, where there is one (``known``); ``unit`` the rule's unit in
    points; ``judgeable`` says where the rule can say anything: there is a reference level and a unit, burn-in is over,
    and there are enough ratings; ``fires`` where the fall criterion holds. ``of_study`` holds what the unit takes from
    the whole study, by name, (studies,) or (1,); empty if it takes nothing.
    """

    def __init__(self, series: Series, rule: Rule, of_study: dict[str, FloatArray] | None = None) -> None:
        self.series, self.rule = series, rule
        basis = Basis(
            series,
            trend=rule.reference == "own_trend",
            cumulative=rule.fall == "cumulative",
            bridge=rule.bridge,
            reliability=rule.reliability,
            of_study={} if of_study is None else of_study,
        )
        self.baseline, self.known = REFERENCES[rule.reference].level(basis)
        self.unit = UNITS[rule.unit].in_points(basis, self.baseline)
        self.of_study = basis.of_study
        self.judgeable = self._judgeable()

    @cached_property
    def fall(self) -> FloatArray:
        """Baseline minus score, in points."""
        return self.baseline - self.series.score

    @cached_property
    def fires(self) -> BoolArray:
        """Whether the fall criterion holds at each rated session."""
        return self.fires_at(self.rule.size)

    @cached_property
    def sudden(self) -> BoolArray | None:
        """Whether the second and third criterion of a sudden fall hold; None for other falls."""
        if self.rule.fall != "sudden":
            return None
        return sudden_criteria(self.series, self.rule, np.arange(len(self.series.score)))

    def reaches(self, size: float) -> BoolArray:
        """Whether the score lies `size` units below the baseline, whatever else the rule demands."""
        threshold, tolerance = size * self.unit, self.series.tolerance
        reached: BoolArray = (
            self.fall > threshold + tolerance if self.rule.strict else self.fall >= threshold - tolerance
        )
        return reached

    def fires_at(self, size: float) -> BoolArray:
        """The criterion with another size, everything else being equal."""
        reached = self.reaches(size) & self.judgeable
        if self.rule.fall == "sudden":
            at = np.flatnonzero(reached)
            reached[at] = sudden_criteria(self.series, self.rule, at)
        for run_rule in self.rule.run_rules:
            reached |= self._runs(*RUN_LENGTHS[run_rule])
        return reached

    def depth(self) -> FloatArray:
        """The fall in units, -inf where none can be judged: the size at which the rule would just fire."""
        able = self.judgeable if self.sudden is None else self.judgeable & self.sudden
        depth: FloatArray = np.divide(self.fall, self.unit, out=np.full(len(self.fall), -np.inf), where=able)
        return depth

    def _judgeable(self) -> BoolArray:
        series, rule = self.series, self.rule
        judgeable = self.known & (series.position >= first_judged(rule))
        if np.ndim(self.unit):
            judgeable &= self.unit > series.tolerance
        if not rule.prospective:
            judgeable &= series.spread(series.length >= rule.min_ratings)
        return judgeable

    def _runs(self, needed: int, among: int, beyond: float) -> BoolArray:
        """Ratings beyond the limit that complete `needed` such among the last `among` of the patient."""
        tolerance = self.series.tolerance
        low = self.fall >= beyond * self.unit - tolerance if beyond else self.fall > tolerance
        at = np.flatnonzero(low & self.judgeable)
        completing = at[needed - 1 :]
        span = completing - at[: len(completing)]  # ratings since the first of the last `needed` ones
        completed = np.zeros(len(low), dtype=bool)
        completed[completing[(span < among) & (span <= self.series.position[completing])]] = True
        return completed


def judge(series: Series, rule: Rule, of_study: dict[str, FloatArray] | None = None) -> Judged:
    """The fall criterion of `rule` at every rated session of `series`.

    `of_study`, the attribute of another `Judged`, replaces what the unit takes from the study: simulated studies are
    then judged by thresholds that are the same in points as those of the data.
    """
    return Judged(series, rule, of_study)


def first_judged(rule: Rule) -> int:
    """Ratings of the patient that must come before the first one judged."""
    earlier = 0 if REFERENCES[rule.reference].looks_ahead else 1
    return max(rule.burn_in, earlier, rule.min_ratings if rule.prospective else 0)


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
