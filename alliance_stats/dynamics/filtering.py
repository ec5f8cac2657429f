"""The Kalman filter and the score of one batch: each cell in turn (Durbin & Koopman, 2012, section 6.4).

The state of a series at time t is (c, l, s): its deviation from the mean course, c = l + w; the part of it that is the
series' own level, l; where there are random slopes, the step s by which the level moves. The cell of measure j is
c_j + u_j. Levels and slopes are constants that the series draws once, so that

    w' = Phi w + e   gives   c' = Phi c + (I - Phi) l + s,    l' = l + s,    s' = s.

Covariances depend on which cells are observed and not on what was seen there: they run once for each pattern, the
means once for each series, and those of the regressors once for each pattern again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alliance_stats.dynamics.panels import Batch
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class System:
    """The matrices of a state-space model with m states of which the first k are observed with error.

    Attributes
    ----------
    move : (m, m) array
        The state of one time from that of the time before.
    shock : (k, k) array
        Covariance of what is new in the first k states.
    first : (m, m) array
        Covariance of the state at time 0.
    error : (k,) array
        Error variances of the cells.
    """

    move: FloatArray
    shock: FloatArray
    first: FloatArray
    error: FloatArray


@dataclass(frozen=True)
class Filtered:
    """What the filter leaves for each time t and measure j.

    Attributes
    ----------
    precision : (T, k, P) array
        1 / variance of the innovation; 0 where not observed.
    log_variance : (P,) array
        The logarithms of those variances, summed.
    gain : (T, k, m, P) array
    v, columns : (T, k, N) and (T, k, p, P) arrays
        Innovations of the values and of the regressors.
    state, columns_state, covariance : (T, m, N), (T, m, p, P) and (T, m, m, P) arrays
        Mean and covariance of the state given the cells up to and with time t.
    """

    precision: FloatArray
    log_variance: FloatArray
    gain: FloatArray
    v: FloatArray
    columns: FloatArray
    state: FloatArray
    columns_state: FloatArray
    covariance: FloatArray


def run(batch: Batch, system: System) -> Filtered:
    """Filter values and regressors of a batch.

    Raises
    ------
    FloatingPointError
        If an innovation has no positive variance: the parameters do not make a covariance matrix.
    """
    steps, k, p, _ = batch.design.shape
    m, n_patterns, n = len(system.move), len(batch.counts), batch.y.shape[2]
    seen, y, design = batch.seen, batch.y, batch.design
    variance, precision = np.empty((steps, k, n_patterns)), np.empty((steps, k, n_patterns))
    gain = np.empty((steps, k, m, n_patterns))
    v, columns = np.empty((steps, k, n)), np.empty((steps, k, p, n_patterns))
    states, columns_states = np.empty((steps, m, n)), np.empty((steps, m, p, n_patterns))
    covariances = np.empty((steps, m, m, n_patterns))
    move, shock = system.move, system.shock[:, :, None]
    for t in range(steps):
        a, b, cov = states[t], columns_states[t], covariances[t]
        if t == 0:
            a[:], b[:], cov[:] = 0.0, 0.0, system.first[:, :, None]
        else:
            np.matmul(move, (move @ covariances[t - 1].reshape(m, -1)).reshape(m, m, n_patterns), out=cov)
            cov[:k, :k] += shock
            np.matmul(move, states[t - 1], out=a)
            np.matmul(move, columns_states[t - 1].reshape(m, -1), out=b.reshape(m, -1))
            if batch.inputs is not None:
                add_inputs(b, batch.inputs[t - 1], k)
        for j in range(k):
            row = cov[j].copy()
            np.add(row[j], system.error[j], out=variance[t, j])
            np.divide(seen[t, j], variance[t, j], out=precision[t, j])
            weight = np.multiply(row, precision[t, j], out=gain[t, j])
            np.subtract(y[t, j], a[j], out=v[t, j])
            np.subtract(design[t, j], b[j], out=columns[t, j])
            a += batch.spread(weight) * v[t, j]
            b += weight[:, None] * columns[t, j]
            cov -= weight[:, None] * row
    if not (variance[seen > 0] > 0).all():
        raise FloatingPointError("an innovation without variance")
    log_variance = np.log(np.where(seen > 0, variance, 1.0)).sum(axis=(0, 1))
    return Filtered(precision, log_variance, gain, v, columns, states, columns_states, covariances)


def add_inputs(b: FloatArray, inputs: FloatArray, k: int) -> None:
    """An input moves the state, not the cell: its regressor's filter receives it with the sign turned."""
    wide = len(inputs)
    for j in range(k):
        at = b.shape[1] - wide * k + j * wide
        b[j, at : at + wide] -= inputs


