"""Which covariance and which degrees of freedom stand behind a test: one object for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import chdtrc, stdtr, stdtrit

from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.tables.schema import TERMS_COLUMNS, require_choice

if TYPE_CHECKING:
    from alliance_stats.mixed.result import MixedFit

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

METHODS = ("satterthwaite", "kenward-roger", "robust", "normal")


class Inference(Protocol):
    """What every method answers, for contrasts (rows) of the fixed coefficients."""

    @property
    def method(self) -> str:
        """The method in words."""
        ...

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the fixed effects."""
        ...

    def df(self, rows: Any) -> FloatArray:
        """Degrees of freedom of each row."""
        ...

    def test(self, rows: Any) -> pd.DataFrame:
        """Joint F test of the rows: ``df1, df2, statistic, p_value``."""
        ...


@dataclass(frozen=True)
class _Satterthwaite:
    fit: MixedFit
    method: str = "Satterthwaite"

    @property
    def covariance(self) -> FloatArray:
        return self.fit.covariance.to_numpy()

    def df(self, rows: Any) -> FloatArray:
        return self.fit.degrees_of_freedom(rows)

    def test(self, rows: Any) -> pd.DataFrame:
        return self.fit.test(rows)


@dataclass(frozen=True)
class _Normal:
    """No degrees of freedom: z and chi-squared over its own degrees of freedom."""

    fit: MixedFit
    method: str = "normal"

    @property
    def covariance(self) -> FloatArray:
        return self.fit.covariance.to_numpy()

    def df(self, rows: Any) -> FloatArray:
        return np.full(len(np.atleast_2d(rows)), np.inf)

    def test(self, rows: Any) -> pd.DataFrame:
        rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        value = rows @ self.fit.coefficients.to_numpy()
        wald = float(value @ np.linalg.solve(rows @ self.covariance @ rows.T, value))
        return pd.DataFrame(
            {
                "df1": [len(rows)],
                "df2": [np.inf],
                "statistic": [wald / len(rows)],
                "p_value": [float(chdtrc(len(rows), wald))],
            }
        )


def inference(fit: MixedFit, df: str | Inference = "satterthwaite") -> Inference:
    """The method behind tests and intervals of the fixed effects.

    Parameters
    ----------
    fit : MixedFit
    df : str or Inference
        ``"satterthwaite"``, ``"kenward-roger"`` (:func:`kenward_roger`), ``"robust"`` (:func:`cluster_robust`, CR2),
        ``"normal"``, or an object of one of these functions, so that it is computed once.

    Returns
    -------
    Inference
        ``method``, ``covariance``, ``df(rows)``, ``test(rows)``.
    """
    if not isinstance(df, str):
        return df
    require_choice(df, METHODS, name="df")
    if df == "kenward-roger":
        return kenward_roger(fit)
    if df == "robust":
        return cluster_robust(fit)
    return _Normal(fit) if df == "normal" else _Satterthwaite(fit)


def contrast_table(
    fit: MixedFit, rows: FloatArray, names: list[str], *, level: float, df: str | Inference
) -> pd.DataFrame:
    """TERMS of linear combinations of the fixed effects, one row each."""
    chosen = inference(fit, df)
    rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    estimate = rows @ fit.coefficients.to_numpy()
    error = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", rows, chosen.covariance, rows), 0.0))
    freedom = chosen.df(rows)
    statistic = np.divide(estimate, error, out=np.full(len(error), np.nan), where=error > 0)
    # stdtrit takes no infinite df; so many are the normal distribution to the last digit.
    reach = stdtrit(np.minimum(freedom, 1e12), (1 + level) / 2) * error
    p_value = 2 * stdtr(np.minimum(freedom, 1e12), -np.abs(statistic))
    columns = [names, estimate, error, freedom, statistic, p_value, estimate - reach, estimate + reach]
    return pd.DataFrame(dict(zip(TERMS_COLUMNS, columns)))
