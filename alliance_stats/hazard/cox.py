"""Cox regression on start-stop rows with Efron or Breslow ties, robust to clusters.

The information needs one weighted cross-product of all rows, because
``sum_t c_t sum_{i at risk} r_i x_i x_i' = sum_i r_i (sum of c_t over i's times) x_i x_i'``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alliance_stats.hazard.binary import Separated, leading_terms, require_full_rank, solve_information
from alliance_stats.hazard.risk_sets import RiskSets, risk_sets
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import require_choice

TIES = ("efron", "breslow")

MAX_ITERATIONS = 60
_HOPELESS = 25.0  # A range of log hazards (e^25) that only an infinite estimate reaches

_STRIDE = 5.0  # How far one step may move the log hazards apart


class CoxFit(NamedTuple):
    """A fitted Cox regression."""

    coefficients: FloatArray  # (p,)
    covariance: FloatArray  # (p, p): inverse information
    # log_likelihood, null_log_likelihood: log partial likelihood at the estimate and at zero
    log_likelihood: float
    null_log_likelihood: float
    linear: FloatArray  # (n,): the linear predictor (not centred)
    converged: bool
    iterations: int


class _Ties(NamedTuple):
    """Sums over the tied events l of each time of c_l = 1 / (S0 - f_l D0), times powers of the fraction f_l = l / d.

    With Breslow ties every f_l is 0.
    """

    log: FloatArray
    c0: FloatArray
    c1: FloatArray
    cc0: FloatArray
    cc1: FloatArray
    cc2: FloatArray


def _tie_sums(s0: FloatArray, d0: FloatArray, n_events: IntArray, ties: str) -> _Ties:
    """The sums that Efron's (1977) approximation needs, all times at once."""
    if ties == "breslow":
        zero = np.zeros_like(s0)
        count = n_events.astype(np.float64)
        return _Ties(count * np.log(s0), count / s0, zero, count / s0**2, zero, zero)
    where = np.repeat(np.arange(len(s0)), n_events)
    begin = np.cumsum(n_events) - n_events
    fraction = (np.arange(len(where)) - begin[where]) / n_events[where]
    left = s0[where] - fraction * d0[where]
    c = 1.0 / left
    size = len(s0)

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(where, values, size), dtype=np.float64)

    return _Ties(
        total(np.log(left)),
        total(c),
        total(c * fraction),
        total(c * c),
        total(c * c * fraction),
        total(c * c * fraction**2),
    )


class Sums(NamedTuple):
    """One evaluation of the partial likelihood: what the score, the information and the residuals are made of."""

    risk: FloatArray
    s1: FloatArray
    d1: FloatArray
    ties: _Ties


def evaluate(
    beta: FloatArray, design: FloatArray, sets: RiskSets, ties: str, offset: FloatArray | None
) -> tuple[float, Sums]:
    """Log partial likelihood at `beta`, and the sums over risk sets that everything else is made of."""
    linear = design @ beta if offset is None else design @ beta + offset
    shift = float(linear.max())
    # A trial step may go too far, to risks of 0; its value is then NaN and the step is halved.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _evaluate_at(linear, shift, design, sets, ties)


def _evaluate_at(linear: FloatArray, shift: float, design: FloatArray, sets: RiskSets, ties: str) -> tuple[float, Sums]:
    risk = np.exp(linear - shift)
    size = len(sets.time)
    s0 = sets.sum(risk)
    s1 = np.stack([sets.sum(risk * column) for column in design.T], axis=1) if design.shape[1] else np.zeros((size, 0))
    rows = sets.event_row
    d0 = np.asarray(np.bincount(sets.event_time, risk[rows], size), dtype=np.float64)
    d1 = np.zeros_like(s1)
    if ties == "efron":
        weighted = design[rows] * risk[rows, None]
        for j in range(design.shape[1]):
            d1[:, j] = np.bincount(sets.event_time, weighted[:, j], size)
    sums = _tie_sums(s0, d0, sets.n_events, ties)
    value = float((linear[rows] - shift).sum() - sums.log.sum())
    return value, Sums(risk, s1, d1, sums)


def score_of(design: FloatArray, sets: RiskSets, sums: Sums) -> FloatArray:
    """The derivative of the log partial likelihood (p,)."""
    ties = sums.ties
    return np.asarray(design[sets.event_row].sum(axis=0) - ties.c0 @ sums.s1 + ties.c1 @ sums.d1)


def row_weights(sets: RiskSets, sums: Sums) -> FloatArray:
    """The expected events of each row (Efron: a tied event is at risk for its share)."""
    weight = sums.risk * sets.over(sums.ties.c0)
    weight[sets.event_row] -= sums.risk[sets.event_row] * sums.ties.c1[sets.event_time]
    return np.asarray(weight)


def information_of(design: FloatArray, sets: RiskSets, sums: Sums) -> FloatArray:
    """Minus the second derivative of the log partial likelihood (p, p); see the head of this module."""
    ties, s1, d1 = sums.ties, sums.s1, sums.d1
    weight = row_weights(sets, sums)
    information = (design * weight[:, None]).T @ design
    information -= (s1 * ties.cc0[:, None]).T @ s1
    cross = (s1 * ties.cc1[:, None]).T @ d1
    information += cross + cross.T
    information -= (d1 * ties.cc2[:, None]).T @ d1
    return (information + information.T) / 2


