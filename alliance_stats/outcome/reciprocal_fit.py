"""The fitted model of reciprocal effects: a frozen object that answers in tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dynamics.answers import bootstrap_ratio, draw, profile_interval, signed_root
from alliance_stats.dynamics.fitting import Quantity, SeriesFit
from alliance_stats.dynamics.parameters import Matrices
from alliance_stats.outcome.reciprocal_data import Study
from alliance_stats.outcome.reciprocal_tables import (
    in_within_sd,
    prediction_table,
    r_squared_table,
    response_table,
    variances_table,
)
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.flow import FLOW, in_words
from alliance_stats.tables.progress import bar
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.schema import Seed, generator, require_choice
from alliance_stats.tables.terms import t_p_value, terms_table


@dataclass(frozen=True, eq=False, repr=False)
class DynamicsFit(Shown):
    """Measures that move each other within patients.

    Attributes
    ----------
    fit : SeriesFit
        The engine's fit.
    study : Study
        The panel and its names.
    settings : dict
        ``means``, ``trend``, ``start``, ``error``, ``by``, ``therapist``.
    diagnostics : dict
        ``converged``, ``gradient``, ``evaluations``, ``boundary`` (covariance matrices that are singular, error
        variances of zero), ``patients``, ``rows``, ``rows_lost``, ``flow``, ``patterns`` (distinct patterns of what
        is observed), ``within_reliability`` and its standard error where error is estimated, ``at_bound`` (measures
        with more than 5 % of the scores at the highest one: the share), ``notes``.
    """

    fit: SeriesFit = field(repr=False)
    study: Study = field(repr=False)
    settings: dict[str, Any]
    data: pd.DataFrame = field(repr=False)
    diagnostics: dict[str, Any] = field(repr=False)

    # -- tables ---------------------------------------------------------------------------------------------------
    def tidy(self, *, level: float = 0.95, interval: str = "auto") -> pd.DataFrame:
        """TERMS with ``outcome``, one row per effect on the next session (and ``group`` with ``by=``).

        ``alliance_lag`` in the rows of ``phq9`` reads: alliance -> later symptoms, in points of the outcome per point
        of the predictor one session before, within patients. Inputs follow, then covariates, which shift the mean.

        Parameters
        ----------
        level : float
        interval : {"auto", "wald", "profile"}
            Intervals from standard errors, or (lagged coefficients, without therapists) from the profile likelihood,
            with p values from likelihood ratios. "auto": the latter where an estimated error variance is zero, which
            standard errors take as known; they are then missing.
        """
        require_choice(interval, ("auto", "wald", "profile"), name="interval")
        clustered = self.settings["therapist"] is not None
        if interval == "profile" and clustered:
            raise ValueError("Profile intervals know no clusters: use interval='wald' with therapist=.")
        estimate, covariance = self._delta(self._effects)
        table = self._terms(self._effect_rows(), estimate, covariance, level)
        no_error = any(name.startswith("error") for name in self.fit.optimum.boundary)
        if interval == "profile" or (interval == "auto" and no_error and not clustered):
            self._profile(table, level)
            if no_error:
                table.loc[: self._n_lagged - 1, "std_error"] = np.nan
        return table

    def glance(self) -> pd.DataFrame:
        """One row about the fit; AIC and BIC count all parameters, BIC with patients as units."""
        top, size, optimum = self.fit.log_likelihood, self.fit.n_parameters, self.fit.optimum
        n = len(self.study.patients)
        return pd.DataFrame(
            {
                "model": ["dynamics"],
                "n_rows": [self.study.rows],
                "n_groups": [n],
                "log_likelihood": [top],
                "aic": [2 * size - 2 * top],
                "bic": [size * np.log(n) - 2 * top],
                "converged": [optimum.converged],
                "boundary": [bool(optimum.boundary)],
                "n_parameters": [size],
            }
        )

    def variances(self) -> pd.DataFrame:
        """VARIANCES: between patients (levels at the first session, slopes), within (deviations), shocks and error."""
        return variances_table(self.study, self.fit.groups)

    def means(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS with ``outcome`` of the mean course; ``session`` counts from the study's first session number."""
        rows = [(outcome, term, "all") for outcome, term in self.study.mean_terms]
        estimate, covariance = self._delta(lambda _, beta: beta[: len(rows)])
        return self._terms(rows, estimate, covariance, level).drop(columns="group", errors="ignore")

    def standardised(self, *, level: float = 0.95) -> pd.DataFrame:
        """The lagged coefficients in within-patient SD: of the outcome, per SD of the predictor."""
        return self._lagged_table(in_within_sd, level)

    def long_run(self, *, level: float = 0.95) -> pd.DataFrame:
        """What one point more in one session adds to each measure, summed over all later sessions."""
        return self._lagged_table(lambda one: np.linalg.solve(np.eye(len(one.lagged)) - one.lagged, one.lagged), level)

    def response(self, *, sessions: int = 8, level: float = 0.95) -> pd.DataFrame:
        """The impulse response: one within-patient SD more of one measure, the others as they were.

        Returns
        -------
        DataFrame
            ``outcome, impulse, session`` (0: the session of the impulse)``, estimate, std_error, ci_low, ci_high``, in
            points of the outcome; ``group`` with ``by=``. The impulse is not orthogonalised.
        """
        return response_table(self.study, self._delta, sessions=sessions, level=level, df=self._df)

    def r_squared(self) -> pd.DataFrame:
        """Share of each measure's variance within patients (error apart) that the session before foretells."""
        return r_squared_table(self.study, self.fit.groups)

    # -- predictions and draws --------------------------------------------------------------------------------------
    def predict(self, *, level: float = 0.95) -> pd.DataFrame:
        """The next session of each patient, one after the last with a value.

        Returns
        -------
        DataFrame
            ``patient, session, outcome, prediction, std_error, ci_low, ci_high``: the interval is for the score that
            will be seen, parameters taken as known. Missing where ``means="free"`` has no mean for that session.
        """
        return prediction_table(self.fit, self.study, level=level)

    def simulate(self, *, seed: Seed) -> pd.DataFrame:
        """SESSIONS with values drawn from the fitted model where there were values."""
        values = draw(self.study.panel, self.fit.layout, self.fit.groups, self.fit.coefficients, generator(seed))
        values = np.where(np.isnan(self.study.panel.y), np.nan, values)
        series, time = self.study.place.T
        drawn = np.where((series >= 0)[:, None], values[series, time], np.nan)
        return self.data.assign(**{name: drawn[:, j] for j, name in enumerate(self.study.measures)})

    # -- comparisons ------------------------------------------------------------------------------------------------
    def without(self, outcome: str, term: str) -> DynamicsFit:
        """The same model with one lagged coefficient (in every group) held at zero, to compare with."""
        names = self.study.measures
        require_choice(outcome, names, name="outcome")
        require_choice(term, [f"{name}_lag" for name in names], name="term")
        i, j = names.index(outcome), names.index(term.removesuffix("_lag"))
        held = {**self.fit.layout.held, **{(g, i, j): 0.0 for g in range(len(self.fit.groups))}}
        smaller = self.fit.refit(replace(self.fit.layout, held=held))
        return replace(self, fit=smaller, diagnostics={**self.diagnostics, "converged": smaller.optimum.converged})

    def compare(
        self, smaller: DynamicsFit, *, draws: int = 0, seed: int | None = None, progress: bool = True
    ) -> pd.DataFrame:
        """Likelihood ratio test against a model nested in this one, fitted to the same rows.

        Parameters
        ----------
        smaller : DynamicsFit
        draws : int
            With draws, the p value is that of a parametric bootstrap. It is needed where the smaller model holds
            variances at zero (no error, no random slopes): with inertia near zero the error variance is not
            identified, and no known distribution holds.
        seed : int, optional
            Needed with draws.
        progress : bool
            Show a bar while this takes longer than a second: on a terminal or in a notebook only.

        Returns
        -------
        DataFrame
            ``statistic, df, p_value, method``.
        """
        ours, theirs = self.study.panel.y, smaller.study.panel.y
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs, equal_nan=True):
            raise ValueError("The two models were not fitted to the same values.")
        df = self.fit.n_parameters - smaller.fit.n_parameters
        if df < 1:
            raise ValueError("The model to compare with has no fewer parameters: pass the smaller one.")
        statistic = 2 * (self.fit.log_likelihood - smaller.fit.log_likelihood)
        if draws:
            if seed is None:
                raise ValueError("A bootstrap needs a seed.")
            with bar("Bootstrap", draws, show=progress):
                drawn = bootstrap_ratio(smaller.fit, self.fit.layout, draws=draws, seed=seed)
            p_value, method = (1 + float((drawn >= statistic).sum())) / (draws + 1), f"bootstrap, {draws} draws"
        else:
            from scipy.special import chdtrc

            p_value, method = float(chdtrc(df, max(statistic, 0.0))), "chi-square"
        return pd.DataFrame({"statistic": [statistic], "df": [df], "p_value": [p_value], "method": [method]})

    def test_groups(self) -> pd.DataFrame:
        """Likelihood ratio test of lagged coefficients that differ between groups (``by=``) against shared ones."""
        if self.settings["by"] is None:
            raise ValueError("The model has no groups: fit it with by=.")
        alone = replace(self.fit, panel=replace(self.fit.panel, group=None))
        shared = alone.refit(replace(self.fit.layout, n_groups=1, held={}))
        return self.compare(replace(self, fit=shared))

    # -- words ------------------------------------------------------------------------------------------------------
    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        s = self.settings
        head = [
            f"Reciprocal effects of {' and '.join(self.study.measures)}; {self.study.rows} sessions of "
            f"{len(self.study.patients)} patients",
            f"means {s['means']}, trend {s['trend']}, start {s['start']}, error {s['error'] or 'none'}",
            in_words(self.diagnostics[FLOW]),
        ]
        tables = {
            "Effects on the next session, within patients": self.tidy(),
            "In within-patient SD": self.standardised(),
            "Variances": self.variances(),
        }
        return head, tables, self.diagnostics["notes"]

    # -- inside -----------------------------------------------------------------------------------------------------
    @cached_property
    def _covariance(self) -> FloatArray:
        clusters = self.study.clusters
        return self.fit.covariance if clusters is None else self.fit.robust(clusters)

    @property
    def _df(self) -> float:
        clusters = self.study.clusters
        return np.inf if clusters is None else float(len(np.unique(clusters)) - 1)

    def _delta(self, quantity: Quantity) -> tuple[FloatArray, FloatArray]:
        return self.fit.delta(quantity, self._covariance)

    def _effect_rows(self) -> list[tuple[str, str, Any]]:
        names = self.study.measures
        rows: list[tuple[str, str, Any]] = [
            (outcome, f"{name}_lag", level) for level in self.study.levels for outcome in names for name in names
        ]
        rows += [(outcome, f"{name}_lag", "all") for outcome in names for name in self.study.inputs]
        return rows + [(outcome, name, "all") for name in self.study.covariates for outcome in names]

    def _effects(self, groups: list[Matrices], beta: FloatArray) -> FloatArray:
        p = len(self.study.mean_terms)
        own = len(self.study.covariates) * len(self.study.measures)
        lagged = [one.lagged.reshape(-1) for one in groups]
        return np.concatenate([*lagged, beta[p + own :], beta[p : p + own]])

    def _lagged_table(self, of: Any, level: float) -> pd.DataFrame:
        def values(groups: list[Matrices], _: FloatArray) -> FloatArray:
            return np.concatenate([of(one).reshape(-1) for one in groups])

        return self._terms(self._effect_rows()[: self._n_lagged], *self._delta(values), level)

    @property
    def _n_lagged(self) -> int:
        return len(self.fit.groups) * len(self.study.measures) ** 2

    def _terms(
        self, rows: list[tuple[str, str, Any]], estimate: FloatArray, covariance: FloatArray, level: float
    ) -> pd.DataFrame:
        """TERMS of rows (outcome, term, group)."""
        error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        table = terms_table([row[1] for row in rows], estimate, error, self._df, level=level)
        table.insert(0, "outcome", [row[0] for row in rows])
        if self.study.grouped:
            table.insert(1, "group", [row[2] for row in rows])
        return table

    def _profile(self, table: pd.DataFrame, level: float) -> None:
        """Intervals and tests of the lagged coefficients from the profile likelihood, written into the table."""
        k = len(self.study.measures)
        for at in range(self._n_lagged):
            entry = at // (k * k), at // k % k, at % k
            if entry in self.fit.layout.held:
                continue
            ends = profile_interval(self.fit, *entry, level=level, std_error=float(table["std_error"].iloc[at]))
            statistic = signed_root(self.fit, *entry)
            found = [*ends, statistic, float(t_p_value(statistic, np.inf))]
            table.loc[at, ["ci_low", "ci_high", "statistic", "p_value"]] = found
