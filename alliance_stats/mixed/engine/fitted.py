"""What a fit is made of, in the user's units: the record that every answer is a function of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.columns import INTERCEPT
from alliance_stats.mixed.design.design import Block, Design
from alliance_stats.mixed.engine import satterthwaite
from alliance_stats.mixed.engine.diagnosis import diagnose
from alliance_stats.mixed.engine.model import Model
from alliance_stats.mixed.engine.optimiser import Optimum
from alliance_stats.mixed.engine.strata import minimised
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class Fitted:
    """The fitted pieces of a linear mixed model.

    Attributes
    ----------
    model : Model
        The engine: design, sufficient statistics and criterion (internal units).
    optimum : Optimum
        Where the search ended (internal units).
    diagnostics : dict
        ``converged``, ``evaluations``, ``decrement`` (expected further fall of the deviance), ``gradient`` (largest
        absolute), ``boundary`` (which covariance matrices are singular), ``rows``, ``rows_dropped``, ``missing`` (by
        column), ``aliased``, ``groups``, ``df_method``, ``centred_scaled`` (column: centre and scale used inside),
        ``notes``, ``flow`` (who was kept, from the file to the rows used; `alliance_stats.flow` shows it as a table).
    """

    model: Model
    optimum: Optimum
    diagnostics: dict[str, Any] = field(repr=False)

    @property
    def design(self) -> Design:
        """The design: columns, groups, and the rows used."""
        return self.model.design

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.design.formula.text

    @property
    def reml(self) -> bool:
        """Whether variances were estimated by restricted likelihood."""
        return self.model.reml

    @property
    def correlation(self) -> str | None:
        """The residual's serial correlation: None, ``"ar1"`` or ``"car1"``."""
        return self.model.correlation

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the fixed coefficients."""
        return self.design.names

    @cached_property
    def coefficients(self) -> pd.Series:
        """Fixed effects."""
        design = self.design
        beta = design.x_map @ self.optimum.deviance.beta * design.y_scale
        if INTERCEPT in design.names:
            beta[design.names.index(INTERCEPT)] += design.y_centre
        return pd.Series(beta, index=list(design.names), name="estimate")

    @cached_property
    def covariance(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects."""
        design, deviance = self.design, self.optimum.deviance
        inner = deviance.unscaled * (deviance.sigma2 * design.y_scale**2)
        names = list(design.names)
        return pd.DataFrame(design.x_map @ inner @ design.x_map.T, index=names, columns=names)

    @property
    def residual_variance(self) -> float:
        """sigma^2: that of the first stratum, with ``variance_by``."""
        return self.optimum.deviance.sigma2 * self.design.y_scale**2

    @property
    def mean_residual_variance(self) -> float:
        """The residual variance, averaged over the rows used where strata have one each."""
        strata = self.design.strata
        return self.residual_variance * (1.0 if strata is None else float(strata.ratios[strata.codes].mean()))

    @property
    def rho(self) -> float | None:
        """Serial correlation of the residuals per unit of time; None without one."""
        if self.model.pairs is None:
            return None
        rho = self.model.matrices(self.optimum.theta)[2]
        return float(rho ** (1 / self.model.pairs.unit)) if self.correlation == "car1" else rho

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood (restricted, if fitted by REML)."""
        return -self.optimum.deviance.value / 2

    @property
    def n_parameters(self) -> int:
        """Fixed coefficients, variance parameters and sigma^2."""
        strata = self.design.strata
        return self.design.p + len(self.model.parameters) + (1 if strata is None else len(strata.ratios))

    @property
    def aic(self) -> float:
        """Akaike's criterion; fixed and variance parameters count, as in lme4."""
        return self.optimum.deviance.value + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion, over the rows used, as in lme4."""
        return self.optimum.deviance.value + self.n_parameters * float(np.log(self.design.n))

    @cached_property
    def covariances(self) -> tuple[FloatArray, ...]:
        """The covariance matrix of each block of random effects, in the user's units, as ``design.blocks``."""
        inner, outer, _ = self.model.matrices(self.optimum.theta)
        return tuple(self._block_covariance(block, inner, outer) for block in self.design.blocks)

    def _block_covariance(self, block: Block, inner: FloatArray, outer: FloatArray | None) -> FloatArray:
        """D (or T) of one block, mapped back: M_a D M_a' sigma^2."""
        chosen = list(block.columns)
        back = self.design.effect_map[np.ix_(chosen, chosen)]
        cov = (inner if outer is None or not block.outer else outer)[np.ix_(block.places, block.places)]
        return np.asarray(back @ cov @ back.T * self.residual_variance)

    @cached_property
    def variance_curvature(self) -> satterthwaite.VarianceCurvature:
        """Hessian and covariance of the variance parameters (internal units), for degrees of freedom."""
        return satterthwaite.variance_curvature(self.model, self.optimum)

    def refit(self, y: Any) -> Self:
        """The same model fitted to another outcome `y` (n,), in the user's units and the order of ``design.kept``."""
        values = np.asarray(y, dtype=np.float64)
        if values.shape != (self.design.n,) or not np.isfinite(values).all():
            raise ValueError(f"y must hold {self.design.n} finite numbers, one per row used.")
        return self._fitted_again(self.model.with_outcome(values))

    def projected(self, y: FloatArray) -> FloatArray:
        """Another outcome, (n,), as the fixed effects predict it by generalised least squares at these variances."""
        model = self.model.with_outcome(y)
        beta = model.deviance(self.optimum.theta).beta
        return np.asarray(beta @ model.design.x * model.design.y_scale + model.design.y_centre)

    def with_criterion(self, *, reml: bool) -> Self:
        """The same model fitted by REML or by ML, the rows' summaries reused."""
        return self if reml == self.reml else self._fitted_again(replace(self.model, reml=reml))

    def _fitted_again(self, model: Model) -> Self:
        model, optimum = minimised(model)
        return type(self)(model, optimum, diagnose(model, optimum) | {"flow": self.diagnostics["flow"]})
