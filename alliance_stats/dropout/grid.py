"""The grid of session numbers under INTERVALS: every session from a patient's first to the last, recorded or not.

A missed session has a cell though it has no row in SESSIONS, so that "one session earlier" is one cell earlier.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import Array
from alliance_stats.tables.schema import (
    ATTENDANCE,
    ATTENDANCES,
    CANCELLED,
    LATE,
    NO_SHOW,
    PATIENT,
    SESSION,
    DataError,
    refuse,
)


class Grid(NamedTuple):
    """Every session number of every patient from the first to the last, recorded or not."""

    # patient, session: (g,); whose cell it is, and which session
    patient: Array
    session: Array
    row: Array  # (g,): the row of SESSIONS recorded there, -1 where there is none
    begin: Array  # (patients + 1,): where each patient's cells begin

    def at(self, cells: Array, back: int) -> tuple[Array, Array]:
        """The cells `back` sessions earlier, and whether the patient has them."""
        if back == 0:
            return cells, np.ones(len(cells), dtype=bool)
        earlier = cells - back
        has = earlier >= self.begin[self.patient[cells]]
        return np.where(has, earlier, 0), has


def lay_grid(table: pd.DataFrame, patient: Array, last_session: Array) -> Grid:
    """The cells of all patients; `table` is sorted, `patient` numbers its rows, `last_session` is one per patient."""
    session = table[SESSION].to_numpy()
    first_row = np.flatnonzero(np.r_[True, np.diff(patient) > 0])
    last_row = np.r_[first_row[1:], len(table)] - 1
    first = session[first_row]
    length = np.maximum(session[last_row], last_session) - first + 1
    total = int(length.sum())
    if total > 1_000_000 + 100 * len(table):
        widest = int(np.argmax(length))
        raise DataError(
            f"The session numbers span {total} sessions for {len(table)} rows.",
            remedy="Number the sessions 1, 2, ... (dates belong in the column 'date').",
            patient=table[PATIENT].iloc[first_row[widest]],
            session=session[last_row[widest]],
        )
    begin = np.r_[0, np.cumsum(length)]
    owner = np.repeat(np.arange(len(first), dtype=np.int64), length)
    offset = first - begin[:-1]
    row = np.full(total, -1, dtype=np.int64)
    row[session - offset[patient]] = np.arange(len(table))
    return Grid(owner, np.arange(total, dtype=np.int64) + offset[owner], row, begin)


def attendance_on_grid(table: pd.DataFrame, grid: Grid) -> dict[str, Array]:
    """Which sessions were missed (1 or 0, NaN where nobody noted it) and, with attendance, to which patients came late.

    A session number without a row is a missed one.
    """
    recorded = grid.row >= 0
    if ATTENDANCE not in table:
        return {"missed": (~recorded).astype(np.float64)}
    codes, levels = pd.factorize(table[ATTENDANCE])
    unknown = np.isin(codes, np.flatnonzero(~pd.Index(levels).isin(ATTENDANCES)))
    problem = f"'attendance' must be one of {', '.join(ATTENDANCES)}."
    refuse(table, unknown, problem, remedy="Recode the column.", column=ATTENDANCE, row=False)
    found = {}
    for name, which in (("missed", (CANCELLED, NO_SHOW)), ("late", (LATE,))):
        # The last entry, reached by code -1, is the attendance that nobody noted.
        value_of = np.r_[np.asarray(pd.Index(levels).isin(which), dtype=np.float64), np.nan]
        found[name] = value_of[codes][grid.row]
        found[name][~recorded] = 1.0 if name == "missed" else 0.0
    return found


def signal(name: str, on_grid: Array, grid: Grid, known: Array, has: Array) -> dict[str, Any]:
    """The last session's value and the number of sessions so far, as known at the cells `known`."""
    running = np.cumsum(on_grid == 1.0)
    before = np.r_[0, running][grid.begin[:-1]]
    count = running - before[grid.patient]
    return {f"{name}_last": _where(has, on_grid[known], np.nan), f"n_{name}_so_far": _where(has, count[known], 0)}


