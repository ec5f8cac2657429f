"""What a fit says about single rows: the linear predictor, the hazard, and residuals.

`HazardFit.predict` and `HazardFit.residuals` call this module. It does not import them, so ``fit`` is ``Any`` here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import clock_of
from alliance_stats.hazard.binary import mean, row_terms
from alliance_stats.hazard.cox_answers import (
    baseline_hazard,
    martingale_residuals,
    schoenfeld_residuals,
    score_residuals,
)
from alliance_stats.tables.arrays import Array
from alliance_stats.tables.schema import require_choice

RESIDUALS = ("martingale", "deviance", "pearson", "score", "schoenfeld")


def rows_at_risk(intervals: pd.DataFrame) -> pd.DataFrame:
    """The rows of INTERVALS in which an ending can be recorded (all, where the table does not say)."""
    return intervals[intervals["at_risk"] != 0] if "at_risk" in intervals else intervals


class HazardOf(NamedTuple):
    """A fit as a function from parameters to the hazards of rows."""

    fit: Any
    # value, covariance: the parameters: coefficients, and for Cox the jumps of the baseline
    value: Array
    covariance: Array
    time: Array  # (k,): the times of the jumps

    @classmethod
    def of(cls, fit: Any) -> HazardOf:
        """The parameters of a fit, and for Cox those of its baseline hazard with their joint covariance."""
        if not fit.is_cox:
            return cls(fit, fit.coefficients, fit.covariance, np.empty(0))
        if fit.settings["strata"] is not None:
            raise ValueError("A stratified Cox model has no single baseline to predict from; use a covariate instead.")
        offset = None
        if fit.random_effects is not None:
            group = fit.settings["random"]
            effect = fit.random_effects.set_index(group)["effect"]
            offset = effect.reindex(fit.data[group]).to_numpy()
        ties = fit.model.removeprefix("cox ")
        base = baseline_hazard(fit.coefficients, fit.design.matrix, fit.engine, ties=ties, offset=offset)
        cross = base.slope @ fit.covariance
        covariance = np.block([[fit.covariance, cross.T], [cross, cross @ base.slope.T + np.diag(base.variance)]])
        return cls(fit, np.r_[fit.coefficients, base.jump], covariance, fit.engine.time)

    def design(self, table: pd.DataFrame) -> Array:
        """The design matrix of new rows; a session whose hazard is 0 or 1 for sure needs no row of it."""
        known = ~table[clock_of(table)].isin(list(self.fit.settings["fixed_hazards"])).to_numpy()
        matrix = np.zeros((len(table), len(self.fit.terms)))
        if known.any():
            matrix[known] = self.fit.design.of(table[known])
        return matrix

    def at(self, parameters: Array, matrix: Array, table: pd.DataFrame) -> Array:
        """The hazard of each row."""
        p = matrix.shape[1]
        linear = matrix @ parameters[:p]
        if not self.fit.is_cox:
            hazard = mean(linear, self.fit.link)
            for session, sure in self.fit.settings["fixed_hazards"].items():
                hazard = np.where(table[clock_of(table)].to_numpy() == session, sure, hazard)
            return hazard
        running = np.r_[0.0, np.cumsum(parameters[p:])]
        first = np.searchsorted(self.time, table["start"].to_numpy(), side="right")
        last = np.searchsorted(self.time, table["stop"].to_numpy(), side="right")
        return np.asarray(np.exp(linear) * (running[last] - running[first]))


def predict_rows(fit: Any, new: pd.DataFrame | None = None, *, kind: str = "hazard") -> Array:
    """The linear predictor, or the hazard, of rows of INTERVALS.

    Parameters
    ----------
    new : DataFrame, optional
        Default: the rows the model was fitted on.
    kind : {"hazard", "linear"}
        ``hazard``: the probability of the event at ``stop`` (discrete), or the expected number of events in
        ``(start, stop]``, the increase of the cumulative hazard (Cox). With a therapist effect: for an effect of zero.

    Returns
    -------
    (n,) array
        NaN where a covariate is missing.
    """
    require_choice(kind, ("hazard", "linear"), name="kind")
    table = fit.data if new is None else new
    matrix = fit.design.matrix if new is None else fit.design.of(table)
    if kind == "linear":
        return np.asarray(matrix @ fit.coefficients)
    hazard = HazardOf.of(fit)
    return hazard.at(hazard.value, matrix, table)


def residuals(fit: Any, kind: str = "martingale") -> Any:
    """Residuals of the rows the model was fitted on (without the therapist effect, if it has one).

    Parameters
    ----------
    kind : str
        ``martingale`` (event minus expected), ``deviance`` (its normalised form), ``pearson`` (discrete), ``score``
        (a column per term), ``schoenfeld`` (Cox: a row per event, with ``time``).

    Returns
    -------
    array or DataFrame
        (n,) array, or a DataFrame for ``score`` and ``schoenfeld``.
    """
    require_choice(kind, RESIDUALS, name="kind")
    if kind == ("pearson" if fit.is_cox else "schoenfeld"):
        raise ValueError(f"{kind} residuals belong to the {'discrete' if fit.is_cox else 'Cox'} model.")
    matrix, event, beta = fit.design.matrix, fit.event, fit.coefficients
    if fit.is_cox:
        ties = fit.model.removeprefix("cox ")
        if kind == "score":
            return pd.DataFrame(score_residuals(beta, matrix, fit.engine, ties=ties), columns=fit.terms)
        if kind == "schoenfeld":
            values = schoenfeld_residuals(beta, matrix, fit.engine, ties=ties)
            table = pd.DataFrame(values, columns=fit.terms)
            return table.assign(time=fit.engine.time[fit.engine.event_time])
        expected = event - martingale_residuals(beta, matrix, fit.engine, ties=ties)
        return event - expected if kind == "martingale" else _deviance_of_count(event, expected)
    hazard = mean(matrix @ beta, fit.link)
    if kind == "score":
        weight = row_terms(matrix @ beta, event, fit.link)[1]
        return pd.DataFrame(matrix * weight[:, None], columns=fit.terms)
    if kind == "pearson":
        return (event - hazard) / np.sqrt(hazard * (1 - hazard))
    if kind == "deviance":
        own = np.where(event > 0, hazard, 1 - hazard)
        return np.sign(event - hazard) * np.sqrt(-2 * np.log(own))
    return event - hazard


def _deviance_of_count(event: Array, expected: Array) -> Array:
    residual = event - expected
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = residual + np.where(event > 0, event * np.log(np.where(event > 0, expected, 1.0)), 0.0)
    return np.asarray(np.sign(residual) * np.sqrt(np.maximum(-2 * inner, 0.0)))
