"""Predictions for new rows, with intervals that count every source of uncertainty; residuals of the rows used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers import effects
from alliance_stats.mixed.design.columns import ColumnPlan, columns_of
from alliance_stats.mixed.design.grouping import factor_of
from alliance_stats.mixed.engine.crossed import Crossed
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.satterthwaite import contrast_df
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.formulas import variables_of
from alliance_stats.tables.schema import DataError, refuse, require_choice, require_columns
from alliance_stats.tables.shares import check_level
from alliance_stats.tables.terms import t_interval


@dataclass(frozen=True)
class _NewRows:
    """New rows in internal units: fixed columns, effect columns, and the levels they belong to (-1: never seen).

    `outer` has a row for each outer factor, levels of all of them numbered through.
    """

    x: FloatArray
    effects: FloatArray
    inner: IntArray
    outer: IntArray


def predict(
    fit: Fitted, data: pd.DataFrame | None, *, level: str, interval: str | None, coverage: float, new_groups: str
) -> pd.DataFrame:
    """See :meth:`alliance_stats.mixed.MixedFit.predict`."""
    design = fit.design
    require_choice(level, (effects.POPULATION, *design.factors), name="level")
    require_choice(interval, (None, "confidence", "prediction"), name="interval")
    require_choice(new_groups, ("population", "error"), name="new_groups")
    check_level(coverage, name="coverage")
    if data is None:
        index, complete, rows = _rows_used(fit)
    else:
        index, complete, rows = _rows_of(fit, data, level, interval, new_groups)
    value, variance = _predict_rows(fit, rows, level, interval)
    table = pd.DataFrame({"prediction": np.full(len(index), np.nan)}, index=index)
    table.iloc[complete, 0] = value * design.y_scale + design.y_centre
    if interval is not None:
        if interval == "prediction" and design.strata is not None:
            variance = variance + (_ratios(fit, data, complete) - 1) * fit.optimum.deviance.sigma2
        error = np.full(len(index), np.nan)
        error[complete] = np.sqrt(np.maximum(variance, 0.0)) * design.y_scale
        df = np.full(len(index), np.inf)
        if level == effects.POPULATION and interval == "confidence":
            df[complete] = contrast_df(fit.variance_curvature, rows.x.T)
        low, high = t_interval(table["prediction"].to_numpy(), error, df, level=coverage)
        table = table.assign(std_error=error, ci_low=low, ci_high=high)
    return table


def _ratios(fit: Fitted, data: pd.DataFrame | None, complete: IntArray) -> FloatArray:
    """The residual variance of each new row's stratum over that of the first."""
    strata = fit.design.strata
    if strata is None:
        return np.ones(len(complete))
    if data is None:
        return np.asarray(strata.ratios[strata.codes[fit.design.by_data]])
    require_columns(data, [strata.column], table_name="the new data")
    rows = data.iloc[complete]
    codes = pd.Index(strata.labels).get_indexer(pd.Index(rows[strata.column]))
    problem = f"{int((codes < 0).sum())} row(s) are of strata that the fit has no residual variance for."
    known = f"Known are {', '.join(map(repr, strata.labels))}."
    refuse(rows, codes < 0, problem, remedy=known, column=strata.column)
    return np.asarray(strata.ratios[codes])


def _rows_used(fit: Fitted) -> tuple[pd.Index, IntArray, _NewRows]:
    design = fit.design
    order = design.by_data
    grouping = design.grouping
    codes = (grouping.inner_of_row()[order], grouping.outer_of_row[:, order])
    rows = _NewRows(design.x[:, order], design.effects[:, order], *codes)
    return design.index[design.kept[order]], np.arange(design.n), rows


