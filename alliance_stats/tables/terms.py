"""One vocabulary for every fitted model: ``tidy``, ``glance``, ``variances`` (after broom, Robinson 2014).

A fit is a frozen object whose methods return these tables; the functions here give every model the same verbs.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pandas as pd

from alliance_stats.tables.schema import TERMS_COLUMNS, VARIANCES_COLUMNS


@runtime_checkable
class Fit(Protocol):
    """What every fitted model of the package can do."""

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS, one row per coefficient, with intervals at `level`."""
        ...

    def glance(self) -> pd.DataFrame:
        """One row about the whole fit."""
        ...

    def variances(self) -> pd.DataFrame:
        """VARIANCES, one row per variance parameter."""
        ...


def tidy(fit: Fit, *, level: float = 0.95) -> pd.DataFrame:
    """The coefficients of a fitted model, one row per term.

    Parameters
    ----------
    fit : a fitted model of this package
    level : float
        Coverage of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        TERMS: ``term, estimate, std_error, df, statistic, p_value, ci_low, ci_high``, on the scale of the linear
        predictor; ``df`` is infinite where the statistic is referred to the normal distribution.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must lie between 0 and 1.")
    table = _check(fit).tidy(level=level)
    return table.loc[:, [*TERMS_COLUMNS, *(name for name in table if name not in TERMS_COLUMNS)]]


def glance(fit: Fit) -> pd.DataFrame:
    """One row about a fitted model: rows and groups used, log-likelihood, AIC, BIC, convergence."""
    return _check(fit).glance()


def variances(fit: Fit) -> pd.DataFrame:
    """The variance parameters of a fitted model, one row each.

    Returns
    -------
    DataFrame
        VARIANCES: ``group, term, term_2, variance, sd, correlation``; a covariance has its second term in
        ``term_2`` and its value in ``variance`` (with ``sd`` missing); the residual's group is ``residual``.
    """
    table = _check(fit).variances()
    return table.loc[:, [*VARIANCES_COLUMNS, *(name for name in table if name not in VARIANCES_COLUMNS)]]


def _check(fit: Fit) -> Fit:
    if not isinstance(fit, Fit):
        raise TypeError(f"{type(fit).__name__} is not a fitted model of alliance_stats.")
    return fit
