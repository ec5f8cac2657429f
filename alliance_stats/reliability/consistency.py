"""Internal consistency of a set of items (coefficient alpha and omega), and how often each score was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.catalogue import as_instrument
from alliance_stats.instruments.instrument import Instrument
from alliance_stats.tables import naming
from alliance_stats.tables.arrays import BoolArray, FloatArray
from alliance_stats.tables.schema import DataError, check_sessions, numeric, require_columns, suggest
from alliance_stats.tables.shares import check_level


def item_reliability(
    table: pd.DataFrame,
    items: str | Sequence[str],
    *,
    instrument: str | Path | Instrument | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Coefficient alpha and omega of the sum or mean of some items.

    Rows are taken as independent. With several sessions per patient alpha mixes differences between patients with
    differences within them: see :func:`session_reliability` and :func:`level_omega`.

    The interval is Feldt's (1965). Omega is McDonald's (1999) total of a one-factor model fitted by maximum
    likelihood to the covariances: ``(sum of loadings)^2 / ((sum of loadings)^2 + sum of unique variances)``.

    Parameters
    ----------
    table : DataFrame
        One row per answer sheet.
    items : str or list of str
        A pattern such as ``"wai_{item}"``, or the columns.
    instrument : optional
        Reverses its reversed items; without it the columns are taken as they are.
    level : float
        Coverage of the interval for alpha, in (0, 1).

    Returns
    -------
    DataFrame
        One row: ``n_items, n_rows, n_incomplete, alpha, alpha_ci_low, alpha_ci_high, alpha_standardised, omega,
        mean_r`` (mean correlation between items).

    Examples
    --------
    >>> rows = pd.DataFrame({"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 5, 4], "c": [2, 1, 3, 4, 5]})
    >>> item_reliability(rows, ["a", "b", "c"])["alpha"].round(4).tolist()
    [0.9512]
    """
    check_level(level)
    answers = keyed_answers(table, items, instrument)
    n, k = answers.values.shape
    covariance = np.cov(answers.values, rowvar=False)
    alpha, sd = cronbach_alpha(covariance), np.sqrt(np.diag(covariance))
    low, high = _feldt(alpha, n, k, level)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / np.outer(sd, sd)
    return pd.DataFrame(
        {
            "n_items": [k],
            "n_rows": [n],
            "n_incomplete": [int((~answers.complete).sum())],
            "alpha": [alpha],
            "alpha_ci_low": [low],
            "alpha_ci_high": [high],
            "alpha_standardised": [cronbach_alpha(correlation)],
            "omega": [omega_total(covariance)],
            "mean_r": [float(correlation[np.triu_indices(k, 1)].mean())],
        }
    )


def item_statistics(
    table: pd.DataFrame, items: str | Sequence[str], *, instrument: str | Path | Instrument | None = None
) -> pd.DataFrame:
    """One row per item: mean, SD, correlation with the rest, alpha without it, loading on the common factor.

    Examples
    --------
    >>> rows = pd.DataFrame({"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 5, 4], "c": [2, 1, 3, 4, 5]})
    >>> item_statistics(rows, ["a", "b", "c"])[["item", "mean", "item_rest"]].round(3)
      item  mean  item_rest
    0    a   3.0      0.949
    1    b   3.0      0.872
    2    c   3.0      0.872
    """
    answers = keyed_answers(table, items, instrument)
    covariance = np.cov(answers.values, rowvar=False)
    k = len(answers.columns)
    own, with_all = np.diag(covariance), covariance.sum(axis=1)
    rest = covariance.sum() - 2 * with_all + own
    with np.errstate(invalid="ignore", divide="ignore"):
        item_rest = (with_all - own) / np.sqrt(own * rest)
    without = [
        cronbach_alpha(np.delete(np.delete(covariance, item, 0), item, 1)) if k > 2 else np.nan for item in range(k)
    ]
    factor = one_factor(covariance)
    return pd.DataFrame(
        {
            "item": answers.columns,
            "mean": answers.values.mean(axis=0),
            "sd": np.sqrt(own),
            "item_rest": item_rest,
            "alpha_without": without,
            "loading": np.full(k, np.nan) if factor is None else factor[0] / np.sqrt(own),
        }
    )


