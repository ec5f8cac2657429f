"""The sections of a study file: their keys, read off the functions they call, and what each key may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from alliance_stats.coding.episodes import repair_intervals
from alliance_stats.coding.events import events_from_codes
from alliance_stats.coding.sessions import code_sessions, consensus
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.load.codes import read_codes
from alliance_stats.load.endings import read_endings
from alliance_stats.load.flipping import flip
from alliance_stats.load.keeping import keep
from alliance_stats.load.merging import merge_ratings
from alliance_stats.load.patients import join_patients
from alliance_stats.load.reading import read_sessions
from alliance_stats.load.redcap import read_redcap
from alliance_stats.multiverse.fit import QUESTIONS
from alliance_stats.multiverse.joint import joint_test
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.reliability.consistency import item_reliability
from alliance_stats.report.study import REPEATABLE, StudyError, StudyFile, as_meant, load_study, mistakes_in, options_of
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.score.scoring import score_items
from alliance_stats.tables.schema import ENDING, LAST_SESSION, PATIENT, SESSION, THERAPIST, DataError, suggest

T = TypeVar("T")


def known_sections() -> dict[str, frozenset[str]]:
    """The sections of a study file and their keys, read off the functions they call."""
    reading = options_of(read_sessions)
    return {
        "study": frozenset({"title", "seed", "show_ids"}),
        "read": reading | {"file"},
        "redcap": (reading - {SESSION, "wide"}) | options_of(read_redcap) | {"file"},
        "merge": reading | options_of(merge_ratings) | {"file"},
        "patients": options_of(join_patients) | {"file"},
        "keep": options_of(keep),
        "score": options_of(score_items) | {"instrument"},
        "flip": options_of(flip),
        "reliability": options_of(item_reliability, without=("instrument",)) | {"crossed", "n_sessions"},
        "endings": options_of(read_endings) | {"file"},
        "detect": options_of(detect_ruptures) | {"prediction_rule"},
        "latent": options_of(detect_latent, without=("score", "seed", "parameters")) | {"recovery"},
        "chance": options_of(chance_level, without=("score", "rule", "seed")),
        "outcome": options_of(fit_outcome, without=("post", "pre", "pattern")) | {"symptom"},
        "next_session": options_of(fit_next_session, without=("symptom", "alliance", "states")),
        "dynamics": options_of(fit_dynamics, without=("alliance", "measures", "allow_lookahead")),
        "growth": options_of(fit_growth, without=("measure", "pattern")),
        "dropout": options_of(dropout_intervals, without=("endings",))
        | options_of(fit_dropout, without=("states",))
        | {"formula"},
        "codes": options_of(read_codes)
        | options_of(code_sessions)
        | options_of(consensus)
        | options_of(events_from_codes, without=("score",))
        | options_of(repair_intervals, without=("coded", "endings", "covariates"))
        | {"file", "formula", "reports", "model", "baseline", "cluster", "random", "penalty"},  # of fit_dropout
        "multiverse": options_of(joint_test, without=("score", "seed", "symptom", "endings")),
        "figures": frozenset({"patients", "before", "after"}),
    }


def all_keys() -> frozenset[str]:
    """The keys of all sections."""
    return frozenset().union(*known_sections().values())


REQUIRED = {
    "read": ("file", PATIENT),
    "redcap": ("file",),
    "merge": ("file", PATIENT),
    "patients": ("file",),
    "keep": ("because",),
    "score": ("instrument", "items", "into"),
    "flip": ("column", "into", "low", "high"),
    "endings": ("file",),
    "detect": ("score", "rule"),
    "outcome": ("symptom",),
    "dynamics": ("symptom",),
    "dropout": ("formula",),
    "codes": ("file",),
    "multiverse": ("question",),
}
_NEEDS = {
    **dict.fromkeys(("latent", "chance", "outcome", "dynamics", "codes", "multiverse", "figures"), ("detect",)),
    **dict.fromkeys(("next_session", "growth"), ("detect", "outcome")),
    "dropout": ("detect", "endings"),
    "reliability": ("score",),
}
"""Sections that mean nothing without another."""


_TYPES: dict[str, dict[str, type]] = {
    "study": {"title": str, "seed": int, "show_ids": bool},
    "keep": {"column": str, "because": str},
    "endings": {"file": str, PATIENT: str, ENDING: str, LAST_SESSION: str, "codes": dict},
    "detect": {"score": str},
    "outcome": {"symptom": str},
    "dynamics": {"symptom": str},
    "dropout": {"formula": str},
    "codes": {"file": str, "formula": str, "columns": dict, "codes": dict, "reports": dict},
    "latent": {"recovery": bool},
    "multiverse": {"question": str},
    "figures": {"patients": int, "before": int, "after": int},
    **{name: {"file": str, PATIENT: str} for name in ("read", "redcap", "merge", "patients")},
}
"""What the keys that no function of the package checks must be."""


def open_study(path: Path, *, needs: tuple[str, ...] = ()) -> StudyFile:
    """The study file at `path`, every section and key of it known, with the sections that a command needs.

    Raises ``StudyError`` at the first mistake; ``mistakes`` gives them all.
    """
    study = load_study(path)
    for error in mistakes(study, needs=needs):
        raise error
    return study


def mistakes(study: StudyFile, *, needs: tuple[str, ...] = ()) -> Iterator[StudyError]:
    """Every mistake of a study file that can be seen without its data."""
    known = known_sections()
    yield from mistakes_in(study, known, required=REQUIRED)
    study = as_meant(study, known)
    path, there = study.path, list(study.settings)
    for name in (study.source, *needs):
        if not study.has(name):
            remedy = f"Add one, with {' and '.join(f'{key} = ...' for key in REQUIRED[name])}."
            yield StudyError(f"{path}: the section [{name}] is missing.", remedy=remedy)
    if study.has("read") and study.has("redcap"):
        yield StudyError(f"{path}: there are both [read] and [redcap].", remedy="Keep the one that fits the file.")
    for name in there:
        for other in _NEEDS.get(name, ()):
            if not study.has(other) and other not in needs:
                remedy = f"Add a section [{other}], or remove [{name}]."
                yield StudyError(f"{path}: [{name}] needs [{other}].", remedy=remedy)
        for key, value in (item for table in study.tables(name) if isinstance(table, dict) for item in table.items()):
            wanted = _TYPES.get(name, {}).get(key)
            if wanted is not None and type(value) is not wanted:
                problem = f"{path}: [{name}] {key} = {value!r} must be {_WORDS[wanted]}."
                yield StudyError(problem, remedy="Correct the study file.")
    for table in study.tables("multiverse"):
        question = table.get("question")
        needed = "endings" if question == "dropout" else "outcome"
        if isinstance(question, str) and question not in QUESTIONS:
            problem = f"{path}: [[multiverse]] question = {question!r} is not known."
            yield StudyError(problem, remedy=suggest(question, QUESTIONS))
        elif question in QUESTIONS and not study.has(needed):
            problem = f"{path}: [[multiverse]] question = {question!r} needs [{needed}]."
            yield StudyError(problem, remedy=f"Add a section [{needed}].")
    for key in ("rule", "prediction_rule"):
        if key in study.section("detect"):
            try:
                study_rule(study, key)
            except StudyError as error:
                yield error
    score = study.section("detect").get("score")
    for name in ("outcome", "dynamics"):
        if score is not None and study.section(name).get("symptom") == score:
            problem = f"{path}: [{name}] symptom and [detect] score are the same column, {score!r}."
            yield StudyError(problem, remedy="Name the alliance as score and the symptoms as symptom.")
    reports = study.section("codes").get("reports", {})
    if isinstance(reports, dict) and reports and set(reports) != {PATIENT, THERAPIST}:
        problem = f"{path}: [codes] reports names {', '.join(map(repr, reports))}."
        yield StudyError(problem, remedy='Write reports = { patient = "...", therapist = "..." }.')
    seed = study.section("study").get("seed", 0)
    if isinstance(seed, int) and seed < 0:
        yield StudyError(f"{path}: [study] seed must not be negative.", remedy="Write a whole number, such as 1.")


def well_formed(study: StudyFile) -> tuple[StudyFile, set[str]]:
    """What of a study file can be used: known keys of the right kind, in sections that have all they need.

    Also the scores that sections left out would have made; ``"*"`` where they would have joined a file.
    """
    known, made, settings = known_sections(), set[str](), dict[str, Any]()
    study = as_meant(study, known)
    for name in study.settings:
        whole = []
        for table in study.tables(name):
            types = _TYPES.get(name, {})
            good = {
                key: value
                for key, value in table.items()
                if key in known[name] and (key not in types or type(value) is types[key])
            }
            if all(key in good for key in REQUIRED.get(name, ())):
                whole.append(good)
            else:
                made |= {str(table["into"])} if "into" in table else set()
                made |= {"*"} if name in ("merge", "patients") else set()
        if whole:
            settings[name] = whole if name in REPEATABLE else whole[0]
    detect = settings.get("detect", {})
    for key in ("rule", "prediction_rule"):
        try:
            study_rule(StudyFile(study.path, {"detect": detect}), key) if key in detect else None
        except StudyError:
            del settings["detect"]
            break
    return StudyFile(study.path, settings), made


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
        if error.row is not None or error.patient is not None or section in ("read", "redcap"):
            raise
        problem = f"{study.path}: [{section}] {error.problem}"  # no row or patient: the settings do not fit the data
        raise StudyError(problem, remedy=error.remedy, column=error.column, value=error.value) from error
    except (ValueError, TypeError) as error:
        raise StudyError(f"{study.path}: [{section}] {error}", remedy="Correct the study file.") from error
