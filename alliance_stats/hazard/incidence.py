"""Aalen-Johansen: the probability of being in each state, from counts of those at risk and of the moves.

With one state of departure and several endings these are the cumulative incidences of competing risks; with states
that patients move between (no rupture, open, repaired) the state occupation probabilities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray


class Occupation(NamedTuple):
    """State occupation over time."""

    time: FloatArray  # (k,): the times at which something happens
    # probability, std_error: (k, states); just after each time. The standard errors are infinitesimal-jackknife,
    # grouped by cluster.
    probability: FloatArray
    std_error: FloatArray
    at_risk: FloatArray  # (k, states): rows in each state just before each time
    moves: FloatArray  # (k, states): moves into each state at each time


def state_occupation(
    start: FloatArray,
    stop: FloatArray,
    origin: IntArray,
    target: IntArray,
    cluster: IntArray,
    *,
    n_states: int,
    initial: FloatArray | None = None,
) -> Occupation:
    """The Aalen-Johansen estimator (Aalen & Johansen 1978), with delayed entry.

    Each row (n,) is at risk in state `origin` at the times t with ``start < t <= stop`` and moves to `target` at
    ``stop`` (-1: no move); `cluster` numbers independent units 0, 1, ... `initial` (states,) says where everybody
    starts, and is then taken as known; default the distribution of `origin` over the rows of the earliest start. The
    standard error is the root of the sum over clusters of squared influence, the derivative of the estimate in the
    cluster's weight (R's ``survfit`` for several states, ``cluster=``).
    """
    moving = target >= 0
    time = np.unique(stop[moving])
    n_clusters, k = int(cluster.max()) + 1, len(time)
    first = np.searchsorted(time, start, side="right")
    last = np.searchsorted(time, stop, side="right")
    earliest = start == start.min()
    estimated = initial is None
    if initial is None:
        initial = np.bincount(origin[earliest], minlength=n_states) / earliest.sum()
    probability, std_error = np.empty((k, n_states)), np.empty((k, n_states))
    at_risk, moves = np.empty((k, n_states)), np.zeros((k, n_states))
    state = np.asarray(initial, dtype=np.float64)
    influence = np.zeros((n_clusters, n_states))
    if estimated:
        begun = _table(cluster[earliest], origin[earliest], n_clusters, n_states)
        influence = (begun - begun.sum(axis=1, keepdims=True) * state) / earliest.sum()
    own = np.zeros((n_clusters, n_states))
    entering = _by_position(first, first < last, k)
    leaving = _by_position(last, first < last, k)
    happening = _by_position(last - 1, moving & (last > first), k)
    for position in range(k):
        np.add.at(own, (cluster[entering[position]], origin[entering[position]]), 1.0)
        np.add.at(own, (cluster[leaving[position]], origin[leaving[position]]), -1.0)
        rows = happening[position]
        total = own.sum(axis=0)
        at_risk[position] = total
        change = np.zeros((n_states, n_states))
        inflow = np.zeros((n_clusters, n_states))
        np.add.at(change, (origin[rows], target[rows]), 1.0)
        moves[position] = change.sum(axis=0)
        safe = np.where(total > 0, total, 1.0)
        hazard = change / safe[:, None]
        # Influence of a cluster: what it changes through where it stood, and through the hazards at this time.
        pull = state / safe
        np.add.at(inflow, (cluster[rows], target[rows]), pull[origin[rows]])
        np.add.at(inflow, (cluster[rows], origin[rows]), -pull[origin[rows]])
        outflow = hazard.sum(axis=1)
        expected = (own * pull) @ hazard - own * pull * outflow
        transition = hazard + np.diag(1.0 - outflow)
        influence = influence @ transition + inflow - expected
        state = state @ transition
        probability[position] = state
        std_error[position] = np.sqrt((influence**2).sum(axis=0))
    return Occupation(time, probability, std_error, at_risk, moves)


def _table(row: IntArray, column: IntArray, n_rows: int, n_columns: int) -> FloatArray:
    counts = np.bincount(row * n_columns + column, minlength=n_rows * n_columns)
    return counts.reshape(n_rows, n_columns).astype(np.float64)


def _by_position(position: IntArray, used: BoolArray, size: int) -> list[IntArray]:
    """The rows (among those `used`) at each position 0 .. size - 1."""
    rows = np.flatnonzero(used & (position < size))
    rows = rows[np.argsort(position[rows], kind="stable")]
    edges = np.searchsorted(position[rows], np.arange(size + 1))
    return [rows[edges[i] : edges[i + 1]] for i in range(size)]
