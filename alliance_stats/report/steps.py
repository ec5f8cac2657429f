"""From a study file to the tables that every part of the report starts from: scored SESSIONS, EVENTS and ENDINGS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.endings import read_endings
from alliance_stats.load.flipping import flip
from alliance_stats.load.keeping import keep
from alliance_stats.load.reading import check_file, read_sessions
from alliance_stats.report.sections import in_section, study_rule
from alliance_stats.report.study import StudyError, StudyFile
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.score.scoring import score_items
from alliance_stats.tables.schema import DataError, numeric, suggest


def read_and_score(study: StudyFile) -> pd.DataFrame:
    """SESSIONS of the study with every score the study file asks for."""
    options, path = study.section("read"), study.file("read")
    del options["file"]
    try:
        sessions = in_section(study, "read", read_sessions, path, **options)
    except StudyError:
        raise
    except DataError as error:
        if _is_unreadable(check_file(path, **options)):
            raise StudyError(str(error), remedy="") from error
        raise
    for section in study.tables("keep"):
        sessions = in_section(study, "keep", keep, sessions, **section)
    for section in study.tables("score"):
        instrument = instrument_of(study, section)
        del section["instrument"]
        sessions = in_section(study, "score", score_items, sessions, instrument, **section)
    for section in study.tables("flip"):
        sessions = in_section(study, "flip", flip, sessions, **section)
    return _with_score(study, sessions)


def instrument_of(study: StudyFile, section: dict[str, Any]) -> str | Path:
    """The instrument that a ``[score]`` names: one of INSTRUMENTS, or a TOML file beside the study file."""
    name = str(section["instrument"])
    return study.path.parent / name if name.endswith(".toml") else name


def study_endings(study: StudyFile, sessions: pd.DataFrame) -> pd.DataFrame | None:
    """ENDINGS from the file that the study names; None where it names none."""
    if not study.has("endings"):
        return None
    options, path = study.section("endings"), study.file("endings")
    del options["file"]
    try:
        return in_section(study, "endings", read_endings, path, sessions, **options)
    except DataError as error:
        if error.patient is None and not isinstance(error, StudyError):  # the file cannot be read as endings
            raise StudyError(str(error), remedy="") from error
        raise


def find_ruptures(study: StudyFile, sessions: pd.DataFrame, *, key: str = "rule") -> pd.DataFrame:
    """EVENTS by the rule that the study names under `key` of ``[detect]``."""
    score, rule = study.section("detect")["score"], study_rule(study, key)
    return in_section(study, "detect", detect_ruptures, sessions, score=score, rule=rule)


def check(study: StudyFile) -> pd.DataFrame:
    """Every problem of the study's files: CHECK of the sessions, and the first problem of scoring and endings.

    Returns
    -------
    DataFrame
        CHECK with the column ``file`` in front; empty where nothing is wrong.
    """
    options = study.section("read")
    path = study.file("read")
    del options["file"]
    found = in_section(study, "read", check_file, path, **options)
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


def _is_unreadable(found: pd.DataFrame) -> bool:
    """Whether CHECK says that the file could not be read as a table at all, rather than that cells are wrong."""
    return bool(found["rule"].eq("file").any())


def _remark(note: str, file: str) -> pd.DataFrame:
    """A question that scoring left open, as a row of CHECK."""
    places = dict.fromkeys(("row", "patient", "session", "column", "value"))
    record = {"severity": "note", "rule": "score", **places, "problem": note, "remedy": "", "file": file}
    return pd.DataFrame([record], dtype=object)


def _with_score(study: StudyFile, sessions: pd.DataFrame) -> pd.DataFrame:
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
