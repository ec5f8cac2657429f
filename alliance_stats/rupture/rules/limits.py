"""In which patients a rule can never find a rupture, whatever their scores; arrays only."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.rupture.rules.criterion import Judged, first_judged
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.rupture.rules.units import MOVING_RANGE_CONSTANT
from alliance_stats.tables.arrays import FloatArray, IntArray

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
        earlier = {"running_mean": np.maximum(first_judged(rule), 1.0), "own_median": np.maximum(n // 2, 1.0)}
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
    if rule.bounds is not None and not rule.run_rules:  # run rules also count smaller falls
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
    needed = max(first_judged(rule) + 1, 1 if rule.prospective else rule.min_ratings, 2)
    reason[series.length < needed] = TOO_FEW
    return reason


def _least_leverage(series: Series) -> FloatArray:
    """The smallest leverage of each patient's sessions in a straight line over them."""
    session = series.session.astype(np.float64)
    time = session - series.spread(series.total(session) / series.length)
    squares = time * time
    sxx = series.total(squares)
    least = np.minimum.reduceat(squares, series.start) if series.n_patients else sxx
    leverage: FloatArray = 1.0 / series.length + np.divide(least, sxx, out=np.zeros_like(sxx), where=sxx > 0)
    return leverage
