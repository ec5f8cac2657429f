"""Predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.schema import require_choice

if TYPE_CHECKING:
    from alliance_stats.dropout.result import HazardFit

Array = np.ndarray[Any, Any]


def predict_rows(fit: HazardFit, new: pd.DataFrame | None = None, *, kind: str = "hazard") -> Array:
    """Linear predictor, or hazard of a discrete model, of each row of `new` (default: the rows used)."""
    require_choice(kind, ("hazard", "linear"), name="kind")
    return fit.design.matrix @ fit.coefficients
