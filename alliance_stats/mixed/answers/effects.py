"""Random effects of a fitted model, in the user's units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.small import sandwich
from alliance_stats.tables.arrays import FloatArray

POPULATION = "population"


def modes(fit: Fitted) -> tuple[FloatArray, FloatArray | None]:
    """Conditional modes in internal units: (a, m) of the inner factor and (r, J) of all outer ones in turn."""
    model, deviance = fit.model, fit.optimum.deviance
    inner, outer, _ = model.matrices(fit.optimum.theta)
    weight = np.append(-deviance.beta, 1.0)
    b = inner @ np.einsum("akm,k->am", deviance.evaluation.inner_cross, weight)
    if outer is None or deviance.evaluation.level is None:
        return b, None
    return b, outer @ np.einsum("rkj,k->rj", deviance.evaluation.level.cross, weight)


def conditional_covariances(fit: Fitted) -> tuple[FloatArray, FloatArray | None]:
    """Var(b_i | y), (a, a, m), and Var(c_j | y), (r, r, J), in units of sigma^2 (internal)."""
    evaluation = fit.optimum.deviance.evaluation
    inner, _, _ = fit.model.matrices(fit.optimum.theta)
    level, a = evaluation.level, len(inner)
    full = evaluation.gram[:a, :a] if level is None else level.condition(evaluation.gram)
    held = inner[:, :, None] - sandwich(inner, full)
    return held, None if level is None else level.cov


def random_effects(fit: Fitted) -> dict[str, pd.DataFrame]:
    """One table per grouping factor, sorted by level."""
    design = fit.design
    b, c = modes(fit)
    cov_b, cov_c = conditional_covariances(fit)
    tables: dict[str, pd.DataFrame] = {}
    for factor in dict.fromkeys(block.factor for block in design.blocks):
        labels, levels = levels_of(fit, factor)
        columns: dict[str, FloatArray] = {}
        for block in design.blocks:
            if block.factor != factor:
                continue
            chosen = list(block.columns)
            back = design.effect_map[np.ix_(chosen, chosen)] * design.y_scale
            own = np.ix_(block.places, block.places)
            if block.outer and c is not None and cov_c is not None:
                mode, cov = c[list(block.places), levels], cov_c[own][..., levels]
            else:
                mode, cov = b[chosen], cov_b[own]
            mode = back @ mode
            variance = np.einsum("ab,bcm,ac->am", back, cov, back) * fit.optimum.deviance.sigma2
            for place, name in enumerate(block.names):
                columns[name] = mode[place]
                columns[f"{name}_sd"] = np.sqrt(np.maximum(variance[place], 0.0))
        tables[factor] = _sorted(pd.DataFrame(columns, index=pd.Index(labels, name=factor)))
    return tables


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    try:
        return table.sort_index()
    except TypeError:  # labels of several kinds have no order; as text they have
        return table.sort_index(key=lambda labels: labels.astype(str))


def levels_of(fit: Fitted, factor: str) -> tuple[Any, slice]:
    """The labels of a factor's levels, and their places among the levels of all outer factors."""
    design = fit.design
    if factor == design.inner_factor:
        return design.grouping.labels, slice(None)
    number = design.outer_factors.index(factor)
    first = sum(len(labels) for labels in design.grouping.outer_labels[:number])
    labels = design.grouping.outer_labels[number]
    return labels, slice(first, first + len(labels))
