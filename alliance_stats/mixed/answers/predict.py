"""Predictions of a fitted model for new rows, with intervals that count every source of uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers import effects
from alliance_stats.mixed.design.columns import ColumnPlan, columns_of
from alliance_stats.mixed.design.grouping import factor_of
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.mixed.engine.satterthwaite import contrast_df
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.formulas import variables_of
from alliance_stats.tables.schema import DataError, require_choice, require_columns
from alliance_stats.tables.shares import check_level
from alliance_stats.tables.terms import t_interval


@dataclass(frozen=True)
class _NewRows:
    """New rows in internal units: fixed columns, effect columns, and the levels they belong to (-1: never seen)."""

    x: FloatArray
    effects: FloatArray
    inner: IntArray
    outer: IntArray | None


def predict(
    fit: Fitted,
    data: pd.DataFrame | None,
    *,
    level: str,
    interval: str | None,
    coverage: float,
    new_groups: str,
) -> pd.DataFrame:
    """See :meth:`alliance_stats.mixed.MixedFit.predict`."""
    design = fit.design
    known = [effects.POPULATION, design.inner_factor, *([design.outer_factor] if design.outer_factor else [])]
    require_choice(level, known, name="level")
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
        error = np.full(len(index), np.nan)
        error[complete] = np.sqrt(np.maximum(variance, 0.0)) * design.y_scale
        df = np.full(len(index), np.inf)
        if level == effects.POPULATION and interval == "confidence":
            df[complete] = contrast_df(fit.variance_curvature, rows.x.T)
        low, high = t_interval(table["prediction"].to_numpy(), error, df, level=coverage)
        table = table.assign(std_error=error, ci_low=low, ci_high=high)
    return table


def _rows_used(fit: Fitted) -> tuple[pd.Index, IntArray, _NewRows]:
    design = fit.design
    order = np.argsort(design.kept, kind="stable")
    outer = effects.outer_of_row(fit)[order] if design.outer_factor is not None else None
    rows = _NewRows(design.x[:, order], design.effects[:, order], design.grouping.inner_of_row()[order], outer)
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
        wanted = {design.inner_factor, design.outer_factor} if level == design.inner_factor else {design.outer_factor}
        factors = {term.factor: term.group for term in design.formula.random if term.factor in wanted}
        needed += [name for group in factors.values() for name in group]
    needed = list(dict.fromkeys(needed))
    require_columns(data, needed, table_name="the new data")
    complete = np.flatnonzero(data[needed].notna().all(axis=1).to_numpy()) if needed else np.arange(len(data))
    table = data[needed].iloc[complete]
    x = _internal(_fixed_columns(fit, table), design.x_map)
    a = len(design.effects)
    raw = np.zeros((a, len(table)))
    if with_effects and len(table):
        for block in design.blocks:
            for place, column in zip(block.columns, columns_of(block.plan, table)):
                raw[place] = column
    codes = {name: _levels(table, group, *_known(fit, name), new_groups) for name, group in factors.items()}
    unseen = np.full(len(table), -1, dtype=np.int64)
    inner = codes.get(design.inner_factor, unseen)
    outer = None if design.outer_factor is None else codes.get(design.outer_factor, unseen)
    return data.index, complete, _NewRows(x, _internal(raw, design.effect_map), inner, outer)


def _fixed_columns(fit: Fitted, table: pd.DataFrame) -> FloatArray:
    design = fit.design
    plan: ColumnPlan = design.fixed
    if not len(table):
        return np.empty((design.p, 0))
    made = dict(zip(plan.names, columns_of(plan, table)))
    return np.array([made[name] for name in design.names]).reshape(design.p, len(table))


def _internal(columns: FloatArray, back: FloatArray) -> FloatArray:
    return back.T @ columns


def _known(fit: Fitted, factor: str) -> tuple[str, Any]:
    grouping = fit.design.grouping
    return factor, grouping.outer_labels if factor == fit.design.outer_factor else grouping.labels


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
    columns = list(model.outer_columns)
    value = deviance.beta @ rows.x
    spread = np.zeros(rows.x.shape[1])
    follow = rows.x.copy()
    at_inner = level == fit.design.inner_factor
    seen_inner = rows.inner >= 0 if at_inner else np.zeros(len(rows.inner), dtype=bool)
    with_outer = outer is not None and level != effects.POPULATION and rows.outer is not None
    seen_outer = rows.outer >= 0 if with_outer and rows.outer is not None else np.zeros(len(rows.inner), dtype=bool)
    b, c = effects.modes(fit)
    if at_inner:
        value = value + _chosen(rows.effects, b, rows.inner, seen_inner)
    if with_outer and c is not None and rows.outer is not None:
        value = value + _chosen(rows.effects[columns], c, rows.outer, seen_outer)
    if interval is None:
        return value, spread
    held, cov_c = effects.conditional_covariances(fit)
    evaluation = deviance.evaluation
    if level != effects.POPULATION:
        if at_inner:
            i = rows.inner[seen_inner]
            z = rows.effects[:, seen_inner]
            spread[seen_inner] += np.einsum("an,abn,bn->n", z, held[:, :, i], z)
            follow[:, seen_inner] -= np.einsum("apn,an->pn", evaluation.inner_cross[:, :-1, i], inner @ z)
            new = ~seen_inner
            spread[new] += np.einsum("an,ab,bn->n", rows.effects[:, new], inner, rows.effects[:, new])
        if outer is not None and cov_c is not None and rows.outer is not None and evaluation.level is not None:
            u = rows.effects[columns]
            j, z = rows.outer[seen_outer], u[:, seen_outer]
            spread[seen_outer] += np.einsum("rn,rsn,sn->n", z, cov_c[:, :, j], z)
            follow[:, seen_outer] -= np.einsum("rpn,rn->pn", evaluation.level.cross[:, :-1, j], outer @ z)
            new = ~seen_outer
            spread[new] += np.einsum("rn,rs,sn->n", u[:, new], outer, u[:, new])
            both = seen_inner & seen_outer
            if both.any():  # Cov(b_i, c_j | y) = -D A_i'V^-1 U_j T
                shared = evaluation.level.pair_cross(rows.inner[both], rows.outer[both])
                spread[both] -= 2 * np.einsum("an,arn,rn->n", inner @ rows.effects[:, both], shared, outer @ u[:, both])
    if interval == "prediction" and not at_inner:  # a new group
        spread += np.einsum("an,ab,bn->n", rows.effects, inner, rows.effects)
        if outer is not None and level == effects.POPULATION:
            spread += np.einsum("rn,rs,sn->n", rows.effects[columns], outer, rows.effects[columns])
    spread += np.einsum("pn,pq,qn->n", follow, deviance.unscaled, follow)
    if interval == "prediction":
        spread += 1.0
    return value, spread * deviance.sigma2


def _chosen(columns: FloatArray, values: FloatArray, at: IntArray, seen: Any) -> FloatArray:
    out = np.zeros(columns.shape[1])
    out[seen] = np.einsum("an,an->n", columns[:, seen], values[:, at[seen]])
    return out
