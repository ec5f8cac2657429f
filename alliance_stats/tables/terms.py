"""One vocabulary for every fitted model: ``tidy``, ``glance``, ``variances`` (after broom, Robinson 2014).

A fit is a frozen object whose methods return these tables; the functions here give every model the same verbs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import TERMS_COLUMNS, VARIANCES_COLUMNS
from alliance_stats.tables.shares import check_level


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
    check_level(level)
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


def t_p_value(statistic: Any, df: Any) -> Any:
    """Two-sided p value of a t statistic; of a normal one where `df` is infinite."""
    from scipy.special import ndtr, stdtr

    tail = -np.abs(statistic)
    return 2 * np.where(np.isinf(df), ndtr(tail), stdtr(df, tail))


def t_quantile(level: float, df: Any) -> Any:
    """Two-sided t quantile of a confidence level; the normal one where `df` is infinite (scipy's is missing there)."""
    from scipy.special import ndtri, stdtrit

    check_level(level)
    return np.where(np.isinf(df), ndtri((1 + level) / 2), stdtrit(df, (1 + level) / 2))


def t_interval(estimate: Any, std_error: Any, df: Any, *, level: float) -> tuple[Any, Any]:
    """Two-sided t interval; the normal one where `df` is infinite."""
    reach = t_quantile(level, df) * std_error
    return estimate - reach, estimate + reach


def f_test(df1: int, df2: float, statistic: float) -> pd.DataFrame:
    """One row ``df1, df2, statistic, p_value`` of an F test; with infinite `df2`, of a chi-squared one over `df1`.

    >>> f_test(2, 9.0, 5.16).round(3)
       df1  df2  statistic  p_value
    0    2  9.0       5.16    0.032
    """
    from scipy.special import chdtrc, fdtrc

    p_value = chdtrc(df1, df1 * statistic) if np.isinf(df2) else fdtrc(df1, df2, statistic)
    return pd.DataFrame({"df1": [df1], "df2": [df2], "statistic": [statistic], "p_value": [float(p_value)]})


def terms_table(terms: Iterable[str], estimate: Any, std_error: Any, df: Any, *, level: float) -> pd.DataFrame:
    """TERMS of estimates and their standard errors (k,); a standard error of 0 has no statistic and no p value.

    `df` are degrees of freedom of t, infinite for the normal distribution.

    >>> terms_table(["session"], np.array([1.2]), np.array([0.4]), 10, level=0.95).round(3)
          term  estimate  std_error    df  statistic  p_value  ci_low  ci_high
    0  session       1.2        0.4  10.0        3.0    0.013   0.309    2.091
    """
    estimate, std_error = np.asarray(estimate, dtype=np.float64), np.asarray(std_error, dtype=np.float64)
    statistic = np.divide(estimate, std_error, out=np.full(estimate.shape, np.nan), where=std_error > 0)
    degrees = np.broadcast_to(np.asarray(df, dtype=np.float64), estimate.shape)
    low, high = t_interval(estimate, std_error, degrees, level=level)
    columns = [list(terms), estimate, std_error, degrees, statistic, t_p_value(statistic, degrees), low, high]
    return pd.DataFrame(dict(zip(TERMS_COLUMNS, columns, strict=True)))


def _check(fit: Fit) -> Fit:
    if not isinstance(fit, Fit):
        raise TypeError(f"{type(fit).__name__} is not a fitted model of alliance_stats.")
    return fit