def fit_cox(
    design: FloatArray,
    sets: RiskSets,
    *,
    ties: str = "efron",
    names: Sequence[str] | None = None,
    start: FloatArray | None = None,
    check: bool = True,
) -> CoxFit:
    """Maximum partial likelihood by Newton's method with step halving; `design` (n, p) has no intercept.

    `ties` is ``"efron"`` or ``"breslow"``. Raises ``ValueError`` for an aliased or constant column, ``Separated`` for
    an infinite estimate.
    """
    require_choice(ties, TIES, name="ties")
    names = [f"x{j}" for j in range(design.shape[1])] if names is None else names
    counted = sets.last > sets.first
    if check:
        require_full_rank(design[counted], names, intercept=False)
    centre = design[counted].mean(axis=0)
    centred = design - centre
    beta = np.zeros(design.shape[1]) if start is None else start.copy()
    value, sums = evaluate(beta, centred, sets, ties, None)
    null = value if start is None else evaluate(np.zeros_like(beta), centred, sets, ties, None)[0]
    if check:
        seen = np.diag(information_of(centred, sets, sums)) > 1e-12 * len(sets.event_row) * (centred**2).mean(axis=0)
        if not seen.all():
            raise ValueError(
                f"The term {names[int(np.argmin(seen))]!r} does not vary among those at risk together, so nothing can "
                "be estimated: it is constant within strata= or at every event time. Leave it out."
            )
    step = np.zeros_like(beta)
    converged, iterations = False, 0
    while iterations < MAX_ITERATIONS:
        iterations += 1
        if np.ptp(centred @ beta) > _HOPELESS:
            break
        score, information = score_of(centred, sets, sums), information_of(centred, sets, sums)
        step = solve_information(information, score)
        step /= max(float(np.ptp(centred @ step)) / _STRIDE, 1.0)
        gain = float(score @ step)
        if gain < 1e-14 * (1.0 + abs(value)):
            converged = True
            break
        new_value, new_sums = evaluate(beta + step, centred, sets, ties, None)
        halvings = 0
        while not new_value >= value - 1e-10 * abs(value) and halvings < 30:
            step = step / 2
            halvings += 1
            new_value, new_sums = evaluate(beta + step, centred, sets, ties, None)
        beta, value, sums = beta + step, new_value, new_sums
    if check:
        _require_overlap(beta, step, centred, sets, names, converged)
    information = information_of(centred, sets, sums)
    covariance = solve_information(information, np.eye(len(beta)))
    return CoxFit(beta, (covariance + covariance.T) / 2, value, null, design @ beta, converged, iterations)


def without_each(
    beta: FloatArray,
    design: FloatArray,
    rows: tuple[FloatArray, FloatArray, FloatArray, IntArray | None],
    cluster: IntArray,
    *,
    ties: str,
) -> tuple[FloatArray, FloatArray]:
    """Score (G, p) and information (G, p, p) at `beta` without each cluster in turn, for `jackknife`.

    `rows` holds start, stop, event and stratum. What is left of a cluster's risk sets changes too, so each one is
    computed from its rows.
    """
    n_clusters, p = int(cluster.max()) + 1, design.shape[1]
    score, information = np.zeros((n_clusters, p)), np.zeros((n_clusters, p, p))
    for left_out in range(n_clusters):
        keep = cluster != left_out
        start, stop, event, stratum = (None if values is None else values[keep] for values in rows)
        if start is None or stop is None or event is None or not event.any():
            continue
        sets = risk_sets(start, stop, event, stratum)
        centred = design[keep] - design[keep].mean(axis=0)
        _, sums = evaluate(beta, centred, sets, ties, None)
        score[left_out], information[left_out] = score_of(centred, sets, sums), information_of(centred, sets, sums)
    return score, information


def _require_overlap(
    beta: FloatArray, step: FloatArray, design: FloatArray, sets: RiskSets, names: Sequence[str], converged: bool
) -> None:
    """Raise `Separated` where, in some direction, every event has the highest linear predictor of its risk set."""
    linear = design @ beta
    if converged and np.ptp(linear) < 15:
        return
    direction = step / max(float(np.abs(step).max()), 1e-300)
    for candidate in (direction, beta):
        moved = design @ candidate
        size = float(np.ptp(moved))
        highest = _highest_at_risk(moved, sets)
        if size > 0 and (moved[sets.event_row] >= highest[sets.event_time] - 1e-4 * size).all():
            culprits = leading_terms(candidate, design.std(axis=0), names) or list(names[:1])
            named = ", ".join(repr(name) for name in culprits)
            raise Separated(
                f"The estimate is infinite: whenever an event happens, {named} put(s) it above everyone at risk. "
                "Merge rare levels, leave the term out, or ask for penalty='firth'.",
                culprits,
            )


def _highest_at_risk(values: FloatArray, sets: RiskSets) -> FloatArray:
    highest = np.full(len(sets.time), -np.inf)
    for position in range(len(sets.time)):
        at_risk = (sets.first <= position) & (position < sets.last)
        highest[position] = values[at_risk].max()
    return highest
