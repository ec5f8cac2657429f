"""What a careful reader asks about a fit before reading its estimates."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.mixed.design.columns import INTERCEPT
from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.engine.model import Model
from alliance_stats.mixed.engine.optimiser import Optimum


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
