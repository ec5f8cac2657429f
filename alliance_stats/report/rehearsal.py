"""What a dry run found, each cause once; and its part behind detection: endings, patients, the models' options."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.coding.recognition import noticed
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.load.codes import check_codes
from alliance_stats.load.endings import endings_table, read_endings
from alliance_stats.load.problems import ERROR, NOTE, WARNING
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.report.guessing import range_of_total
from alliance_stats.report.numbers import count
from alliance_stats.report.part_codes import coded_study, fit_repair, repair_rows
from alliance_stats.report.sections import in_section, study_rule
from alliance_stats.report.steps import codes_of, find_ruptures, prediction_events, summarised
from alliance_stats.report.study import StudyError, StudyFile, options_of
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.tables.endings import endings_problems
from alliance_stats.tables.formulas import variables_of
from alliance_stats.tables.schema import ENDING, LAST_SESSION, PATIENT, SESSION, THERAPIST, DataError, numeric, suggest
from alliance_stats.tables.states import STATE_COLUMNS

TRIAL = 40  # Patients in the trial of the models' options


def rehearse(study: StudyFile, sessions: pd.DataFrame, found: Findings) -> None:
    """Ruptures, endings, PATIENTS and INTERVALS, and whether the models have the columns and options they name."""
    file, score = study.file(study.source).name, study.section("detect")["score"]
    events = endings = None
    if pd.to_numeric(sessions[score], errors="coerce").isna().all():
        found.add(ERROR, "data", file, f"{score!r} holds no rating at all.", "Check the file, and [score].")
        return
    with found.trying(file):
        events = find_ruptures(study, sessions)
    if study.has("endings"):
        endings = rehearse_endings(study, sessions, found)
    if events is None:
        return
    outcome, patients = study.section("outcome"), pd.DataFrame()
    known = study if outcome.get("symptom") in sessions else study.without("outcome", outcome)
    with found.trying(file):
        patients = summarised(known, sessions, events, endings)
        for key in ("covariates", "exposure"):
            named = outcome.get(key) or []
            for name in [named] if isinstance(named, str) else named:
                if name not in patients:
                    error = no_column(study, "outcome", key, name, patients.columns, "the table of patients")
                    error.remedy = f"Is it known once per patient? Read it in [patients]. {error.remedy}"
                    found.error(error, file)
    predicting = [name for name in ("next_session", "dropout") if study.has(name)]
    if predicting and not study_rule(study).prospective and "prediction_rule" not in study.section("detect"):
        models = f"[{'], ['.join(predicting)}]"
        problem = f"[detect] rule {study_rule(study).name!r} looks ahead: {models} cannot know the rupture state."
        remedy = "Add prediction_rule = ... to [detect], such as 'previous_2pooled'."
        found.add(WARNING, "study", study.path.name, problem, remedy)
    if study.has("dropout") and endings is not None:
        _dropout(study, sessions, endings, found)
    symptom = outcome.get("symptom", study.section("dynamics").get("symptom"))
    with found.trying(file):
        _range_of(str(symptom), sessions, file, found)
    _options(study, sessions, patients, endings, found)


def _range_of(symptom: str, sessions: pd.DataFrame, file: str, found: Findings) -> None:
    """Say so where symptoms leave the range of the questionnaire that their column is called after."""
    ends = range_of_total(symptom)
    if ends is None or symptom not in sessions:
        return
    values = numeric(sessions, symptom)
    if (outside := (values < ends[0]) | (values > ends[1])).any():
        row = sessions.loc[outside, [PATIENT, SESSION]].iloc[0].to_dict() | {"value": values[outside][0].item()}
        problem = f"{symptom!r} leaves {ends[0]:g} to {ends[1]:g}, the range of the questionnaire it is called after."
        remedy = f"Correct it, or declare ranges = {{ {symptom} = [{ends[0]:g}, {ends[1]:g}] }} in [read]."
        found.add(WARNING, "data", file, problem, remedy, _place(row), int(outside.sum()))


def rehearse_endings(study: StudyFile, sessions: pd.DataFrame, found: Findings) -> pd.DataFrame | None:
    """ENDINGS, or None with all that is wrong with them."""
    path, options = study.file("endings"), study.section("endings")
    del options["file"]
    with found.trying(path.name):
        table = in_section(study, "endings", endings_table, path, sessions, **options)
        problems = list(endings_problems(table, pd.Index(sessions[PATIENT].unique())))
        for error in problems:
            found.error(error, path.name)
        if not problems:
            endings = in_section(study, "endings", read_endings, path, sessions, **options)
            _late(endings, sessions, path.name, found)
            return endings
    return None


def _late(endings: pd.DataFrame, sessions: pd.DataFrame, file: str, found: Findings) -> None:
    """Say so where therapies are said to have gone on after the last row."""
    if LAST_SESSION not in endings:
        return
    after = endings[LAST_SESSION] - endings[PATIENT].map(sessions.groupby(PATIENT)[SESSION].max())
    late = endings.loc[after > 0, PATIENT]
    if len(late):
        patients = f"{count(len(late), 'patient')}, by up to {count(int(after.max()), 'session')}"
        problem = f"'last_session' lies after the last row of {patients}: the sessions between count as missed."
        remedy = "Were they planned and missed? If not, correct it."
        found.add(NOTE, "data", file, problem, remedy, f"patient {late.iloc[0]}", len(late))


def rehearse_codes(study: StudyFile, sessions: pd.DataFrame, found: Findings) -> None:
    """All that is wrong with the codes; where nothing is, whether what ``[codes]`` names is there."""
    path, options = codes_of(study)
    with found.trying(path.name):
        checked = in_section(study, "codes", check_codes, path, sessions, **options)
        found.checked(checked, path.name)
        if len(checked):
            return
        _, coded, events = coded_study(study, sessions)
        reports = study.section("codes").get("reports", {})
        for key, name in reports.items():
            if name not in sessions:
                found.error(no_column(study, "codes", f"reports.{key}", name, sessions.columns), "")
        if set(reports) == {PATIENT, THERAPIST} and set(reports.values()) <= set(sessions):
            in_section(study, "codes", noticed, events, sessions, **reports)
        formula, rows = repair_rows(study, sessions, events, coded, None)
        for name in variables_of(formula):
            if name not in rows:
                found.error(no_column(study, "codes", "formula", name, rows.columns, "the table of open ruptures"), "")
                return
        try:
            fit_repair(study, formula, rows) if formula and len(rows) else None
        except DataError:  # too few events and the like: the report says so
            pass
        except (ValueError, TypeError) as error:
            found.error(StudyError(f"[codes] {error}", remedy=""), "")


def _dropout(study: StudyFile, sessions: pd.DataFrame, endings: pd.DataFrame, found: Findings) -> None:
    settings = study.section("dropout")
    building = options_of(dropout_intervals)
    own = {key: value for key, value in settings.items() if key in building}
    with found.trying():
        names = in_section(study, "dropout", variables_of, settings["formula"])
        events = prediction_events(study, sessions)
        intervals = in_section(study, "dropout", dropout_intervals, sessions, events, endings=endings, **own)
        keys = [(key, settings[key]) for key in ("cluster", "random", "strata") if settings.get(key)]
        for key, name in [*(("formula", name) for name in names), *keys]:
            if name not in intervals:
                error = no_column(study, "dropout", key, name, intervals.columns, "the table of sessions at risk")
                if name in sessions:
                    error.remedy = f"Add it to measures = [...] (or fixed, covariates) of [dropout]. {error.remedy}"
                elif name in STATE_COLUMNS and events is None:
                    error.remedy = "The rule looks ahead: name one that does not as prediction_rule in [detect]."
                found.error(error, "")
        wanted = settings.get("ending", "dropout")
        if not endings[ENDING].eq(wanted).any():
            problem = f"[dropout] no patient has the ending {wanted!r}."
            found.error(StudyError(problem, remedy="Correct [endings] codes, or remove [dropout]."), "")


def _options(
    study: StudyFile, sessions: pd.DataFrame, patients: pd.DataFrame, endings: pd.DataFrame | None, found: Findings
) -> None:
    """Try the models on a few patients, only to see which options they refuse; nothing else of it is told."""
    some = sessions[PATIENT].drop_duplicates().head(TRIAL)
    few = sessions.loc[sessions[PATIENT].isin(some)]
    table = patients.loc[patients[PATIENT].isin(some)] if len(patients) else patients
    events = prediction_events(study, few)
    symptom, score = study.section("outcome").get("symptom", ""), study.section("detect")["score"]

    def hazard(options: dict[str, Any]) -> None:
        building = options_of(dropout_intervals)
        own = {key: options.pop(key) for key in list(options) if key in building}
        ends = None if endings is None else endings.loc[endings[PATIENT].isin(some)]
        fit_dropout(options.pop("formula"), dropout_intervals(few, events, endings=ends, **own), **options)

    models: dict[str, Callable[[dict[str, Any]], Any]] = {
        "chance": lambda own: chance_level(few, score=score, rule=study_rule(study), seed=1, **_few_draws(own)),
        "outcome": lambda own: fit_outcome(table, post=f"{symptom}_post", pre=f"{symptom}_pre", **own),
        "next_session": lambda own: fit_next_session(few, events, symptom=symptom, alliance=score, **own),
        "growth": lambda own: fit_growth(few, table, **{"measure": symptom, **own}),
        "dynamics": lambda own: fit_dynamics(few, **{"alliance": score, **own}),
        "dropout": hazard,
    }
    for section, model in models.items():
        options = study.section(section)
        if section == "outcome":
            options.pop("symptom", None)
        while study.has(section):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model(dict(options))
                break
            except (ValueError, TypeError, ArithmeticError, KeyError) as error:
                key = re.match(r"\W*(\w+)(\W*=|\W+must)", str(error))
                if key is None or key[1] not in options or key[1] == "formula" or isinstance(error, DataError):
                    break
                found.error(StudyError(f"[{section}] {error}", remedy=""), "")
                del options[key[1]]  # and look for the next


def _few_draws(options: dict[str, Any]) -> dict[str, Any]:
    """The options with as few draws as are allowed, where they are a number that is."""
    return options | ({"draws": 100} if options.get("draws", 1000) in range(100, 10**9) else {})


SHOWN = 3  # Places of a cause that are shown; the rest are counted
FINDINGS = ("severity", "of", "file", "problem", "places", "n", "remedy")
"""One row per cause; ``of`` is ``study`` or ``data``, ``places`` the first rows in words, ``n`` how many."""


@dataclass
class Findings:
    """What is wrong, in the order in which it was looked for."""

    study: StudyFile
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, severity: str, of: str, file: str, problem: str, remedy: str, places: str = "", n: int = 1) -> None:
        """One cause more; the same words of the same file count once."""
        row = dict(zip(FINDINGS, (severity, of, file, problem, places, n, remedy), strict=True))
        if row not in self.rows:
            self.rows.append(row)

    def error(self, error: Exception, file: str) -> None:
        """What an error says, about the study file or about a file of data."""
        problem = getattr(error, "problem", str(error)).removeprefix(f"{self.study.path}: ")
        if isinstance(error, StudyError):
            self.add(ERROR, "study", self.study.path.name, problem, error.remedy, _place(vars(error)))
        else:
            self.add(ERROR, "data", file, problem, getattr(error, "remedy", ""), _place(vars(error)))

    @contextmanager
    def trying(self, file: str = "") -> Iterator[None]:
        """Note an error of the block and go on after it."""
        try:
            yield
        except (DataError, ImportError) as error:
            self.error(error, file or self.study.path.name)

    def checked(self, table: pd.DataFrame, file: str) -> None:
        """The rows of CHECK, one for each cause; a file that cannot be read at all is the study's mistake."""
        table = table.fillna({"column": ""})
        for _, cells in table.groupby(["severity", "rule", "column", "problem", "remedy"], sort=False):
            severity, rule, problem, remedy = cells[["severity", "rule", "problem", "remedy"]].iloc[0]
            places = "; ".join(filter(None, map(_place, cells.head(SHOWN).to_dict("records"))))
            self.add(severity, "study" if rule == "file" else "data", file, problem, remedy, places, len(cells))

    def table(self) -> pd.DataFrame:
        """FINDINGS, errors first."""
        order = {ERROR: 0, WARNING: 1, NOTE: 2}
        rows = sorted(self.rows, key=lambda row: order[str(row["severity"])])
        return pd.DataFrame(rows, columns=list(FINDINGS))


def no_column(
    study: StudyFile, section: str, key: str, name: object, columns: Iterable[str], where: str = "the sessions"
) -> StudyError:
    """The mistake of naming a column that is not there; `where` says in which table."""
    problem = f"{study.path}: [{section}] {key} = {name!r}: {where} has no such column."
    problem = problem.replace("the sessions has", "the sessions have")
    return StudyError(problem, remedy=suggest(name, sorted(map(str, columns))))


def _place(cell: Any) -> str:
    """Where a cell is, in words: ``row 4 (patient p1, session 3): 'n/q'``."""
    there = {name: cell[name] for name in ("row", PATIENT, SESSION, "value") if not _missing(cell.get(name))}
    value = there.pop("value", None)
    value = value.item() if isinstance(value, np.generic) else value  # 31.0, not np.float64(31.0)
    row = there.pop("row", None)
    who = ", ".join(f"{name} {value}" for name, value in there.items())
    place = " ".join(
        part
        for part in (f"row {row}" if row is not None else "", f"({who})" if who and row is not None else who)
        if part
    )
    return f"{place}: {value!r}" if place and value is not None else place or ("" if value is None else repr(value))


def _missing(value: Any) -> bool:
    return value is None or value == "" or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
