"""Intraclass correlations: how the variance divides over the levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.result import MixedFit

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def icc(fit: MixedFit) -> pd.DataFrame:
    """Share of the variance at each level, and the intraclass correlations that follow.

    With random slopes the variance of a level depends on the covariates; it is averaged over the rows used, as Johnson
    (2014, Methods in Ecology and Evolution 5, 944-946) does for R2.

    Returns
    -------
    DataFrame
        One row per grouping factor, the residual last: ``group``, ``variance``, ``share`` of the total, and ``icc``,
        the correlation expected between two rows that share the level (and so every level above it). Serial
        correlation of the residuals is not counted.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> icc(fit_mixed("y ~ 1 + (1 | g)", data)).round(3)
          group  variance  share    icc
    0         g     2.741  0.659  0.659
    1  residual     1.417  0.341    NaN
    """
    found: dict[str, float] = {}
    columns = fit.design.user_effects()
    for block, cov in zip(fit.design.blocks, fit.covariances):
        z = columns[:, list(block.columns)]
        found[block.factor] = found.get(block.factor, 0.0) + float(np.einsum("na,ab,nb->", z, cov, z) / len(z))
    total = sum(found.values()) + fit.residual_variance
    rows = []
    for group, variance in found.items():
        shared = variance
        if group == fit.design.inner_factor and fit.design.outer_factor and not fit.design.grouping.crossed:
            shared += found[fit.design.outer_factor]
        rows.append((group, variance, variance / total, shared / total))
    rows.append(("residual", fit.residual_variance, fit.residual_variance / total, np.nan))
    return pd.DataFrame(rows, columns=["group", "variance", "share", "icc"])
