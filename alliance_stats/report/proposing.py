"""A study file proposed from a data file: every role is a guess from names and values, and marked as one."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import as_numbers, as_text, extremes
from alliance_stats.load.checks import lonely_codes
from alliance_stats.load.dates import as_dates
from alliance_stats.load.formats import read_file
from alliance_stats.load.redcap import EVENT, INSTANCE, INSTRUMENT
from alliance_stats.load.text import MISSING_TEXT
from alliance_stats.report.guessing import (
    ALLIANCE,
    MOST_SESSIONS,
    NAMES,
    SYMPTOM,
    as_measure,
    changing,
    first_column,
    fitting_instruments,
    id_column,
    lie_inside,
    questionnaires,
    range_of_total,
    role_column,
    wide_patterns,
)
from alliance_stats.tables.schema import ATTENDANCE, ATTENDANCES, DATE, PATIENT, SESSION, THERAPIST, DataError


@dataclass
class Proposal:
    """The lines of a study file as they are guessed, and what to fill in."""

    lines: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def section(self, name: str, comment: str = "") -> None:
        """Begin a section."""
        self.lines += ["", f"[{name}]" + (f"  # {comment}" if comment else "")]

    def key(self, name: str, value: Any, comment: str = "") -> None:
        """A key of the section; `comment` says why it is guessed."""
        self.lines.append(f"{name} = {toml(value)}" + (f"  # {comment}" if comment else ""))

    def ask(self, question: str, *examples: str) -> None:
        """Something only the researcher can say, with lines to uncomment."""
        self.questions.append(question)
        self.lines += [f"# FILL IN: {question}", *(f"# {line}" for line in examples)]


def propose(path: Path, *, sheet: str | int | None = None, beside: Path | None = None) -> Proposal:
    """A study file for a data file of any kind that ``read_sessions`` reads, to be kept in the folder `beside`."""
    table = _table(path, sheet)
    made = Proposal()
    made.lines = [
        f"# Proposed from {path.name}. What is marked 'guess' was read off names and values: look at it.",
        "# Then: alliance-stats check, and alliance-stats report.",
    ]
    made.section("study")
    made.key("title", path.stem.replace("_", " "))
    made.key("seed", 1)
    made.section("redcap" if EVENT in table or INSTANCE in table else "read")
    made.key("file", Path(os.path.relpath(path, beside or path.parent)).as_posix())
    if sheet is not None:
        made.key("sheet", sheet)
    names = _redcap(made, table) if EVENT in table or INSTANCE in table else _read(made, table)
    _scores(made, table, names)
    return made


def toml(value: Any) -> str:
    """A value as TOML.

    >>> print(toml({"wai 1": [-9], "a": "b"}), toml(True), toml(4.0))
    { "wai 1" = [-9], a = "b" } true 4
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        keys = (name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name) for name in map(str, value))
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in zip(keys, value.values())) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:g}"


def _table(path: Path, sheet: str | int | None) -> pd.DataFrame:
    options: dict[str, Any] = {"delimiter": None, "encoding": None, "header_row": 1, "missing_text": MISSING_TEXT}
    return read_file(path, sheet=sheet, wanted=[], as_text=[], **options).table


def _read(made: Proposal, table: pd.DataFrame) -> dict[str, str]:
    """The keys of ``[read]``; returns the columns that become measures, by the name they are read under."""
    columns = [str(name) for name in table]
    first = columns[0] if table[columns[0]].is_unique and wide_patterns(columns) else None
    patient = role_column(PATIENT, columns) or first or id_column(table) or columns[0]
    wide = wide_patterns(columns) if table[patient].is_unique else {}
    named = PATIENT if role_column(PATIENT, columns) else "values"
    made.key(PATIENT, patient, f"guess from its {'name' if named == PATIENT else 'values'}")
    taken = {patient}
    if wide:
        made.key("wide", wide, "guess: one row per patient, session numbers in the column names")
    else:
        taken |= _session(made, table, patient)
    for role in (THERAPIST, DATE, ATTENDANCE):
        name = role_column(role, [one for one in columns if one not in taken])
        if name is None:
            continue
        taken.add(name)
        if role == ATTENDANCE:
            _attendance(made, table[name], name)
        elif role == DATE:
            _date(made, table[name], name)
        else:
            made.key(role, name, "guess from its name")
    if wide:
        return {new: first_column(pattern, columns) for new, pattern in wide.items()}
    numbers = {name: as_measure(table[name]) for name in columns if name not in taken}
    measures = {name: name for name, values in numbers.items() if values is not None}
    codes = {name: [code for code, _ in lonely_codes(numbers[name])] for name in measures}
    codes = {name: found for name, found in codes.items() if found}
    if codes:
        made.key("missing_codes", codes, "guess: far from every other value")
    ranges = {name: range_of_total(name) for name in measures}
    known = {
        name: found for name, found in ranges.items() if found and lie_inside(numbers[name], found, codes.get(name))
    }
    if known:
        made.key("ranges", known, "guess from the names of the questionnaires")
    return {name: name for name in changing(table, patient, measures)}


