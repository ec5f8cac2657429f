"""The tables every step reads and writes: column names, allowed values, and the error for data that break them.

Each name is written once, here. A step checks its input at the door with :func:`check_sessions` or
:func:`require_columns` and then trusts it.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import IntArray, changes, sorted_rows

# -- column names ---------------------------------------------------------------------------------------------
PATIENT = "patient"
SESSION = "session"
THERAPIST = "therapist"
DATE = "date"
ATTENDANCE = "attendance"
ENDING = "ending"
LAST_SESSION = "last_session"

# -- allowed values -------------------------------------------------------------------------------------------
REPAIRED, UNREPAIRED, CENSORED = "repaired", "unrepaired", "censored"
STATUSES = (REPAIRED, UNREPAIRED, CENSORED)

COMPLETED, DROPOUT, TRANSFERRED, ONGOING = "completed", "dropout", "transferred", "ongoing"
ENDINGS = (COMPLETED, DROPOUT, TRANSFERRED, ONGOING)

PATTERNS = ("none", "repaired", "unrepaired", "mixed", "censored")
"""A patient's rupture pattern: no rupture; every decided one repaired; none repaired; both; none decided yet."""

ATTENDED, LATE, CANCELLED, NO_SHOW = "attended", "late", "cancelled", "no-show"
ATTENDANCES = (ATTENDED, LATE, CANCELLED, NO_SHOW)

# -- tables ---------------------------------------------------------------------------------------------------
EVENTS_DTYPES: dict[str, str] = {
    "event": "int64",
    "onset": "int64",
    "nadir": "int64",
    "repaired_at": "Int64",
    "status": "object",
    "baseline": "float64",
    "nadir_score": "float64",
    "repair_score": "float64",
    "drop": "float64",
    "drop_units": "float64",
    "sessions_to_repair": "Int64",
    "score": "object",
    "rule": "object",
}
"""EVENTS, one row per rupture, sorted by patient and event; ``patient`` comes first, in the dtype of SESSIONS."""

EVENTS_COLUMNS = (PATIENT, *EVENTS_DTYPES)
TERMS_COLUMNS = ("term", "estimate", "std_error", "df", "statistic", "p_value", "ci_low", "ci_high")
VARIANCES_COLUMNS = ("group", "term", "term_2", "variance", "sd", "correlation")

Seed = int | np.random.Generator  # Randomness is an argument: an integer, or a generator that goes on where it was


class DataError(ValueError):
    """Data, or a study's settings, that the package cannot use as they are.

    Parameters
    ----------
    problem : str
        What was found and what is allowed, a full sentence.
    remedy : str
        What to do about it, a full sentence.
    row : int or str, optional
        The first bad row: the line of the file where there is a file, otherwise the row's label in the table.
    patient, session, column, value : optional
        The first place of the problem in the study.

    Examples
    --------
    >>> raise DataError("'alliance' holds text.", row=7, patient="p3", session=2, value="n/a",
    ...                 remedy="Name the code in missing_codes=.")
    Traceback (most recent call last):
        ...
    alliance_stats.tables.schema.DataError: 'alliance' holds text. First at row 7 (patient 'p3', session 2): 'n/a'.
    Name the code in missing_codes=.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        row: object = None,
        patient: object = None,
        session: object = None,
        column: str | None = None,
        value: object = None,
    ) -> None:
        self.problem, self.remedy = problem, remedy
        self.row, self.patient, self.session, self.column, self.value = row, patient, session, column, value
        super().__init__(f"{problem}{self._place()} {remedy}")

    def _place(self) -> str:
        named = {"patient": self.patient, "session": self.session, "column": self.column}
        where = ", ".join(f"{name} {plain(found)!r}" for name, found in named.items() if found is not None)
        value = "" if self.value is None else f": {plain(self.value)!r}"
        if self.row is not None:
            return f" First at row {plain(self.row)}{f' ({where})' if where else ''}{value}."
        return f" First at {where}{value}." if where else (f" Found{value}." if value else "")


def plain(value: object) -> object:
    """A numpy scalar as the Python value, so that messages read ``4`` and not ``np.int64(4)``."""
    return value.item() if isinstance(value, np.generic) else value


def suggest(name: object, known: Iterable[Hashable]) -> str:
    """The end of an error message about an unknown name: the same of another type, the nearest, or the known ones.

    >>> suggest("allience", ["alliance", "phq9"])
    "Did you mean 'alliance'?"
    >>> suggest("x", ["alliance", "phq9"])
    "Known: 'alliance', 'phq9'."
    >>> suggest("17", [16, 17])
    "It is 17 there (int), not '17' (str)."
    """
    known, name = [plain(item) for item in known], plain(name)
    names = [str(item) for item in known]
    if str(name) in names:
        there = known[names.index(str(name))]
        return f"It is {there!r} there ({type(there).__name__}), not {name!r} ({type(name).__name__})."
    folded = {item.casefold(): item for item in reversed(names)}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    if near:
        return f"Did you mean {folded[near[0]]!r}?"
    shown = ", ".join(repr(item) for item in names[:20])
    return f"Known: {shown}{', ...' if len(names) > 20 else '.'}" if names else "There are none."


def require_columns(table: pd.DataFrame, columns: Iterable[str], *, table_name: str = "the table") -> None:
    """Raise unless `table` is a DataFrame that has every one of `columns`, each of them once."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{table_name} must be a pandas DataFrame, not {type(table).__name__}.")
    for column in columns:
        found = int((table.columns == column).sum())
        if found == 0:
            raise DataError(f"{table_name} has no column {column!r}.", remedy=suggest(column, table.columns))
        if found > 1:
            raise DataError(f"{table_name} has {found} columns named {column!r}.", remedy="Rename or drop all but one.")


