"""Which covariance and which degrees of freedom stand behind a test: one object for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import chdtrc, fdtrc

from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.satterthwaite import contrast_df, joint_df
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import require_choice
from alliance_stats.tables.terms import terms_table

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
    fit: Fitted
    method: str = "Satterthwaite"

    @property
    def covariance(self) -> FloatArray:
        return self.fit.covariance.to_numpy()

    def df(self, rows: Any) -> FloatArray:
        rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        return contrast_df(self.fit.variance_curvature, rows @ self.fit.design.x_map)

    def test(self, rows: Any) -> pd.DataFrame:
        """As ``lmerTest::contestMD``: the contrasts are turned into independent ones, whose df are then joined."""
        rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        values, vectors = np.linalg.eigh(rows @ self.covariance @ rows.T)
        good = values > 1e-10 * max(values[-1], 1e-300)
        turned = vectors[:, good].T @ rows
        squares = (turned @ self.fit.coefficients.to_numpy()) ** 2 / values[good]
        df1, df2, statistic = int(good.sum()), joint_df(self.df(turned)), float(squares.mean())
        p_value = float(fdtrc(df1, df2, statistic)) if np.isfinite(df2) else np.nan
        return pd.DataFrame({"df1": [df1], "df2": [df2], "statistic": [statistic], "p_value": [p_value]})


@dataclass(frozen=True)
class _Normal:
    """No degrees of freedom: z and chi-squared over its own degrees of freedom."""

    fit: Fitted
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


def inference(fit: Fitted, df: str | Inference = "satterthwaite") -> Inference:
    """The method behind tests and intervals of the fixed effects.

    Parameters
    ----------
    fit : Fitted
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


def contrast_rows(fit: Fitted, contrasts: Any) -> FloatArray:
    """Contrasts as an array: rows as given, or one row for each coefficient named."""
    if isinstance(contrasts, list | tuple) and contrasts and all(isinstance(name, str) for name in contrasts):
        for name in contrasts:
            require_choice(name, fit.terms, name="contrasts")
        return np.eye(fit.design.p)[[fit.terms.index(name) for name in contrasts]]
    rows = np.atleast_2d(np.asarray(contrasts, dtype=np.float64))
    if rows.shape[1] != fit.design.p:
        raise ValueError(f"contrasts has {rows.shape[1]} columns; the model has {fit.design.p} coefficients.")
    return rows


def contrast_table(
    fit: Fitted, rows: FloatArray, names: list[str], *, level: float, df: str | Inference
) -> pd.DataFrame:
    """TERMS of linear combinations of the fixed effects, one row each."""
    chosen = inference(fit, df)
    rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    error = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", rows, chosen.covariance, rows), 0.0))
    return terms_table(names, rows @ fit.coefficients.to_numpy(), error, chosen.df(rows), level=level)
