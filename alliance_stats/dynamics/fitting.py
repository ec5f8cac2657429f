"""A fitted model of several measures that move each other, in the caller's units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from alliance_stats.dynamics.likelihood import Likelihood
from alliance_stats.dynamics.optimiser import Optimum, maximise
from alliance_stats.dynamics.panels import Panel, make_batches
from alliance_stats.dynamics.parameters import Layout, Matrices
from alliance_stats.dynamics.units import Units, starts, units_of
from alliance_stats.tables.arrays import FloatArray

Quantity = Callable[[list[Matrices], FloatArray], FloatArray]
"""A vector computed from the matrices of each group and the regression coefficients, all in the caller's units."""


@dataclass(frozen=True, eq=False)
class SeriesFit:
    """A fit by maximum likelihood."""

    panel: Panel  # The data
    units: Units
    likelihood: Likelihood  # The model, in the units of the search
    optimum: Optimum

    @property
    def layout(self) -> Layout:
        """Which parameters there are."""
        return self.likelihood.layout

    @property
    def x(self) -> FloatArray:
        """All parameters, in the units of the search: theta, then regression coefficients."""
        return np.concatenate([self.optimum.point.theta, self.optimum.point.beta])

    def at(self, x: FloatArray) -> tuple[list[Matrices], FloatArray]:
        """The matrices of each group and the regression coefficients, in the caller's units."""
        q = self.layout.size
        matrices = [self.units.matrices(inner, self.layout) for inner in self.layout.matrices(x[:q])]
        return matrices, self.units.coefficients(x[q:])

    @cached_property
    def groups(self) -> list[Matrices]:
        """The estimated matrices of each group."""
        return self.at(self.x)[0]

    @cached_property
    def coefficients(self) -> FloatArray:
        """The estimated regression coefficients: of shared regressors, own ones, and inputs on each measure."""
        return self.at(self.x)[1]

    @property
    def log_likelihood(self) -> float:
        """The maximised log-likelihood."""
        return float(self.optimum.point.value) - self._log_scale

    @cached_property
    def _log_scale(self) -> float:
        seen = ~np.isnan(self.panel.y)
        return float(seen.sum(axis=(0, 1)) @ np.log(self.units.sd))

    @property
    def n_parameters(self) -> int:
        """Parameters, regression coefficients included."""
        return len(self.x)

    # -- uncertainty ----------------------------------------------------------------------------------------------
    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance matrix of ``x`` from the observed information; directions at a boundary have none."""
        optimum = self.optimum
        theta = _inverse(optimum.information)
        across = theta @ optimum.slopes
        beta = np.linalg.inv(optimum.point.precision) + optimum.slopes.T @ across
        return np.block([[theta, across], [across.T, beta]])

    def robust(self, clusters: Any = None) -> FloatArray:
        """The sandwich covariance matrix of ``x``, with scores summed over `clusters` (integers) or over series."""
        point = self.optimum.point
        scores = np.concatenate([point.scores()[0], point.coefficient_scores()], axis=1)
        if clusters is not None:
            codes = np.unique(clusters, return_inverse=True)[1].reshape(-1)
            summed = np.zeros((codes.max() + 1, scores.shape[1]))
            np.add.at(summed, codes, scores)
            scores = summed
        n = len(scores)
        return np.asarray(self.covariance @ (scores.T @ scores) @ self.covariance * (n / (n - 1)))

    def delta(self, quantity: Quantity, covariance: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """A quantity and its covariance matrix by the delta method."""
        covariance = self.covariance if covariance is None else covariance
        x, value = self.x, quantity(*self.at(self.x))
        slopes = np.empty((len(x), len(value)))
        for a in range(len(x)):
            step = 1e-5 * np.eye(len(x))[a]
            slopes[a] = (quantity(*self.at(x + step)) - quantity(*self.at(x - step))) / 2e-5
        return value, slopes.T @ covariance @ slopes

    # -- other fits -----------------------------------------------------------------------------------------------
    def refit(
        self, layout: Layout | None = None, y: FloatArray | None = None, *, only_from_here: bool = False
    ) -> SeriesFit:
        """The same series fitted by another model, or other values by the same; the search begins from here too."""
        panel = self.panel if y is None else self.panel.with_values(y)
        layout = self.layout if layout is None else layout
        return _fit(panel, layout, self.units, self.groups, only_near=only_from_here)

    def held(self, group: int, row: int, column: int, value: float) -> Layout:
        """The layout with one lagged coefficient fixed at a value in the caller's units."""
        inside = value * self.units.sd[column] / self.units.sd[row]
        return replace(self.layout, held={**self.layout.held, (group, row, column): inside})


def fit_series(panel: Panel, *, slopes: bool = False, stationary: bool = False, error: Any = None) -> SeriesFit:
    """Fit a panel, with an observed cell in every series, by maximum likelihood.

    `slopes`: random slopes over time beside the random levels. `stationary`: the deviations start in the distribution
    they keep, else in one of their own. `error` (k,): known error variances in the caller's units, 0 for none, NaN for
    one to be estimated. Raises ``FloatingPointError`` if the likelihood cannot be computed where the search begins,
    ``LinAlgError`` if the regressors are combinations of each other.
    """
    units = units_of(panel)
    known = np.zeros(panel.k) if error is None else np.asarray(error, dtype=np.float64)
    layout = Layout(
        k=panel.k,
        slopes=slopes,
        stationary=stationary,
        error=tuple(known / units.sd**2),
        n_groups=panel.n_groups,
        half=max(panel.times - 1, 1) / 2,
    )
    return _fit(panel, layout, units, None)


def _fit(
    panel: Panel, layout: Layout, units: Units, near: list[Matrices] | None, *, only_near: bool = False
) -> SeriesFit:
    inside = units.inside(panel)
    likelihood = Likelihood(layout, make_batches(inside))
    begin = [] if only_near else starts(inside, layout)
    if near is not None:
        begin = [*begin, layout.theta([_inside(matrices, layout, units) for matrices in near])]
    return SeriesFit(panel, units, likelihood, maximise(likelihood, begin))


def _inside(matrices: Matrices, layout: Layout, units: Units) -> Matrices:
    """Matrices in the caller's units as those of the search, kept off the boundary so that the search can leave it."""
    k = layout.k
    back = Units(1 / units.sd, units.centre, units.column)
    plain = replace(layout, slopes=False)
    result = back.matrices(matrices._replace(between=matrices.between[:k, :k]), plain)
    between = np.zeros((layout.effects, layout.effects))
    between[:k, :k] = result.between
    if layout.slopes:
        turn = np.diag(1 / units.sd)
        if len(matrices.between) == 2 * k:
            full = np.block([[turn, layout.half * turn], [np.zeros((k, k)), layout.half * turn]])
            between = full @ matrices.between @ full.T
    return result._replace(
        between=between + 0.02 * np.eye(len(between)),
        shock=result.shock + 0.02 * np.eye(k),
        start=result.start + 0.02 * np.eye(k),
        error=result.error + 0.02,
    )


def _inverse(information: FloatArray) -> FloatArray:
    """The inverse where there is information; a direction without any gets no variance."""
    values, vectors = np.linalg.eigh(information)
    good = values > 1e-9 * values[-1]
    return np.asarray((vectors[:, good] / values[good]) @ vectors[:, good].T)
