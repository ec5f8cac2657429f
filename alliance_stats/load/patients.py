"""What is known once for each patient (age, arm, a score at intake), from a file with one row per patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.load.cells import as_text
from alliance_stats.load.keeping import LEFT_OUT
from alliance_stats.load.layout import layout_of
from alliance_stats.load.problems import Problems
from alliance_stats.load.raw import Raw
from alliance_stats.load.sessions import read_raw, shape_sessions
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, require_columns, suggest

PER_PATIENT = "per_patient"


def join_patients(
    sessions: pd.DataFrame,
    file: str | Path,
    *,
    patient: str = PATIENT,
    columns: Sequence[str] | None = None,
    measures: Sequence[str] | Mapping[str, str] | None = None,
    ranges: Mapping[str, Sequence[float]] | None = None,
    missing_codes: Sequence[Any] | Mapping[str, Sequence[Any]] = (),
    labelled: Sequence[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    sheet: str | int | None = None,
    header_row: int = 1,
) -> pd.DataFrame:
    r"""SESSIONS with the columns of a file that has one row per patient, repeated on each of the patient's rows.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS of the same study.
    file : str or Path
        In any format of :func:`read_sessions`.
    patient : str
        The file's column of patient ids; 7 and ``"7"`` are the same patient.
    columns : list of str, optional
        Those wanted; default: all.
    measures, ranges, missing_codes, labelled, delimiter, encoding, decimal, sheet, header_row
        As in :func:`read_sessions`.

    Returns
    -------
    DataFrame
        A new frame; missing for patients whom the file lacks. ``attrs["per_patient"]`` names the columns,
        ``attrs["notes"]`` says how many patients are in one file only.

    Raises
    ------
    DataError
        As :func:`read_sessions`; also for a patient with two rows, a column that the sessions have already, or where
        the files have no patient in common.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "patients.csv"
    >>> _ = path.write_text("id,age\n1,30\n2,41\n")
    >>> sessions = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1]})
    >>> join_patients(sessions, path, patient="id")["age"].tolist()
    [30.0, 30.0, 41.0]
    """
    require_columns(sessions, [PATIENT], table_name="sessions")
    options = {
        name: value for name, value in locals().items() if name not in ("sessions", "file", "columns", "patient")
    }
    table = _one_row_each(Path(file), layout_of({**options, "patient": patient, SESSION: SESSION}))
    wanted = [str(name) for name in table if name not in (PATIENT, SESSION)] if columns is None else list(columns)
    require_columns(table, wanted, table_name=Path(file).name)
    for name in wanted:
        if name in sessions:
            remedy = "Leave it out with columns=[...], or rename it in one of the files."
            raise DataError(f"The sessions have a column {name!r} already.", remedy=remedy, column=name)
    key = table[PATIENT].map(as_text)
    own = sessions[PATIENT].map(as_text)
    if not own.isin(key).any():
        raise DataError(
            f"No patient of the sessions is in {Path(file).name}.", remedy=f"Ids there: {suggest('', table[PATIENT])}"
        )
    values = table[wanted].set_axis(pd.Index(key)).reindex(own).set_axis(sessions.index)
    joined = pd.concat([sessions, values], axis=1)
    unknown = sessions.loc[~own.isin(key).to_numpy(), PATIENT].nunique()
    elsewhere = int((~key.isin([*own, *map(as_text, sessions.attrs.get(LEFT_OUT, []))])).sum())
    notes = [f"{unknown} patient(s) of the sessions are not in {Path(file).name}."] if unknown else []
    notes += [f"{elsewhere} patient(s) of {Path(file).name} have no session."] if elsewhere else []
    joined.attrs = {
        **sessions.attrs,
        PER_PATIENT: [*sessions.attrs.get(PER_PATIENT, []), *wanted],
        "notes": [*sessions.attrs.get("notes", []), *notes],
    }
    return joined


def _one_row_each(path: Path, layout: Any) -> pd.DataFrame:
    """The file read by the rules of SESSIONS, each patient in a session of their own."""
    raw = read_raw(path, layout)
    require_columns(raw.table, [layout.patient], table_name=path.name)
    ids = raw.table[layout.patient].map(as_text, na_action="ignore")
    twice = ids[ids.notna() & ids.duplicated()]
    if len(twice):
        problem = f"{path.name} has {len(twice)} row(s) of a patient who has one already."
        raise DataError(problem, remedy="Keep one row per patient.", row=twice.index[0], patient=twice.iloc[0])
    table = raw.table.drop(columns=[SESSION], errors="ignore").assign(**{SESSION: 1})
    problems = Problems()
    found = shape_sessions(Raw(table, raw.how, raw.labels, raw.remarks), path.name, layout, problems)
    problems.raise_first()
    return found
