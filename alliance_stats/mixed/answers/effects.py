"""Random effects of a fitted model, in the user's units, and outcomes drawn from the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.search_space import square_root
from alliance_stats.mixed.engine.small import sandwich
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import Seed, generator

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


def simulate_outcomes(fit: Fitted, *, draws: int, seed: Seed) -> Iterator[FloatArray]:
    """Yield outcomes (n,) under the fitted model, in the user's units, in the order of ``fit.design.kept``."""
    random = generator(seed)
    design = fit.design
    mean = fit.optimum.deviance.beta @ design.x * design.y_scale + design.y_centre
    columns = design.user_effects()
    outer = dict(zip(design.outer_factors, design.grouping.outer_of_row))
    at = {factor: codes - codes.min(initial=0) for factor, codes in outer.items()} | {
        design.inner_factor: design.grouping.inner_of_row()
    }
    roots = [square_root(cov) for cov in fit.covariances]
    for _ in range(draws):
        y = mean + _noise(fit, random)
        for block, root in zip(design.blocks, roots):
            rows = at[block.factor]
            effect = random.standard_normal((int(rows.max()) + 1, len(root))) @ root.T
            y = y + np.einsum("nq,nq->n", columns[:, list(block.columns)], effect[rows])
        yield y


def _noise(fit: Fitted, random: np.random.Generator) -> FloatArray:
    """Residuals: independent, or an autoregression over each group's times."""
    design = fit.design
    z = random.standard_normal(design.n)
    if fit.model.pairs is not None and design.time is not None:
        first = np.zeros(design.n, dtype=bool)
        first[design.grouping.starts] = True
        gap = np.where(first, 1.0, np.diff(design.time, prepend=design.time[0]))
        rho = float(fit.rho or 0.0)
        carry = np.where(first, 0.0, np.power(rho, gap))
        z *= np.sqrt((1 - carry) * (1 + carry))
        position = np.arange(design.n) - np.repeat(design.grouping.starts, design.grouping.counts)
        for k in range(1, int(design.grouping.counts.max())):
            rows = np.flatnonzero(position == k)
            z[rows] += carry[rows] * z[rows - 1]
    if design.weights is not None:
        z = z / np.sqrt(design.weights)
    return np.asarray(z * np.sqrt(fit.residual_variance))
