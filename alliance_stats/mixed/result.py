"""The fitted mixed model: a frozen object that answers in tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import fdtrc, stdtr, stdtrit

from alliance_stats.mixed.answers import effects, predict, summary
from alliance_stats.mixed.design.columns import INTERCEPT
from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.engine import satterthwaite
from alliance_stats.mixed.engine.diagnosis import diagnose
from alliance_stats.mixed.engine.model import Model
from alliance_stats.mixed.engine.optimiser import Optimum, minimise
from alliance_stats.tables.schema import TERMS_COLUMNS, VARIANCES_COLUMNS, require_choice

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


DF_METHODS = ("satterthwaite", "kenward-roger", "robust", "normal")


@dataclass(frozen=True)
class MixedFit:
    """A fitted linear mixed model.

    Attributes
    ----------
    model : Model
        The engine: design, sufficient statistics and criterion (internal units).
    optimum : Optimum
        Where the search ended (internal units).
    diagnostics : dict
        ``converged``, ``evaluations``, ``decrement`` (expected further fall of the deviance), ``gradient`` (largest
        absolute), ``boundary`` (which covariance matrices are singular), ``rows``, ``rows_dropped``, ``missing`` (by
        column), ``aliased``, ``groups``, ``df_method``, ``centred_scaled`` (column: centre and scale used inside),
        ``notes``, ``flow`` (who was kept, from the file to the rows used; `alliance_stats.flow` shows it as a table).
    """

    model: Model
    optimum: Optimum
    diagnostics: dict[str, Any] = field(repr=False)

    # -- estimates ------------------------------------------------------------------------------------------------
    @property
    def design(self) -> Design:
        """The design: columns, groups, and the rows used."""
        return self.model.design

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.design.formula.text

    @property
    def reml(self) -> bool:
        """Whether variances were estimated by restricted likelihood."""
        return self.model.reml

    @property
    def correlation(self) -> str | None:
        """The residual's serial correlation: None, ``"ar1"`` or ``"car1"``."""
        return self.model.correlation

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the fixed coefficients."""
        return self.design.names

    @cached_property
    def coefficients(self) -> pd.Series:
        """Fixed effects."""
        design = self.design
        beta = design.x_map @ self.optimum.deviance.beta * design.y_scale
        if INTERCEPT in design.names:
            beta[design.names.index(INTERCEPT)] += design.y_centre
        return pd.Series(beta, index=list(design.names), name="estimate")

    @cached_property
    def covariance(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects."""
        design, deviance = self.design, self.optimum.deviance
        inner = deviance.unscaled * (deviance.sigma2 * design.y_scale**2)
        names = list(design.names)
        return pd.DataFrame(design.x_map @ inner @ design.x_map.T, index=names, columns=names)

    @property
    def residual_variance(self) -> float:
        """sigma^2."""
        return self.optimum.deviance.sigma2 * self.design.y_scale**2

    @property
    def rho(self) -> float | None:
        """Serial correlation of the residuals per unit of time; None without one."""
        if self.model.pairs is None:
            return None
        rho = self.model.matrices(self.optimum.theta)[2]
        return float(rho ** (1 / self.model.pairs.unit)) if self.correlation == "car1" else rho

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood (restricted, if fitted by REML)."""
        return -self.optimum.deviance.value / 2

    @property
    def n_parameters(self) -> int:
        """Fixed coefficients, variance parameters and sigma^2."""
        return self.design.p + len(self.model.parameters) + 1

    # -- tables ---------------------------------------------------------------------------------------------------
    def tidy(self, *, level: float = 0.95, df: str = "satterthwaite") -> pd.DataFrame:
        """TERMS: one row per fixed coefficient.

        Parameters
        ----------
        level : float
            Coverage of the intervals.
        df : {"satterthwaite", "kenward-roger", "robust", "normal"}
            How tests account for the variances being estimated. Kenward-Roger and the cluster-robust method (CR2 at the
            top level) change the standard errors too; both write out each independent block of rows.
        """
        estimate = self.coefficients.to_numpy()
        covariance, freedom = self._inference(df)
        error = np.sqrt(np.diag(covariance))
        degrees = freedom(np.eye(self.design.p))
        statistic = np.divide(estimate, error, out=np.full(len(error), np.nan), where=error > 0)
        finite = np.where(np.isinf(degrees), 1e12, degrees)
        reach = stdtrit(finite, (1 + level) / 2) * error
        columns = [
            list(self.terms),
            estimate,
            error,
            degrees,
            statistic,
            2 * stdtr(finite, -np.abs(statistic)),
            estimate - reach,
            estimate + reach,
        ]
        return pd.DataFrame(dict(zip(TERMS_COLUMNS, columns)))

    def _inference(self, df: str) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
        """Covariance of the fixed effects and the degrees of freedom of contrasts, by the method named."""
        require_choice(df, DF_METHODS, name="df")
        if df == "satterthwaite":
            return self.covariance.to_numpy(), self.degrees_of_freedom
        from alliance_stats.mixed.answers.inference import inference

        other = inference(self, df)
        return other.covariance, other.df

    def glance(self) -> pd.DataFrame:
        """One row about the fit; AIC and BIC count fixed and variance parameters, as lme4 does."""
        grouping = self.design.grouping
        deviance, k = self.optimum.deviance.value, self.n_parameters
        return pd.DataFrame(
            {
                "model": ["mixed"],
                "n_rows": [self.design.n],
                "n_groups": [grouping.n_inner],
                "log_likelihood": [-deviance / 2],
                "aic": [deviance + 2 * k],
                "bic": [deviance + k * np.log(self.design.n)],
                "converged": [self.optimum.converged],
                "boundary": [bool(self.optimum.boundary or self.optimum.held)],
                "criterion": ["REML" if self.reml else "ML"],
                "n_outer_groups": [grouping.n_outer],
                "sigma": [np.sqrt(self.residual_variance)],
            }
        )

    def variances(self) -> pd.DataFrame:
        """VARIANCES: variances of each block, then its covariances; the residual last."""
        rows: list[tuple[object, ...]] = []
        for block, cov in zip(self.design.blocks, self.covariances):
            sd = np.sqrt(np.diag(cov))
            for i, name in enumerate(block.names):
                rows.append((block.factor, name, "", cov[i, i], sd[i], np.nan))
            for i, name in enumerate(block.names):
                for j in range(i + 1, len(block.names)):
                    scale = sd[i] * sd[j]
                    correlation = cov[i, j] / scale if scale > 0 else np.nan
                    rows.append((block.factor, name, block.names[j], cov[i, j], np.nan, correlation))
        rows.append(("residual", "", "", self.residual_variance, np.sqrt(self.residual_variance), np.nan))
        if self.rho is not None:
            rows.append(("residual", "rho", "", np.nan, np.nan, self.rho))
        return pd.DataFrame(rows, columns=list(VARIANCES_COLUMNS))

    @cached_property
    def covariances(self) -> tuple[FloatArray, ...]:
        """The covariance matrix of each block of random effects, in the user's units, as ``design.blocks``."""
        inner, outer, _ = self.model.matrices(self.optimum.theta)
        return tuple(
            effects.block_covariance(self.model, block, inner, outer, self.residual_variance)
            for block in self.design.blocks
        )

    # -- inference ------------------------------------------------------------------------------------------------
    @cached_property
    def variance_curvature(self) -> satterthwaite.VarianceCurvature:
        """Hessian and covariance of the variance parameters (internal units), for degrees of freedom."""
        return satterthwaite.variance_curvature(self.model, self.optimum)

    def degrees_of_freedom(self, contrasts: Any = None) -> FloatArray:
        """Satterthwaite df of each row of `contrasts` (by default of every coefficient)."""
        rows = np.eye(self.design.p) if contrasts is None else self._contrasts(contrasts)
        return satterthwaite.contrast_df(self.variance_curvature, rows @ self.design.x_map)

    def degrees_of_freedom_internal(self, rows: FloatArray) -> FloatArray:
        """The same for contrasts of the internal (centred and scaled) coefficients."""
        return satterthwaite.contrast_df(self.variance_curvature, rows)

    def test(self, contrasts: Any, *, df: str = "satterthwaite") -> pd.DataFrame:
        """F test that every row of `contrasts` times the coefficients is zero.

        Parameters
        ----------
        contrasts : (rows, p) array, or a list of coefficient names tested jointly
        df : str
            As in :meth:`tidy`.

        Returns
        -------
        DataFrame
            ``df1, df2, statistic, p_value``; df2 by Satterthwaite's method as ``lmerTest::contestMD``.
        """
        require_choice(df, DF_METHODS, name="df")
        rows = self._contrasts(contrasts)
        if df != "satterthwaite":
            from alliance_stats.mixed.answers.inference import inference

            return inference(self, df).test(rows)
        beta, cov = self.coefficients.to_numpy(), self.covariance.to_numpy()
        values, vectors = np.linalg.eigh(rows @ cov @ rows.T)
        good = values > 1e-10 * max(values[-1], 1e-300)
        turned = vectors[:, good].T @ rows
        t2 = (turned @ beta) ** 2 / values[good]
        df2 = satterthwaite.joint_df(self.degrees_of_freedom(turned))
        statistic = float(t2.mean())
        df1 = int(good.sum())
        p_value = float(fdtrc(df1, df2, statistic)) if np.isfinite(df2) else np.nan
        return pd.DataFrame({"df1": [df1], "df2": [df2], "statistic": [statistic], "p_value": [p_value]})

    def _contrasts(self, contrasts: Any) -> FloatArray:
        if isinstance(contrasts, list | tuple) and contrasts and all(isinstance(name, str) for name in contrasts):
            for name in contrasts:
                require_choice(name, self.terms, name="contrasts")
            return np.eye(self.design.p)[[self.terms.index(name) for name in contrasts]]
        rows = np.atleast_2d(np.asarray(contrasts, dtype=np.float64))
        if rows.shape[1] != self.design.p:
            raise ValueError(f"contrasts has {rows.shape[1]} columns; the model has {self.design.p} coefficients.")
        return rows

    def refit(self, y: Any) -> MixedFit:
        """The same model fitted to another outcome, design and sufficient statistics of X reused.

        Parameters
        ----------
        y : (n,) array
            The new outcome in the user's units, one value per row used, in the order of ``design.kept``.
        """
        return self._fitted_again(self.model.with_outcome(np.asarray(y, dtype=np.float64)))

    def with_criterion(self, *, reml: bool) -> MixedFit:
        """The same model fitted by REML or by ML, the rows' summaries reused."""
        if reml == self.reml:
            return self
        return self._fitted_again(replace(self.model, reml=reml))

    def _fitted_again(self, model: Model) -> MixedFit:
        optimum = minimise(model)
        return MixedFit(model, optimum, diagnose(model, optimum) | {"flow": self.diagnostics["flow"]})

    # -- effects, predictions, residuals ----------------------------------------------------------------------------
    @cached_property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """By grouping factor, one row per level: each effect's conditional mode, and ``<effect>_sd`` beside it."""
        return effects.random_effects(self)

    def fitted(self, *, level: str | None = None) -> pd.Series:
        """Fitted values of the rows used: ``"population"`` or a grouping factor (default: the inner one)."""
        return effects.fitted(self, level)

    def residuals(self, *, kind: str = "raw", level: str | None = None) -> pd.Series:
        """Residuals of the rows used.

        Parameters
        ----------
        kind : {"raw", "standardised", "normalised"}
            Raw; divided by the residual SD of the row; or whitened as well by the serial correlation, so that they are
            independent of each other if the model holds (nlme's "normalized").
        level : str, optional
            As in :meth:`fitted`.
        """
        require_choice(kind, ("raw", "standardised", "normalised"), name="kind")
        return effects.residuals(self, kind, level)

    def predict(
        self,
        data: pd.DataFrame | None = None,
        *,
        level: str = "population",
        interval: str | None = None,
        coverage: float = 0.95,
        new_groups: str = "population",
    ) -> pd.DataFrame:
        """Predictions for new rows (default: the rows used).

        Parameters
        ----------
        data : DataFrame, optional
            Needs the predictors, and the grouping columns for a level other than the population. Rows that miss one
            get a missing prediction.
        level : str
            ``"population"`` (fixed part only) or a grouping factor: its effects and those of the factor above it.
        interval : {None, "confidence", "prediction"}
            For the mean at that level, or for a new observation (which adds the residual, and at the population level
            the random effects of a new group).
        coverage : float
        new_groups : {"population", "error"}
            A level never seen has effect zero (its variance enters the intervals), or raises.

        Returns
        -------
        DataFrame
            ``prediction``, and with an interval ``std_error, ci_low, ci_high``; the index of `data`. Serial
            correlation is not carried forward. Intervals use Satterthwaite df at the population level, the normal
            distribution otherwise.
        """
        return predict.predict(self, data, level=level, interval=interval, coverage=coverage, new_groups=new_groups)

    # -- words ------------------------------------------------------------------------------------------------------
    def summary(self) -> str:
        """The fit as text, ready to be pasted."""
        return summary.as_text(self)

    def _repr_html_(self) -> str:
        return summary.as_html(self)

    def __repr__(self) -> str:
        return f"<MixedFit {self.formula!r}, {self.design.n} rows, log-likelihood {self.log_likelihood:.4f}>"


__all__ = ["MixedFit"]
