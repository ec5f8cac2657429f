"""Fitted values and residuals of the rows used, in the order of the data and the user's units."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.predict import predict
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.schema import require_choice


def fitted(fit: Fitted, level: str | None) -> pd.Series:
    """Fitted values of the rows used."""
    level = fit.design.inner_factor if level is None else level
    table = predict(fit, None, level=level, interval=None, coverage=0.95, new_groups="error")
    return table["prediction"].rename("fitted")


def residuals(fit: Fitted, kind: str, level: str | None) -> pd.Series:
    """Residuals of the rows used."""
    require_choice(kind, ("raw", "standardised", "normalised"), name="kind")
    design, values = fit.design, fitted(fit, level)
    left = design.user_outcome()
    left[design.by_data] -= values.to_numpy()
    if kind != "raw":
        left = left / np.sqrt(fit.residual_variance)
        if design.weights is not None:
            left = left * np.sqrt(design.weights)
    if kind == "normalised" and fit.model.pairs is not None and design.time is not None:
        rho = fit.model.matrices(fit.optimum.theta)[2]
        first = np.zeros(design.n, dtype=bool)
        first[design.grouping.starts] = True
        gap = np.diff(design.time, prepend=design.time[0] - 1) / fit.model.pairs.unit
        s = np.where(first, 0.0, np.power(rho, np.where(first, 1.0, gap)))
        left = (left - s * np.roll(left, 1)) / np.sqrt((1 - s) * (1 + s))
    return pd.Series(left[design.by_data], index=values.index, name=f"{kind}_residual")
