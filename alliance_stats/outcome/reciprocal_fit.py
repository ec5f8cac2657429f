"""The fitted model of reciprocal effects: a frozen object that answers in tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dynamics.answers import bootstrap_ratio, draw, next_state, profile_interval
from alliance_stats.dynamics.fitting import Quantity, SeriesFit
from alliance_stats.dynamics.parameters import Matrices, stationary
from alliance_stats.outcome.reciprocal_data import Study
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.flow import FLOW, Steps, in_words
from alliance_stats.tables.progress import bar
from alliance_stats.tables.rendering import as_html, as_text
from alliance_stats.tables.schema import PATIENT, SESSION, VARIANCES_COLUMNS, Seed, generator, require_choice
from alliance_stats.tables.terms import t_interval, terms_table

WEAK = 0.15
"""A standard error of the within-patient reliability above this says that error and inertia are hardly told apart."""


@dataclass(frozen=True, eq=False)
class DynamicsFit:
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
        is observed),
        ``within_reliability`` and its standard error, ``notes``.
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
            Intervals from standard errors, or (lagged coefficients, without therapists) from the profile likelihood;
            "auto": from the profile where an estimated error variance is zero, which standard errors take as known.
        """
        require_choice(interval, ("auto", "wald", "profile"), name="interval")
        rows = self._effect_rows()
        estimate, covariance = self._delta(self._effects)
        table = terms_table([row[1] for row in rows], estimate, np.sqrt(np.diag(covariance)), self._df, level=level)
        table.insert(0, "outcome", [row[0] for row in rows])
        if self.settings["by"] is not None:
            table.insert(1, "group", [row[2] for row in rows])
        no_error = any(name.startswith("error") for name in self.fit.optimum.boundary)
        if interval == "profile" or (interval == "auto" and no_error and self.settings["therapist"] is None):
            if self.settings["therapist"] is not None:
                raise ValueError("Profile intervals know no clusters: use interval='wald' with therapist=.")
            k = len(self.study.measures)
            for at in range(k * k * len(self.fit.groups)):
                g, i, j = at // (k * k), at // k % k, at % k
                if (g, i, j) in self.fit.layout.held:
                    continue
                error = table["std_error"].to_numpy()[at]
                table.loc[at, ["ci_low", "ci_high"]] = profile_interval(self.fit, g, i, j, level=level, std_error=error)
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
        one = self.fit.groups[0]
        names = list(self.study.measures)
        effects = names + ([f"{name}_slope" for name in names] if len(one.between) > len(names) else [])
        blocks = [(PATIENT, effects, one.between)]
        blocks += [(f"within{suffix}", names, matrix) for suffix, matrix in self._within_blocks()]
        blocks += [("shock", names, one.shock)]
        rows: list[tuple[object, ...]] = []
        for group, labels, matrix in blocks:
            sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
            rows += [(group, label, "", matrix[i, i], sd[i], np.nan) for i, label in enumerate(labels)]
            for i in range(len(labels)):
                for j in range(i + 1, len(labels)):
                    scale = sd[i] * sd[j]
                    correlation = matrix[i, j] / scale if scale > 0 else np.nan
                    rows.append((group, labels[i], labels[j], matrix[i, j], np.nan, correlation))
        rows += [("error", name, "", value, np.sqrt(value), np.nan) for name, value in zip(names, one.error)]
        return pd.DataFrame(rows, columns=list(VARIANCES_COLUMNS))

    def means(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS with ``outcome`` of the mean course; ``session`` counts from the study's first session number."""
        rows = self.study.mean_terms
        estimate, covariance = self._delta(lambda _, beta: beta[: len(rows)])
        table = terms_table([row[1] for row in rows], estimate, np.sqrt(np.diag(covariance)), self._df, level=level)
        table.insert(0, "outcome", [row[0] for row in rows])
        return table

    def standardised(self, *, level: float = 0.95) -> pd.DataFrame:
        """The lagged coefficients in within-patient SD: of the outcome, per SD of the predictor."""
        return self._lagged_table(lambda one: _scaled(one.lagged, _within(one)), level)

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
        names, k = self.study.measures, len(self.study.measures)

        def powers(groups: list[Matrices], _: FloatArray) -> FloatArray:
            found = []
            for one in groups:
                effect = np.diag(_sd(_within(one)))
                for _step in range(sessions + 1):
                    found.append(effect)
                    effect = one.lagged @ effect
            return np.concatenate([effect.reshape(-1) for effect in found])

        estimate, covariance = self._delta(powers)
        error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        low, high = t_interval(estimate, error, self._df, level=level)
        cells = [
            (names[i], names[j], step, level_)
            for level_ in self.study.levels
            for step in range(sessions + 1)
            for i in range(k)
            for j in range(k)
        ]
        table = pd.DataFrame(cells, columns=["outcome", "impulse", "session", "group"])
        table = table.assign(estimate=estimate, std_error=error, ci_low=low, ci_high=high)
        return table.drop(columns=[] if self.settings["by"] is not None else ["group"])

    def r_squared(self) -> pd.DataFrame:
        """Share of each measure's variance within patients (error apart) that the session before foretells."""
        rows = [
            (name, level, 1 - one.shock[i, i] / _within(one)[i, i])
            for level, one in zip(self.study.levels, self.fit.groups)
            for i, name in enumerate(self.study.measures)
        ]
        table = pd.DataFrame(rows, columns=["outcome", "group", "r_squared"])
        return table if self.settings["by"] is not None else table.drop(columns="group")

    # -- predictions and draws --------------------------------------------------------------------------------------
    def predict(self, *, level: float = 0.95) -> pd.DataFrame:
        """The next session of each patient, one after the last with a value.

        Returns
        -------
        DataFrame
            ``patient, session, outcome, prediction, std_error, ci_low, ci_high``: the interval is for the score that
            will be seen, parameters taken as known. Missing where ``means="free"`` has no mean for that session.
        """
        deviation, spread, last = next_state(self.fit)
        prediction = self._mean_at(last) + deviation
        error = np.array([np.diag(one) for one in spread]) + self.fit.groups[0].error
        names, n = self.study.measures, len(last)
        sd = np.sqrt(error).reshape(-1)
        low, high = t_interval(prediction.reshape(-1), sd, np.inf, level=level)
        return pd.DataFrame(
            {
                PATIENT: np.repeat(self.study.patients, len(names)),
                SESSION: np.repeat(last + 1 + self.study.first, len(names)),
                "outcome": list(names) * n,
                "prediction": prediction.reshape(-1),
                "std_error": sd,
                "ci_low": low,
                "ci_high": high,
            }
        )

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
    def summary(self) -> str:
        """The fit as text."""
        return as_text(*self._shown())

    def _repr_html_(self) -> str:
        return as_html(*self._shown())

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
        k = len(self.study.measures)
        rows = self._effect_rows()[: k * k * len(self.fit.groups)]

        def values(groups: list[Matrices], _: FloatArray) -> FloatArray:
            return np.concatenate([of(one).reshape(-1) for one in groups])

        estimate, covariance = self._delta(values)
        error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        table = terms_table([row[1] for row in rows], estimate, error, self._df, level=level)
        table.insert(0, "outcome", [row[0] for row in rows])
        if self.settings["by"] is not None:
            table.insert(1, "group", [row[2] for row in rows])
        return table

    def _within_blocks(self) -> list[tuple[str, FloatArray]]:
        if len(self.fit.groups) == 1:
            return [("", _within(self.fit.groups[0]))]
        return [(f" {level}", _within(one)) for level, one in zip(self.study.levels, self.fit.groups)]

    def _mean_at(self, last: Any) -> FloatArray:
        """The mean course one time after `last`, covariates as in the last session."""
        study, beta = self.study, self.fit.coefficients
        p, k = len(study.mean_terms), len(study.measures)
        ahead = (last + 1).astype(np.float64)
        mean = np.zeros((len(last), k))
        for (name, term), value in zip(study.mean_terms, beta):
            j = study.measures.index(name)
            power = {"Intercept": 0, "session": 1, "session^2": 2}.get(term)
            if power is None:
                mean[:, j] += value * (ahead + study.first == int(term.removeprefix("session_")))
            else:
                mean[:, j] += value * ahead**power
        if self.settings["means"] == "free":
            there = set(study.mean_terms)
            for j, name in enumerate(study.measures):
                mean[[(name, f"session_{int(t) + study.first}") not in there for t in ahead], j] = np.nan
        if study.panel.own is not None:
            own = study.panel.own[np.arange(len(last)), last]
            mean += own @ beta[p : p + own.shape[2]]
        return mean


def diagnose(result: DynamicsFit, steps: Steps) -> dict[str, Any]:
    """Diagnostics and notes in sentences."""
    fit, study = result.fit, result.study
    optimum = fit.optimum
    notes = []
    if not optimum.converged:
        notes.append(f"The search did not converge (largest gradient {optimum.gradient:.2g}): do not report this fit.")
    for name in optimum.boundary:
        notes.append(_boundary_note(name, study.measures))
    if optimum.rival is not None:
        gap = optimum.rival.value - optimum.point.value
        notes.append(
            f"A solution in which the measures' shocks are copies of each other lies {gap:.2f} log-likelihood units "
            "higher; it cannot say which measure moves which. Pass the error variances if the items tell them."
        )
    unstable = [g for g, one in enumerate(fit.groups) if np.abs(np.linalg.eigvals(one.lagged)).max() >= 1]
    if unstable:
        notes.append("The lagged coefficients do not die out (an eigenvalue of 1 or more): consider trend='random'.")
    found: dict[str, Any] = {
        "converged": optimum.converged,
        "gradient": optimum.gradient,
        "evaluations": optimum.evaluations,
        "boundary": list(optimum.boundary),
        "patients": len(study.patients),
        "rows": study.rows,
        "rows_lost": study.lost,
        FLOW: steps,
        "patterns": sum(len(batch.counts) for batch in fit.likelihood.batches),
    }
    if fit.layout.free_errors and not unstable:
        value, covariance = fit.delta(lambda groups, _: _reliability(groups[0]))
        error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        found["within_reliability"] = dict(zip(study.measures, value.tolist()))
        found["within_reliability_se"] = dict(zip(study.measures, error.tolist()))
        weak = [j for j in fit.layout.free_errors if error[j] > WEAK and f"error[{j}]" not in optimum.boundary]
        notes += [_weak_note(study.measures[j], value[j], error[j]) for j in weak]
    return {**found, "notes": notes}


def _boundary_note(name: str, measures: tuple[str, ...]) -> str:
    if name.startswith("error"):
        measure = measures[int(name[6:-1])]
        return (
            f"The error variance of {measure} is estimated as zero. Standard errors and p values take it as "
            "known to be zero; the intervals of the lagged coefficients, from the profile likelihood, do not."
        )
    what = {
        "between": "levels and slopes of patients",
        "start": "deviations at the first session",
        "shock": "shocks within patients",
    }[name]
    return f"The covariance matrix of the {what} is singular (a variance of zero or a correlation of 1)."


def _weak_note(measure: str, value: float, error: float) -> str:
    return (
        f"The sessions hardly tell measurement error of {measure} from low inertia: its within-patient reliability is "
        f"{value:.2f} with a standard error of {error:.2f}. If the items tell the within-patient reliability of a "
        f"session, pass the error variance it implies, error={{'{measure}': ...}}."
    )


def _within(one: Matrices) -> FloatArray:
    """The covariance matrix of the deviations in the long run; missing where there is none."""
    try:
        return stationary(one.lagged, one.shock)
    except FloatingPointError:
        return np.full(one.shock.shape, np.nan)


def _sd(matrix: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(np.diag(matrix), 0.0))


def _scaled(lagged: FloatArray, within: FloatArray) -> FloatArray:
    sd = _sd(within)
    return lagged * sd / sd[:, None]


def _reliability(one: Matrices) -> FloatArray:
    state = np.diag(_within(one))
    return np.asarray(state / (state + one.error))
