"""How the variance divides: intraclass correlations, R2 (Nakagawa & Schielzeth 2013), variance explained by level."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.engine.fitted import Fitted


def icc(fit: Fitted) -> pd.DataFrame:
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
        shared = variance + sum(found[factor] for factor in fit.design.above[group])
        rows.append((group, variance, variance / total, shared / total))
    rows.append(("residual", fit.residual_variance, fit.residual_variance / total, np.nan))
    return pd.DataFrame(rows, columns=["group", "variance", "share", "icc"])


def r_squared(fit: Fitted) -> pd.DataFrame:
    """How much of the variance the fixed part explains, and how much with the random effects.

    Returns
    -------
    DataFrame
        One row: ``marginal`` (fixed part), ``conditional`` (fixed and random), and the variances they are made of:
        ``fixed``, one column per grouping factor, ``residual``.

    Notes
    -----
    Nakagawa, S. & Schielzeth, H. (2013), Methods Ecol Evol 4, 133-142; with random slopes the variance of a level is
    averaged over the rows used (Johnson 2014, Methods Ecol Evol 5, 944-946). The variance of the fixed part has the
    divisor n - 1, as in R's ``MuMIn``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from alliance_stats import fit_mixed
    >>> y = [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "t": [0, 1, 2] * 4, "y": y})
    >>> r_squared(fit_mixed("y ~ t + (1 | g)", data))[["marginal", "conditional"]].round(3)
       marginal  conditional
    0     0.171        0.888
    """
    predicted = fit.optimum.deviance.beta @ fit.design.x * fit.design.y_scale
    fixed = float(predicted.var(ddof=1))
    levels = icc(fit).set_index("group")["variance"]
    total = fixed + float(levels.sum())
    residual = float(levels["residual"])
    return pd.DataFrame(
        {
            "marginal": [fixed / total],
            "conditional": [1 - residual / total],
            "fixed": [fixed],
            **{str(group): [float(value)] for group, value in levels.items()},
        }
    )


def variance_explained(null: Fitted, fit: Fitted) -> pd.DataFrame:
    """The share of each level's variance that predictors explain: 1 - variance with / variance without them.

    Parameters
    ----------
    null, fit : MixedFit
        The same rows and random intercepts, without and with the predictors.

    Returns
    -------
    DataFrame
        One row per level: ``group, variance_null, variance, explained`` (negative where a predictor within patients
        raises the variance between them, as it may: Raudenbush & Bryk 2002).

    Raises
    ------
    ValueError
        If the fits do not use the same rows or have other grouping factors.
    """
    if not np.array_equal(np.sort(null.design.kept), np.sort(fit.design.kept)):
        raise ValueError("The two fits use different rows; fit both to the rows that are complete for the larger one.")
    before, after = (icc(one).set_index("group")["variance"] for one in (null, fit))
    if set(before.index) != set(after.index):
        raise ValueError(f"The fits have other grouping factors: {sorted(before.index)} and {sorted(after.index)}.")
    after = after.reindex(before.index)
    return pd.DataFrame(
        {
            "group": before.index.to_numpy(),
            "variance_null": before.to_numpy(),
            "variance": after.to_numpy(),
            "explained": 1 - after.to_numpy() / before.to_numpy(),
        }
    )