def _redcap(made: Proposal, table: pd.DataFrame) -> dict[str, str]:
    """The keys of ``[redcap]``."""
    columns = [str(name) for name in table]
    made.key(PATIENT, columns[0], "guess: the first column of an export of REDCap")
    if INSTRUMENT in table and table[INSTRUMENT].notna().any():
        made.key(
            "instruments", sorted(table[INSTRUMENT].dropna().astype(str).unique()), "guess: repeat once per session"
        )
    elif EVENT in table:
        events = table[EVENT].dropna().astype(str)
        shape = events.map(lambda name: re.sub(r"\d+", "{session}", name, count=1)).value_counts()
        made.key("event", str(shape.index[0]), "guess: where the session number is in the event's name")
    name = role_column(THERAPIST, columns)
    if name is not None:
        made.key(THERAPIST, name, "guess from its name")
    own = {EVENT, INSTRUMENT, INSTANCE, columns[0], name}
    rest = [one for one in columns if one not in own and not one.endswith("_complete")]
    return {one: one for one in changing(table, columns[0], rest)}


def _scores(made: Proposal, table: pd.DataFrame, measures: dict[str, str]) -> None:
    """``[[score]]`` for questionnaires whose items are there, then what to detect ruptures on and the outcome."""
    alliance: list[str] = []
    symptoms: list[str] = []
    used: set[str] = set()
    for stem, items in questionnaires(measures).items():
        used |= set(items)
        into = _score_name(stem, measures)
        found = _questionnaire(made, table, [measures[name] for name in items], stem, into)
        if found is not None:
            (alliance if found == "alliance" else symptoms).append(into)
    rest = [name for name in measures if name not in used and as_measure(table[measures[name]]) is not None]
    alliance += [name for name in rest if re.match(ALLIANCE, name.casefold())]
    symptoms += [name for name in rest if re.match(SYMPTOM, name.casefold())]
    if alliance:
        made.section("detect")
        made.key("score", alliance[0], _or("guess", alliance[1:]))
        made.key("rule", "running_mean_2pooled", "looks back only, so that it may feed models that predict")
        made.section("chance")
    else:
        shown = ", ".join(map(repr, rest[:8]))
        made.lines.append("")
        examples = ("[detect]", 'score = "..."', 'rule = "running_mean_2pooled"')
        made.ask(f"the alliance score to detect ruptures on, one of {shown}", *examples)
    if symptoms and alliance:
        made.section("outcome")
        made.key("symptom", symptoms[0], _or("guess", symptoms[1:]))
        made.section("next_session")
        made.section("dynamics", "which comes first")
        for key, value in {"symptom": symptoms[0], "trend": "random", "start": "stationary"}.items():
            made.key(key, value)
    made.lines += [
        "",
        "# For a model of dropout: how each therapy ended, in a file of its own with one row per patient.",
        "# [endings]",
        '# file = "endings.csv"',
        "# [dropout]",
        '# formula = "rupture_open + repaired_before + session"',
    ]


