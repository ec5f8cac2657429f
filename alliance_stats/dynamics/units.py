"""Where the search begins, and the exact linear change between its units and those of the caller."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alliance_stats.dynamics.panels import Panel
from alliance_stats.dynamics.parameters import Layout, Matrices
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class Units:
    """How a panel was centred and scaled."""

    sd: FloatArray  # (k,): what the measures were divided by
    centre: FloatArray  # (p,): coefficients of the shared regressors that were subtracted first
    column: FloatArray  # (p + o,): what the regressors, shared and own, were divided by

    def inside(self, panel: Panel) -> Panel:
        """The panel in the units of the search."""
        p, own = len(self.centre), panel.own
        y = (panel.y - panel.shared @ self.centre) / self.sd
        shared = panel.shared / self.sd[:, None] / self.column[:p]
        if own is not None:
            own = own / self.sd[:, None] / self.column[p:]
        return replace(panel, y=y, shared=shared, own=own)

    def matrices(self, inner: Matrices, layout: Layout) -> Matrices:
        """In the caller's units; levels are those at time 0, slopes per step."""
        sd, k = self.sd, layout.k
        turn = np.diag(sd)
        if layout.slopes:  # level at time 0 = level at the middle - half x slope per step
            turn = np.block([[turn, -turn], [np.zeros((k, k)), turn / layout.half]])
        both = np.outer(sd, sd)
        return Matrices(
            lagged=inner.lagged * np.outer(sd, 1 / sd),
            shock=inner.shock * both,
            start=inner.start * both,
            between=turn @ inner.between @ turn.T,
            error=inner.error * sd**2,
        )

    def coefficients(self, beta: FloatArray) -> FloatArray:
        """Coefficients of the shared and own regressors, then of the inputs, in the caller's units."""
        p, at = len(self.centre), len(self.column)
        result = beta.copy()
        result[:at] /= self.column
        result[:p] += self.centre
        inputs = result[at:].reshape(len(self.sd), -1)
        result[at:] = (inputs * self.sd[:, None]).reshape(-1)
        return result


def units_of(panel: Panel) -> Units:
    """Units in which the residuals of a least-squares fit of the shared regressors have variance 1."""
    seen = ~np.isnan(panel.y)
    count = seen.sum(axis=0)
    mean = np.where(seen, panel.y, 0.0).sum(axis=0) / np.maximum(count, 1)
    weight = np.sqrt(count)
    flat = panel.shared.reshape(-1, panel.shared.shape[2])
    centre = np.linalg.lstsq(flat * weight.reshape(-1, 1), (weight * mean).reshape(-1), rcond=None)[0]
    rest = panel.y - panel.shared @ centre
    sd = np.sqrt(np.nanmean(rest**2, axis=(0, 1)))
    column = np.sqrt((flat**2).mean(axis=0) * panel.k)
    if panel.own is not None:
        own = np.sqrt((panel.own**2).mean(axis=(0, 1, 2)) * panel.k)
        column = np.concatenate([column, own])
    return Units(sd, centre, np.where(column > 0, column, 1.0))


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