def _where(has: Array, values: Array, otherwise: float) -> Array:
    """`values` where the patient has such a session, `otherwise` elsewhere."""
    return values if has.all() else np.where(has, values, otherwise)


def _running_sum(values: Array, grid: Grid) -> Array:
    """Cumulative sum within each patient (summed apart, so that no patient's rounding reaches another)."""
    return np.asarray(pd.Series(values).groupby(grid.patient, sort=False).cumsum())


def _latest(valid: Array, grid: Grid) -> Array:
    """The latest cell of the same patient, up to and including each cell, where `valid` holds; -1 if none."""
    latest = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), -1))
    return np.where(latest >= grid.begin[grid.patient], latest, -1)


def _carried(values: Array, grid: Grid, carry: int | None) -> Array:
    if carry == 0:
        return values
    latest = _latest(~np.isnan(values), grid)
    usable = latest >= 0
    if carry is not None:
        usable &= np.arange(len(values)) - latest <= carry
    return np.where(usable, values[latest], np.nan)


def measure_columns(
    values: Array, name: str, grid: Grid, known: Array, has: Array, carry: int | None
) -> dict[str, Array]:
    """The value of a rating, its mean so far, the difference of the two, and the last change, as known at `known`."""
    rated = np.where(grid.row >= 0, values[grid.row], np.nan)
    here = ~np.isnan(rated)
    number = _running_sum(here.astype(np.float64), grid)
    with np.errstate(invalid="ignore"):
        mean = _running_sum(np.where(here, rated, 0.0), grid) / np.where(number > 0, number, np.nan)
    value = _carried(rated, grid, carry)
    before = np.r_[np.nan, value[:-1]]
    before[grid.begin[:-1]] = np.nan
    change = _carried(rated - before, grid, carry)
    on_grid = {
        name: value,
        f"{name}_between_so_far": mean,
        f"{name}_within_so_far": value - mean,
        f"{name}_change": change,
    }
    return {column: _where(has, found[known], np.nan) for column, found in on_grid.items()}


def value_at(table: pd.DataFrame, column: str, grid: Grid, known: Array, has: Array, carry: int | None) -> Any:
    """The latest recorded value of any column at the cells `known`, carried at most `carry` sessions."""
    values = table[column]
    recorded = grid.row >= 0
    there = values.notna().to_numpy()
    if recorded.all() and there.all() and has.all():
        return values.array.take(grid.row[known])
    valid = recorded.copy()
    valid[recorded] = there[grid.row[recorded]]
    cell = known if carry == 0 else _latest(valid, grid)[known]
    usable = has & (cell >= 0)
    usable &= valid[cell]
    if carry is not None:
        usable &= known - cell <= carry
    row = np.where(usable, grid.row[cell], -1)
    if pd.api.types.is_integer_dtype(values.dtype) and isinstance(values.dtype, np.dtype) and (row < 0).any():
        values = values.astype(np.float64)
    return values.array.take(row, allow_fill=True)


def fixed_column(table: pd.DataFrame, column: str, patient: Array, n_patients: int) -> Any:
    """One value per patient, the first recorded; DataError where a patient has two."""
    values = table[column]
    there = np.flatnonzero(values.notna().to_numpy())
    first = np.full(n_patients, -1, dtype=np.int64)
    first[patient[there][::-1]] = there[::-1]
    differs = (values.iloc[there].to_numpy() != values.iloc[first[patient[there]]].to_numpy()).astype(bool)
    problem = f"{column!r} is named as fixed, but changes within a patient."
    remedy = "Name it in covariates=, or correct the data."
    refuse(table.iloc[there], differs, problem, remedy=remedy, column=column, row=False)
    if pd.api.types.is_integer_dtype(values.dtype) and isinstance(values.dtype, np.dtype) and (first < 0).any():
        values = values.astype(np.float64)
    return values.array.take(first, allow_fill=True)
