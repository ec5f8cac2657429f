"""What a fit is made of, in the user's units (every answer is a function of it), and its diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

from alliance_stats.mixed.design.columns import INTERCEPT
from alliance_stats.mixed.design.design import Block, Design
from alliance_stats.mixed.engine import satterthwaite
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


def diagnose(model: Model, optimum: Optimum) -> dict[str, Any]:
    """What a careful reader asks about a fit; the keys are described at :class:`MixedFit`."""
    design = model.design
    grouping = design.grouping
    groups = {design.inner_factor: grouping.n_inner}
    groups |= {factor: len(labels) for factor, labels in zip(design.outer_factors, grouping.outer_labels)}
    gradient = optimum.deviance.gradient
    return {
        "converged": optimum.converged,
        "message": optimum.message,
        "evaluations": optimum.evaluations,
        "decrement": optimum.decrement,
        "gradient": float(np.abs(gradient).max()) if gradient is not None and len(gradient) else 0.0,
        "boundary": [
            *(_boundary_words(design, number) for number in optimum.boundary),
            *(f"{model.parameters[number].term} of the residual is at the end of its range" for number in optimum.held),
        ],
        "rows": design.n,
        "rows_dropped": design.n_dropped,
        "missing": dict(design.missing),
        "aliased": list(design.aliased),
        "groups": groups,
        "crossed": grouping.crossed,
        "df_method": "Satterthwaite",
        "centred_scaled": _scaling(design),
        "notes": list(design.notes),
    }


def _boundary_words(design: Design, number: int) -> str:
    block = design.blocks[number]
    return f"covariance of ({' + '.join(block.names)} | {block.factor}) is singular"


def _scaling(design: Design) -> dict[str, tuple[float, float]]:
    """Centre and scale of every fixed column used inside."""
    found = {}
    intercept = design.names.index(INTERCEPT) if INTERCEPT in design.names else None
    for j, name in enumerate(design.names):
        if name != INTERCEPT:
            scale = 1 / float(design.x_map[j, j])
            centre = -float(design.x_map[intercept, j]) * scale if intercept is not None else 0.0
            found[name] = (centre, scale)
    return found


def user_vector(fit: Fitted) -> tuple[list[tuple[str, str, str]], FloatArray]:
    """Labels (group, term, term_2) and values of the variance parameters; sigma^2 comes last."""
    model, sigma2 = fit.model, fit.optimum.deviance.sigma2
    labels = [(parameter.group, parameter.term, parameter.term_2) for parameter in model.parameters]
    linear, rho = _linear_map(model), _rho_position(model)
    values = linear @ fit.optimum.theta * (sigma2 * model.design.y_scale**2)
    if rho is not None:
        values[rho] = fit.rho
    return [*labels, ("residual", "", "")], np.append(values, fit.residual_variance)


def user_deviance(fit: Fitted, values: Any) -> tuple[float, FloatArray]:
    """-2 log-likelihood (restricted, if fitted so) and its gradient at `values`, ordered as :func:`user_vector`.

    Raises ``LinAlgError`` where the covariance matrix of the data is not positive definite.
    """
    model = fit.model
    values = np.asarray(values, dtype=np.float64)
    linear, rho = _linear_map(model), _rho_position(model)
    scale = model.design.y_scale**2
    sigma2 = values[-1] / scale
    theta = np.linalg.solve(linear, values[:-1]) / values[-1]
    if rho is not None:
        unit = model.pairs.unit if model.pairs is not None else 1.0
        theta[rho] = values[rho] if unit == 1 else values[rho] ** unit
    value, gradient, _, _ = model.full_gradient(theta, sigma2)
    if not np.isfinite(value):
        raise np.linalg.LinAlgError("the covariance matrix is not positive definite")
    of_theta, of_sigma2 = gradient[:-1], gradient[-1]
    out = np.linalg.solve(linear.T, of_theta) / values[-1]
    plain = np.ones(len(theta), dtype=bool)
    if rho is not None:
        unit = model.pairs.unit if model.pairs is not None else 1.0
        # A continuous-time correlation of exactly zero has no derivative in another unit of time; zero is used.
        stretch = 1.0 if unit == 1 else (unit * values[rho] ** (unit - 1) if values[rho] > 0 else 0.0)
        out[rho] = of_theta[rho] * stretch
        plain[rho] = False
    last = of_sigma2 / scale - of_theta[plain] @ theta[plain] / values[-1]
    return value, np.append(out, last)


def _rho_position(model: Model) -> int | None:
    return len(model.parameters) - 1 if model.pairs is not None else None


def _linear_map(model: Model) -> FloatArray:
    """The matrix from relative internal covariances to relative user ones: D_user = M D M', T likewise."""
    count = len(model.parameters)
    out = np.zeros((count, count))
    back = model.design.effect_map
    own = [back[np.ix_(columns, columns)] for columns in model.design.outer_columns]
    outer_back = block_diag(*own) if own else np.empty((0, 0))
    for k in range(count):
        unit = np.zeros(count)
        unit[k] = 1.0
        inner, outer, rho = model.matrices(unit)
        moved = None if outer is None else outer_back @ outer @ outer_back.T
        out[:, k] = model.vector(back @ inner @ back.T, moved, rho)
    return out