def normal_equations(batch: Batch, filtered: Filtered) -> tuple[FloatArray, FloatArray, float]:
    """X'V^-1 X, X'V^-1 y and y'V^-1 y summed over the batch."""
    p = filtered.columns.shape[2]
    weighted = filtered.columns * filtered.precision[:, :, None]
    flat = np.moveaxis(filtered.columns, 2, 0).reshape(p, -1)
    scaled = np.moveaxis(weighted, 2, 0).reshape(p, -1)
    count = np.broadcast_to(batch.counts, filtered.precision.shape).reshape(-1)
    total = batch.summed(filtered.v).reshape(-1)
    square = batch.summed(filtered.v**2).reshape(-1)
    return (flat * count) @ scaled.T, scaled @ total, float(filtered.precision.reshape(-1) @ square)


@dataclass(frozen=True)
class Scores:
    """Derivatives of each series' log-likelihood, (..., N); of covariance matrices as symmetric matrices."""

    lagged: FloatArray
    shock: FloatArray
    first: FloatArray
    error: FloatArray
    coefficients: FloatArray


def scores(batch: Batch, system: System, filtered: Filtered, beta: FloatArray) -> Scores:
    """The score of every series by one backward pass: the disturbance smoother (Koopman & Shephard, 1992).

    r and N are the derivatives with respect to the predicted mean, and (as (r r' - N) / 2) to its covariance. With a, P
    the filtered mean and covariance, the score of the transition matrix T is r a' + (r r' - N) T P; that of Phi, which
    acts on w = c - l, is its difference between the columns of c and of l.
    """
    steps, k = filtered.v.shape[:2]
    m, n_patterns, n = len(system.move), len(batch.counts), batch.y.shape[2]
    spread = batch.spread
    move = system.move
    e = filtered.v - spread(np.einsum("tjcp,c->tjp", filtered.columns, beta))
    state = filtered.state - spread(np.einsum("tacp,c->tap", filtered.columns_state, beta))
    standard = e * spread(filtered.precision)
    coefficients = np.einsum("tjcn,tjn->cn", spread(filtered.columns), standard)
    r, info = np.zeros((m, n)), np.zeros((m, m, n_patterns))
    lagged, shock, error = np.zeros((k, k, n)), np.zeros((k, k, n)), np.zeros((k, n))
    lagged_info, shock_info = np.zeros((k, k, n_patterns)), np.zeros((k, k, n_patterns))
    error_info = np.zeros((k, n_patterns))
    for t in range(steps - 1, -1, -1):
        for j in range(k - 1, -1, -1):
            weight = filtered.gain[t, j]
            u = standard[t, j] - (spread(weight) * r).sum(axis=0)
            q = (info * weight).sum(axis=1)
            d = filtered.precision[t, j] + (weight * q).sum(axis=0)
            error[j] += u**2
            error_info[j] += d
            r[j] += u
            info[j] -= q
            info[:, j] -= q
            info[j, j] += d
        if t:
            shock += r[:k, None] * r[None, :k]
            shock_info += info[:k, :k]
            before, a = filtered.covariance[t - 1], state[t - 1]
            beside = before[:k] - before[k : 2 * k]
            moved = move.T @ info
            lagged_info += np.einsum("iap,jap->ijp", moved[:k], beside)
            back = move.T @ r
            known = a[:k] - a[k : 2 * k] + (spread(beside) * back).sum(axis=1)
            lagged += r[:k, None] * known
            r = back
            info = (move.T @ moved.reshape(m, -1)).reshape(m, m, n_patterns)
    return Scores(
        lagged=lagged - spread(lagged_info),
        shock=(shock - spread(shock_info)) / 2,
        first=(r[:, None] * r - spread(info)) / 2,
        error=(error - spread(error_info)) / 2,
        coefficients=coefficients,
    )
