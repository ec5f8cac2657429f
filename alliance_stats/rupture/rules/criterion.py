"""Whether the fall criterion of a rule holds, at every rated session at once; arrays only, no state."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from alliance_stats.rupture.rules.rule import EARLIER_ONLY, Rule
from alliance_stats.rupture.rules.series import BoolArray, FloatArray, IntArray, Series

MOVING_RANGE_CONSTANT = 1.128
"""Expected absolute difference of two standard normal values (d2 of control charts), as charts use it."""
EARLIER_WEIGHT = 4.0
"""Degrees of freedom that the pooled variance counts for beside the earlier ratings of a patient."""
RELIABLE = 1.96 * np.sqrt(2.0)
RUN_LENGTHS = {"two_of_three": (2, 3, 2.0), "four_of_five": (4, 5, 1.0), "eight_in_a_row": (8, 8, 0.0)}
"""Run rule: so many, of so many consecutive ratings, beyond so many units."""


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


class Judged:
    """The fall criterion at every rated session.

    Attributes
    ----------
    baseline : (n,) array
        The level each score is compared with; meaningless where not `judgeable`.
    unit : (n,) array or scalar
        The rule's unit, in points.
    judgeable : (n,) bool array
        Whether the rule can say anything there: there is a reference level and a unit, burn-in is over, and there are
        enough ratings.
    fires : (n,) bool array
        Whether the fall criterion holds.
    """

    def __init__(self, series: Series, rule: Rule) -> None:
        self.series, self.rule = series, rule
        self.baseline, known = self._reference_level()
        self.unit = self._unit_size()
        self.judgeable = _judgeable(series, rule, known, self.unit)

    @cached_property
    def own(self) -> OwnFit:
        """Each patient's own mean, or line, and the squares around it."""
        return own_fit(self.series, trend=self.rule.reference == "own_trend")

    @cached_property
    def earlier(self) -> Earlier:
        """The patient's earlier ratings, summed."""
        return earlier_ratings(self.series)

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

    def fires_at(self, size: float) -> BoolArray:
        """The criterion with another size, everything else being equal."""
        tolerance = self.series.tolerance
        threshold = size * self.unit
        reached: BoolArray = (
            self.fall > threshold + tolerance if self.rule.strict else self.fall >= threshold - tolerance
        )
        reached &= self.judgeable
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

    def _reference_level(self) -> tuple[FloatArray, BoolArray]:
        """The reference level at every rated session, and where there is one."""
        series, rule = self.series, self.rule
        score, reference = series.score, rule.reference
        if reference == "previous":
            known = series.neighbours(rule.bridge)
            level = np.empty_like(score)
            level[1:] = score[:-1]
            level[:1] = 0.0
            return (level, known) if rule.fall != "cumulative" else (_run_start(series, level, known), known)
        if reference in ("own_mean", "own_trend"):
            return self.own.level, np.ones(len(score), dtype=bool)
        if reference == "own_median":
            return series.spread(own_median(series)), np.ones(len(score), dtype=bool)
        known = series.position > 0
        if reference == "running_mean":
            return self.earlier.origin + self.earlier.total / np.maximum(series.position, 1), known
        return _earlier_maximum(series), known

    def _unit_size(self) -> Any:
        """The rule's unit in points: a scalar array, or one value for each rated session."""
        series, rule, unit = self.series, self.rule, self.rule.unit
        if unit == "points":
            return np.ones(())
        if unit == "percent":
            return np.abs(self.baseline) / 100.0
        if unit == "moving_range":
            return series.spread(moving_range(series, rule.bridge))
        if unit == "between_sd":
            return _of_study(series, between_sd(series))
        if unit == "earlier_sd":
            variance = earlier_variance(series, self.earlier)
            return np.sqrt(variance, out=variance)
        if unit == "rci":
            assert rule.reliability is not None
            first = _study_sd(series, series.score[series.start])
            return _of_study(series, RELIABLE * np.sqrt(1.0 - rule.reliability) * first)
        if unit == "own_sd":
            return series.spread(self.own.sd)
        if unit == "pooled_sd":
            return _of_study(series, np.sqrt(pooled_variance(series, self.own)))
        if unit == "shrunken_sd":
            return series.spread(np.sqrt(shrunken_variance(series, self.own)))
        return series.spread(np.maximum(self.own.sd, between_sd(series)[series.study]))

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


def judge(series: Series, rule: Rule) -> Judged:
    """The fall criterion of `rule` at every rated session of `series`."""
    return Judged(series, rule)