def require_choice(value: object, allowed: Sequence[object], *, name: str) -> None:
    """Raise ``ValueError`` unless `value` is one of `allowed`, naming the argument and the nearest choice."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not known. {suggest(str(value), [str(item) for item in allowed])}")


def require_whole(value: object, *, name: str, low: int) -> None:
    """Raise unless the argument `name` is a whole number of at least `low` (``TypeError``, ``ValueError``)."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} must be a whole number.")
    if int(value) < low:
        raise ValueError(f"{name}={value!r} must be {low} or more.")


def refuse(
    table: pd.DataFrame, bad: Any, problem: str, *, remedy: str, column: str | None = None, row: bool = True
) -> None:
    """Raise ``DataError`` at the first row where the mask `bad` holds, with its patient, session and cell of `column`.

    Without such a row nothing happens. ``row=False``: the labels of `table` are not those of the user's data.

    >>> refuse(pd.DataFrame({"patient": ["p3"], "x": [-9]}, index=[7]), [True], "x is low.", remedy="Look.", column="x")
    Traceback (most recent call last):
        ...
    alliance_stats.tables.schema.DataError: x is low. First at row 7 (patient 'p3', column 'x'): -9. Look.
    """
    found = np.flatnonzero(np.asarray(bad))
    if not len(found):
        return
    first = table.iloc[found[:1]]

    def cell(name: str | None) -> object:
        value = None if name is None or name not in first else first[name].iloc[0]
        return None if value is None or pd.isna(value) else value

    raise DataError(
        problem,
        remedy=remedy,
        row=first.index[0] if row else None,
        patient=cell(PATIENT),
        session=cell(SESSION) if column != SESSION else None,
        column=column,
        value=cell(column),
    )


def require_allowed(table: pd.DataFrame, column: str, allowed: Sequence[str]) -> None:
    """Raise ``DataError`` at the first value of a column that is neither missing nor one of `allowed`."""
    bad = table[column].notna() & ~table[column].isin(allowed)
    remedy = suggest(str(table.loc[bad.to_numpy(), column].iloc[0]), allowed) if bad.any() else ""
    refuse(table, bad, f"{column!r} must be one of {', '.join(allowed)}.", remedy=remedy, column=column)


def check_sessions(sessions: pd.DataFrame, measures: Iterable[str] = ()) -> pd.DataFrame:
    """SESSIONS as every step trusts it: sorted by patient and session, one row for each, numbers as numbers.

    `sessions` may have any index and any row order; the new frame has a RangeIndex, ``session`` as int64 and `measures`
    as float64 with NaN for missing; every other column rides along. Raises ``DataError`` at the first bad row: a
    missing patient, a session that is missing or not a whole number, a duplicate, a measure that holds text or
    infinity.
    """
    return check_runs(sessions, measures)[0]


