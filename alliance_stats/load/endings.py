"""How each therapy ended, from a file with one row per patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.load.cells import as_ids, as_text
from alliance_stats.load.formats import read_file
from alliance_stats.load.keeping import LEFT_OUT
from alliance_stats.tables.endings import check_endings
from alliance_stats.tables.schema import ENDING, LAST_SESSION, PATIENT, numeric, refuse, require_columns


def read_endings(
    file: str | Path,
    sessions: pd.DataFrame | None = None,
    *,
    patient: str = PATIENT,
    ending: str = ENDING,
    last_session: str = LAST_SESSION,
    codes: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | int | None = None,
    header_row: int = 1,
) -> pd.DataFrame:
    r"""ENDINGS from a file: completed, dropout, transferred or ongoing, one row per patient.

    Parameters
    ----------
    file : str or Path
        In any format of :func:`read_sessions`.
    sessions : DataFrame, optional
        SESSIONS of the same study. With it the ids are matched (7 and ``"7"`` are the same patient), every patient of
        it must have an ending, and patients whom :func:`keep` left out are left out here.
    patient, ending, last_session : str
        Columns of the file; ``last_session`` may be absent.
    codes : dict, optional
        The file's words to ``completed``, ``dropout``, ``transferred``, ``ongoing``.
    delimiter, encoding, sheet, header_row
        As in :func:`read_sessions`.

    Returns
    -------
    DataFrame
        ENDINGS: ``patient``, ``ending`` and, where the file has it, ``last_session``.

    Raises
    ------
    DataError
        If the file cannot be read, for an unknown ending, a patient with two rows, a patient without sessions, or one
        without ending.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "endings.csv"
    >>> _ = path.write_text("id,how\n1,done\n2,dropout\n")
    >>> read_endings(path, patient="id", ending="how", codes={"done": "completed"})
       patient     ending
    0        1  completed
    1        2    dropout
    """
    options = {name: value for name, value in locals().items() if name not in ("file", "sessions")}
    table = endings_table(file, sessions, **options)
    check_endings(table, pd.Index((table if sessions is None else sessions)[PATIENT].unique()))
    if LAST_SESSION in table:
        table = table.assign(**{LAST_SESSION: numeric(table, LAST_SESSION)})
    return table.reset_index(drop=True)


def endings_table(
    file: str | Path,
    sessions: pd.DataFrame | None,
    *,
    patient: str = PATIENT,
    ending: str = ENDING,
    last_session: str = LAST_SESSION,
    codes: Mapping[str, str] | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """ENDINGS as the file has them, not yet checked; the file row in the index. `reading` as for :func:`read_file`."""
    path = Path(file)
    columns = {patient: PATIENT, ending: ENDING, last_session: LAST_SESSION}
    table = read_file(path, wanted=list(columns), as_text=[patient, ending], **reading).table
    require_columns(table, [patient, ending], table_name=path.name)
    table = table[[name for name in columns if name in table]].rename(columns=columns)
    table = table.loc[~table[[PATIENT, ENDING]].isna().all(axis=1)]
    nobody = table[PATIENT].isna().to_numpy()
    problem = f"{path.name}: {int(nobody.sum())} row(s) have no patient."
    refuse(table, nobody, problem, remedy="Fill in the id or remove the row.")
    words = {as_text(code): word for code, word in (codes or {}).items()}
    meant = {cell: words.get(as_text(cell), as_text(cell)) for cell in table[ENDING].dropna().unique()}
    table = table.assign(**{PATIENT: as_ids(table[PATIENT]).values, ENDING: table[ENDING].map(meant)})
    return table if sessions is None else _of_sessions(table, sessions)


def _of_sessions(table: pd.DataFrame, sessions: pd.DataFrame) -> pd.DataFrame:
    """The rows of the patients of SESSIONS, with their ids as they are there; those of unknown patients as they are."""
    require_columns(sessions, [PATIENT], table_name="sessions")
    left_out = sessions.attrs.get(LEFT_OUT, [])
    ids = {as_text(one): one for one in [*left_out, *sessions[PATIENT].unique()]}
    matched = table[PATIENT].map(lambda one: ids.get(as_text(one), one))
    table = table.assign(**{PATIENT: matched})
    table = table.loc[~matched.isin(left_out)]
    known = bool(table[PATIENT].isin(sessions[PATIENT]).all())
    return table.astype({PATIENT: sessions[PATIENT].dtype}) if known else table