def _questionnaire(made: Proposal, table: pd.DataFrame, columns: list[str], stem: str, into: str) -> str | None:
    """A ``[[score]]`` where the items look like an instrument's: returns what it measures; otherwise a question."""
    answers = np.concatenate([one for one in (as_measure(table[name]) for name in columns) if one is not None] or [[]])
    codes = [code for code, _ in lonely_codes(answers)]
    low, high = extremes(answers[~np.isin(answers, codes)])
    fitting = fitting_instruments(stem, len(columns), low, high)
    pattern = re.sub(r"0*\d+(?=\D*$)", "{item}", columns[0])
    answered = f"{len(columns)} items with answers {low:g} to {high:g}"
    if not fitting:
        made.lines.append("")
        example = ("[[score]]", 'instrument = "..."', f"items = {toml(pattern)}", f"into = {toml(into)}")
        made.ask(f"the questionnaire, if {pattern!r} is one ({answered})", *example)
        return None
    made.section("[score]")
    made.key("instrument", fitting[0].name, _or(f"guess from {answered}", [one.name for one in fitting[1:]]))
    made.key("items", pattern)
    made.key("into", into)
    return fitting[0].construct


def _score_name(stem: str, measures: dict[str, str]) -> str:
    name = re.sub(r"\W+", "_", stem).strip("_").casefold() or "score"
    name = "alliance" if re.match(ALLIANCE, name) else name
    return f"{name}_score" if name in measures else name


def _or(guess: str, others: list[str]) -> str:
    return f"{guess}; or {', '.join(map(repr, others[:3]))}" if others else guess


def _session(made: Proposal, table: pd.DataFrame, patient: str) -> set[str]:
    """The session column: one called so, or one that with the patient tells the rows apart; otherwise the dates."""
    columns = [str(name) for name in table if name != patient]
    named = [name for name in columns if re.fullmatch(NAMES[SESSION], name.strip().casefold())]
    for name in [*named, *(one for one in columns if one not in named)]:
        numbers = as_numbers(table[name], missing_text=("",))
        words = [cell for cell in dict.fromkeys(table.loc[numbers.text, name].map(as_text)) if cell]
        there = ~np.isnan(numbers.values)
        values = numbers.values[there]
        good = (values == np.floor(values)) & (values >= 0) & (values <= MOST_SESSIONS)
        rows = table.loc[there, [patient]].assign(at=values)
        if good.sum() < 0.9 * max(len(table) - int(numbers.text.sum()), 1) or len(words) > 8:
            continue
        if name not in named and (not good.all() or rows.duplicated().any()):
            continue
        made.key(SESSION, name, f"guess from its {'name' if name in named else 'values'}")
        if words and good.all():
            made.key("not_sessions", words, "guess: no session numbers; these rows are left out, counted")
        n = int(rows.duplicated().sum())
        if n > 0.05 * len(rows):
            question = f"{n} rows repeat a patient and session: one row for each rater?"
            made.ask(question, 'only = { rater = "patient" }', 'duplicates = "first"')
        return {name}
    made.ask("the session number, or the date to number sessions by", 'session = "..."', 'date = "..."')
    return set()


def _date(made: Proposal, column: pd.Series, name: str) -> None:
    found = as_dates(column, date_format=None, missing_text=MISSING_TEXT)
    if found.bad.sum() < 0.05 * len(column):
        made.key(DATE, name, "guess from its name")
    elif found.fitting:
        made.key(DATE, name, "guess from its name")
        other = f"; {', '.join(found.fitting[1:3])} fits as well" if found.fitting[1:] else ""
        made.key("date_format", found.fitting[0], f"guess{other}")
    else:
        made.lines.append(f"# {name!r} is called like a date and holds none that can be read.")


def _attendance(made: Proposal, column: pd.Series, name: str) -> None:
    words = [as_text(cell) for cell in column.dropna().unique()]
    unknown = [word for word in words if word not in ATTENDANCES]
    if not unknown or len(unknown) < len(words):
        made.key(ATTENDANCE, name, "guess from its name")
    elif len(unknown) <= 8:
        codes = toml(dict.fromkeys(unknown, "..."))
        question = f"what the words of {name!r} mean ({', '.join(ATTENDANCES)})"
        made.ask(question, f"attendance = {toml(name)}", f"attendance_codes = {codes}")


def write_proposal(path: Path, out: Path, *, sheet: str | int | None = None) -> Proposal:
    """Write the proposed study file; an existing file is never replaced."""
    if out.exists():
        raise DataError(f"{out} exists already.", remedy="Give another name with --out, or remove it.")
    made = propose(path, sheet=sheet, beside=out.resolve().parent)
    out.write_text("\n".join(made.lines) + "\n", encoding="utf-8", newline="\n")
    return made