def check_runs(sessions: pd.DataFrame, measures: Iterable[str] = ()) -> tuple[pd.DataFrame, IntArray]:
    """:func:`check_sessions`, and the row at which each patient begins."""
    measures = list(dict.fromkeys(measures))
    require_columns(sessions, [PATIENT, SESSION, *measures], table_name="sessions")
    if sessions.empty:
        raise DataError("sessions has no rows.", remedy="Read a file with at least one patient and session.")
    table = sessions.reset_index(drop=True)
    patient = table[PATIENT]
    refuse(sessions, patient.isna(), "A row has no patient.", remedy="Fill in the id or remove the row.")
    plain_numbers = {SESSION: _whole_sessions(sessions)} | {name: numeric(sessions, name) for name in measures}
    changed: dict[str, Any] = {name: own for name, own in plain_numbers.items() if table[name].dtype != own.dtype}
    if changed:
        table = table.assign(**changed)
    order, first = _sorted_order(sessions, table)
    if order is not None:
        table = table.iloc[order].reset_index(drop=True)
    return table, first


def numbered(table: pd.DataFrame) -> tuple[IntArray, pd.Index]:
    """The number of each row's patient, and the patients; the rows lie as :func:`check_sessions` sorts them."""
    head = changes(table[PATIENT])
    return np.cumsum(head) - 1, pd.Index(table[PATIENT].array[head], name=PATIENT)


def numeric(table: pd.DataFrame, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column of `table` as float64 with NaN for missing; ``DataError`` at the first text or infinity."""
    values, remedy = table[column], "Correct the cell, or name the code with missing_codes= when reading."
    if not _holds_numbers(values):
        coerced, problem = pd.to_numeric(values, errors="coerce"), f"{column!r} must hold numbers."
        refuse(table, coerced.isna() & values.notna(), problem, remedy=remedy, column=column)
        if not _holds_numbers(coerced):
            raise DataError(problem, remedy=remedy, column=column)
        values = coerced
    result = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        total = result.sum()  # one pass tells of most columns that they hold no infinity
    if not np.isfinite(total) and np.isinf(result).any():
        remedy = "Correct the cell or set it to missing."
        refuse(table, np.isinf(result), f"{column!r} holds infinity.", remedy=remedy, column=column)
    return result


def generator(seed: Seed) -> np.random.Generator:
    """The random generator of a `seed=` argument."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def empty_events(patients: pd.Series) -> pd.DataFrame:
    """An EVENTS table without a row, its ``patient`` column in the dtype of `patients`."""
    columns = {name: pd.Series(dtype=dtype) for name, dtype in EVENTS_DTYPES.items()}
    return pd.DataFrame({PATIENT: patients.iloc[:0].reset_index(drop=True), **columns})


def _whole_sessions(sessions: pd.DataFrame) -> IntArray:
    column = sessions[SESSION]
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "i":
        return column.to_numpy(dtype=np.int64)
    values = numeric(sessions, SESSION)
    remedy = "Give every row the whole number of its session (1, 2, ...)."
    refuse(sessions, np.floor(values) != values, "'session' must hold whole numbers.", remedy=remedy, column=SESSION)
    return values.astype(np.int64)


def _holds_numbers(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype)


def _sorted_order(original: pd.DataFrame, table: pd.DataFrame) -> tuple[IntArray | None, IntArray]:
    """The order that sorts by patient and session (None: already sorted), and where in it each patient begins.

    Raises on a duplicate.
    """
    patient = table[PATIENT]
    if patient.dtype == object and pd.api.types.infer_dtype(patient).startswith("mixed"):
        kind = type(patient.iloc[0])
        other = [not isinstance(value, kind) for value in patient]
        remedy = "Read the ids as text (or all as numbers): 7 and '7' would be two patients."
        refuse(original, other, "'patient' mixes numbers and text.", remedy=remedy)
    order, first, repeated = sorted_rows(patient, table[SESSION].to_numpy())
    if len(repeated):
        bad = np.isin(np.arange(len(table)), repeated)
        remedy = "Keep one of them, or renumber the sessions."
        refuse(original, bad, f"Duplicate patient-session rows: {len(repeated)}.", remedy=remedy)
    return order, first
