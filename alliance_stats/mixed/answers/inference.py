"""The covariance and the degrees of freedom that a test uses: one object for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.satterthwaite import contrast_df, joint_df
from alliance_stats.tables.arrays import BoolArray, FloatArray
from alliance_stats.tables.schema import require_choice
from alliance_stats.tables.terms import f_test, terms_table

ESTIMABLE = 1e-7  # Weights closer than this to those of an estimable combination make one
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
        values, vectors, good = self._directions(rows)
        if int(good.sum()) < np.linalg.matrix_rank(rows / np.linalg.norm(rows, axis=1, keepdims=True), tol=1e-9):
            rows = rows / np.sqrt(np.diag(rows @ self.covariance @ rows.T))[:, None]  # scales too different to count
            values, vectors, good = self._directions(rows)
        turned = vectors[:, good].T @ rows
        squares = (turned @ self.fit.coefficients.to_numpy()) ** 2 / values[good]
        return f_test(int(good.sum()), joint_df(self.df(turned)), float(squares.mean()))

    def _directions(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        values, vectors = np.linalg.eigh(rows @ self.covariance @ rows.T)
        return values, vectors, values > 1e-10 * max(values[-1], 1e-300)


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
        return f_test(len(rows), np.inf, wald / len(rows))


def inference(fit: Fitted, df: str | Inference = "satterthwaite") -> Inference:
    """The method behind tests and intervals of the fixed effects, with ``covariance``, ``df(rows)`` and ``test(rows)``.

    `df` is ``"satterthwaite"``, ``"kenward-roger"`` (:func:`kenward_roger`), ``"robust"`` (:func:`cluster_robust`,
    CR2), ``"normal"``, or an object of one of these functions, so that it is computed once.
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
    """TERMS of linear combinations of the fixed effects, one row each; a row of NaN (not estimable) has no numbers."""
    chosen = inference(fit, df)
    rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    known = np.isfinite(rows).all(axis=1)
    estimate, error, freedom = (np.full(len(rows), np.nan) for _ in range(3))
    if known.any():
        good = rows[known]
        estimate[known] = good @ fit.coefficients.to_numpy()
        error[known] = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", good, chosen.covariance, good), 0.0))
        freedom[known] = chosen.df(good)
    return terms_table(names, estimate, error, freedom, level=level)


def joint_table(chosen: Inference, rows: FloatArray) -> pd.DataFrame:
    """The joint test of independent rows; without any, a row of the table without numbers."""
    return chosen.test(rows) if len(rows) else f_test(0, np.nan, np.nan)


def estimable_rows(design: Design, rows: FloatArray) -> FloatArray:
    """Combinations of all fixed columns as combinations of those kept; NaN where the data cannot estimate them.

    A combination is estimable if it vanishes on every null vector of X: each column left out is a known combination
    of those kept, so its weight must be that combination of their weights (Searle 1971, section 5.4).
    """
    kept, left_out = _split_columns(design)
    out = rows[:, kept].copy()
    out[(np.abs(_off(design, rows, kept, left_out)) > ESTIMABLE).any(axis=1)] = np.nan
    return out


def estimable_part(design: Design, rows: FloatArray) -> tuple[FloatArray, bool]:
    """A basis of the combinations of `rows` that can be estimated, over the columns kept, and whether that is all."""
    kept, left_out = _split_columns(design)
    rank = len(independent(rows))
    off = _off(design, rows, kept, left_out)
    if (np.abs(off) > ESTIMABLE).any():
        left, values, _ = np.linalg.svd(off)
        rows = left[:, int((values > ESTIMABLE).sum()) :].T @ rows
    basis = independent(rows[:, kept])
    return basis, len(basis) == rank


def _split_columns(design: Design) -> tuple[list[int], list[int]]:
    names = design.fixed.names
    return [names.index(name) for name in design.names], [names.index(name) for name in design.aliased]


def _off(design: Design, rows: FloatArray, kept: list[int], left_out: list[int]) -> FloatArray:
    """By how much the weights of the columns left out differ from what the columns kept make of them."""
    return np.asarray(rows[:, left_out] - rows[:, kept] @ design.alias_weights)


def independent(rows: FloatArray) -> FloatArray:
    """A maximal set of independent rows."""
    kept: list[FloatArray] = []
    for row in rows:
        trial = np.array([*kept, row])
        if np.linalg.matrix_rank(trial, tol=1e-9 * max(float(np.abs(trial).max()), 1e-300)) == len(trial):
            kept.append(row)
    return np.array(kept).reshape(len(kept), rows.shape[1])
