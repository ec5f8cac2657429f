"""Rows that are kept for a stated reason, the loss counted in the flow."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import as_text
from alliance_stats.tables.arrays import BoolArray
from alliance_stats.tables.flow import FLOW, counted, record
from alliance_stats.tables.schema import PATIENT, DataError, numeric, require_columns, require_whole, suggest

LEFT_OUT = "patients_left_out"
Limit = int | float | datetime.date
_CONDITIONS = "column= with equals=, not_equals=, at_least= or at_most=; or min_sessions="


def keep(
    sessions: pd.DataFrame,
    where: Any = None,
    *,
    because: str,
    column: str | None = None,
    equals: Any = None,
    not_equals: Any = None,
    at_least: Limit | None = None,
    at_most: Limit | None = None,
    min_sessions: int | None = None,
) -> pd.DataFrame:
    """The rows of SESSIONS for which a condition holds, the loss recorded under its reason.

    The condition is `where`, or it is about one `column`, or about patients (`min_sessions`), as in the ``[[keep]]``
    sections of a study file. A row whose cell in `column` is empty is not kept, except with `min_sessions`.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    where : Series, array or list of bool, optional
        One value per row; missing counts as False.
    because : str
        What is kept, in words, such as ``"four or more rated sessions"``.
    column : str, optional
        As it is called after reading, such as ``"session"``.
    equals, not_equals : value or list, optional
        The value, or one of the values, that the column must have or must not have.
    at_least, at_most : float or date, optional
        Limits of a column of numbers or dates, themselves kept.
    min_sessions : int, optional
        Only patients with at least this many rows; with `column`, with this many values in it. All their rows are kept.

    Returns
    -------
    DataFrame
        A new frame whose ``attrs["flow"]`` has one step more. ``attrs["patients_left_out"]`` lists the patients of
        whom no row is left; :func:`read_endings` leaves them out too.

    Raises
    ------
    DataError
        If the column is missing, holds text where a limit is given, or no row meets the condition about `column`.
    ValueError
        If `where` has another length or index than `sessions`, `because` is empty, or there is no condition.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1], "arm": ["a", "a", "b"]})
    >>> from alliance_stats.tables.flow import flow
    >>> flow(keep(rows, rows["patient"] == 1, because="patient 1"))
              step  patients  sessions  patients_lost  sessions_lost
    0  at the start         2         3              0              0
    1     patient 1         1         2              1              1
    >>> keep(rows, column="arm", equals="b", because="only arm b has therapists")["patient"].tolist()
    [2]
    """
    require_columns(sessions, [PATIENT], table_name="sessions")
    if not because.strip():
        raise ValueError("because= must say in words what is kept.")
    if (where is not None) + (column is not None or min_sessions is not None) != 1:
        raise ValueError(f"State what is kept: a mask, or {_CONDITIONS}.")
    if where is not None:
        mask = _mask(sessions, where)
    elif min_sessions is not None:
        if any(given is not None for given in (equals, not_equals, at_least, at_most)):
            raise ValueError("min_sessions= is a condition of its own: make two steps of it.")
        mask = _often_enough(sessions, column, min_sessions)
    elif column is not None:
        mask = _as_stated(sessions, column, equals, not_equals, at_least, at_most)
    kept = sessions.loc[mask].copy()
    gone = sessions.loc[~sessions[PATIENT].isin(kept[PATIENT]), PATIENT].unique().tolist()
    kept.attrs = {
        **sessions.attrs,
        FLOW: [*record(sessions), counted(because, kept)],
        LEFT_OUT: [*sessions.attrs.get(LEFT_OUT, []), *gone],
    }
    return kept


def _mask(sessions: pd.DataFrame, where: Any) -> BoolArray:
    if isinstance(where, pd.Series) and not where.index.equals(sessions.index):
        raise ValueError("where has another index than sessions.")
    mask = pd.array(np.asarray(where, dtype=object), dtype="boolean").fillna(False).to_numpy(dtype=bool)
    if len(mask) != len(sessions):
        raise ValueError(f"where has {len(mask)} values for {len(sessions)} rows.")
    return np.asarray(mask)


def _as_stated(
    sessions: pd.DataFrame, column: str, equals: Any, not_equals: Any, at_least: Limit | None, at_most: Limit | None
) -> BoolArray:
    if equals is None and not_equals is None and at_least is None and at_most is None:
        raise ValueError(f"State what is kept: {_CONDITIONS}.")
    for name, limit in (("at_least", at_least), ("at_most", at_most)):
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, Limit)):
            raise ValueError(f"{name}={limit!r} must be a number or a date.")
    require_columns(sessions, [column], table_name="sessions")
    where = sessions[column].notna()
    text = sessions[column].map(as_text)
    if equals is not None:
        where &= text.isin(_texts(equals))
    if not_equals is not None:
        where &= ~text.isin(_texts(not_equals))
    if at_least is not None or at_most is not None:
        where &= _between(sessions, column, at_least, at_most)
    if not where.any():
        remedy = "Correct the condition."
        if equals is not None:
            remedy = suggest(as_text(_texts(equals)[0]), text[sessions[column].notna()].unique())
        raise DataError(f"No row is left: no row has the stated value of {column!r}.", remedy=remedy, column=column)
    return where.to_numpy(dtype=bool)


def _between(sessions: pd.DataFrame, column: str, low: Limit | None, high: Limit | None) -> Any:
    """Which cells lie between two numbers, or two dates; a column of dates takes dates, any other numbers."""
    dates = pd.api.types.is_datetime64_any_dtype(sessions[column].dtype)
    limits = [limit for limit in (low, high) if limit is not None]
    if any(isinstance(limit, datetime.date) != dates for limit in limits):
        kind = "dates" if dates else "numbers"
        remedy = f"Write the limit as {'2026-01-31, without quotes' if dates else 'a number'}."
        raise DataError(f"{column!r} holds {kind}; the limit is {limits[0]}.", remedy=remedy, column=column)
    values = sessions[column].dt.normalize() if dates else pd.Series(numeric(sessions, column), index=sessions.index)
    ends = [pd.Timestamp(limit) if isinstance(limit, datetime.date) else limit for limit in (low, high)]
    inside = values.notna()
    if ends[0] is not None:
        inside &= values >= ends[0]
    return inside if ends[1] is None else inside & (values <= ends[1])


def _often_enough(sessions: pd.DataFrame, column: str | None, least: int) -> BoolArray:
    """Rows of the patients with at least `least` rows, or values in `column`."""
    require_whole(least, name="min_sessions", low=1)
    require_columns(sessions, [column] if column is not None else [], table_name="sessions")
    there = pd.Series(True, index=sessions.index) if column is None else sessions[column].notna()
    held = there.groupby(sessions[PATIENT].to_numpy()).sum().reindex(sessions[PATIENT]).to_numpy()
    if not (held >= least).any():
        what = "sessions" if column is None else f"values of {column!r}"
        problem = f"No patient has {least} {what}; the most are {int(held.max())}."
        raise DataError(problem, remedy="Lower min_sessions=.", column=column)
    return np.asarray(held >= least)


def _texts(values: Any) -> list[str]:
    return [as_text(value) for value in (values if isinstance(values, list | tuple | set) else [values])]
