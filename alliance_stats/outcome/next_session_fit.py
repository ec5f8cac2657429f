"""A fitted model of the next session's symptoms: a frozen object that answers in tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.result import MixedFit
from alliance_stats.outcome.dynamic import dynamic_covariance
from alliance_stats.outcome.effects import partial_correlation
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.tables.attenuation import beside
from alliance_stats.tables.flow import FLOW, in_words
from alliance_stats.tables.panel import series_means
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.schema import DataError, numbered
from alliance_stats.tables.terms import terms_table

STATES = ("rupture_open", "repaired_before")


@dataclass(frozen=True, eq=False, repr=False)
class NextSessionFit(Shown):
    """A session-level model of the next session's symptoms.

    Attributes
    ----------
    fit : MixedFit
        The mixed model.
    data : DataFrame
        The rows it was fitted to, covariates as they entered.
    diagnostics : dict
        ``rows``, ``patients``, ``rows_lost`` (why: count), ``flow`` (who was kept, step by step), ``rule``,
        ``prospective``, ``verdict`` (of a detector), ``calibrated`` (whether the states are calibrated probabilities),
        ``centre``, ``left_out`` (constant terms), ``aliased`` (terms left out as combinations of others),
        ``attenuation`` (of each rupture state, where `states` were given), the mixed model's ``converged`` and
        ``boundary``, and ``notes`` in sentences.
    """

    fit: MixedFit
    data: pd.DataFrame = field(repr=False)
    formula: str
    outcome: str
    diagnostics: dict[str, Any] = field(repr=False)
    scores: pd.DataFrame = field(repr=False)

    @cached_property
    def feedback(self) -> pd.DataFrame | None:
        """What symptoms do to the later alliance in the same sessions, one row of the TERMS of `fit_dynamics`.

        None where that model cannot be fitted. Where there is feedback, the alliance's coefficient is biased against
        its sign: worse symptoms that lower the later alliance make it too high.
        """
        alliance, symptom = self.scores.columns[-2:]
        error = {alliance: self.diagnostics["error"] or 0.0}
        try:
            terms = fit_dynamics(self.scores, alliance=alliance, symptom=symptom, trend="random", error=error).tidy()
        except DataError:
            return None
        return terms[(terms["outcome"] == alliance) & (terms["term"] == f"{symptom}_lag")].reset_index(drop=True)

    @property
    def notes(self) -> list[str]:
        """The notes of the diagnostics, and one where there is feedback from symptoms to the later alliance."""
        notes, found = list(self.diagnostics["notes"]), self.feedback
        if found is not None and found["p_value"].iloc[0] < 0.05:
            row = found.iloc[0]
            bias = "high" if row["estimate"] < 0 else "low"
            notes.append(
                f"Symptoms move the later alliance in these sessions: {row['estimate']:.3f} points per point (95 % CI "
                f"{row['ci_low']:.3f} to {row['ci_high']:.3f}, by fit_dynamics). The alliance's coefficient here is "
                f"too {bias}; fit_dynamics estimates both directions at once."
            )
        return notes

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS: standard errors by `dynamic_covariance`, Satterthwaite degrees of freedom.

        ``.fit.tidy()`` has the usual standard errors, as lme4 reports them.
        """
        error = np.sqrt(np.diag(dynamic_covariance(self.fit)))
        df = self.fit.tidy(level=level)["df"].to_numpy()
        return terms_table(self.fit.terms, self.fit.coefficients.to_numpy(), error, df, level=level)

    def glance(self) -> pd.DataFrame:
        """One row about the fit."""
        return self.fit.glance().assign(model="next session")

    def variances(self) -> pd.DataFrame:
        """VARIANCES of patients, therapists and residual."""
        return self.fit.variances()

    def predict(self, data: pd.DataFrame | None = None, *, level: str = "population") -> pd.DataFrame:
        """Expected next symptoms for rows with the columns of ``.data`` (default: the rows used)."""
        return self.fit.predict(data, level=level)

    def effects(self, *, level: float = 0.95) -> pd.DataFrame:
        """The coefficients as effect sizes.

        Returns
        -------
        DataFrame
            ``term, estimate, ci_low, ci_high, p_value``; ``standardised`` with ``standardised_low`` and
            ``standardised_high``: the estimate in within-patient SD of the outcome, per within-patient SD of the
            covariate (per unit for 0/1 states; missing for between parts and what does not vary within patients);
            ``r, r_low, r_high``: the partial correlation.
        """
        terms = self.tidy(level=level)
        rows = []
        sd_outcome = _within_sd(self.data, self.outcome)
        for term in terms.loc[terms["term"] != "Intercept"].to_dict("records"):
            name = str(term["term"])
            between = name.endswith("_between")
            unit = np.nan if between else 1.0 if name in STATES else _within_sd(self.data, name)
            scale = unit / sd_outcome if unit > 0 and sd_outcome > 0 else np.nan
            r = partial_correlation(term["statistic"], term["df"], level=level)
            sizes = [term[part] * scale for part in ("estimate", "ci_low", "ci_high")]
            rows.append((name, term["estimate"], term["ci_low"], term["ci_high"], term["p_value"], *sizes, *r))
        standardised = ["standardised", "standardised_low", "standardised_high", "r", "r_low", "r_high"]
        return pd.DataFrame(rows, columns=["term", "estimate", "ci_low", "ci_high", "p_value", *standardised])

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        coefficients = beside(self.tidy(), self.diagnostics["attenuation"])
        tables = {"Coefficients": coefficients, "Effect sizes": self.effects(), "Variances": self.variances()}
        title = f"{self.formula}; {self.diagnostics['rows']} sessions of {self.diagnostics['patients']} patients"
        return [title, in_words(self.diagnostics[FLOW])], tables, self.notes


def _within_sd(data: pd.DataFrame, name: str) -> float:
    """SD within patients, pooled, of a numeric column; NaN for another, and for one constant within patients."""
    if name not in data or not pd.api.types.is_numeric_dtype(data[name]):
        return float("nan")
    series, patients = numbered(data)
    values = data[name].to_numpy(dtype=np.float64)
    df = len(values) - len(patients)
    away = values - series_means(series, values, len(patients))[series]
    moves = df > 0 and np.abs(away).max() > 1e-9 * np.abs(values).max()
    return float(np.sqrt((away**2).sum() / df)) if moves else float("nan")
