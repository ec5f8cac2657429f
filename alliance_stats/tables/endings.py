"""ENDINGS, checked: how the therapy of each patient ended, and when. Every step that takes endings checks them here.

Every patient of the sessions needs exactly one ending. There is no default: a patient whose therapy goes on, or whose
ending is unknown, is ``ongoing``, and only the researcher can say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import Array, IntArray, changes
from alliance_stats.tables.schema import (
    ENDING,
    ENDINGS,
    LAST_SESSION,
    PATIENT,
    SESSION,
    DataError,
    numeric,
    refuse,
    require_columns,
    suggest,
)


class Endings(NamedTuple):
    """The endings in the order of the patients."""

    ending: Array  # (patients,) array of str
    last_session: Array  # (patients,) array of int
    # (patients,) array of float or None: days since 1970-01-01, NaN where not given; None without the column
    # ``end_date``
    end_day: Array | None
    definition: str | None  # The definition that made them, where the table says so


def check_endings(endings: pd.DataFrame, patients: pd.Index) -> pd.DataFrame:
    """ENDINGS as every step trusts them: one row for each of `patients`, in their order, with the labels they had.

    Raises ``DataError`` at the first unknown or missing ending, patient with two rows or none, or unknown patient.

    >>> table = pd.DataFrame({"patient": ["b", "a"], "ending": ["dropout", "completed"]})
    >>> check_endings(table, pd.Index(["a", "b"]))["ending"].tolist()
    ['completed', 'dropout']
    """
    for problem in endings_problems(endings, patients):
        raise problem
    ordered: pd.DataFrame = endings.iloc[np.argsort(patients.get_indexer(pd.Index(endings[PATIENT])))]
    return ordered


def endings_problems(endings: pd.DataFrame, patients: pd.Index) -> Iterator[DataError]:
    """What is wrong with ENDINGS, the error that :func:`check_endings` raises first."""
    require_columns(endings, [PATIENT, ENDING], table_name="endings")

    def found(bad: Array, problem: str, remedy: str, column: str | None = None) -> Iterator[DataError]:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            value = None if column is None else endings[column].iloc[row]
            where = endings[PATIENT].iloc[row]
            yield DataError(problem, remedy=remedy, row=endings.index[row], patient=where, column=column, value=value)

    unknown = ~endings[ENDING].isin(ENDINGS).to_numpy()
    words = [str(word) for word in pd.unique(endings[ENDING][unknown].dropna())]
    remedy = suggest(words[0], ENDINGS) if words else "Fill it in; 'ongoing' where nothing is known."
    if words and not remedy.startswith("Did"):
        meant = ", ".join(f"{word!r}: ..." for word in words[:6])
        remedy = f"Say what the words mean: codes={{{meant}}}, each one of {', '.join(ENDINGS)}."
    also = f" {int(unknown.sum())} are not." if unknown.sum() > 1 else ""
    yield from found(unknown, f"'ending' must be one of {', '.join(ENDINGS)}.{also}", remedy, ENDING)
    yield from found(
        endings[PATIENT].duplicated().to_numpy(), "endings names a patient twice.", "Keep one row per patient."
    )
    code = patients.get_indexer(pd.Index(endings[PATIENT]))
    remedy = "Read the patient's sessions, or remove the row."
    if (code < 0).all():
        remedy = "Give both tables the same ids, of the same type."
    also = f" {int((code < 0).sum())} such patients." if (code < 0).sum() > 1 else ""
    yield from found(code < 0, f"endings names a patient that sessions does not have.{also}", remedy)
    absent = patients[np.bincount(code[code >= 0], minlength=len(patients)) == 0]
    if len(absent):
        yield DataError(
            f"{len(absent)} patient(s) of sessions have no ending.",
            remedy="Give every patient one; 'ongoing' where treatment goes on or nothing is known.",
            patient=absent[0],
        )


def resolve_endings(table: pd.DataFrame, patients: pd.Index, endings: pd.DataFrame | None) -> Endings:
    """The ending and last session of each of `patients`; `table` is SESSIONS, checked and sorted."""
    given = check_endings(_from_sessions(table) if endings is None else endings, patients)
    end_day = None
    if "end_date" in given:
        day = (pd.to_datetime(given["end_date"]) - pd.Timestamp("1970-01-01")).dt.days
        end_day = day.to_numpy(dtype=np.float64)
    definition = given.attrs.get("definition")
    if definition is None and "definition" in given:
        names = given["definition"].dropna().unique()
        definition = str(names[0]) if len(names) == 1 else None
    return Endings(given[ENDING].to_numpy(dtype=object), _last_sessions(table, given), end_day, definition)


def _from_sessions(table: pd.DataFrame) -> pd.DataFrame:
    """The endings in a column of SESSIONS, where all filled-in rows of a patient must agree."""
    if ENDING not in table:
        raise DataError(
            "There are no endings: neither endings= nor a column 'ending' in sessions.",
            remedy="Pass endings= (patient, ending), or derive them with derive_endings.",
        )
    stated = table.loc[table[ENDING].notna(), [PATIENT, ENDING]].drop_duplicates()
    twice = stated[PATIENT].duplicated()
    refuse(stated, twice, "'ending' differs within a patient.", remedy="Give every patient one ending.", row=False)
    return stated.reset_index(drop=True)


def _last_sessions(table: pd.DataFrame, endings: pd.DataFrame) -> IntArray:
    session = table[SESSION].to_numpy(dtype=np.int64)
    start = np.flatnonzero(changes(table[PATIENT]))
    first, last = session[start], session[np.append(start[1:], len(table)) - 1]
    if LAST_SESSION not in endings:
        return np.asarray(last)
    stated = numeric(endings, LAST_SESSION)
    result = np.where(np.isnan(stated), last, stated)
    bad = (result < first) | (result != np.floor(result))
    problem = "'last_session' must be a whole session number, not before the patient's first session."
    remedy = "Correct it, or leave it missing to use the patient's last row."
    refuse(endings, bad, problem, remedy=remedy, column=LAST_SESSION)
    return result.astype(np.int64)
