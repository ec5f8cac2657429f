"""The criterion as a function of variances, covariances, rho and sigma^2 in the user's units."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import block_diag

from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.model import Model
from alliance_stats.tables.arrays import FloatArray


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
