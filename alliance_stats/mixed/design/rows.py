"""The rows and values a model takes from a table: complete rows, time, weights, outcome, typical values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.columns import ColumnPlan, plan_columns
from alliance_stats.mixed.design.design import Strata
from alliance_stats.mixed.design.grouping import Factor
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.formulas import holds_dates, variables_of
from alliance_stats.tables.schema import DataError, numeric, plain, refuse


def complete_rows(data: pd.DataFrame, variables: tuple[str, ...]) -> tuple[pd.DataFrame, IntArray, dict[str, int]]:
    """The needed columns of the rows that miss none of them, and how many values each column missed."""
    if not data.columns.is_unique:
        for name in variables:
            if int((data.columns == name).sum()) > 1:
                raise DataError(f"The data have several columns named {name!r}.", remedy="Rename or drop all but one.")
    holes = {name: data[name].isna().to_numpy() for name in variables}
    missing = {name: int(own.sum()) for name, own in holes.items() if own.any()}
    kept = np.flatnonzero(~np.any([np.zeros(len(data), dtype=bool), *holes.values()], axis=0))
    table = data.loc[:, list(variables)].iloc[kept] if missing else data
    if not len(table):
        found = ", ".join(f"{name!r} misses {count}" for name, count in missing.items())
        raise DataError(
            f"No row is complete ({found or 'the data have no rows'}).",
            remedy="Check the columns the formula names; every row used must have all of them.",
        )
    return table, kept, missing


def time_of(table: pd.DataFrame, name: str) -> FloatArray:
    """The time column as numbers; dates count in days."""
    column = table[name]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return np.asarray((column - column.min()) / pd.Timedelta(days=1), dtype=np.float64)
    return numeric(table, name)


def check_times(table: pd.DataFrame, factor: str, groups: Factor, time: str, when: FloatArray) -> None:
    """Two rows of one group at one time have no serial correlation."""
    twice = pd.DataFrame({"group": groups.codes, "time": when}).duplicated().to_numpy()
    if twice.any():
        label = plain(groups.labels[groups.codes[np.flatnonzero(twice)[0]]])
        problem = (
            f"Rows of one {factor!r} have the same {time!r}: {int(twice.sum())}, first of {label!r}. Their serial "
        )
        remedy = f"Keep one row per {factor} and {time}, or fit without correlation=."
        refuse(table, twice, f"{problem}correlation is not defined.", remedy=remedy, column=time)


def weights_of(table: pd.DataFrame, name: str) -> FloatArray:
    """The column of prior weights, all positive."""
    values = numeric(table, name)
    refuse(table, values <= 0, "Weights must be positive.", remedy="Leave out rows without weight.", column=name)
    return values


def strata_of(table: pd.DataFrame, name: str, order: IntArray | None, prior: FloatArray | None) -> Strata:
    """The strata of the rows by a column, in the order used; at equal variances for the start."""
    codes, labels = pd.factorize(table[name], sort=True)
    counts = np.bincount(codes)
    if len(labels) < 2 or counts.min() < 2:
        few = f"{plain(labels[int(np.argmin(counts))])!r} has {int(counts.min())} row(s)"
        raise DataError(
            f"variance_by={name!r} needs at least two strata of two rows and more; "
            + (few if len(labels) > 1 else f"there is one, {plain(labels[0])!r}")
            + ".",
            column=name,
            remedy="Fit without variance_by=, or join strata.",
        )
    used = codes.astype(np.int64) if order is None else codes[order].astype(np.int64)
    weights = np.ones(len(used)) if prior is None else prior
    return Strata(name, tuple(plain(label) for label in labels), used, weights, np.ones(len(labels)))


def outcome_of(side: str, table: pd.DataFrame) -> FloatArray:
    """The one numeric column of the outcome: a column of the data, or a transform of one."""
    if side in table.columns:
        if holds_dates(table[side]):
            raise DataError(f"The outcome {side!r} holds dates.", remedy="Compute a number first, such as days.")
        return numeric(table, side)
    plan, columns = plan_columns(f"0 + {side}", table)
    if len(columns) != 1:
        raise DataError(
            f"The outcome {side!r} has {len(columns)} columns ({', '.join(plan.names)}).",
            remedy="The outcome must be one numeric column, or a transform of one.",
        )
    return columns[0]


def typical_values(fixed: ColumnPlan, table: pd.DataFrame) -> dict[str, float | tuple[object, ...]]:
    """The mean of each numeric variable of the fixed part, the levels of each categorical one in coding order."""
    levels: dict[str, tuple[object, ...]] = {}
    if fixed.spec is not None:
        for expression, (kind, state) in fixed.spec.encoder_state.items():
            names = variables_of(expression)
            if kind.value == "categorical" and len(names) == 1:
                levels[names[0]] = tuple(state["categories"])
    typical: dict[str, float | tuple[object, ...]] = {}
    for name in variables_of(fixed.side):
        column = table[name]
        if name in levels:
            typical[name] = levels[name]
        elif pd.api.types.is_numeric_dtype(column.dtype):
            typical[name] = float(numeric(table, name).mean())
        else:
            typical[name] = tuple(column.drop_duplicates().sort_values())
    return typical


def spreads_of(fixed: ColumnPlan, table: pd.DataFrame) -> dict[str, float]:
    """The standard deviation of each numeric variable of the fixed part; 1 where it is constant."""
    names = [name for name in variables_of(fixed.side) if pd.api.types.is_numeric_dtype(table[name].dtype)]
    return {name: float(numeric(table, name).std()) or 1.0 for name in names}
