"""How a therapy ended: read from a table, or derived by a named definition, because dropout rates depend on it.

Definitions of dropout in use differ (Swift & Greenberg 2012: rates depend on the definition), so every derived table
says which one made it, and `compare_endings` sets several side by side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import (
    ENDING,
    ENDINGS,
    LAST_SESSION,
    PATIENT,
    SESSION,
    DataError,
    numeric,
    require_columns,
)

Array = np.ndarray[Any, Any]


class Endings(NamedTuple):
    """The endings in the order of the patients.

    Attributes
    ----------
    ending : (patients,) array of str
    last_session : (patients,) array of int
    end_day : (patients,) array of float or None
        Days since 1970-01-01, NaN where not given; None without the column ``end_date``.
    definition : str or None
        The definition that made them, where the table says so.
    """

    ending: Array
    last_session: Array
    end_day: Array | None
    definition: str | None


def resolve_endings(table: pd.DataFrame, patients: Any, endings: pd.DataFrame | None) -> Endings:
    """The ending and last session of each of `patients`; `table` is SESSIONS, checked and sorted."""
    given = _from_sessions(table) if endings is None else endings
    require_columns(given, [PATIENT, ENDING], table_name="endings")
    code = patients.get_indexer(given[PATIENT])
    _check(given, code, patients)
    place = np.empty(len(patients), dtype=np.int64)
    place[code] = np.arange(len(given))
    ending = given[ENDING].to_numpy(dtype=object)[place]
    last_session = _last_sessions(table, given, place, len(patients))
    end_day = None
    if "end_date" in given:
        day = (pd.to_datetime(given["end_date"]) - pd.Timestamp("1970-01-01")).dt.days
        end_day = day.to_numpy(dtype=np.float64)[place]
    definition = given.attrs.get("definition")
    if definition is None and "definition" in given:
        names = given["definition"].dropna().unique()
        definition = str(names[0]) if len(names) == 1 else None
    return Endings(ending, last_session, end_day, definition)


def _from_sessions(table: pd.DataFrame) -> pd.DataFrame:
    """The endings a column of SESSIONS states, the same in every row of a patient where it stands."""
    if ENDING not in table:
        raise DataError(
            "There are no endings: neither endings= nor a column 'ending' in sessions.",
            remedy="Pass endings= (patient, ending), or derive them with derive_endings.",
        )
    stated = table.loc[table[ENDING].notna(), [PATIENT, ENDING]].drop_duplicates()
    twice = stated[PATIENT].duplicated()
    if twice.any():
        raise DataError(
            "'ending' differs within a patient.",
            remedy="Give every patient one ending.",
            patient=stated.loc[twice, PATIENT].iloc[0],
        )
    return stated.reset_index(drop=True)


def _check(endings: pd.DataFrame, code: Array, patients: Any) -> None:
    def fail(bad: Array, problem: str, remedy: str, column: str | None = None) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            value = None if column is None else endings[column].iloc[row]
            where = endings[PATIENT].iloc[row]
            raise DataError(problem, remedy=remedy, row=endings.index[row], patient=where, column=column, value=value)

    fail(
        code < 0,
        "endings names a patient that sessions does not have.",
        "Remove the row, or read the patient's sessions.",
    )
    fail(endings[PATIENT].duplicated().to_numpy(), "endings names a patient twice.", "Keep one row per patient.")
    known = endings[ENDING].isin(ENDINGS).to_numpy()
    fail(~known, f"'ending' must be one of {', '.join(ENDINGS)}.", "Recode the endings.", ENDING)
    absent = np.flatnonzero(np.bincount(code, minlength=len(patients)) == 0)
    if len(absent):
        raise DataError(
            f"{len(absent)} patient(s) of sessions have no ending.",
            remedy="Give every patient one; 'ongoing' where treatment goes on or nothing is known.",
            patient=patients[absent[0]],
        )


def _last_sessions(table: pd.DataFrame, endings: pd.DataFrame, place: Array, n_patients: int) -> Array:
    session = table[SESSION].to_numpy()
    change = np.flatnonzero(np.asarray(table[PATIENT].iloc[1:]) != np.asarray(table[PATIENT].iloc[:-1]))
    first, last = session[np.r_[0, change + 1]], session[np.r_[change, len(table) - 1]]
    if LAST_SESSION not in endings:
        return last
    stated = numeric(endings, LAST_SESSION)[place]
    result = np.where(np.isnan(stated), last, stated)
    bad = (result < first) | (result != np.floor(result))
    if bad.any():
        row = int(place[np.flatnonzero(bad)[0]])
        raise DataError(
            "'last_session' must be a whole session number, not before the patient's first session.",
            remedy="Correct it, or leave it missing to use the patient's last row.",
            row=endings.index[row],
            patient=endings[PATIENT].iloc[row],
            value=endings[LAST_SESSION].iloc[row],
        )
    return result.astype(np.int64)
