"""The log-likelihood over the variance parameters and lagged coefficients, regression coefficients profiled out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.dynamics.filtering import (
    Filtered,
    Scores,
    System,
    coefficient_scores,
    normal_equations,
    run,
    scores,
)
from alliance_stats.dynamics.panels import Batch
from alliance_stats.dynamics.parameters import Layout, Matrices
from alliance_stats.tables.arrays import FloatArray

TOGETHER = 4096
"""Series times parameter vectors that are filtered side by side: their arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Likelihood:
    """The model of a panel."""

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
        """The log-likelihood at one or several theta (..., q), with the best regression coefficients if none are given.

        Raises ``FloatingPointError`` where theta makes no model.
        """
        groups = self.layout.matrices(theta)
        systems = [self.layout.system(matrices) for matrices in groups]
        with np.errstate(all="ignore"):
            filtered = [run(batch, systems[batch.group]) for batch in self.batches]
        equations = [normal_equations(batch, part) for batch, part in zip(self.batches, filtered)]
        xx, xy, yy = (sum(parts[1:], parts[0]) for parts in zip(*equations))
        best = np.linalg.solve(xx, xy[..., None])[..., 0] if beta is None else beta
        log_variance = sum(part.log_variance @ batch.counts for part, batch in zip(filtered, self.batches))
        square = yy + (best * ((xx @ best[..., None])[..., 0] - 2 * xy)).sum(axis=-1)
        value = -(log_variance + square + self.n_cells * np.log(2 * np.pi)) / 2
        if not np.isfinite(value).all():
            raise FloatingPointError("the log-likelihood is not finite")
        return Point(self, theta, groups, systems, best, xx, value, filtered)

    def gradients(self, thetas: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradients of the profile log-likelihood at several theta (S, q), and their beta (S, p)."""
        together = max(1, TOGETHER // max(len(batch.rows) for batch in self.batches))
        gradients, betas = [], []
        for begin in range(0, len(thetas), together):
            point = self.at(thetas[begin : begin + together])
            gradients.append(point.gradient())
            betas.append(point.beta)
        return np.concatenate(gradients), np.concatenate(betas)


@dataclass(frozen=True, eq=False)
class Point:
    """One evaluation, or several side by side (...)."""

    likelihood: Likelihood
    theta: FloatArray  # (..., q)
    groups: list[Matrices]
    systems: list[System]
    beta: FloatArray  # (..., p): regression coefficients
    precision: FloatArray  # (..., p, p): X'V^-1 X
    value: Any  # (...) or float: Log-likelihood
    filtered: list[Filtered]

    def scores(self) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Derivatives of the log-likelihood at one theta.

        Of each series (series, q) by theta, and of all by the model's covariance matrices and error variances (a dict).
        """
        layout = self.likelihood.layout
        each = np.empty((self.likelihood.n_series, len(self.theta)))
        total: dict[str, FloatArray] = {}
        for batch, parts in self._parts():
            natural = layout.natural(self.groups[batch.group], parts)
            each[batch.rows] = layout.score(self.theta, batch.group, natural)
            for name, part in natural.items():
                total[name] = total.get(name, 0.0) + part.sum(axis=0)
        return each, total

    def coefficient_scores(self) -> FloatArray:
        """Derivatives of each series' log-likelihood with respect to beta, (series, p)."""
        each = np.empty((self.likelihood.n_series, len(self.beta)))
        for batch, filtered in zip(self.likelihood.batches, self.filtered):
            each[batch.rows] = coefficient_scores(batch, filtered, self.beta)
        return each

    def gradient(self) -> FloatArray:
        """Derivatives of the log-likelihood with respect to theta, (..., q)."""
        layout, total = self.likelihood.layout, np.zeros(self.theta.shape)
        for batch, parts in self._parts():
            summed = Scores(*(part.sum(axis=-1, keepdims=True) for part in parts))
            total += layout.score(self.theta, batch.group, layout.natural(self.groups[batch.group], summed))[0]
        return total

    def _parts(self) -> Iterator[tuple[Batch, Scores]]:
        for batch, filtered in zip(self.likelihood.batches, self.filtered):
            yield batch, scores(batch, self.systems[batch.group], filtered, self.beta)
