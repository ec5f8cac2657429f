"""The Kalman filter and the score of one batch: each cell in turn (Durbin & Koopman, 2012, section 6.4).

The state of a series at time t is (c, l, s): its deviation from the mean course, c = l + w; the part of it that is the
series' own level, l; where there are random slopes, the step s by which the level moves. The cell of measure j is
c_j + u_j. Levels and slopes are constants that the series draws once, so that

    w' = Phi w + e   gives   c' = Phi c + (I - Phi) l + s,    l' = l + s,    s' = s.

Covariances depend on which cells are observed and not on what was seen there: they run once for each pattern, the
means once for each series, and those of the regressors once for each pattern again. Several parameter vectors run
side by side: each array may have an axis of them ("...") after that of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alliance_stats.dynamics.panels import Batch
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class System:
    """The matrices of a state-space model with m states of which the first k are observed with error."""

    move: FloatArray  # (..., m, m): the state of one time from that of the time before
    shock: FloatArray  # (..., k, k): covariance of what is new in the first k states
    first: FloatArray  # (..., m, m): covariance of the state at time 0
    error: FloatArray  # (..., k): error variances of the cells


@dataclass(frozen=True)
class Filtered:
    """What the filter leaves for each time t and measure j."""

    precision: FloatArray  # (T, ..., k, P): 1 / variance of the innovation; 0 where not observed
    log_variance: FloatArray  # (..., P): the logarithms of those variances, summed
    gain: FloatArray  # (T, ..., k, m, P)
    # v, columns: (T, ..., k, N) and (T, ..., k, p, P); innovations of the values and of the regressors
    v: FloatArray
    columns: FloatArray
    # state, columns_state, covariance: (T, ..., m, N), (T, ..., m, p, P) and (T, ..., m, m, P); mean and covariance of
    # the state given the cells up to and with time t
    state: FloatArray
    columns_state: FloatArray
    covariance: FloatArray


def run(batch: Batch, system: System) -> Filtered:
    """Filter values and regressors of a batch.

    Raises ``FloatingPointError`` if an innovation has no positive variance: the parameters make no covariance matrix.
    """
    steps, k, p, _ = batch.design.shape
    n_patterns, n = len(batch.counts), batch.y.shape[2]
    sets, m = system.move.shape[:-2], system.move.shape[-1]
    seen, y, design = batch.seen, batch.y, batch.design
    lead = (steps, *sets)
    variance, precision = np.empty((*lead, k, n_patterns)), np.empty((*lead, k, n_patterns))
    gain = np.empty((*lead, k, m, n_patterns))
    v, columns = np.empty((*lead, k, n)), np.empty((*lead, k, p, n_patterns))
    states, columns_states = np.empty((*lead, m, n)), np.empty((*lead, m, p, n_patterns))
    covariances = np.empty((*lead, m, m, n_patterns))
    move, shock = system.move, system.shock[..., None]
    for t in range(steps):
        a, b, cov = states[t], columns_states[t], covariances[t]
        if t == 0:
            a[...], b[...], cov[...] = 0.0, 0.0, system.first[..., None]
        else:
            moved = (move @ covariances[t - 1].reshape(*sets, m, -1)).reshape(cov.shape)
            np.matmul(move[..., None, :, :], moved, out=cov)
            cov[..., :k, :k, :] += shock
            np.matmul(move, states[t - 1], out=a)
            np.matmul(move, columns_states[t - 1].reshape(*sets, m, -1), out=b.reshape(*sets, m, -1))
            if batch.inputs is not None:
                add_inputs(b, batch.inputs[t - 1], k)
        for j in range(k):
            row = cov[..., j, :, :].copy()
            np.add(row[..., j, :], system.error[..., j, None], out=variance[t, ..., j, :])
            now = np.divide(seen[t, j], variance[t, ..., j, :], out=precision[t, ..., j, :])
            weight = np.multiply(row, now[..., None, :], out=gain[t, ..., j, :, :])
            new = np.subtract(y[t, j], a[..., j, :], out=v[t, ..., j, :])
            new_columns = np.subtract(design[t, j], b[..., j, :, :], out=columns[t, ..., j, :, :])
            a += batch.spread(weight) * new[..., None, :]
            b += weight[..., None, :] * new_columns[..., None, :, :]
            cov -= weight[..., None, :] * row[..., None, :, :]
    there = np.broadcast_to(np.expand_dims(seen > 0, tuple(range(1, len(lead)))), variance.shape)
    if not (variance[there] > 0).all():
        raise FloatingPointError("an innovation without variance")
    log_variance = np.log(np.where(there, variance, 1.0)).sum(axis=(0, -2))
    return Filtered(precision, log_variance, gain, v, columns, states, columns_states, covariances)


def add_inputs(b: FloatArray, inputs: FloatArray, k: int) -> None:
    """An input moves the state, not the cell: its regressor's filter receives it with the sign turned."""
    wide = len(inputs)
    for j in range(k):
        at = b.shape[-2] - wide * k + j * wide
        b[..., j, at : at + wide, :] -= inputs


