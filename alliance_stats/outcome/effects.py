"""Effect sizes with intervals: standardised differences and partial correlations. Numbers in, numbers out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.terms import t_interval


class Effect(NamedTuple):
    """An effect size and its interval."""

    estimate: float
    ci_low: float
    ci_high: float


def combination(fit: Any, weights: FloatArray) -> tuple[float, float, float]:
    """A linear combination of a fit's coefficients, its standard error, and its degrees of freedom."""
    error = float(np.sqrt(weights @ fit.covariance.to_numpy() @ weights))
    return float(weights @ fit.coefficients.to_numpy()), error, float(fit.degrees_of_freedom(weights[None, :])[0])


def standardised_difference(
    difference: float, std_error: float, df: float, *, sd: float, sd_df: float, level: float
) -> Effect:
    """An (adjusted) difference in units of `sd`, with the small-sample correction of Hedges (1981).

    g = J(sd_df) difference / sd with J(m) = Gamma(m/2) / (sqrt(m/2) Gamma((m-1)/2)). The interval is that of the
    difference, widened for the estimated SD by the delta method: variance (std_error / sd)^2 + d^2 / (2 sd_df). For
    two groups without covariates g is the usual Hedges g.

    >>> round(standardised_difference(2.0, 1.0, 18, sd=2.0, sd_df=18, level=0.95).estimate, 4)
    0.9576
    """
    if not sd > 0:
        return Effect(np.nan, np.nan, np.nan)
    d = difference / sd
    error = np.sqrt((std_error / sd) ** 2 + d**2 / (2 * sd_df))
    factor = hedges_factor(sd_df)
    low, high = t_interval(factor * d, factor * error, df, level=level)
    return Effect(float(factor * d), float(low), float(high))


def hedges_factor(df: float) -> float:
    """The factor that removes the bias of a standardised difference with `df` degrees of freedom (Hedges, 1981)."""
    from scipy.special import gammaln

    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)) if df > 1 else float("nan")


def partial_correlation(statistic: float, df: float, *, level: float) -> Effect:
    """The correlation that belongs to a t statistic, all other terms held constant, and Fisher's interval.

    r = t / sqrt(t^2 + df); the interval is tanh(atanh(r) +- z / sqrt(df - 1)), which for n rows and k controlled
    variables is the usual n - k - 3 under the root. Missing with fewer than 2 degrees of freedom.

    >>> [round(value, 3) for value in partial_correlation(3.0, 97, level=0.95)]
    [0.291, 0.1, 0.462]
    """
    from scipy.special import ndtri

    r = float(np.sign(statistic) if np.isinf(statistic) else statistic / np.hypot(statistic, np.sqrt(df)))
    if not df > 1 or np.isnan(r):
        return Effect(r, np.nan, np.nan)
    if abs(r) >= 1:
        return Effect(r, r, r)
    reach = ndtri((1 + level) / 2) / np.sqrt(df - 1)
    return Effect(r, float(np.tanh(np.arctanh(r) - reach)), float(np.tanh(np.arctanh(r) + reach)))
