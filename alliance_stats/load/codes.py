"""CODES: what observers coded in sessions, from a file with one row per marker or per segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.codebook import CodeBook, as_code_book
from alliance_stats.load.cells import as_ids, as_text
from alliance_stats.load.formats import read_file
from alliance_stats.load.keeping import LEFT_OUT
from alliance_stats.load.problems import ERROR, Problems
from alliance_stats.load.text import MISSING_TEXT
from alliance_stats.tables.schema import (
    ATTENDANCE,
    ATTENDED,
    LATE,
    PATIENT,
    SESSION,
    DataError,
    require_columns,
    suggest,
)

CODER, SEGMENT, TYPE, MARKER = "coder", "segment", "type", "marker"
SIGNIFICANCE, RESOLUTION, STRATEGY, CAUSE, INITIATOR = "significance", "resolution", "strategy", "cause", "initiator"
CODES_COLUMNS = (
    PATIENT, SESSION, SEGMENT, CODER, TYPE, MARKER, SIGNIFICANCE, RESOLUTION, STRATEGY, CAUSE, INITIATOR,
)  # fmt: skip
WORDS = (TYPE, MARKER, STRATEGY, CAUSE, INITIATOR)
NUMBERS = (SIGNIFICANCE, RESOLUTION)
NONE = ("none", "no rupture", "no")
"""What a cell of type or marker may say where a session was coded and no rupture was found; empty says the same."""


def read_codes(
    file: str | Path,
    sessions: pd.DataFrame | None = None,
    *,
    book: str | Path | CodeBook = "3RS",
    columns: Mapping[str, str] | None = None,
    codes: Mapping[str, str] | None = None,
    none: Sequence[str] = NONE,
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | int | None = None,
    header_row: int = 1,
) -> pd.DataFrame:
    r"""CODES from a file with one row per marker, strategy or segment, by any number of coders.

    A session that a coder went through without finding a rupture has one row without type and marker. A session without
    a row was not coded by that coder.

    Parameters
    ----------
    file : str or Path
        In any format of :func:`read_sessions`.
    sessions : DataFrame, optional
        SESSIONS of the same study. With it ids are matched (7 and ``"7"`` are the same patient), every coded session
        must be one of them, and patients whom :func:`keep` left out are left out here.
    book : str, Path or CodeBook
        The types, markers, strategies, causes and ranges that are allowed: the name of a shipped code book, or a TOML
        file.
    columns : dict, optional
        The file's column to one of ``patient, session, segment, coder, type, marker, significance, resolution,
        strategy, cause, initiator``; a column with such a name needs no entry. ``patient``, ``session``, ``coder`` and
        one of ``type`` and ``marker`` must be there.
    codes : dict, optional
        The file's words to those of the book.
    none : sequence of str
        Words that say "coded, no rupture" in type or marker.
    delimiter, encoding, sheet, header_row
        As in :func:`read_sessions`.

    Returns
    -------
    DataFrame
        CODES, in the order of the file; ``type`` is filled in from ``marker``. ``attrs["book"]`` names the book.

    Raises
    ------
    DataError
        If the file cannot be read, or for the first of the problems that :func:`check_codes` lists.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "codes.csv"
    >>> _ = path.write_text("id,sess,coder,marker,significance\n1,4,A,denial,3\n1,5,A,,\n")
    >>> read_codes(path, columns={"id": "patient", "sess": "session"})[["patient", "session", "type", "significance"]]
       patient  session        type  significance
    0        1        4  withdrawal           3.0
    1        1        5         NaN           NaN
    """
    options = {name: value for name, value in locals().items() if name not in ("file", "sessions")}
    table, problems = _read(Path(file), sessions, **options)
    problems.raise_first()
    return table


def check_codes(file: str | Path, sessions: pd.DataFrame | None = None, **options: Any) -> pd.DataFrame:
    """Every problem of a file of codes, as CHECK; empty where :func:`read_codes`, whose options it takes, reads it."""
    try:
        return _read(Path(file), sessions, **{**(read_codes.__kwdefaults__ or {}), **options})[1].table()
    except DataError as error:
        problems = Problems()
        problems.add_error(error, "file")
        return problems.table()


def _read(
    path: Path,
    sessions: pd.DataFrame | None,
    *,
    book: str | Path | CodeBook,
    columns: Mapping[str, str] | None,
    codes: Mapping[str, str] | None,
    none: Sequence[str],
    **how: Any,
) -> tuple[pd.DataFrame, Problems]:
    key = as_code_book(book)
    named = dict(columns or {})
    for column, name in named.items():
        if name not in CODES_COLUMNS:
            remedy = suggest(name, CODES_COLUMNS)
            raise DataError(f"columns: {column!r} is to be {name!r}, which is no column of CODES.", remedy=remedy)
    raw = read_file(
        path,
        **how,
        wanted=[*named, *CODES_COLUMNS],
        as_text=[*named, *CODES_COLUMNS],
        missing_text=MISSING_TEXT,
    ).table
    require_columns(raw, named, table_name=path.name)
    table = raw.rename(columns=named)
    twice = [name for name in CODES_COLUMNS if list(table.columns).count(name) > 1]
    if twice:
        raise DataError(
            f"{path.name} has two columns {twice[0]!r}.", remedy="Rename one, or name the right one in columns=."
        )
    require_columns(table, [PATIENT, SESSION, CODER], table_name=path.name)
    if TYPE not in table and MARKER not in table:
        raise DataError(f"{path.name} has neither a 'type' nor a 'marker'.", remedy="Name the column in columns=.")
    if table.empty:
        raise DataError(f"{path.name} has no rows below its column names.", remedy="Check the file.")
    problems = Problems()
    table = _cells(table, problems, {as_text(word): right for word, right in (codes or {}).items()}, none)
    _check_words(table, key, problems)
    _check_numbers(table, key, problems)
    _check_rows(table, problems)
    if sessions is not None and not problems.found:
        table = _of_sessions(table, sessions, problems)
    table = table[[name for name in CODES_COLUMNS if name in table]].reset_index(drop=True)
    table.attrs = {"book": key.name}
    return table, problems


def _cells(table: pd.DataFrame, problems: Problems, words: dict[str, str], none: Sequence[str]) -> pd.DataFrame:
    """The table with ids, whole session numbers, words of the book or missing, and numbers."""
    ids = as_ids(table[PATIENT])
    problems.add(
        ERROR, "missing patient", "Some rows have no patient.", remedy="Fill in the id or remove the row.",
        table=table, bad=ids.missing, column=PATIENT,
    )  # fmt: skip
    new: dict[str, Any] = {PATIENT: ids.values}
    for name in (SESSION, SEGMENT, *NUMBERS):
        if name in table:
            new[name] = _numbers(table, name, problems, whole=name in (SESSION, SEGMENT))
    empty = {word.casefold() for word in none}
    for name in (CODER, *WORDS):
        if name in table:
            text = table[name].map(as_text, na_action="ignore")
            text = text.map(lambda word: words.get(word, word), na_action="ignore").astype(object)
            if name in (TYPE, MARKER):
                text = text.map(lambda word: np.nan if word.casefold() in empty else word, na_action="ignore")
            new[name] = text.astype(object)
    for name in (SESSION, CODER):
        bad = pd.isna(new[name]).to_numpy() & table[name].isna().to_numpy()
        problems.add(
            ERROR, f"missing {name}", f"Some rows have no {name}.", remedy="Fill it in, or remove the row.",
            table=table, bad=bad, column=name,
        )  # fmt: skip
    found = table.assign(**new)
    if not found[SESSION].isna().any():
        found = found.astype({SESSION: np.int64})
    return found


def _numbers(table: pd.DataFrame, name: str, problems: Problems, *, whole: bool) -> pd.Series:
    numbers = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
    text = numbers.isna() & table[name].notna()
    problems.add(
        ERROR, "text in numbers", f"{name!r} holds text where numbers belong.", remedy="Correct the cell, or empty it.",
        table=table, bad=text, column=name,
    )  # fmt: skip
    bad = np.isinf(numbers) | ((np.floor(numbers) != numbers) & numbers.notna() if whole else False)
    problems.add(
        ERROR, "not a whole number" if whole else "infinity", f"{name!r} must hold {'whole ' if whole else ''}numbers.",
        remedy="Correct the cell.", table=table, bad=bad, column=name,
    )  # fmt: skip
    return numbers


def _check_words(table: pd.DataFrame, book: CodeBook, problems: Problems) -> None:
    allowed: dict[str, Iterable[str]] = {
        TYPE: book.types,
        MARKER: book.type_of,
        STRATEGY: book.strategies,
        CAUSE: book.causes,
        INITIATOR: book.initiators,
    }
    for name, known in allowed.items():
        if name not in table:
            continue
        bad = (table[name].notna() & ~table[name].isin(list(known))).to_numpy()
        if bad.any():
            first = table.loc[bad, name].iloc[0]
            remedy = f"{suggest(first, known)} Other words go in codes=, other lists in a code book of your own."
            problem = f"{name!r} holds a word that the code book {book.name} does not have."
            problems.add(ERROR, f"unknown {name}", problem, remedy=remedy, table=table, bad=bad, column=name)
    if MARKER not in table:
        return
    of_marker = table[MARKER].map(book.type_of)
    if TYPE in table:
        bad = (table[TYPE].notna() & of_marker.notna() & (table[TYPE] != of_marker)).to_numpy()
        remedy = "Correct the type, or the marker."
        if bad.any():
            remedy = f"{table.loc[bad, MARKER].iloc[0]!r} is a marker of {of_marker[bad].iloc[0]}. {remedy}"
        problems.add(
            ERROR, "marker of another type", "A marker is coded under a type that it does not belong to.",
            remedy=remedy, table=table, bad=bad, column=TYPE,
        )  # fmt: skip
        table[TYPE] = table[TYPE].where(table[TYPE].notna(), of_marker)
    else:
        table[TYPE] = of_marker


def _check_numbers(table: pd.DataFrame, book: CodeBook, problems: Problems) -> None:
    for name, (low, high) in ((SIGNIFICANCE, book.significance), (RESOLUTION, book.resolution)):
        if name in table:
            bad = ((table[name] < low) | (table[name] > high)).to_numpy()
            problem = f"{name!r} holds a value outside its range {low:g} to {high:g}."
            remedy = "Correct the cell; other ranges go in a code book of your own."
            problems.add(ERROR, "out of range", problem, remedy=remedy, table=table, bad=bad, column=name)


def _check_rows(table: pd.DataFrame, problems: Problems) -> None:
    """Rows that contradict each other or say nothing twice."""
    rupture = table[TYPE].notna()
    for name in (SIGNIFICANCE, CAUSE, INITIATOR):
        if name in table:
            problems.add(
                ERROR, f"{name} without a rupture", f"{name!r} is filled in where no rupture was coded.",
                remedy="Give the rupture its type or marker, or empty the cell.",
                table=table, bad=(table[name].notna() & ~rupture).to_numpy(), column=name,
            )  # fmt: skip
    key = [name for name in (PATIENT, SESSION, SEGMENT, CODER) if name in table]
    strategy = table[STRATEGY].notna() if STRATEGY in table else False
    nothing = ~rupture & ~strategy & (table[RESOLUTION].isna() if RESOLUTION in table else True)
    with_rupture = rupture.groupby([table[name] for name in key], dropna=False).transform("any")
    problems.add(
        ERROR, "none beside a rupture", "One coder says both 'no rupture' and a rupture of the same session.",
        remedy="Remove the row without a rupture, or the rupture.",
        table=table, bad=(nothing & with_rupture).to_numpy(), column=CODER,
    )  # fmt: skip
    if SEGMENT in table or MARKER not in table:  # the same marker may come several times in a session
        columns = [name for name in CODES_COLUMNS if name in table]
        problems.add(
            ERROR, "duplicate", "A row is there twice.", remedy="Remove the copy.",
            table=table, bad=table.duplicated(columns).to_numpy(), column=CODER,
        )  # fmt: skip


def _of_sessions(table: pd.DataFrame, sessions: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Ids as in SESSIONS; every coded session must be there, and held."""
    require_columns(sessions, [PATIENT, SESSION], table_name="sessions")
    left_out = {as_text(one) for one in sessions.attrs.get(LEFT_OUT, [])}
    table = table.loc[~table[PATIENT].map(as_text).isin(left_out)]
    ids = {as_text(one): one for one in sessions[PATIENT].unique()}
    matched = table[PATIENT].map(lambda one: ids.get(as_text(one)))
    bad = matched.isna().to_numpy()
    problems.add(
        ERROR, "unknown patient", "A coded patient is not in the sessions.", table=table, bad=bad, column=PATIENT,
        remedy="Check the id.",
    )  # fmt: skip
    if bad.any():
        return table
    table = table.assign(**{PATIENT: matched.astype(sessions[PATIENT].dtype)})
    there = pd.MultiIndex.from_frame(sessions[[PATIENT, SESSION]])
    coded = pd.MultiIndex.from_frame(table[[PATIENT, SESSION]])
    problems.add(
        ERROR, "unknown session", "A coded session is not in the sessions.",
        remedy="Check the session number; codes of sessions that were left out must be left out too.",
        table=table, bad=~coded.isin(there), column=SESSION,
    )  # fmt: skip
    if ATTENDANCE in sessions:
        missed = sessions.loc[sessions[ATTENDANCE].notna() & ~sessions[ATTENDANCE].isin([ATTENDED, LATE])]
        problems.add(
            ERROR, "missed session", "A session that was not held is coded.", remedy="Check the session number.",
            table=table, bad=coded.isin(pd.MultiIndex.from_frame(missed[[PATIENT, SESSION]])), column=SESSION,
        )  # fmt: skip
    return table