def _rows_of(
    fit: Fitted, data: pd.DataFrame, level: str, interval: str | None, new_groups: str
) -> tuple[pd.Index, IntArray, _NewRows]:
    """Build the columns of new rows; rows that miss a needed value are left out."""
    design = fit.design
    with_effects = level != effects.POPULATION or interval == "prediction"
    needed = list(variables_of(design.fixed.side))
    factors: dict[str, tuple[str, ...]] = {}
    if with_effects:
        needed += [name for term in design.formula.random for name in variables_of(term.lhs)]
    if level != effects.POPULATION:
        wanted = design.included(level)
        factors = {term.factor: term.group for term in design.formula.random if term.factor in wanted}
        needed += [name for group in factors.values() for name in group]
    needed = list(dict.fromkeys(needed))
    require_columns(data, needed, table_name="the new data")
    complete = np.flatnonzero(data[needed].notna().all(axis=1).to_numpy()) if needed else np.arange(len(data))
    table = data[needed].iloc[complete]
    x = design.x_map.T @ _fixed_columns(fit, table)
    a = len(design.effects)
    raw = np.zeros((a, len(table)))
    if with_effects and len(table):
        for block in design.blocks:
            for place, column in zip(block.columns, columns_of(block.plan, table)):
                raw[place] = column
    codes = np.full((len(design.factors), len(table)), -1, dtype=np.int64)
    for name, group in factors.items():
        labels, places = effects.levels_of(fit, name)
        own = _levels(table, group, name, labels, new_groups)
        codes[design.factors.index(name)] = np.where(own < 0, own, own + (places.start or 0))
    return data.index, complete, _NewRows(x, design.effect_map.T @ raw, codes[0], codes[1:])


def _fixed_columns(fit: Fitted, table: pd.DataFrame) -> FloatArray:
    design = fit.design
    plan: ColumnPlan = design.fixed
    if not len(table):
        return np.empty((design.p, 0))
    made = dict(zip(plan.names, columns_of(plan, table)))
    return np.array([made[name] for name in design.names]).reshape(design.p, len(table))


def _levels(table: pd.DataFrame, group: tuple[str, ...], factor: str, labels: Any, new_groups: str) -> IntArray:
    """The number of each row's level among `labels`, -1 where it was never seen."""
    if not len(table):
        return np.empty(0, dtype=np.int64)
    seen = factor_of(table, group)
    found = pd.Index(labels).get_indexer(pd.Index(seen.labels))
    codes = np.asarray(found, dtype=np.int64)[seen.codes]
    if new_groups == "error" and (codes < 0).any():
        first = int(np.flatnonzero(codes < 0)[0])
        remedy = "Predict at the population level, or set new_groups='population'."
        if set(map(str, seen.labels[found < 0])) & set(map(str, labels)):
            remedy = f"Give {factor!r} the type it had in the data of the fit: 7 and '7' are two groups."
        raise DataError(
            f"{int((found < 0).sum())} level(s) of {factor!r} were not in the data of the fit.",
            row=table.index[first],
            column=factor,
            value=seen.labels[seen.codes[first]],
            remedy=remedy,
        )
    return codes


def _predict_rows(fit: Fitted, rows: _NewRows, level: str, interval: str | None) -> tuple[FloatArray, FloatArray]:
    """Predictions and their variances in internal units.

    At a group's level the variance of x'b + z'(b_i - mode) is that of Henderson's equations:
    z' Var(b | y) z + (x - Q z)' C (x - Q z), Q z the part of the fixed effects the modes follow.
    """
    deviance, model = fit.optimum.deviance, fit.model
    inner, outer, _ = model.matrices(fit.optimum.theta)
    design, columns = fit.design, list(model.outer_columns)
    value = deviance.beta @ rows.x
    at_inner = level == design.inner_factor
    seen_inner = rows.inner >= 0 if at_inner else np.zeros(len(rows.inner), dtype=bool)
    used = [k for k, name in enumerate(design.outer_factors) if name in design.included(level)]
    b, c = effects.modes(fit)
    if at_inner:
        value = value + _chosen(rows.effects, b, rows.inner, seen_inner)
    for k in used:
        if c is not None:
            value = value + _chosen(rows.effects[columns], c, rows.outer[k], rows.outer[k] >= 0)
    spread = np.zeros(rows.x.shape[1])
    if interval is None:
        return value, spread
    follow = rows.x.copy()
    if at_inner:
        held, _ = effects.conditional_covariances(fit)
        i, z = rows.inner[seen_inner], rows.effects[:, seen_inner]
        spread[seen_inner] += np.einsum("an,abn,bn->n", z, held[:, :, i], z)
        follow[:, seen_inner] -= np.einsum("apn,an->pn", deviance.evaluation.inner_cross[:, :-1, i], inner @ z)
    if at_inner or interval == "prediction":  # a new level varies as levels do
        new = ~seen_inner
        spread[new] += np.einsum("an,ab,bn->n", rows.effects[:, new], inner, rows.effects[:, new])
    if outer is not None:
        _add_outer(fit, rows, used, seen_inner, spread, follow, every=interval == "prediction")
    spread += np.einsum("pn,pq,qn->n", follow, deviance.unscaled, follow)
    if interval == "prediction":
        spread += 1.0
    return value, spread * deviance.sigma2


