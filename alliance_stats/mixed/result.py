"""The fitted mixed model: a frozen object that answers in tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers import effects, predict
from alliance_stats.mixed.answers.inference import contrast_rows, contrast_table, independent, inference, joint_table
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.flow import in_words
from alliance_stats.tables.rendering import Shown, Tables
from alliance_stats.tables.schema import VARIANCES_COLUMNS


@dataclass(frozen=True, repr=False)
class MixedFit(Shown, Fitted):
    """A fitted linear mixed model: the record of its pieces (:class:`Fitted`), with its answers as methods."""

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
        return contrast_table(self, np.eye(self.design.p), list(self.terms), level=level, df=df)

    def glance(self) -> pd.DataFrame:
        """One row about the fit; AIC and BIC count fixed and variance parameters, as lme4 does."""
        grouping = self.design.grouping
        return pd.DataFrame(
            {
                "model": ["mixed"],
                "n_rows": [self.design.n],
                "n_groups": [grouping.n_inner],
                "log_likelihood": [self.log_likelihood],
                "aic": [self.aic],
                "bic": [self.bic],
                "converged": [self.optimum.converged],
                "boundary": [bool(self.optimum.boundary or self.optimum.held)],
                "criterion": ["REML" if self.reml else "ML"],
                "n_outer_groups": [len(grouping.outer_labels[0]) if grouping.outer_labels else 0],
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
        strata = self.design.strata
        for label, ratio in [("", 1.0)] if strata is None else zip(strata.labels, strata.ratios):
            variance = self.residual_variance * float(ratio)
            rows.append(("residual", str(label), "", variance, np.sqrt(variance), np.nan))
        if self.rho is not None:
            rows.append(("residual", "rho", "", np.nan, np.nan, self.rho))
        return pd.DataFrame(rows, columns=list(VARIANCES_COLUMNS))

    def degrees_of_freedom(self, contrasts: Any = None) -> FloatArray:
        """Satterthwaite df of each row of `contrasts` (by default of every coefficient)."""
        return inference(self).df(np.eye(self.design.p) if contrasts is None else contrast_rows(self, contrasts))

    def test(self, contrasts: Any, *, df: str = "satterthwaite") -> pd.DataFrame:
        """F test that every row of `contrasts` times the coefficients is zero; df2 as ``lmerTest::contestMD``.

        Parameters
        ----------
        contrasts : (rows, p) array, or a list of coefficient names tested jointly
        df : str
            As in :meth:`tidy`.
        """
        return joint_table(inference(self, df), independent(contrast_rows(self, contrasts)))

    # -- effects, predictions, residuals ----------------------------------------------------------------------------
    @cached_property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """By grouping factor, one row per level: each effect's conditional mode, and ``<effect>_sd`` beside it."""
        return effects.random_effects(self)

    def fitted(self, *, level: str | None = None) -> pd.Series:
        """Fitted values of the rows used: ``"population"`` or a grouping factor (default: the inner one)."""
        return predict.fitted(self, level)

    def residuals(self, *, kind: str = "raw", level: str | None = None) -> pd.Series:
        """Residuals of the rows used, at a `level` as in :meth:`fitted`.

        `kind` is ``"raw"``; ``"standardised"``, divided by the residual SD of the row; or ``"normalised"``, whitened as
        well by the serial correlation, so that they are independent of each other if the model holds (nlme's
        "normalized").
        """
        return predict.residuals(self, kind, level)

    def predict(
        self,
        data: pd.DataFrame | None = None,
        *,
        level: str = "population",
        interval: str | None = None,
        coverage: float = 0.95,
        new_groups: str = "error",
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
            the random effects of a new group). Satterthwaite df at the population level, the normal distribution
            otherwise.
        coverage : float
        new_groups : {"error", "population"}
            A group that the fit has not seen raises, or is given the population's effect of zero (its variance enters
            the intervals).

        Returns
        -------
        DataFrame
            ``prediction``, and with an interval ``std_error, ci_low, ci_high``; the index of `data`. Serial correlation
            is not carried forward.
        """
        return predict.predict(self, data, level=level, interval=interval, coverage=coverage, new_groups=new_groups)

    # -- words ------------------------------------------------------------------------------------------------------
    def _shown(self) -> tuple[list[str], Tables, list[str]]:
        found = self.diagnostics
        groups = ", ".join(f"{count:,} {name}" for name, count in found["groups"].items())
        method = "REML" if self.reml else "maximum likelihood"
        serial = {None: "", "ar1": ", AR(1) residuals", "car1": ", continuous AR(1) residuals"}[self.correlation]
        left_out = f"; {found['rows_dropped']:,} incomplete rows left out" if found["rows_dropped"] else ""
        heading = [
            f"Linear mixed model, {method}{serial}",
            self.formula,
            f"{found['rows']:,} rows; groups: {groups}{left_out}",
            in_words(found["flow"]),
            f"log-likelihood {self.log_likelihood:.3f}, AIC {self.aic:.1f}, BIC {self.bic:.1f}",
        ]
        table = self.variances()
        pair = np.where(table["term_2"] != "", table["term"] + " x " + table["term_2"], table["term"])
        random = table.assign(term=pair).drop(columns="term_2")
        shown: Tables = {
            "Fixed effects (t tests, Satterthwaite df)": self.tidy(),
            "Random effects and residual": random,
        }
        notes = [f"Boundary: {text}." for text in found["boundary"]]
        if not found["converged"]:
            notes.append(f"NOT CONVERGED: {found['message']}.")
        if found["aliased"]:
            notes.append(f"Left out as combinations of other terms: {', '.join(found['aliased'])}.")
        return heading, shown, [*notes, *found["notes"]]

    def __repr__(self) -> str:
        return f"<MixedFit {self.formula!r}, {self.design.n} rows, log-likelihood {self.log_likelihood:.4f}>"
