"""The public readers: ``read_sessions`` raises at the first problem, ``check_file`` lists them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.load.layout import layout_of
from alliance_stats.load.problems import Problems
from alliance_stats.load.sessions import read_layout, usable_rows
from alliance_stats.load.shape import Wide
from alliance_stats.load.text import MISSING_TEXT
from alliance_stats.tables.schema import DataError


def read_sessions(
    path: str | Path,
    *,
    patient: str,
    session: str | None = None,
    therapist: str | None = None,
    date: str | None = None,
    attendance: str | None = None,
    measures: Sequence[str] | Mapping[str, str] | None = None,
    wide: Wide | None = None,
    ranges: Mapping[str, Sequence[float]] | None = None,
    missing_codes: Sequence[Any] | Mapping[str, Sequence[Any]] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    sheet: str | int | None = None,
    header_row: int = 1,
    session_format: str | None = None,
    not_sessions: Sequence[Any] = (),
    only: Mapping[str, Any] | None = None,
    date_format: str | None = None,
    number_by: str = "order",
    attendance_codes: Mapping[str, str] | None = None,
    labelled: Sequence[str] = (),
    duplicates: str = "error",
    missing_text: Sequence[str] = MISSING_TEXT,
) -> pd.DataFrame:
    r"""SESSIONS from a study's file.

    Parameters
    ----------
    path : str or Path
        Text (.csv, .tsv, .txt), Excel (.xlsx, .xls), OpenDocument (.ods), SPSS (.sav, .zsav, .por), Stata (.dta), SAS
        (.sas7bdat, .xpt), Parquet or Feather. R data: ``write.csv(data, "study.csv", row.names = FALSE)``.
    patient : str
        The column of patient ids.
    session : str, optional
        The column of session numbers. Left out where `wide` is given, or where sessions are to be numbered by `date`.
    therapist, date, attendance : str, optional
        Further roles.
    measures : list or dict, optional
        Columns that must hold numbers; a dict gives them new names (``{"alliance": "wai_total"}``); an entry may be a
        pattern such as ``"wai_{item}"``. Left out: every column that holds numbers becomes numeric, and one that
        holds mostly numbers and some text is an error.
    wide : str, list or dict, optional
        Patterns of the columns of a file with one row per patient: ``"{measure}_s{session}"``, or
        ``{"alliance": "wai_s{session}", "alliance_therapist": "wat_s{session}"}``. Session numbers after a patient's
        last value are left out and counted.
    ranges : dict, optional
        Column (or pattern) to ``[lowest, highest]``. Never guessed from the data. Session numbers may lie in 0 to 1000
        unless declared otherwise under ``session``.
    missing_codes : list or dict
        Values that mean missing, for all columns but patient and session, or column by column.
    delimiter, encoding, decimal : str, optional
        Of a text file. The delimiter is found out; UTF-8 and UTF-16 are recognised, other encodings must be named; a
        decimal comma is read where a column has cells such as ``3,5`` and none with a decimal point.
    sheet : str or int, optional
        The sheet of a workbook, by name or position from 1; needed where several hold data.
    header_row : int
        The row with the column names, from 1.
    session_format : str, optional
        How session numbers are written in text, such as ``"Session {session}"``.
    not_sessions : list
        The cells of the session column in rows that are no sessions, such as ``["Post-Rx", "follow-up"]``; ``""`` means
        an empty cell. These rows are left out before anything else is checked, and counted.
    only : dict, optional
        Column of the file to the cell, or list of cells, of the rows to be read, such as ``{"rater": "patient"}``
        where each rater has a row; read once for each, then :func:`merge_ratings`.
    date_format : str, optional
        As in ``strptime``, such as ``"%d.%m.%Y"``; ``"excel"`` for day numbers such as 45123; without it dates must be
        written 2026-01-31.
    number_by : {"order", "days", "weeks"}
        Without `session`: number sessions 1, 2, ... in the order of dates within the patient, or as days or weeks
        since the patient's first date, from 1.
    attendance_codes : dict, optional
        The file's words to ``attended``, ``late``, ``cancelled``, ``no-show``.
    labelled : list of str
        Columns of an SPSS or Stata file to be read as their value labels.
    duplicates : {"error", "first", "last", "merge"}
        What to do with several rows of one patient and session: refuse, keep the first or the last, or merge them into
        one row where no two of them hold different values in a column. Rows dropped or merged are counted.
    missing_text : list of str
        Cells of a text file that mean missing.

    Returns
    -------
    DataFrame
        SESSIONS, sorted by patient and session, other columns riding along. Ids are whole numbers where every id is
        written as one, otherwise text. ``attrs["report"]`` holds how the file was read, counts, warnings and notes;
        ``attrs["flow"]`` who was kept.

    Raises
    ------
    DataError
        At the first problem, naming the file row (the line of a text file, the row of a sheet, the case of a
        statistics file), patient, session, value, and what to do. ``check_file`` lists all problems.
    ImportError
        If the format needs a package that is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "study.csv"
    >>> _ = path.write_text("id;sess;wai\n007;1;5,5\n007;2;-9\n")
    >>> sessions = read_sessions(path, patient="id", session="sess", measures={"alliance": "wai"}, missing_codes=[-9])
    >>> sessions
      patient  session  alliance
    0     007        1       5.5
    1     007        2       NaN
    """
    options = {name: value for name, value in locals().items() if name != "path"}
    problems = Problems()
    sessions = read_layout(Path(path), layout_of(options), problems)
    problems.raise_first()
    return sessions


def check_file(path: str | Path, **options: Any) -> pd.DataFrame:
    r"""Every problem of a study's file at once.

    Parameters
    ----------
    path : str or Path
        The file.
    **options
        Those of :func:`read_sessions`.

    Returns
    -------
    DataFrame
        CHECK, one row per bad cell: ``severity`` (``error``: ``read_sessions`` refuses; ``warning``: look at it;
        ``note``: what was done), ``rule``, ``row``, ``patient``, ``session``, ``column``, ``value``, ``problem``,
        ``remedy``; empty where nothing is wrong.

    Raises
    ------
    TypeError, ValueError
        For wrong options; never for the file itself.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "study.csv"
    >>> _ = path.write_text("id,sess,wai\n1,1,5\n1,1,4\n1,3,x\n")
    >>> check_file(path, patient="id", session="sess", measures=["wai"])[["severity", "rule", "row"]]
      severity             rule row
    0    error  text in numbers   4
    1    error        duplicate   3
    2  warning      one patient None
    """
    return read_in_part(path, **options)[1]


def read_in_part(path: str | Path, **options: Any) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """As much of SESSIONS as can be read, and CHECK; for a dry run, which goes on after the first problem.

    Rows without a patient or a whole session number are left out, and of several rows of one patient and session all
    but the first. None where the file cannot be read as a table.
    """
    layout = layout_of(options)
    problems = Problems()
    try:
        table = read_layout(Path(path), layout, problems)
    except DataError as error:
        problems.add_error(error, "file")
        return None, problems.table()
    return usable_rows(table), problems.table()
