"""Outcomes drawn from a fitted model: new random effects, new residuals, the same design."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.search_space import square_root
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import Seed, generator


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