def own_fit(series: Series, *, trend: bool) -> OwnFit:
    """Each patient's own mean, or least-squares line over session numbers, and the squares around it."""
    level = series.spread(series.mean)
    if trend:
        session = series.session.astype(np.float64)
        time = session - series.spread(series.total(session) / series.length)
        sxx = series.total(time * time)
        sxy = series.total(time * (series.score - level))
        slope = np.divide(sxy, sxx, out=np.zeros_like(sxx), where=sxx > 0)
        level = level + series.spread(slope) * time
    residual = series.score - level
    df = np.maximum(series.length - (2.0 if trend else 1.0), 0.0)
    return OwnFit(level, series.total(residual * residual), df)


def earlier_ratings(series: Series) -> Earlier:
    """The patient's earlier ratings, summed, at every rated session."""
    origin = series.spread(series.mean)
    centred = series.score - origin
    return Earlier(origin, centred, _sum_before(series, centred))


def own_median(series: Series) -> FloatArray:
    """Each patient's median, patients of equal length together."""
    median = np.empty(series.n_patients)
    for length in np.unique(series.length):
        who = np.flatnonzero(series.length == length)
        ordered = np.sort(series.score[series.start[who, None] + np.arange(length)], axis=1)
        median[who] = (ordered[:, (length - 1) // 2] + ordered[:, length // 2]) / 2.0
    return median


def moving_range(series: Series, bridge: int | None) -> FloatArray:
    """Each patient's mean absolute difference of neighbouring ratings / 1.128; 0 without neighbours."""
    known = series.neighbours(bridge)
    step = np.zeros(len(series.score))
    step[1:] = np.abs(np.diff(series.score))
    step *= known
    count = series.total(known) if bridge is not None else series.length - 1.0
    mean = np.divide(series.total(step), count, out=np.zeros_like(count), where=count > 0)
    return mean / MOVING_RANGE_CONSTANT


def pooled_variance(series: Series, fit: OwnFit) -> FloatArray:
    """The within-patient variance of each study; 0 where no patient has enough ratings."""
    df = series.study_sum(fit.df)
    return np.divide(series.study_sum(fit.ss), df, out=np.zeros_like(df), where=df > 0)


def shrunken_variance(series: Series, fit: OwnFit) -> FloatArray:
    """Each patient's variance drawn towards the study's, the more so the less the true variances seem to differ."""
    pooled = pooled_variance(series, fit)
    square = np.divide(fit.ss * fit.ss, fit.df + 2.0)  # df s^4 / (1 + 2 / df): unbiased for df sigma^4
    df = series.study_sum(fit.df)
    fourth = np.divide(series.study_sum(square), df, out=np.zeros_like(df), where=df > 0)
    spread = np.divide(fourth, pooled**2, out=np.ones_like(df), where=pooled > 0) - 1.0  # CV^2 of the true variances
    weight = 2.0 + 2.0 / np.maximum(spread, 1e-6)
    return (fit.ss + (weight * pooled)[series.study]) / (fit.df + weight[series.study])


def earlier_variance(series: Series, earlier: Earlier) -> FloatArray:
    """At each rating the variance of the patient's earlier ratings, drawn towards the study's within-patient one."""
    squared = earlier.centred * earlier.centred
    ss, df = series.total(squared), (series.length - 1).astype(np.float64)
    pooled = pooled_variance(series, OwnFit(earlier.origin, ss, df))
    position = np.maximum(series.position, 1).astype(np.float64)
    variance = _sum_before(series, squared)
    around_zero = earlier.total * earlier.total
    around_zero /= position
    variance -= around_zero
    np.maximum(variance, 0.0, out=variance)  # now the squares around the mean of the earlier ratings
    variance += EARLIER_WEIGHT * _of_study(series, pooled)
    position += EARLIER_WEIGHT - 1.0
    variance /= position
    return variance


def _sum_before(series: Series, values: FloatArray) -> FloatArray:
    """The sum of a value over the patient's earlier ratings."""
    before: FloatArray = np.cumsum(values)
    before -= values
    before -= series.spread(before[series.start])
    return before


def between_sd(series: Series) -> FloatArray:
    """The SD of the patients' own means in each study."""
    return _study_sd(series, series.mean)


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


def _judgeable(series: Series, rule: Rule, known: BoolArray, unit: Any) -> BoolArray:
    judgeable = known.copy()
    if np.ndim(unit):
        judgeable &= unit > series.tolerance
    if rule.burn_in:
        judgeable &= series.position >= rule.burn_in
    if rule.min_ratings > 1 or (rule.min_ratings and rule.prospective):
        if rule.prospective:
            judgeable &= series.position >= rule.min_ratings
        else:
            judgeable &= series.spread(series.length >= rule.min_ratings)
    return judgeable


def _run_start(series: Series, previous: FloatArray, known: BoolArray) -> FloatArray:
    """The score at which the run of non-rising neighbours that ends at each rating began."""
    begins = ~known | (series.score > previous + series.tolerance)
    return series.score[np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))]


