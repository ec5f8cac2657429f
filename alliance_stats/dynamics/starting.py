"""Where the search begins: from the covariances of the values at lags 0 and 1 and far apart."""

from __future__ import annotations

import numpy as np

from alliance_stats.dynamics.panels import Panel
from alliance_stats.dynamics.parameters import Layout, Matrices
from alliance_stats.tables.arrays import FloatArray

ERROR_SHARES = (0.1, 0.5)
"""Shares of the variance within series that is error, where it is estimated: the likelihood can have several peaks."""


def starts(panel: Panel, layout: Layout) -> list[FloatArray]:
    """Points to begin from.

    Far apart in time, two values of a series share only its level; what is left at lag 1 goes by Phi.
    """
    total, near, far = _covariances(panel)
    between = _bounded((far + far.T) / 2, total, 0.05, 0.9)
    within = _bounded(total - between, total, 0.1, 1.0)
    found = []
    known = np.array(layout.error)
    for share in ERROR_SHARES if layout.free_errors else (0.0,):
        noise = np.where(np.isnan(known), share * np.diag(within), np.minimum(known, 0.9 * np.diag(within)))
        error = np.diag(noise)
        lagged = np.linalg.solve(within - error, (near - between).T).T
        state = _bounded(within - error, within, 0.1, 1.0)
        radius = np.abs(np.linalg.eigvals(lagged)).max()
        lagged = lagged * min(1.0, 0.8 / max(radius, 1e-9))
        shock = _bounded(state - lagged @ state @ lagged.T, state, 0.1, 1.0)
        levels = np.zeros((layout.effects, layout.effects))
        levels[: layout.k, : layout.k] = between
        if layout.slopes:
            levels[layout.k :, layout.k :] = 0.1 * between
        one = Matrices(lagged, shock, state, levels, noise)
        found.append(layout.theta([one] * layout.n_groups))
    return found


def _covariances(panel: Panel) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of deviations from each time's mean: at lag 0, at lag 1 (later with earlier), and beyond lag 2."""
    seen = ~np.isnan(panel.y)
    count = seen.sum(axis=0)
    away = np.where(seen, panel.y - np.where(seen, panel.y, 0.0).sum(axis=0) / np.maximum(count, 1), 0.0)
    there = seen.astype(np.float64)

    def at(lag: int, part: FloatArray) -> FloatArray:
        later, earlier = part[:, lag:].reshape(-1, panel.k), part[:, : part.shape[1] - lag].reshape(-1, panel.k)
        return np.asarray(later.T @ earlier)

    def beyond(part: FloatArray) -> FloatArray:
        every = part.sum(axis=1).T @ part.sum(axis=1)
        return np.asarray(every - at(0, part) - at(1, part) - at(1, part).T - at(2, part) - at(2, part).T)

    total, near = (at(lag, away) / np.maximum(at(lag, there), 1.0) for lag in (0, 1))
    pairs = beyond(there)
    far = np.where(pairs > panel.k, beyond(away) / np.maximum(pairs, 1.0), 0.5 * total)
    return total, near, far


def _bounded(matrix: FloatArray, unit: FloatArray, least: float, most: float) -> FloatArray:
    """The matrix with its eigenvalues relative to `unit` kept within bounds."""
    root = np.linalg.cholesky(unit + 1e-9 * np.trace(unit) * np.eye(len(unit)))
    inner = np.linalg.solve(root, np.linalg.solve(root, matrix).T)
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    outer = root @ vectors
    return np.asarray((outer * np.clip(values, least, most)) @ outer.T)
