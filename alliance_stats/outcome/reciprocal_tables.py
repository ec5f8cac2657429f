"""Tables of a model of reciprocal effects: variances, impulse responses, explained variance, predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dynamics.answers import next_state
from alliance_stats.dynamics.fitting import Quantity, SeriesFit
from alliance_stats.dynamics.parameters import Matrices, stationary
from alliance_stats.outcome.reciprocal_data import Study
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import PATIENT, SESSION, VARIANCES_COLUMNS
from alliance_stats.tables.terms import t_interval


def variances_table(study: Study, groups: list[Matrices]) -> pd.DataFrame:
    """VARIANCES: between patients, within them, shocks and error."""
    one, names = groups[0], list(study.measures)
    effects = names + ([f"{name}_slope" for name in names] if len(one.between) > len(names) else [])
    blocks = [(PATIENT, effects, one.between)]
    suffixes = [f" {level}" for level in study.levels] if study.grouped else [""]
    blocks += [(f"within{suffix}", names, within(group)) for suffix, group in zip(suffixes, groups)]
    blocks += [("shock", names, one.shock)]
    rows: list[tuple[object, ...]] = []
    for group, labels, matrix in blocks:
        sd = _sd(matrix)
        rows += [(group, label, "", matrix[i, i], sd[i], np.nan) for i, label in enumerate(labels)]
        for i in range(len(labels)):
            for j in range(i + 1, len(labels)):
                scale = sd[i] * sd[j]
                correlation = matrix[i, j] / scale if scale > 0 else np.nan
                rows.append((group, labels[i], labels[j], matrix[i, j], np.nan, correlation))
    rows += [("error", name, "", value, np.sqrt(value), np.nan) for name, value in zip(names, one.error)]
    return pd.DataFrame(rows, columns=list(VARIANCES_COLUMNS))


def response_table(
    study: Study, delta: Callable[[Quantity], tuple[FloatArray, FloatArray]], *, sessions: int, level: float, df: float
) -> pd.DataFrame:
    """The impulse response over `sessions`, with intervals by the delta method."""
    names, k = study.measures, len(study.measures)

    def powers(groups: list[Matrices], _: FloatArray) -> FloatArray:
        found = []
        for one in groups:
            effect = np.diag(_sd(within(one)))
            for _step in range(sessions + 1):
                found.append(effect)
                effect = one.lagged @ effect
        return np.concatenate([effect.reshape(-1) for effect in found])

    estimate, covariance = delta(powers)
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    low, high = t_interval(estimate, error, df, level=level)
    cells = [
        (names[i], names[j], step, group)
        for group in study.levels
        for step in range(sessions + 1)
        for i in range(k)
        for j in range(k)
    ]
    table = pd.DataFrame(cells, columns=["outcome", "impulse", "session", "group"])
    table = table.assign(estimate=estimate, std_error=error, ci_low=low, ci_high=high)
    return table if study.grouped else table.drop(columns="group")


def r_squared_table(study: Study, groups: list[Matrices]) -> pd.DataFrame:
    """Share of each measure's variance within patients (error apart) that the session before foretells."""
    rows = [
        (name, level, 1 - one.shock[i, i] / within(one)[i, i])
        for level, one in zip(study.levels, groups)
        for i, name in enumerate(study.measures)
    ]
    table = pd.DataFrame(rows, columns=["outcome", "group", "r_squared"])
    return table if study.grouped else table.drop(columns="group")


def prediction_table(fit: SeriesFit, study: Study, *, level: float) -> pd.DataFrame:
    """The next session of each patient, with the interval of the score that will be seen."""
    deviation, spread, last = next_state(fit)
    prediction = _mean_at(fit, study, last) + deviation
    error = np.array([np.diag(one) for one in spread]) + fit.groups[0].error
    names, n = study.measures, len(last)
    sd = np.sqrt(error).reshape(-1)
    low, high = t_interval(prediction.reshape(-1), sd, np.inf, level=level)
    return pd.DataFrame(
        {
            PATIENT: np.repeat(study.patients, len(names)),
            SESSION: np.repeat(last + 1 + study.first, len(names)),
            "outcome": list(names) * n,
            "prediction": prediction.reshape(-1),
            "std_error": sd,
            "ci_low": low,
            "ci_high": high,
        }
    )


def _mean_at(fit: SeriesFit, study: Study, last: Any) -> FloatArray:
    """The mean course one time after `last`, covariates as in the last session; NaN where no mean was fitted."""
    beta = fit.coefficients
    p, k = len(study.mean_terms), len(study.measures)
    ahead = (last + 1).astype(np.float64)
    mean = np.zeros((len(last), k))
    fitted = np.zeros((len(last), k), dtype=bool)
    for (name, term), value in zip(study.mean_terms, beta):
        j = study.measures.index(name)
        power = {"Intercept": 0, "session": 1, "session^2": 2}.get(term)
        if power is None:
            here = ahead + study.first == int(term.removeprefix("session_"))
            mean[here, j], fitted[here, j] = value, True
        else:
            mean[:, j] += value * ahead**power
            fitted[:, j] = True
    mean[~fitted] = np.nan
    if study.panel.own is not None:
        own = study.panel.own[np.arange(len(last)), last]
        mean += own @ beta[p : p + own.shape[2]]
    return mean


def within(one: Matrices) -> FloatArray:
    """The covariance matrix of the deviations in the long run; missing where there is none."""
    try:
        return stationary(one.lagged, one.shock)
    except FloatingPointError:
        return np.full(one.shock.shape, np.nan)


def in_within_sd(one: Matrices) -> FloatArray:
    """The lagged coefficients in SD of the outcome, per SD of the predictor, within patients."""
    sd = _sd(within(one))
    return np.asarray(one.lagged * sd / sd[:, None])


def _sd(matrix: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(np.diag(matrix), 0.0))