def _earlier_maximum(series: Series) -> FloatArray:
    """The highest earlier score of the patient; the score itself at the first rating."""
    highest = series.score.copy()
    best = np.full(series.n_patients, -np.inf)
    for place, rows in enumerate(series.places):
        best = best[: len(rows)]
        if place:
            highest[rows] = best
        best = np.maximum(best, series.score[rows])
    return highest


def _study_sd(series: Series, per_patient: FloatArray) -> FloatArray:
    count = series.study_sum(np.ones_like(per_patient))
    mean = np.divide(series.study_sum(per_patient), count, out=np.zeros_like(count), where=count > 0)
    deviation = per_patient - mean[series.study]
    return np.sqrt(series.study_sum(deviation * deviation) / np.maximum(count - 1.0, 1.0))


def _of_study(series: Series, per_study: FloatArray) -> Any:
    """A value of the study at each rating; for a single study one value stands for all."""
    return np.full(1, per_study[0]) if series.n_studies == 1 else series.spread(per_study[series.study])


# -- what can never fire ------------------------------------------------------------------------------------------

CANNOT_FIRE = ("", "not rated", "too few ratings", "no spread", "below the lowest score")
CAN, NOT_RATED, TOO_FEW, NO_SPREAD, FLOOR = range(5)


def largest_fall(series: Series, rule: Rule) -> FloatArray:
    """The largest fall in units that each patient's number of ratings allows, whatever the scores; inf without limit.

    Below the own mean it is (n - 1) / sqrt(n) own SD, 1.79 with five ratings; below the own line
    sqrt((n - 2)(1 - h)) with h the smallest leverage; from the previous or the highest earlier score sqrt(2 (n - 1));
    below the own mean in moving-range sigma 1.128 (n - 1)^2 / n (one low rating at either end). For the own median the
    bound given is not always reached.
    """
    n = series.length.astype(np.float64)
    if rule.unit == "own_sd":
        if rule.reference == "own_mean":
            return (n - 1.0) / np.sqrt(n)
        if rule.reference == "own_trend":
            return np.sqrt(np.maximum(n - 2.0, 0.0) * (1.0 - _least_leverage(series)))
        earlier = {"running_mean": np.maximum(_first_judged(rule), 1.0), "own_median": np.maximum(n // 2, 1.0)}
        k: Any = earlier.get(rule.reference, 1.0)
        most: FloatArray = np.sqrt((n - 1.0) * (k + 1.0) / k)
        return most
    if rule.unit == "moving_range" and rule.reference == "own_mean" and rule.bridge is None:
        return MOVING_RANGE_CONSTANT * (n - 1.0) ** 2 / n
    return np.full(len(n), np.inf)


def cannot_fire(judged: Judged) -> IntArray:
    """For each patient with ratings why the rule could not have fired: an index into :data:`CANNOT_FIRE`."""
    series, rule = judged.series, judged.rule
    reason = np.zeros(series.n_patients, dtype=np.int64)
    if rule.bounds is not None:
        threshold = judged.baseline - rule.size * judged.unit
        reachable = judged.judgeable & (threshold >= rule.bounds[0] - series.tolerance)
        reason[series.total(reachable) == 0] = FLOOR
    reason[series.total(judged.judgeable) == 0] = TOO_FEW
    if np.ndim(judged.unit):
        flat = series.total(np.broadcast_to(judged.unit, series.score.shape) > series.tolerance) == 0
        reason[flat] = NO_SPREAD
    if not rule.run_rules:
        most = largest_fall(series, rule) * (1.0 + 1e-12)
        reason[(most <= rule.size) if rule.strict else (most < rule.size)] = TOO_FEW
    needed = max(_first_judged(rule) + 1, 1 if rule.prospective else rule.min_ratings, 2)
    reason[series.length < needed] = TOO_FEW
    return reason


def _first_judged(rule: Rule) -> int:
    """Ratings that must lie before the first session judged."""
    first = 1 if rule.reference in EARLIER_ONLY else 0
    return max(rule.burn_in, first, rule.min_ratings if rule.prospective else 0)


def _least_leverage(series: Series) -> FloatArray:
    """The smallest leverage of each patient's sessions in a straight line over them."""
    session = series.session.astype(np.float64)
    time = session - series.spread(series.total(session) / series.length)
    squares = time * time
    sxx = series.total(squares)
    least = np.minimum.reduceat(squares, series.start) if series.n_patients else sxx
    leverage: FloatArray = 1.0 / series.length + np.divide(least, sxx, out=np.zeros_like(sxx), where=sxx > 0)
    return leverage
