"""From a study file to the tables every part of the report starts from: SESSIONS, scored, and how therapies ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.load.endings import read_endings
from alliance_stats.load.flipping import flip
from alliance_stats.load.keeping import keep
from alliance_stats.load.reading import check_file, read_sessions
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.report.study import Study, StudyError, options_of, read_study
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.score.scoring import score_items
from alliance_stats.tables.schema import (
    ENDING,
    LAST_SESSION,
    PATIENT,
    DataError,
    numeric,
    suggest,
)

T = TypeVar("T")


def known_sections() -> dict[str, frozenset[str]]:
    """The sections of a study file and their keys, read off the functions they call."""
    return {
        "study": frozenset({"title", "seed", "show_ids"}),
        "read": options_of(read_sessions) | {"file"},
        "keep": options_of(keep),
        "score": options_of(score_items) | {"instrument"},
        "flip": options_of(flip),
        "endings": options_of(read_endings) | {"file"},
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
    for section in study.tables("keep"):
        sessions = in_section(study, "keep", lambda: keep(sessions, **section))  # noqa: B023
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


def study_endings(study: Study, sessions: pd.DataFrame) -> pd.DataFrame | None:
    """ENDINGS from the file that the study names; None where it names none."""
    if not study.has("endings"):
        return None
    options, path = study.section("endings"), study.file("endings")
    del options["file"]
    try:
        return in_section(study, "endings", lambda: read_endings(path, sessions, **options))
    except DataError as error:
        if error.patient is None and not isinstance(error, StudyError):  # the file cannot be read as endings
            raise StudyError(str(error), remedy="") from error
        raise


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
                study_endings(study, sessions)
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
