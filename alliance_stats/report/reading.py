"""From a study file to the tables every part of the report starts from: SESSIONS, scored, and how therapies ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.load.formats import read_file
from alliance_stats.load.reading import check_file, read_sessions
from alliance_stats.load.text import MISSING_TEXT
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.report.study import Study, StudyError, options_of, read_study
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.score.scoring import score_items
from alliance_stats.tables.flow import keep
from alliance_stats.tables.schema import (
    ENDING,
    ENDINGS,
    LAST_SESSION,
    PATIENT,
    DataError,
    numeric,
    require_columns,
    suggest,
)

T = TypeVar("T")

_KEEP = frozenset({"column", "equals", "at_least", "at_most", "because"})
_FLIP = frozenset({"column", "into", "low", "high"})
_LEFT_OUT = "patients_left_out"
_ENDINGS = frozenset({"file", PATIENT, ENDING, LAST_SESSION, "codes", "delimiter", "encoding", "sheet"})


def known_sections() -> dict[str, frozenset[str]]:
    """The sections of a study file and their keys, read off the functions they call."""
    return {
        "study": frozenset({"title", "seed", "show_ids"}),
        "read": options_of(read_sessions) | {"file"},
        "keep": _KEEP,
        "score": options_of(score_items) | {"instrument"},
        "flip": _FLIP,
        "endings": _ENDINGS,
        "detect": options_of(detect_ruptures) | {"prediction_rule"},
        "chance": options_of(chance_level, without=("score", "rule", "seed")),
        "outcome": options_of(fit_outcome, without=("post", "pre", "pattern")) | {"symptom"},
        "next_session": options_of(fit_next_session, without=("symptom", "alliance")),
        "growth": options_of(fit_growth, without=("measure", "pattern")),
        "dropout": options_of(dropout_intervals, without=("endings",)) | options_of(fit_dropout) | {"formula"},
        "figures": frozenset({"patients", "before", "after"}),
    }


_REQUIRED = {
    "read": ("file", PATIENT),
    "keep": ("column", "because"),
    "score": ("instrument", "items", "into"),
    "flip": ("column", "into", "low", "high"),
    "endings": ("file",),
    "detect": ("score", "rule"),
    "outcome": ("symptom",),
    "dropout": ("formula",),
}


_TYPES: dict[str, dict[str, type]] = {
    "study": {"title": str, "seed": int, "show_ids": bool},
    "read": {"file": str},
    "keep": {"column": str, "because": str},
    "endings": {"file": str, PATIENT: str, ENDING: str, LAST_SESSION: str, "codes": dict},
    "detect": {"score": str},
    "outcome": {"symptom": str},
    "figures": {"patients": int, "before": int, "after": int},
}
"""What the keys that no function of the package checks must be."""


def open_study(path: Path) -> Study:
    """The study file at `path`, every section and key of it known."""
    study = read_study(path, known_sections(), required=_REQUIRED)
    for section, types in _TYPES.items():
        for key, value in (item for table in study.tables(section) for item in table.items()):
            wanted = types.get(key)
            if wanted is not None and type(value) is not wanted:
                problem = f"{path}: [{section}] {key} = {value!r} must be {_WORDS[wanted]}."
                raise StudyError(problem, remedy="Correct the study file.")
    for key in ("rule", "prediction_rule"):
        if key in study.section("detect"):
            study_rule(study, key)
    if study.section("study").get("seed", 0) < 0:
        raise StudyError(f"{path}: [study] seed must not be negative.", remedy="Write a whole number, such as 1.")
    return study


_WORDS = {str: "text in quotes", int: "a whole number", bool: "true or false", dict: "a table { ... }"}


def read_and_score(study: Study) -> pd.DataFrame:
    """SESSIONS of the study with every score the study file asks for."""
    options = study.section("read")
    path = study.file("read")
    del options["file"]
    try:
        sessions = in_section(study, "read", lambda: read_sessions(path, **options))
    except StudyError:
        raise
    except DataError as error:
        if _is_unreadable(check_file(path, **options)):
            raise StudyError(str(error), remedy="") from error
        raise
    everyone = sessions[PATIENT]
    for section in study.tables("keep"):
        sessions = in_section(study, "keep", lambda: keep_rows(sessions, **section))  # noqa: B023
    sessions.attrs[_LEFT_OUT] = pd.unique(everyone[~everyone.isin(sessions[PATIENT])]).tolist()
    for section in study.tables("score"):
        instrument = instrument_of(study, section)
        del section["instrument"]
        sessions = in_section(study, "score", lambda: score_items(sessions, instrument, **section))  # noqa: B023
    for section in study.tables("flip"):
        sessions = in_section(study, "flip", lambda: flip(sessions, **section))  # noqa: B023
    return _with_score(study, sessions)


def instrument_of(study: Study, section: dict[str, Any]) -> str | Path:
    """The instrument that a ``[score]`` names: one of INSTRUMENTS, or a TOML file beside the study file."""
    name = str(section["instrument"])
    return study.path.parent / name if name.endswith(".toml") else name


def keep_rows(
    sessions: pd.DataFrame,
    *,
    column: str,
    because: str,
    equals: Any = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> pd.DataFrame:
    """The rows of SESSIONS in which `column` is as stated, the loss counted under `because`; empty cells are not.

    Parameters
    ----------
    column : str
        As it is called after reading, such as ``session``.
    because : str
        What is kept, in words.
    equals : value or list, optional
        The value, or one of the values.
    at_least, at_most : number, optional
        The limits, themselves kept.

    Raises
    ------
    DataError
        If the column is missing, holds text where a limit is given, or no row is left.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1], "arm": ["a", "a", "b"]})
    >>> kept = keep_rows(sessions, column="arm", equals="a", because="only arm a has therapists")
    >>> kept["patient"].tolist(), kept.attrs["flow"][-1]
    ([1, 1], {'step': 'only arm a has therapists', 'patients': 1, 'sessions': 2})
    """
    if equals is None and at_least is None and at_most is None:
        raise ValueError("State what is kept: equals, at_least or at_most.")
    for name, limit in (("at_least", at_least), ("at_most", at_most)):
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise ValueError(f"{name}={limit!r} must be a number.")
    require_columns(sessions, [column], table_name="sessions")
    where = sessions[column].notna()
    if equals is not None:
        wanted = {_as_text(value) for value in (equals if isinstance(equals, list) else [equals])}
        where &= sessions[column].map(_as_text).isin(wanted)
    if at_least is not None or at_most is not None:
        values = numeric(sessions, column)
        low, high = -np.inf if at_least is None else at_least, np.inf if at_most is None else at_most
        where &= (values >= low) & (values <= high)
    if not where.any():
        found = sessions[column].dropna().map(_as_text).unique()
        shown = suggest(str(equals), found) if equals is not None else "Correct the limits."
        raise DataError(f"No row is left: {column!r} is nowhere as stated.", remedy=shown, column=column)
    return keep(sessions, where, because=because)


def flip(sessions: pd.DataFrame, *, column: str, into: str, low: float, high: float) -> pd.DataFrame:
    """SESSIONS with a score turned round on its own range: ``into = low + high - column``.

    Raises
    ------
    DataError
        If the column is missing, holds text, or a value outside ``low`` to ``high``.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": 1, "session": [1, 2], "phq9": [20, 5]})
    >>> flip(sessions, column="phq9", into="wellbeing", low=0, high=27)["wellbeing"].tolist()
    [7.0, 22.0]
    """
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        raise ValueError(f"low={low!r} must be a number below high={high!r}.")
    require_columns(sessions, [column], table_name="sessions")
    values = numeric(sessions, column)
    outside = (values < low) | (values > high)
    if outside.any():
        first = sessions.loc[outside].iloc[0]
        raise DataError(
            f"{column!r} holds {int(outside.sum())} value(s) outside {low:g} to {high:g}.",
            remedy="Correct the cell, or the range in [flip].",
            row=sessions.index[outside][0],
            patient=first.get(PATIENT),
            session=first.get("session"),
            column=column,
            value=first[column],
        )
    return sessions.assign(**{into: low + high - values})


def read_endings(study: Study, sessions: pd.DataFrame) -> pd.DataFrame | None:
    """How each therapy ended, from the file that the study names; None where it names none.

    Raises
    ------
    DataError
        For an unknown ending, a patient who stands twice or is not in the sessions.
    """
    if not study.has("endings"):
        return None
    options, path = study.section("endings"), study.file("endings")
    columns = {str(options.get(name, name)): name for name in (PATIENT, ENDING, LAST_SESSION)}
    try:
        raw = read_file(
            path,
            delimiter=options.get("delimiter"),
            encoding=options.get("encoding"),
            sheet=options.get("sheet"),
            header_row=1,
            wanted=list(columns),
            as_text=[column for column, name in columns.items() if name != LAST_SESSION],
            missing_text=MISSING_TEXT,
        )
    except DataError as error:
        raise StudyError(str(error), remedy="") from error
    table = raw.table
    wanted = [column for column, name in columns.items() if name != LAST_SESSION or column in table]
    require_columns(table, wanted, table_name=path.name)
    table = table[wanted].rename(columns=columns)
    for name in (PATIENT, ENDING):
        table = table.assign(**{name: table[name].map(_as_text)})
    codes = {str(code): ending for code, ending in options.get("codes", {}).items()}
    table = table.assign(**{ENDING: table[ENDING].replace(codes)})
    _refuse(table, ~table[ENDING].isin(ENDINGS), ENDING, "is not an ending", f"Allowed: {', '.join(ENDINGS)}.")
    table = table.assign(**{PATIENT: _ids_like(table[PATIENT], sessions[PATIENT])})
    _refuse(table, table[PATIENT].duplicated(), PATIENT, "stands twice", "Keep one row per patient.")
    table = table[~table[PATIENT].isin(sessions.attrs.get(_LEFT_OUT, []))]
    known = table[PATIENT].isin(sessions[PATIENT])
    _refuse(table, ~known, PATIENT, "has no sessions", "Remove the row, or correct the id.")
    without = pd.Index(sessions[PATIENT].unique()).difference(pd.Index(table[PATIENT]))
    if len(without):
        raise DataError(
            f"{path.name}: {len(without)} patient(s) of the sessions have no ending.",
            remedy="Add a row for each (an ending not known yet is 'ongoing').",
            patient=without[0],
        )
    if LAST_SESSION in table:
        table = table.assign(**{LAST_SESSION: numeric(table, LAST_SESSION)})
    return table.reset_index(drop=True)


def check(study: Study) -> pd.DataFrame:
    """Every problem of the study's files: CHECK of the sessions, and the first problem of scoring and endings.

    Returns
    -------
    DataFrame
        CHECK with the column ``file`` in front; empty where nothing is wrong.
    """
    options = study.section("read")
    path = study.file("read")
    del options["file"]
    found = in_section(study, "read", lambda: check_file(path, **options))
    if _is_unreadable(found):
        read_and_score(study)  # raises, in one sentence
    tables = [found.assign(file=path.name)]
    if not (found["severity"] == "error").any():
        try:
            sessions = read_and_score(study)
        except StudyError:
            raise
        except DataError as error:
            tables.append(_one_problem(error, path.name))
        else:
            tables += [_remark(str(note), path.name) for note in sessions.attrs.get("notes", [])]
            try:
                read_endings(study, sessions)
            except StudyError:
                raise
            except DataError as error:
                tables.append(_one_problem(error, study.file("endings").name))
    table = pd.concat(tables, ignore_index=True)
    return table[["file", *(name for name in table if name != "file")]]


def find_ruptures(study: Study, sessions: pd.DataFrame, *, key: str = "rule") -> pd.DataFrame:
    """EVENTS by the rule that the study names under `key` of ``[detect]``."""
    score, rule = study.section("detect")["score"], study_rule(study, key)
    return in_section(study, "detect", lambda: detect_ruptures(sessions, score=score, rule=rule))


def study_rule(study: Study, key: str = "rule") -> Rule:
    """The rule under `key` of ``[detect]``: a name in RULES, or a table of the fields of a Rule."""
    written = study.section("detect")[key]
    if isinstance(written, dict):
        known = list(Rule.__dataclass_fields__)
        for name in written:
            if name not in known:
                problem = f"{study.path}: [detect.{key}] has an unknown key {name!r}."
                raise StudyError(problem, remedy=suggest(name, known))
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
        }
        return in_section(study, f"detect.{key}", lambda: Rule(**fields))
    if not isinstance(written, str) or written not in RULES:
        raise StudyError(
            f"{study.path}: [detect] {key} = {written!r} is not a rule.", remedy=suggest(str(written), RULES)
        )
    return RULES[written]


def in_section(study: Study, section: str, call: Callable[[], T]) -> T:
    """What `call` returns; an argument it refuses is reported as a mistake in `section` of the study file."""
    try:
        return call()
    except DataError as error:
        if error.row is not None or error.patient is not None or section == "read":
            raise
        problem = f"{study.path}: [{section}] {error.problem}"  # no place in the data: the settings do not fit
        raise StudyError(problem, remedy=error.remedy, column=error.column, value=error.value) from error
    except (ValueError, TypeError) as error:
        raise StudyError(f"{study.path}: [{section}] {error}", remedy="Correct the study file.") from error


def _is_unreadable(found: pd.DataFrame) -> bool:
    """Whether CHECK says that the file could not be read as a table at all, rather than that cells are wrong."""
    return bool(found["rule"].eq("file").any())


def _ids_like(ids: pd.Series, model: pd.Series) -> pd.Series:
    """Ids as text in the dtype of SESSIONS, so that ``7`` and ``"7"`` meet."""
    if pd.api.types.is_numeric_dtype(model.dtype):
        numbers = pd.to_numeric(ids, errors="coerce")
        return numbers if numbers.isna().any() else numbers.astype(model.dtype)
    return ids.astype(model.dtype)


def _remark(note: str, file: str) -> pd.DataFrame:
    """A question that scoring left open, as a row of CHECK."""
    places = dict.fromkeys(("row", "patient", "session", "column", "value"))
    record = {"severity": "note", "rule": "score", **places, "problem": note, "remedy": "", "file": file}
    return pd.DataFrame([record], dtype=object)


def _with_score(study: Study, sessions: pd.DataFrame) -> pd.DataFrame:
    """`sessions` with the score of ``[detect]`` as numbers, some of them there."""
    score = study.section("detect")["score"]
    if score not in sessions:
        problem = f"{study.path}: [detect] score = {score!r}: the sessions have no such column."
        raise StudyError(problem, remedy=suggest(score, sessions.columns))
    values = numeric(sessions, score)
    if np.isnan(values).all():
        raise DataError(f"{score!r} holds no rating at all.", remedy="Check the file, and [score] in the study file.")
    return sessions.assign(**{score: values})


def _one_problem(error: DataError, file: str) -> pd.DataFrame:
    places = {name: getattr(error, name) for name in ("row", "patient", "session", "column", "value")}
    record = {"severity": "error", "rule": "score", **places, "problem": error.problem, "remedy": error.remedy}
    return pd.DataFrame([{**record, "file": file}], dtype=object)


def _as_text(cell: object) -> str:
    """An id or word as text; ``7.0``, as a spreadsheet holds it, is ``7``."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _refuse(table: pd.DataFrame, bad: pd.Series, column: str, what: str, remedy: str) -> None:
    if bad.any():
        first = table.loc[bad].iloc[0]
        raise DataError(
            f"endings: {column} {str(first[column])!r} {what} ({np.count_nonzero(bad)} row(s)).",
            remedy=remedy,
            row=table.index[bad][0],
            patient=first[PATIENT],
        )
