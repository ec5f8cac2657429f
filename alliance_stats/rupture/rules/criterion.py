"""Whether the fall criterion of a rule holds, at every rated session at once; arrays only, no state."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from alliance_stats.rupture.rules.references import Basis
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.separation import sudden_criteria
from alliance_stats.rupture.rules.series import Series
from alliance_stats.rupture.rules.vocabulary import REFERENCES, UNITS
from alliance_stats.tables.arrays import BoolArray, FloatArray

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