def _add_outer(
    fit: Fitted,
    rows: _NewRows,
    used: list[int],
    seen_inner: BoolArray,
    spread: FloatArray,
    follow: FloatArray,
    *,
    every: bool,
) -> None:
    """Add the outer effects to the variance of the predictions and to what the modes follow, in place.

    With `every` the factors that are not `used` count as new levels.
    """
    inner, outer, _ = fit.model.matrices(fit.optimum.theta)
    evaluation = fit.optimum.deviance.evaluation
    level, u = evaluation.level, rows.effects[list(fit.model.outer_columns)]
    if outer is None or level is None:
        return
    cov, cross, first = effects.conditional_covariances(fit)[1], level.cross, 0
    parts = []
    for k, columns in enumerate(fit.design.outer_columns):
        place = slice(first, first + len(columns))
        first += len(columns)
        seen = rows.outer[k] >= 0 if k in used else np.zeros(len(spread), dtype=bool)
        moved = np.zeros_like(u)  # T u, in the rows of this factor
        moved[place] = outer[place, place] @ u[place]
        if k in used or every:
            spread[~seen] += np.einsum("rn,rn->n", u[:, ~seen], moved[:, ~seen])
        if k in used and cov is not None:
            j, own = rows.outer[k][seen], u[place][:, seen]
            spread[seen] += np.einsum("rn,rsn,sn->n", own, cov[place, place][:, :, j], own)
            follow[:, seen] -= np.einsum("rpn,rn->pn", cross[:, :-1, j], moved[:, seen])
            both = seen_inner & seen
            if both.any():  # Cov(b_i, c_j | y) = -D A_i'V^-1 U_j T
                shared = level.pair_cross(rows.inner[both], rows.outer[k][both])
                spread[both] -= 2 * np.einsum("an,arn,rn->n", inner @ rows.effects[:, both], shared, moved[:, both])
            parts.append((rows.outer[k], seen, moved))
    for number, (levels, seen, moved) in enumerate(parts):
        for others, also, theirs in parts[:number]:
            both = seen & also
            if both.any() and isinstance(level, Crossed):  # Cov(c_j, c_k | y) = -T U_j'V^-1 U_k T
                shared = level.full_between(levels[both], others[both])
                spread[both] -= 2 * np.einsum("rn,rsn,sn->n", moved[:, both], shared, theirs[:, both])


def _chosen(columns: FloatArray, values: FloatArray, at: IntArray, seen: BoolArray) -> FloatArray:
    out = np.zeros(columns.shape[1])
    out[seen] = np.einsum("an,an->n", columns[:, seen], values[:, at[seen]])
    return out


def fitted(fit: Fitted, level: str | None) -> pd.Series:
    """Fitted values of the rows used."""
    level = fit.design.inner_factor if level is None else level
    table = predict(fit, None, level=level, interval=None, coverage=0.95, new_groups="error")
    return table["prediction"].rename("fitted")


def residuals(fit: Fitted, kind: str, level: str | None) -> pd.Series:
    """Residuals of the rows used."""
    require_choice(kind, ("raw", "standardised", "normalised"), name="kind")
    design, values = fit.design, fitted(fit, level)
    left = design.user_outcome()
    left[design.by_data] -= values.to_numpy()
    if kind != "raw":
        left = left / np.sqrt(fit.residual_variance)
        if design.weights is not None:
            left = left * np.sqrt(design.weights)
    if kind == "normalised" and fit.model.pairs is not None and design.time is not None:
        rho = fit.model.matrices(fit.optimum.theta)[2]
        first = np.zeros(design.n, dtype=bool)
        first[design.grouping.starts] = True
        gap = np.diff(design.time, prepend=design.time[0] - 1) / fit.model.pairs.unit
        s = np.where(first, 0.0, np.power(rho, np.where(first, 1.0, gap)))
        left = (left - s * np.roll(left, 1)) / np.sqrt((1 - s) * (1 + s))
    return pd.Series(left[design.by_data], index=values.index, name=f"{kind}_residual")