def normal_equations(batch: Batch, filtered: Filtered) -> tuple[FloatArray, FloatArray, FloatArray]:
    """X'V^-1 X, X'V^-1 y and y'V^-1 y summed over the batch, of each parameter vector."""

    def flat(part: FloatArray) -> FloatArray:  # (T, ..., k, P) -> (..., T k P)
        whole = np.moveaxis(part, 0, -3)
        return whole.reshape(*whole.shape[:-3], -1)

    columns = np.moveaxis(flat(np.moveaxis(filtered.columns, -2, 1)), 0, -2)
    precision = flat(filtered.precision)
    count = flat(np.broadcast_to(batch.counts, filtered.precision.shape))
    total, square = flat(batch.summed(filtered.v)), flat(batch.summed(filtered.v**2))
    weighted = columns * precision[..., None, :]
    xx = weighted @ np.swapaxes(columns * count[..., None, :], -1, -2)
    return xx, (weighted @ total[..., None])[..., 0], (precision * square).sum(axis=-1)


class Scores(NamedTuple):
    """Derivatives of each series' log-likelihood, (..., N); of covariance matrices as symmetric matrices."""

    lagged: FloatArray
    shock: FloatArray
    first: FloatArray
    error: FloatArray


def standardised(batch: Batch, filtered: Filtered, beta: FloatArray) -> FloatArray:
    """Innovations times their precisions, (T, ..., k, N), at the coefficients beta (..., p)."""
    explained = (beta[..., None, None, :] @ filtered.columns)[..., 0, :]
    return (filtered.v - batch.spread(explained)) * batch.spread(filtered.precision)


def coefficient_scores(batch: Batch, filtered: Filtered, beta: FloatArray) -> FloatArray:
    """Derivatives of each series' log-likelihood with respect to one vector beta, (N, p)."""
    u, columns = standardised(batch, filtered, beta), batch.spread(filtered.columns)
    return np.asarray(np.einsum("tjcn,tjn->nc", columns, u))


def scores(batch: Batch, system: System, filtered: Filtered, beta: FloatArray) -> Scores:
    """The score of every series by one backward pass: the disturbance smoother (Koopman & Shephard, 1992).

    r and N are the derivatives with respect to the predicted mean, and (as (r r' - N) / 2) to its covariance. With a, P
    the filtered mean and covariance, the score of the transition matrix T is r a' + (r r' - N) T P; that of Phi, which
    acts on w = c - l, is its difference between the columns of c and of l.
    """
    k = filtered.v.shape[-2]
    sets, m = system.move.shape[:-2], system.move.shape[-1]
    n_patterns, n = len(batch.counts), batch.y.shape[2]
    spread = batch.spread
    back = np.swapaxes(system.move, -1, -2)
    standard = standardised(batch, filtered, beta)
    deviations = filtered.state[..., :k, :] - filtered.state[..., k : 2 * k, :]
    beside_columns = filtered.columns_state[..., :k, :, :] - filtered.columns_state[..., k : 2 * k, :, :]
    deviations -= spread((beta[..., None, None, :] @ beside_columns)[..., 0, :])
    r, info = np.zeros((*sets, m, n)), np.zeros((*sets, m, m, n_patterns))
    lagged, shock, error = np.zeros((*sets, k, k, n)), np.zeros((*sets, k, k, n)), np.zeros((*sets, k, n))
    lagged_info, shock_info = np.zeros((*sets, k, k, n_patterns)), np.zeros((*sets, k, k, n_patterns))
    error_info = np.zeros((*sets, k, n_patterns))
    for t in range(len(filtered.v) - 1, -1, -1):
        for j in range(k - 1, -1, -1):
            weight = filtered.gain[t, ..., j, :, :]
            u = standard[t, ..., j, :] - (spread(weight) * r).sum(axis=-2)
            q = (info * weight[..., None, :, :]).sum(axis=-2)
            d = filtered.precision[t, ..., j, :] + (weight * q).sum(axis=-2)
            error[..., j, :] += u**2
            error_info[..., j, :] += d
            r[..., j, :] += u
            info[..., j, :, :] -= q
            info[..., :, j, :] -= q
            info[..., j, j, :] += d
        if t:
            shock += r[..., :k, None, :] * r[..., None, :k, :]
            shock_info += info[..., :k, :k, :]
            before = filtered.covariance[t - 1]
            beside = before[..., :k, :, :] - before[..., k : 2 * k, :, :]
            moved = back[..., None, :, :] @ info  # info T, as info is symmetric
            lagged_info += (moved[..., :k, None, :, :] * beside[..., None, :, :, :]).sum(axis=-2)
            through = back @ r
            known = deviations[t - 1] + (spread(beside) * through[..., None, :, :]).sum(axis=-2)
            lagged += r[..., :k, None, :] * known[..., None, :, :]
            r = through
            info = (back @ moved.reshape(*sets, m, -1)).reshape(info.shape)
    return Scores(
        lagged=lagged - spread(lagged_info),
        shock=(shock - spread(shock_info)) / 2,
        first=(r[..., :, None, :] * r[..., None, :, :] - spread(info)) / 2,
        error=(error - spread(error_info)) / 2,
    )
