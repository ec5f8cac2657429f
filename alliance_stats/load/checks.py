"""The checks of a file, one function each: what is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import Ids, Numbers, extremes, is_plain_number, split_codes
from alliance_stats.load.dates import Dates
from alliance_stats.load.problems import ERROR, WARNING, Problems
from alliance_stats.tables import naming
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import ATTENDANCES, DATE, PATIENT, SESSION, DataError

TOTALS = ("total", "totals", "sum", "mean", "average", "summe", "gesamt", "mittelwert", "n", "sd", "somme", "moyenne")
_NEGATIVE_CODES = (-1, -2, -3, -6, -7, -8, -9, -66, -77, -88, -99, -777, -888, -999, -9999)
USUAL_CODES = (*_NEGATIVE_CODES, 66, 77, 88, 99, 777, 888, 999, 9999)


def _hold(bad: Any, column: str) -> str:
    """The beginning of a sentence about the cells where a mask holds."""
    n = int(bad.sum())
    return f"1 cell of {column!r} holds" if n == 1 else f"{n} cells of {column!r} hold"


def _listed(values: Sequence[Any], at_most: int = 5) -> str:
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else repr(value) for value in values[:at_most])
    return shown + (", ..." if len(values) > at_most else "")


_SECOND_HEADER = (
    "Is it a second line of column names, or of descriptions? Keep one line of column names, directly above the data."
)


def _first_rows(bad: Any) -> bool:
    """Whether a mask holds in the first row or the first two, and in no other."""
    at = np.flatnonzero(bad).tolist()
    return at in ([0], [0, 1]) and len(bad) > len(at)


def text_in_numbers(table: pd.DataFrame, name: str, text: Any, problems: Problems, *, declared: bool) -> None:
    """A measure holds something that is not a number."""
    found = list(dict.fromkeys(str(cell).strip() for cell in table[name].to_numpy()[text][:2000]))
    remedy = f"Correct it, or if it means missing: missing_codes=[{_listed(found, 3)}]."
    if any(cell.count(",") == 1 and cell.replace(",", "").isdigit() for cell in found):
        remedy = "Decimal commas? Say decimal=','. " + remedy
    if not declared:
        remedy += (
            " If the column is meant as text, name the measures with measures=; every other column then rides along."
        )
    if _first_rows(text):
        remedy = _SECOND_HEADER
    if (
        len(found) > 1
        and text.sum() == table[name].notna().sum()
        and (remedy == _SECOND_HEADER or remedy.startswith("Correct it"))
    ):
        remedy = "Labels instead of numbers? Export the column with its codes (raw values). If the words mean missing: "
        remedy += f"missing_codes=[{_listed(found, 3)}]."
    problem = f"{_hold(text, name)} text where numbers belong."
    problems.add(ERROR, "text in numbers", problem, remedy=remedy, table=table, bad=text, column=name)


def mixed_text(table: pd.DataFrame, name: str, found: Numbers, measures_named: bool, problems: Problems) -> None:
    """A column read as text holds numbers as well: worth a look where nobody said which columns are measures."""
    numbers = ~np.isnan(found.values)
    if measures_named or not numbers.any():
        return
    problem = f"{name!r} holds numbers and text and was read as text."
    remedy = "If it is a measure, name it in measures= and the texts that mean missing in missing_codes=."
    problems.add(WARNING, "mixed column", problem, remedy=remedy, column=name)


def codes_inside_range(name: str, codes: Sequence[Any], declared: tuple[float, float] | None) -> None:
    """Raise where a missing code is also a possible score."""
    if declared is None:
        return
    for code in split_codes(codes)[0]:
        if declared[0] <= code <= declared[1]:
            raise DataError(
                f"missing_codes: {code:g} lies inside the range {declared[0]:g} to {declared[1]:g} of {name!r}.",
                remedy=f"Give codes column by column: missing_codes={{'{name}': [...]}}.",
                column=name,
            )


def out_of_range(
    table: pd.DataFrame, name: str, values: FloatArray, declared: tuple[float, float] | None, problems: Problems
) -> None:
    """Scores outside the declared range; undeclared, a usual missing code far from all other values is a warning."""
    if declared is not None:
        low, high = extremes(values)
        if declared[0] <= low and high <= declared[1]:
            return
        bad = (values < declared[0]) | (values > declared[1])
        problem = f"{_hold(bad, name)} a value outside its range {declared[0]:g} to {declared[1]:g}."
        codes = [code for code in USUAL_CODES if (values[bad] == code).any()]
        remedy = "Correct the cell."
        if codes:
            remedy = f"Correct the cell, or if it means missing: missing_codes=[{', '.join(map(str, codes))}]."
        problems.add(ERROR, "out of range", problem, remedy=remedy, table=table, bad=bad, column=name, values=values)
        return
    for code, bad in lonely_codes(values):
        problem = f"{_hold(bad, name)} {code}, far from every other value."
        remedy = f"If it means missing: missing_codes=[{code}]. Declaring ranges= makes this certain."
        problems.add(WARNING, "missing code?", problem, remedy=remedy, table=table, bad=bad, column=name, values=values)


def lonely_codes(values: FloatArray) -> list[tuple[int, Any]]:
    """Usual missing codes that lie outside the other values by more than the whole spread of these."""
    low, high = extremes(values)
    present = [code for code in USUAL_CODES if low <= code <= high and (values == code).any()]
    rest = values[~np.isin(values, present) & np.isfinite(values)] if present else values[:0]
    if not len(rest):
        return []
    spread = max(float(rest.max() - rest.min()), 1.0)
    found = []
    for code in present:
        negative_alone = code < 0 <= rest.min()
        far = code > rest.max() + spread or code < rest.min() - spread
        if negative_alone or far:
            found.append((code, values == code))
    return found


def infinite(table: pd.DataFrame, name: str, values: FloatArray, problems: Problems) -> None:
    """A measure holds infinity."""
    bad = np.isinf(values)
    problem = f"{_hold(bad, name)} infinity."
    problems.add(ERROR, "infinity", problem, remedy="Correct it.", table=table, bad=bad, column=name)


def patient_ids(table: pd.DataFrame, ids: Ids, problems: Problems) -> None:
    """Every row needs a patient; a totals row and ids turned into dates are named as such."""
    remedy = "Format the column as text before the ids are typed or pasted."
    problem = "Some patient ids are dates: a spreadsheet program has turned ids such as 3-1 into them."
    problems.add(ERROR, "id is a date", problem, remedy=remedy, table=table, bad=ids.dates, column=PATIENT)
    remedy = "Fill in the id, or remove the row (is it a row of totals?)."
    remedy += " Cells such as NA count as empty; if NA is a real id, say so with missing_text=."
    n = int(ids.missing.sum())
    problem = "1 row has no patient." if n == 1 else f"{n} rows have no patient."
    problems.add(ERROR, "missing patient", problem, remedy=remedy, table=table, bad=ids.missing, column=PATIENT)


def dates(table: pd.DataFrame, found: Dates, date_format: str | None, problems: Problems) -> None:
    """Dates that cannot be read, and dates that run against the session numbers."""
    if found.bad.any():
        if date_format is not None:
            problem = f"{_hold(found.bad, DATE)} no date as in date_format={date_format!r}."
        else:
            problem = f"{_hold(found.bad, DATE)} no date as in 2026-01-31."
        fitting = " or ".join(repr(form) for form in found.fitting)
        remedy = "Say date_format=, or correct them."
        if fitting == "'excel'":
            remedy = "Day numbers of Excel? Format the column as dates, or say date_format='excel'."
        elif fitting:
            remedy = f"Say date_format={fitting}, which fits all of them."
        elif len(found.counts) > 1 or (found.counts and date_format not in (None, *found.counts)):
            shown = ", ".join(f"{n} as {form}" for form, n in found.counts.items())
            remedy = f"Does the column mix ways of writing dates ({shown})? Write all of them the same way."
        problems.add(ERROR, "date", problem, remedy=remedy, table=table, bad=found.bad, column=DATE)


def formatted_sessions(table: pd.DataFrame, session_format: str, problems: Problems) -> pd.Series:
    """Session numbers out of texts such as ``Session 3``."""
    expression = naming.matcher(session_format)

    def number(cell: object) -> float:
        fit = expression.match(str(cell).strip())
        return float(fit[SESSION]) if fit else np.nan

    places, distinct = pd.factorize(table[SESSION].astype(object))
    numbers = np.array([*(number(cell) for cell in distinct), np.nan])[places]
    bad = np.isnan(numbers) & table[SESSION].notna().to_numpy(dtype=bool)
    problem = f"{_hold(bad, SESSION)} no session number as in session_format={session_format!r}."
    remedy = "Correct the cell or session_format=."
    problems.add(ERROR, "session", problem, remedy=remedy, table=table, bad=bad, column=SESSION)
    return pd.Series(np.where(bad, 0, numbers), index=table.index)


def sessions_are_dates(table: pd.DataFrame, column: pd.Series, problems: Problems) -> bool:
    """Whether the session column holds dates (noted as an error)."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        bad = column.notna().to_numpy(dtype=bool)
    elif is_plain_number(column):
        return False
    else:
        bad = np.array([hasattr(cell, "isoformat") for cell in column], dtype=bool)
    if not bad.any():
        return False
    remedy = "To number sessions by date, leave session= out and name the column as date=; otherwise correct the cells."
    problem = f"{_hold(bad, SESSION)} a date instead of a session number."
    problems.add(ERROR, "session is a date", problem, remedy=remedy, table=table, bad=bad, column=SESSION)
    return True


