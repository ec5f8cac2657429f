"""What is read off a fitted Cox regression: baseline hazard, residuals, and the test of proportional hazards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.hazard.cox import Sums, evaluate, row_weights
from alliance_stats.hazard.risk_sets import RiskSets
from alliance_stats.tables.arrays import FloatArray


class Baseline(NamedTuple):
    """Jumps of the cumulative hazard of a row whose covariates are all zero."""

    # jump, variance: (k,); at each event time, and its variance given the coefficients
    jump: FloatArray
    variance: FloatArray
    slope: FloatArray  # (k, p): derivative of each jump in the coefficients


def baseline_hazard(
    beta: FloatArray, design: FloatArray, sets: RiskSets, *, ties: str, offset: FloatArray | None = None
) -> Baseline:
    """Breslow's (1972) estimator of the baseline hazard, or its form for Efron's ties (as R's ``survfit.coxph``)."""
    centre = design.mean(axis=0)
    _, sums = evaluate(beta, design - centre, sets, ties, offset)
    linear = (design - centre) @ beta if offset is None else (design - centre) @ beta + offset
    # `evaluate` divides every risk by that of the highest linear predictor.
    scale = float(np.exp(-linear.max() - centre @ beta))
    t = sums.ties
    jump = t.c0 * scale
    mean = (t.cc0[:, None] * sums.s1 - t.cc1[:, None] * sums.d1) * scale
    return Baseline(jump, t.cc0 * scale**2, -(mean + centre * jump[:, None]))


def martingale_residuals(beta: FloatArray, design: FloatArray, sets: RiskSets, *, ties: str) -> FloatArray:
    """Events minus expected events of each row (Efron: a tied event is at risk for its share, as in R)."""
    centred = design - design.mean(axis=0)
    _, sums = evaluate(beta, centred, sets, ties, None)
    residual = -row_weights(sets, sums)
    residual[sets.event_row] += 1.0
    return np.asarray(residual)


def schoenfeld_residuals(beta: FloatArray, design: FloatArray, sets: RiskSets, *, ties: str) -> FloatArray:
    """Covariates of each event minus their mean in its risk set, (d, p), in the order of ``sets.event_row``."""
    centred = design - design.mean(axis=0)
    _, sums = evaluate(beta, centred, sets, ties, None)
    t = sums.ties
    average = (t.c0[:, None] * sums.s1 - t.c1[:, None] * sums.d1) / sets.n_events[:, None]
    return np.asarray(centred[sets.event_row] - average[sets.event_time])


def score_residuals(beta: FloatArray, design: FloatArray, sets: RiskSets, *, ties: str) -> FloatArray:
    """Each row's contribution to the score (n, p); they sum to zero at the estimate (Lin & Wei 1989)."""
    centred = design - design.mean(axis=0)
    _, sums = evaluate(beta, centred, sets, ties, None)
    t, s1, d1 = sums.ties, sums.s1, sums.d1
    # Sums over tied events of c_l times the risk-set mean (S1 - f_l D1) c_l, and of the same times f_l.
    mean0 = t.cc0[:, None] * s1 - t.cc1[:, None] * d1
    mean1 = t.cc1[:, None] * s1 - t.cc2[:, None] * d1
    residual = -sums.risk[:, None] * (centred * sets.over(t.c0)[:, None] - sets.over(mean0))
    rows, when = sets.event_row, sets.event_time
    average = (t.c0[:, None] * s1 - t.c1[:, None] * d1) / sets.n_events[:, None]
    residual[rows] += centred[rows] - average[when]
    residual[rows] += sums.risk[rows, None] * (centred[rows] * t.c1[when, None] - mean1[when])
    return np.asarray(residual)


def proportionality_score(
    beta: FloatArray, design: FloatArray, sets: RiskSets, clock: FloatArray, *, ties: str
) -> tuple[FloatArray, FloatArray]:
    """Score (2p,) and information of coefficients that change as ``beta + theta g(t)``, at theta = 0.

    `clock` (k,) is g at each event time; the first half of the score is zero at the estimate. Grambsch & Therneau
    (1994) in its exact score form, as R's ``cox.zph`` from survival 3.0 on.
    """
    centred = design - design.mean(axis=0)
    _, sums = evaluate(beta, centred, sets, ties, None)
    t, p = sums.ties, design.shape[1]
    second, second_event = _second_moments(centred, sets, sums)
    moment = t.c0[:, None, None] * second - t.c1[:, None, None] * second_event
    s1, d1 = sums.s1, sums.d1

    def outer(left: FloatArray, right: FloatArray, weight: FloatArray) -> FloatArray:
        return np.asarray(weight[:, None, None] * left[:, :, None] * right[:, None, :])

    spread = moment - outer(s1, s1, t.cc0) + outer(s1, d1, t.cc1) + outer(d1, s1, t.cc1) - outer(d1, d1, t.cc2)
    information = np.zeros((2 * p, 2 * p))
    information[:p, :p] = spread.sum(axis=0)
    information[:p, p:] = np.tensordot(clock, spread, axes=1)
    information[p:, :p] = information[:p, p:].T
    information[p:, p:] = np.tensordot(clock**2, spread, axes=1)
    residual = centred[sets.event_row]
    total = np.stack([np.bincount(sets.event_time, column, len(sets.time)) for column in residual.T], axis=1)
    per_time = total - (t.c0[:, None] * s1 - t.c1[:, None] * d1)
    return np.r_[per_time.sum(axis=0), clock @ per_time], information


def _second_moments(design: FloatArray, sets: RiskSets, sums: Sums) -> tuple[FloatArray, FloatArray]:
    """Sums of r x x' over those at risk, and over the events, at each time: (k, p, p)."""
    size, p = len(sets.time), design.shape[1]
    second, second_event = np.empty((size, p, p)), np.empty((size, p, p))
    rows = sets.event_row
    for i in range(p):
        for j in range(i, p):
            product = sums.risk * design[:, i] * design[:, j]
            second[:, i, j] = second[:, j, i] = sets.sum(product)
            second_event[:, i, j] = np.bincount(sets.event_time, product[rows], size)
            second_event[:, j, i] = second_event[:, i, j]
    return second, second_event
