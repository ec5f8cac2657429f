"""The log-likelihood over the variance parameters and lagged coefficients, regression coefficients profiled out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alliance_stats.dynamics.filtering import Filtered, normal_equations, run, scores
from alliance_stats.dynamics.panels import Batch
from alliance_stats.dynamics.parameters import Layout, Matrices
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class Likelihood:
    """The model of a panel.

    Attributes
    ----------
    layout : Layout
    batches : list of Batch
    """

    layout: Layout
    batches: list[Batch]

    @property
    def n_series(self) -> int:
        """Series."""
        return sum(len(batch.rows) for batch in self.batches)

    @property
    def n_cells(self) -> int:
        """Observed values."""
        return int(sum((batch.seen.sum(axis=(0, 1)) * batch.counts).sum() for batch in self.batches))

    def at(self, theta: FloatArray, *, beta: FloatArray | None = None) -> Point:
        """The log-likelihood at theta, with the best regression coefficients unless they are given.

        Raises
        ------
        FloatingPointError
            Where theta makes no model.
        """
        groups = self.layout.matrices(theta)
        systems = [self.layout.system(matrices) for matrices in groups]
        with np.errstate(all="ignore"):
            filtered = [run(batch, systems[batch.group]) for batch in self.batches]
        equations = [normal_equations(batch, part) for batch, part in zip(self.batches, filtered)]
        xx = np.sum([part[0] for part in equations], axis=0)
        xy = np.sum([part[1] for part in equations], axis=0)
        yy = sum(part[2] for part in equations)
        best: FloatArray = np.linalg.solve(xx, xy) if beta is None else beta
        log_variance = sum(float(part.log_variance @ batch.counts) for part, batch in zip(filtered, self.batches))
        square = yy - 2 * float(xy @ best) + float(best @ xx @ best)
        value = -(log_variance + square + self.n_cells * np.log(2 * np.pi)) / 2
        if not np.isfinite(value):
            raise FloatingPointError("the log-likelihood is not finite")
        return Point(self, theta, groups, best, xx, value, filtered)


@dataclass(frozen=True, eq=False)
class Point:
    """One evaluation.

    Attributes
    ----------
    theta : (q,) array
    groups : list of Matrices
    beta : (p,) array
        Regression coefficients.
    precision : (p, p) array
        X'V^-1 X.
    value : float
        Log-likelihood.
    """

    likelihood: Likelihood
    theta: FloatArray
    groups: list[Matrices]
    beta: FloatArray
    precision: FloatArray
    value: float
    filtered: list[Filtered]

    def scores(self) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Derivatives of the log-likelihood.

        Returns
        -------
        (series, q + p) array
            Of each series, with respect to (theta, beta).
        dict
            Of all, with respect to the model's covariance matrices and error variances.
        """
        layout = self.likelihood.layout
        each = np.empty((self.likelihood.n_series, len(self.theta) + len(self.beta)))
        total: dict[str, FloatArray] = {}
        for batch, filtered in zip(self.likelihood.batches, self.filtered):
            matrices = self.groups[batch.group]
            parts = scores(batch, layout.system(matrices), filtered, self.beta)
            natural = layout.natural(matrices, parts)
            own = layout.score(self.theta, batch.group, natural)
            each[batch.rows] = np.concatenate([own, parts.coefficients.T], axis=1)
            for name, part in natural.items():
                total[name] = total.get(name, 0.0) + part.sum(axis=-1)
        return each, total