def session_numbers(table: pd.DataFrame, found: Numbers, allowed: tuple[float, float], problems: Problems) -> None:
    """Session numbers must be there, whole, and possible."""
    values = found.values
    if found.text.any():
        first = str(table[SESSION].to_numpy()[found.text][0]).strip()
        remedy = (
            "Correct it; for texts such as 'Session 3' say session_format='Session {session}'; rows that are no "
            f"sessions are left out with not_sessions=[{first!r}]."
        )
        digits = "".join(character for character in first if character.isdigit())
        if re.fullmatch(r"\w+_arm_\d+", first):
            remedy = "An export of REDCap? Read it with read_redcap(path, event='...')."
        elif digits and first.count(digits) == 1 and not any(mark in first for mark in ".-/,"):
            remedy = f"Say session_format={first.replace(digits, '{session}')!r}, or correct the cell."
        elif any(mark in first for mark in ".-/") and len(digits) >= 6:
            remedy = "A date? Leave session= out and name the column as date=; then sessions are numbered by date."
        elif _first_rows(found.text):
            remedy = _SECOND_HEADER
        elif found.text.mean() > 0.5:
            remedy = f"Does another column hold the session numbers? Name it as session=. {remedy}"
        problem = f"{_hold(found.text, SESSION)} text that is not a number."
        problems.add(ERROR, "session", problem, remedy=remedy, table=table, bad=found.text, column=SESSION)
    missing = np.isnan(values) & ~found.text
    if missing.any():
        remedy = "Fill in the session number or remove the row; not_sessions=[''] leaves such rows out, counted."
        patients = table[PATIENT].to_numpy()[missing]
        if any(str(patient).strip().casefold() in TOTALS for patient in patients[:100]):
            remedy = "Remove the row: it looks like a row of totals below the data."
        elif missing[-1] and missing.sum() == 1:
            remedy = f"Is it a line of text below the data? {remedy}"
        elif "redcap_repeat_instrument" in table:
            remedy = "An export of REDCap? Read it with read_redcap(path, instruments=[...])."
        n = int(missing.sum())
        problem = "1 row has no session number." if n == 1 else f"{n} rows have no session number."
        problems.add(ERROR, "missing session", problem, remedy=remedy, table=table, bad=missing, column=SESSION)
    with np.errstate(invalid="ignore"):
        broken = ~missing & ~found.text & (np.floor(values) != values)
        impossible = ~broken & ((values < allowed[0]) | (values > allowed[1]))
    problem = f"{_hold(broken, SESSION)} a number that is not whole."
    remedy = "Give every row the whole number of its session (1, 2, ...)."
    problems.add(ERROR, "session", problem, remedy=remedy, table=table, bad=broken, column=SESSION)
    problem = f"{_hold(impossible, SESSION)} a number outside {allowed[0]:g} to {allowed[1]:g}."
    remedy = "Correct it; if such numbers are meant, declare ranges={'session': [lowest, highest]}."
    if (values[impossible] > 20000).any():
        remedy = "Day numbers of Excel? Leave session= out and name the column as date=, with date_format='excel'."
    problems.add(ERROR, "impossible session", problem, remedy=remedy, table=table, bad=impossible, column=SESSION)


def session_codes(table: pd.DataFrame, values: FloatArray, problems: Problems) -> None:
    """A usual missing code far from every other session number, such as 99 where the sessions run from 1 to 30."""
    for code, bad in lonely_codes(values):
        if code < 0:
            continue  # outside the range
        problem = f"{_hold(bad, SESSION)} {code}, far from every other session number."
        remedy = (
            f"If such rows are no sessions: not_sessions=[{code}]. If the numbers are meant, declare "
            "ranges={'session': [lowest, highest]}."
        )
        problems.add(ERROR, "session code?", problem, remedy=remedy, table=table, bad=bad, column=SESSION)


def attendance(table: pd.DataFrame, text: pd.Series, problems: Problems) -> None:
    """Attendance that is none of the known words."""
    bad = (text.notna() & ~text.isin(ATTENDANCES)).to_numpy(dtype=bool)
    known = ", ".join(ATTENDANCES)
    remedy = f"Translate it: attendance_codes={{{str(text[bad].iloc[0])!r}: 'attended', ...}}; known are {known}."
    problem = f"{_hold(bad, 'attendance')} an unknown word."
    problems.add(ERROR, "attendance", problem, remedy=remedy, table=table, bad=bad, column="attendance", values=text)
