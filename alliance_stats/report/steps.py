"""From a study file to the tables that every part of the report starts from: scored SESSIONS, EVENTS and ENDINGS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.codes import read_codes
from alliance_stats.load.endings import read_endings
from alliance_stats.load.flipping import flip
from alliance_stats.load.keeping import keep
from alliance_stats.load.merging import merge_ratings
from alliance_stats.load.patients import PER_PATIENT, join_patients
from alliance_stats.load.reading import check_file, read_sessions
from alliance_stats.load.redcap import read_redcap
from alliance_stats.reliability.sessions import error_variance
from alliance_stats.report.sections import in_section, study_rule
from alliance_stats.report.study import StudyError, StudyFile, options_of
from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.score.scoring import score_items
from alliance_stats.tables.schema import PATIENT, DataError, numeric, suggest

Step = Callable[..., pd.DataFrame]


def read_and_score(study: StudyFile) -> pd.DataFrame:
    """SESSIONS of the study with every score the study file asks for."""
    options, path = study.section(study.source), study.file(study.source)
    del options["file"]
    read = read_redcap if study.has("redcap") else read_sessions
    try:
        sessions = in_section(study, study.source, read, path, **options)
    except StudyError:
        raise
    except DataError as error:
        if study.has("redcap") or check_file(path, **options)["rule"].eq("file").any():  # no table at all
            raise StudyError(str(error), remedy="") from error
        raise
    for section, step in steps_between(study):
        sessions = in_section(study, section, step, sessions)
    return _with_score(study, sessions) if study.has("detect") else sessions


def steps_between(study: StudyFile) -> Iterator[tuple[str, Step]]:
    """What the study file asks for between reading and detecting, in this order: each a section and its function."""
    for options in study.tables("merge"):
        yield "merge", partial(_merged, study, options)
    for options in study.tables("patients"):
        path = study.beside(options.pop("file"), "patients")
        yield "patients", partial(join_patients, file=path, **options)
    for options in study.tables("keep"):
        yield "keep", partial(keep, **options)
    for options in study.tables("score"):
        instrument = instrument_of(study, options)
        del options["instrument"]
        yield "score", partial(score_items, instrument=instrument, **options)
    for options in study.tables("flip"):
        yield "flip", partial(flip, **options)


def _merged(study: StudyFile, options: dict[str, Any], sessions: pd.DataFrame) -> pd.DataFrame:
    """The sessions with the ratings of a second file, which is read by the same keys as the first."""
    path = study.beside(options["file"], "merge")
    suffix = {"suffix": options["suffix"]} if "suffix" in options else {}
    reading = {key: value for key, value in options.items() if key not in ("file", "suffix")}
    return merge_ratings(sessions, read_sessions(path, **reading), **suffix)


def instrument_of(study: StudyFile, section: dict[str, Any]) -> str | Path:
    """The instrument that a ``[score]`` names: one of INSTRUMENTS, or a TOML file beside the study file."""
    name = str(section["instrument"])
    return study.path.parent / name if name.endswith(".toml") else name


def implied_error(study: StudyFile, sessions: pd.DataFrame, score: str) -> float | None:
    """The error variance of `score` that its items imply; None where ``[score]`` did not make it as a mean or sum."""
    for section in study.tables("score"):
        if section.get("into") == score:
            try:
                items, instrument = section["items"], instrument_of(study, section)
                return error_variance(sessions, items, score=score, instrument=instrument)
            except DataError:  # a score that is no linear function of all items, or too few sessions
                return None
    return None


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


def codes_of(study: StudyFile) -> tuple[Path, dict[str, Any]]:
    """The file of ``[codes]`` and the options of `read_codes`; a code book of one's own lies beside the study file."""
    options = {key: value for key, value in study.section("codes").items() if key in options_of(read_codes)}
    if str(options.get("book", "")).endswith(".toml"):
        options["book"] = study.path.parent / options["book"]
    return study.file("codes"), options


def study_codes(study: StudyFile, sessions: pd.DataFrame) -> pd.DataFrame:
    """CODES from the file that the study names."""
    path, options = codes_of(study)
    return in_section(study, "codes", read_codes, path, sessions, **options)


def find_ruptures(study: StudyFile, sessions: pd.DataFrame, *, key: str = "rule") -> pd.DataFrame:
    """EVENTS by the rule that the study names under `key` of ``[detect]``."""
    score, rule = study.section("detect")["score"], study_rule(study, key)
    return in_section(study, "detect", detect_ruptures, sessions, score=score, rule=rule)


def prediction_events(study: StudyFile, sessions: pd.DataFrame) -> pd.DataFrame | None:
    """EVENTS by the rule for prediction, which must not look ahead; None where the study names none."""
    if "prediction_rule" in study.section("detect"):
        return find_ruptures(study, sessions, key="prediction_rule")
    return find_ruptures(study, sessions) if study_rule(study).prospective else None


def summarised(
    study: StudyFile, sessions: pd.DataFrame, events: pd.DataFrame, endings: pd.DataFrame | None
) -> pd.DataFrame:
    """PATIENTS with the symptom of ``[outcome]``, if there is one, and what ``[patients]`` says of each."""
    symptom = study.section("outcome").get("symptom")
    if symptom is not None and symptom not in sessions:
        problem = f"{study.path}: [outcome] symptom = {symptom!r}: the sessions have no such column."
        raise StudyError(problem, remedy=suggest(symptom, sessions.columns))
    score = study.section("detect")["score"]
    measures = [] if symptom is None else [symptom]
    patients = summarise_patients(sessions, events, endings=endings, measures=measures, score=score)
    known = [name for name in sessions.attrs.get(PER_PATIENT, []) if name not in patients]
    if not known:
        return patients
    own = sessions.drop_duplicates(PATIENT)[[PATIENT, *known]]
    joined = patients.merge(own, on=PATIENT, how="left")
    joined.attrs = patients.attrs
    return joined


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
