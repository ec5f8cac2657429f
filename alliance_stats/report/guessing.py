"""Guesses about a data file, from the names of its columns and from their values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.catalogue import INSTRUMENTS
from alliance_stats.instruments.instrument import Instrument
from alliance_stats.load.cells import as_numbers, extremes
from alliance_stats.load.text import MISSING_TEXT
from alliance_stats.tables.schema import ATTENDANCE, DATE, PATIENT, SESSION, THERAPIST

_NUMBER = r"[\s_.-]*(id|nr|no|num|number|code)?"
NAMES = {
    PATIENT: rf"(patient|pat|client|klient|participant|proband|teilnehmer|subject|subj|person|case|vpn?|pid|id|record)"
    rf"{_NUMBER}",
    SESSION: rf"(session|sess|sitzung|sitz|visit|week|woche|occasion|wave|stunde|month|time|t){_NUMBER}",
    THERAPIST: rf"(therapist|therapeut(in)?|ther|clinician|counsell?or|behandler|provider){_NUMBER}",
    DATE: r"(session[\s_.-]*)?(date|datum|day|tag)(of[\s_.-]*session)?",
    ATTENDANCE: r"(attendance|attended|anwesenheit|show|no[\s_.-]?show)",
}
"""What columns of a role are usually called, in small letters."""
ALLIANCE = r"(wai|wat|alliance|allianz|ali|haq|calpas|srs|arm|cali|bond|rapport|sai|tes)"
SYMPTOM = r"(phq|bdi|gad|oq|core|hamd|ham[_.]?d|hscl|scl|bsi|madrs|ids|qids|dass|k10|distress|symptom|severity)"
MOST_SESSIONS = 200


def role_column(role: str, columns: Iterable[str]) -> str | None:
    """The column whose name fits a role best: the earliest of the usual names, then the first in the file."""
    fits = [name for name in columns if re.fullmatch(NAMES[role], name.strip().casefold())]
    usual = re.findall(r"[a-z]+", NAMES[role])

    def rank(name: str) -> int:
        return next((k for k, one in enumerate(usual) if name.casefold().startswith(one)), len(usual))

    return min(fits, key=rank) if fits else None


def id_column(table: pd.DataFrame) -> str | None:
    """A column of ids without a telling name: each value on several rows, the most different ones."""
    whole = [name for name in table if table[name].notna().all() and table[name].dtype.kind != "f"]
    counts = {str(name): table[name].nunique() for name in whole}
    fits = {name: n for name, n in counts.items() if 2 <= len(table) / max(n, 1) <= MOST_SESSIONS}
    return max(fits, key=lambda name: fits[name]) if fits else None


def wide_patterns(columns: list[str]) -> dict[str, str]:
    """Patterns of columns with a session number at the end, three or more of each."""
    groups: dict[str, list[str]] = {}
    for name in columns:
        match = re.fullmatch(r"(.*?[A-Za-z].*?)(\d+)", name)
        if match:
            groups.setdefault(match[1], []).append(name)
    found = {}
    for stem, names in groups.items():
        measure = re.sub(r"[_.\s-]*(s|t|w|sess|session|week|sitzung)?[_.]*$", "", stem, flags=re.IGNORECASE)
        if len(names) < 3 or not measure:
            continue
        item = re.fullmatch(r"(.*?)(\d+)", measure)
        if item and re.search(r"(s|t|w|sess|session|week|sitzung)[_.]?$", stem, re.IGNORECASE):
            found[f"{item[1]}{{item}}"] = f"{item[1]}{{item}}{stem[len(measure) :]}{{session}}"
        else:
            found.setdefault(measure, f"{stem}{{session}}")
    return found


def first_column(pattern: str, columns: list[str]) -> str:
    """The first column that begins as the pattern does."""
    start = pattern.split("{")[0]
    return next(name for name in columns if name.startswith(start))


def questionnaires(measures: Iterable[str]) -> dict[str, list[str]]:
    """Columns numbered 1, 2, ... with the same stem, three or more: stem to columns."""
    groups: dict[str, dict[int, str]] = {}
    for name in measures:
        match = re.fullmatch(r"(.*?)[_.\s-]*0*(\d+)", name)
        if match and match[1]:
            groups.setdefault(match[1], {})[int(match[2])] = name
    return {
        stem: [numbered[k] for k in sorted(numbered)]
        for stem, numbered in groups.items()
        if len(numbered) >= 3 and sorted(numbered) == list(range(1, len(numbered) + 1))
    }


def fitting_instruments(stem: str, n_items: int, low: float, high: float) -> list[Instrument]:
    """Instruments of this many items that are called like the columns and allow their answers, nearest range first."""
    bare = re.sub(r"[\W_\d]|item|pat|ther|patient|therapist", "", stem.casefold())

    def called(one: Instrument) -> bool:
        name = re.sub(r"[\W\d]", "", one.name.casefold())
        return bool(bare) and (name.startswith(bare) or bare.startswith(name))

    fits = [
        one
        for one in INSTRUMENTS.values()
        if len(one.items) == n_items and called(one) and one.low <= low and high <= one.high
    ]
    return sorted(fits, key=lambda one: (one.high - high) + (low - one.low))


def range_of_total(name: str) -> list[float] | None:
    """The range of the total of the questionnaire that a column is called after."""
    bare = re.sub(r"[\W_]|total|sum|score", "", name.casefold())
    for one in INSTRUMENTS.values():
        if re.sub(r"[\W_]", "", one.name.casefold()) == bare and one.score == "sum":
            return [one.low * len(one.items) * one.factor, one.high * len(one.items) * one.factor]
    return None


def lie_inside(values: Any, ends: list[float], codes: list[int] | None) -> bool:
    """Whether all values but the codes lie between two ends."""
    low, high = extremes(values[~np.isin(values, codes or [])])
    return bool(ends[0] <= low <= high <= ends[1])


def as_measure(column: pd.Series) -> Any:
    """A column as numbers, None where it does not hold mostly numbers."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return None
    found = as_numbers(column, missing_text=MISSING_TEXT)
    n = int(np.isfinite(found.values).sum())
    return found.values if n and found.text.sum() < n else None


def changing(table: pd.DataFrame, patient: str, columns: Iterable[str]) -> list[str]:
    """The columns in which some patient has two values (age and sex have not); all where no patient has two rows."""
    columns = list(columns)
    values = table[columns].groupby(table[patient], sort=False).nunique().max()
    return columns if table[patient].is_unique else [name for name in columns if values[name] > 1]
