"""Between the units that the search uses and those of the caller: an exact linear change, both ways."""

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
