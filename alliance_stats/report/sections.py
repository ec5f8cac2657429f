"""The sections of a study file: their keys, read off the functions they call, and what each key may hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.load.endings import read_endings
from alliance_stats.load.flipping import flip
from alliance_stats.load.keeping import keep
from alliance_stats.load.reading import read_sessions
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.report.study import StudyError, StudyFile, options_of, read_study
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.score.scoring import score_items
from alliance_stats.tables.schema import ENDING, LAST_SESSION, PATIENT, DataError, suggest

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
        "next_session": options_of(fit_next_session, without=("symptom", "alliance", "states")),
        "dynamics": options_of(fit_dynamics, without=("alliance", "measures", "allow_lookahead")),
        "growth": options_of(fit_growth, without=("measure", "pattern")),
        "dropout": options_of(dropout_intervals, without=("endings",))
        | options_of(fit_dropout, without=("states",))
        | {"formula"},
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
    "dynamics": ("symptom",),
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


def open_study(path: Path) -> StudyFile:
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


def study_rule(study: StudyFile, key: str = "rule") -> Rule:
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
        return in_section(study, f"detect.{key}", Rule, **fields)
    if not isinstance(written, str) or written not in RULES:
        raise StudyError(
            f"{study.path}: [detect] {key} = {written!r} is not a rule.", remedy=suggest(str(written), RULES)
        )
    return RULES[written]


def in_section(study: StudyFile, section: str, function: Callable[..., T], /, *arguments: Any, **options: Any) -> T:
    """What `function` returns; an argument that it refuses is reported as a mistake in `section` of the study file."""
    try:
        return function(*arguments, **options)
    except DataError as error:
        if error.row is not None or error.patient is not None or section == "read":
            raise
        problem = f"{study.path}: [{section}] {error.problem}"  # no row or patient: the settings do not fit the data
        raise StudyError(problem, remedy=error.remedy, column=error.column, value=error.value) from error
    except (ValueError, TypeError) as error:
        raise StudyError(f"{study.path}: [{section}] {error}", remedy="Correct the study file.") from error
