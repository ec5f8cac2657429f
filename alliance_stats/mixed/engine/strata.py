"""Residual variances that differ between strata of the rows (arms, raters): nlme's ``varIdent``.

The residual variance of stratum s is sigma^2 r_s, r = 1 in the first. At given ratios a stratum is a prior weight
1 / r, so the ratios are searched for around the search for all else, on a log scale, by the profiled deviance; its
slope is taken by differences at the other parameters' optimum, where they have none (the envelope theorem).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from alliance_stats.mixed.engine.model import Model, build_model
from alliance_stats.mixed.engine.optimiser import Optimum, minimise
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import DataError

_STEP = 1e-4
_LARGEST = 12.0  # The largest log ratio: beyond it a stratum has no residual


def minimised(model: Model) -> tuple[Model, Optimum]:
    """The model at its best ratios of residual variances, and its optimum."""
    strata = model.design.strata
    if strata is None:
        return model, minimise(model)
    best: dict[str, Optimum] = {}

    def objective(ratios: FloatArray) -> tuple[float, FloatArray]:
        here = with_ratios(model, ratios)
        at = minimise(here, best["at"].theta if "at" in best else None)
        best["at"] = at
        slope = np.empty(len(ratios))
        for k in range(len(ratios)):
            move = _STEP * np.eye(len(ratios))[k]
            ends = [with_ratios(model, ratios + sign * move).deviance(at.theta).value for sign in (1, -1)]
            slope[k] = (ends[0] - ends[1]) / (2 * _STEP)
        return at.deviance.value, slope

    start = np.log(strata.ratios[1:])
    bounds = [(-_LARGEST, _LARGEST)] * len(start)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 0, "gtol": 1e-5})
    worst = int(np.argmax(np.abs(found.x)))
    if abs(found.x[worst]) >= _LARGEST:
        raise DataError(
            f"The rows of {strata.column!r} = {strata.labels[worst + 1]!r} and of {strata.labels[0]!r} have residual "
            "variances of which one is zero.",
            remedy="Fit without variance_by=, or join the stratum with another.",
        )
    chosen = with_ratios(model, found.x)
    return chosen, minimise(chosen, best["at"].theta)


def with_ratios(model: Model, logs: FloatArray) -> Model:
    """The same model at given log ratios of the residual variances."""
    strata = model.design.strata
    if strata is None:
        raise ValueError("the model has one residual variance")
    changed = strata.at(np.append(0.0, logs))
    design = replace(model.design, strata=changed, weights=changed.weights)
    return build_model(design, correlation=model.correlation, reml=model.reml)
