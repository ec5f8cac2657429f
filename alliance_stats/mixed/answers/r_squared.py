"""How the variance divides: intraclass correlations, R2 (Nakagawa & Schielzeth 2013), variance explained by level."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.effects import simulate_outcomes
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.progress import bar, run_pieces, streams
from alliance_stats.tables.schema import Seed
from alliance_stats.tables.shares import check_level


def icc(
    fit: Fitted,
    *,
    draws: int = 0,
    seed: Seed | None = None,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Share of the variance at each level, and the intraclass correlations that follow.

    With random slopes the variance of a level depends on the covariates; it is averaged over the rows used, as Johnson
    (2014, Methods in Ecology and Evolution 5, 944-946) does for R2.

    Parameters
    ----------
    fit : MixedFit
    draws : int
        Outcomes drawn from the fitted model for intervals; 0 for none. 1,000 are usual.
    seed : int or Generator
        Needed with `draws`.
    level : float
        Coverage of the intervals.
    n_jobs : int, optional
        Workers, as joblib's; the result is the same for any number.
    progress : bool
        Show a bar while this takes longer than a second.

    Returns
    -------
    DataFrame
        One row per grouping factor, the residual last: ``group``, ``variance``, ``share`` of the total, and ``icc``,
        the correlation expected between two rows that share the level (and so every level above it). Serial
        correlation of the residuals is not counted. With `draws` also ``share_low, share_high, icc_low, icc_high``:
        percentiles of a parametric bootstrap (the model refitted to outcomes drawn from it), and ``draws``, those whose
        fit converged. With few levels at the top the estimates are skewed, and such intervals cover somewhat less than
        they say.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> icc(fit_mixed("y ~ 1 + (1 | g)", data)).round(3)
          group  variance  share    icc
    0         g     2.741  0.659  0.659
    1  residual     1.417  0.341    NaN
    """
    table = _shares(fit)
    if not draws:
        return table
    if seed is None:
        raise ValueError("A bootstrap draws at random: give seed=.")
    check_level(level)
    with bar("Bootstrap", draws, show=progress):
        drawn = run_pieces(partial(_drawn_shares, fit), streams(seed, draws), n_jobs=n_jobs)
    found = np.array([shares for shares in drawn if shares is not None])
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(found, tails, axis=0) if len(found) else np.full((2, 2, len(table)), np.nan)
    columns = {"share_low": low[0], "share_high": high[0], "icc_low": low[1], "icc_high": high[1]}
    return table.assign(**columns, draws=len(found))


def _drawn_shares(fit: Fitted, stream: np.random.Generator) -> FloatArray | None:
    """Shares and intraclass correlations, (2, groups), of one outcome drawn from the model; None if not converged."""
    again = fit.refit(next(simulate_outcomes(fit, draws=1, seed=stream)))
    return _shares(again)[["share", "icc"]].to_numpy(dtype=np.float64).T if again.optimum.converged else None


def _shares(fit: Fitted) -> pd.DataFrame:
    found: dict[str, float] = {}
    columns = fit.design.user_effects()
    for block, cov in zip(fit.design.blocks, fit.covariances):
        z = columns[:, list(block.columns)]
        found[block.factor] = found.get(block.factor, 0.0) + float(np.einsum("na,ab,nb->", z, cov, z) / len(z))
    residual = fit.mean_residual_variance
    total = sum(found.values()) + residual
    rows = []
    for group, variance in found.items():
        shared = variance + sum(found[factor] for factor in fit.design.above[group])
        rows.append((group, variance, variance / total, shared / total))
    rows.append(("residual", residual, residual / total, np.nan))
    return pd.DataFrame(rows, columns=["group", "variance", "share", "icc"])


def r_squared(fit: Fitted) -> pd.DataFrame:
    """How much of the variance the fixed part explains, and how much with the random effects.

    Nakagawa & Schielzeth (2013), Methods Ecol Evol 4, 133-142; with random slopes the variance of a level is averaged
    over the rows used (Johnson 2014). The variance of the fixed part has the divisor n - 1, as in R's ``MuMIn``.

    Returns
    -------
    DataFrame
        One row: ``marginal`` (fixed part), ``conditional`` (fixed and random), and the variances they are made of:
        ``fixed``, one column per grouping factor, ``residual``.

    Examples
    --------
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