def cronbach_alpha(covariance: FloatArray) -> float:
    """Coefficient alpha (Cronbach 1951) from the covariances of the items; NaN where the total does not vary."""
    k, total = len(covariance), float(covariance.sum())
    return float(k / (k - 1) * (1 - np.trace(covariance) / total)) if total > 0 else float("nan")


def omega_total(covariance: FloatArray) -> float:
    """Omega (McDonald 1999) of the sum score under one factor; NaN where the model cannot be fitted."""
    factor = one_factor(covariance)
    if factor is None:
        return float("nan")
    loadings, unique = factor
    common = float(loadings.sum()) ** 2
    return common / (common + float(unique.sum()))


def one_factor(covariance: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Loadings and unique variances of one factor by maximum likelihood, in the units of the covariances.

    The likelihood is maximised over the unique variances with the loadings in closed form (Joereskog 1967; the method
    of R's ``factanal``). A matrix that is not positive definite, as estimated covariances between patients often are,
    is fitted by least squares of its off-diagonal elements instead (Harman & Jones 1966, "minres"). None where it has
    fewer than three items or one that does not vary. Loadings are signed so that their sum is positive.
    """
    from scipy.optimize import minimize

    sd = np.sqrt(np.clip(np.diag(covariance), 0, None))
    if len(sd) < 3 or not np.all(np.isfinite(covariance)) or sd.min() <= 0:
        return None
    correlation = covariance / np.outer(sd, sd)
    if np.linalg.eigvalsh(correlation).min() <= 1e-6:
        loading = _minres(correlation)
        return loading * sd, np.clip(1 - loading**2, 0, None) * sd**2

    def solved(unique: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The loadings in closed form, and all roots but the largest."""
        scale = 1 / np.sqrt(unique)
        roots, vectors = np.linalg.eigh(correlation * np.outer(scale, scale))
        return np.sqrt(max(roots[-1] - 1, 0)) * vectors[:, -1] * np.sqrt(unique), roots[:-1]

    def deviance(unique: FloatArray) -> tuple[float, FloatArray]:
        loading, rest = solved(unique)
        gap = np.outer(loading, loading) + np.diag(unique) - correlation
        return float(np.sum(rest - np.log(rest) - 1)), np.diag(gap) / unique**2

    start = np.clip((1 - 0.5 / len(sd)) / np.diag(np.linalg.inv(correlation)), 0.01, 0.99)
    options: Any = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000}
    bounds = [(0.005, 1.0)] * len(sd)
    found = minimize(deviance, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    unique = np.asarray(found.x, dtype=np.float64)
    loading = solved(unique)[0]
    return (-loading if loading.sum() < 0 else loading) * sd, unique * sd**2


def _minres(correlation: FloatArray) -> FloatArray:
    """Loadings of one factor by least squares of the off-diagonal correlations, each within -1 and 1."""
    from scipy.optimize import least_squares

    above = np.triu_indices(len(correlation), 1)
    roots, vectors = np.linalg.eigh(correlation)
    start = np.clip(np.sqrt(max(roots[-1], 0.01)) * vectors[:, -1], -0.95, 0.95)

    def gaps(loading: FloatArray) -> FloatArray:
        return np.asarray(np.outer(loading, loading)[above] - correlation[above], dtype=np.float64)

    start = start if start.sum() >= 0 else -start
    found = least_squares(gaps, start, bounds=(-1, 1), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    loading: FloatArray = np.asarray(found.x, dtype=np.float64)
    return loading if loading.sum() >= 0 else -loading


def _feldt(alpha: float, n: int, k: int, level: float) -> tuple[float, float]:
    """Feldt, Woodruff & Salih (1987): (1 - alpha) over the true one follows F with (n - 1)(k - 1) and n - 1 df."""
    from scipy.special import fdtri

    tail = (1 - level) / 2
    first, second = n - 1, (n - 1) * (k - 1)
    low = 1 - (1 - alpha) * fdtri(first, second, 1 - tail)
    high = 1 - (1 - alpha) * fdtri(first, second, tail)
    return float(low), float(high)


_BARS = 40
_MOST_BARS = 100


def score_distribution(sessions: pd.DataFrame, *, score: str) -> pd.DataFrame:
    """How often each score was given: one bar per possible value, or about 40 bars where the values have no grid.

    Returns
    -------
    DataFrame
        ``low, high, value, n, share``: the bar's edges, the one value it shows (missing where it groups
        several), the number of ratings and their share of all ratings.
    """
    values = check_sessions(sessions, [score])[score].dropna().to_numpy()
    if len(values) == 0:
        columns = {"low": [], "high": [], "value": [], "n": np.array([], dtype=np.int64), "share": []}
        return pd.DataFrame(columns)
    distinct = np.unique(np.round(values, 9))  # means of items are equal only to rounding
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
    place = (distinct - distinct[0]) / step
    if place[-1] <= _MOST_BARS and np.allclose(place, np.round(place), atol=1e-3):
        n = np.bincount(np.round((values - distinct[0]) / step).astype(np.int64))
        middle = distinct[0] + step * np.arange(len(n))
        low, high = middle - step / 2, middle + step / 2
    else:
        width = _round_width((distinct[-1] - distinct[0]) / _BARS)
        place = np.floor(values / width + 0.5).astype(np.int64)  # bars are centred on round numbers
        n = np.bincount(place - place.min())
        low = (np.arange(len(n)) + place.min() - 0.5) * width
        high, middle = low + width, np.full(len(n), np.nan)
    table = {"low": low, "high": high, "value": middle, "n": n.astype(np.int64), "share": n / len(values)}
    return pd.DataFrame(table)


def _round_width(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9)))


class Keyed(NamedTuple):
    """Complete rows of keyed answers, their column names, and which rows of the table they are."""

    values: FloatArray
    columns: list[str]
    complete: BoolArray


def keyed_answers(
    table: pd.DataFrame, items: str | Sequence[str], instrument: str | Path | Instrument | None = None
) -> Keyed:
    """The answers to `items` (a pattern such as ``wai_{item}`` or column names), in the key's direction.

    Without an instrument the columns are taken as they are: reverse-keyed items must be reversed already. Raises
    ``DataError`` if columns are missing, fewer than two items are found, or fewer than three rows are complete.
    """
    if isinstance(items, str):
        columns = list(naming.numbered(table.columns, items).values())
        if not columns:
            names = [str(name) for name in table.columns]
            raise DataError(f"No column fits the pattern {items!r}.", remedy=suggest(items, names))
    else:
        columns = list(items)
    require_columns(table, columns)
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise DataError(f"items names the column {twice[0]!r} twice.", remedy="Name each item column once.")
    if len(columns) < 2:
        raise DataError("Reliability needs two or more items.", remedy="Name more item columns.")
    values = np.column_stack([numeric(table, column) for column in columns])
    if instrument is not None:
        key = as_instrument(instrument)
        if len(columns) != len(key.items):
            raise DataError(
                f"{len(columns)} columns were found; {key.name} has {len(key.items)} items.",
                remedy="Name one column per item, in the order of the item numbers.",
            )
        values = key.reverse(values)
    complete: BoolArray = np.logical_not(np.isnan(values).any(axis=1))
    if complete.sum() < 3:
        raise DataError(
            f"{int(complete.sum())} rows have an answer to every item; three or more are needed.",
            remedy="Check missing_codes= and the item columns.",
        )
    return Keyed(values[complete], columns, complete)


def patient_means(values: FloatArray, patient: Any, sizes: FloatArray) -> FloatArray:
    """The mean of each column over the rows of each patient 0, 1, ..., who has that many."""
    totals = [np.bincount(patient, weights=column, minlength=len(sizes)) for column in values.T]
    return np.asarray(np.column_stack(totals) / sizes[:, None])
