"""From a study's file to SESSIONS, with every check on the way and every decision on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load import checks, suspicions
from alliance_stats.load.cells import as_ids, as_numbers, distinct_cells
from alliance_stats.load.dates import as_dates
from alliance_stats.load.duplicates import without_duplicates
from alliance_stats.load.formats import read_file
from alliance_stats.load.layout import ROLES, Layout
from alliance_stats.load.measures import read_measures
from alliance_stats.load.problems import ERROR, NOTE, WARNING, Problems
from alliance_stats.load.raw import Raw
from alliance_stats.load.rows import only_wanted, without_empty, without_other_rows
from alliance_stats.load.shape import wide_to_long
from alliance_stats.tables import naming
from alliance_stats.tables.flow import FLOW, Steps, counted, with_step
from alliance_stats.tables.schema import (
    ATTENDANCE,
    ATTENDANCES,
    DATE,
    PATIENT,
    SESSION,
    THERAPIST,
    DataError,
    check_runs,
    require_columns,
    suggest,
)

SESSION_RANGE = (0, 1000)
"""Session numbers outside it are an error unless ``ranges`` has an entry for ``session``."""


def read_layout(path: Path, layout: Layout, problems: Problems) -> pd.DataFrame:
    """SESSIONS from a file; problems are collected, and bad cells become missing where reading can continue."""
    return shape_sessions(read_raw(path, layout), path.name, layout, problems)


def usable_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with errors that can pass for SESSIONS: a patient, a whole session number, each once."""
    session = pd.to_numeric(table[SESSION], errors="coerce")
    good = table[PATIENT].notna() & (session.abs() < 2**53) & (session == np.floor(session))
    usable: pd.DataFrame = table.loc[good].astype({SESSION: np.int64}).drop_duplicates([PATIENT, SESSION])
    usable.attrs = table.attrs
    return usable


def shape_sessions(raw: Raw, file: str, layout: Layout, problems: Problems) -> pd.DataFrame:
    """SESSIONS from the table of a file."""
    table, how = raw.table, dict(raw.how)
    steps: Steps = []
    for rule, name, sentence in raw.remarks:
        problems.add(WARNING if rule == "impossible date" else NOTE, rule, sentence, remedy="", column=name)
    table = without_empty(table, problems)
    table, wide_measures = _long(table, layout, problems)
    table = _with_roles(table, layout, problems, raw)
    steps.append(counted("in the file", table))
    table = only_wanted(table, layout, steps)
    table = without_other_rows(table, layout, problems, steps)
    table, measures = read_measures(table, layout, wide_measures, problems)
    table = _ids(table, layout, problems)
    table = _dates(table, layout, problems)
    if wide_measures:
        by_session = [name for name in measures if name not in raw.table.columns]
        table = _without_unheld(table, by_session, steps)
    table = _sessions(table, layout, problems, steps)
    table = _attendance(table, layout, problems)
    table = without_duplicates(table, layout.duplicates, problems, steps)
    suspicions.look_at(table, measures, layout, problems)
    if any(problem.severity == ERROR for problem in problems.found):
        return table
    result, first = check_runs(table.reset_index(drop=True))
    suspicions.copies(result, first, measures, problems)
    result = result[[*(role for role in ROLES if role in result), *(name for name in result if name not in ROLES)]]
    steps = with_step(steps, "read", patients=len(first), sessions=len(result))
    how.pop("labels", None)
    result.attrs = {
        "report": {
            "file": file,
            **how,
            "rows_in_file": len(raw.table),
            "rows": len(result),
            "patients": steps[-1]["patients"],
            "measures": measures,
            "missing": {name: int(np.count_nonzero(np.isnan(result[name].to_numpy()))) for name in measures},
            "warnings": problems.texts(WARNING),
            "notes": problems.texts(NOTE),
        },
        FLOW: steps,
    }
    return result


def read_raw(path: Path, layout: Layout) -> Raw:
    """The table of a file, unchanged."""
    wanted = list(layout.roles().values())
    return read_file(
        path,
        delimiter=layout.delimiter,
        encoding=layout.encoding,
        sheet=layout.sheet,
        header_row=layout.header_row,
        wanted=[*wanted, *(name for name in layout.renamed_measures().values() if not naming.is_pattern(name))],
        as_text=[name for role, name in layout.roles().items() if role != SESSION],
        missing_text=layout.missing_text,
    )


def _require_named(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise where the file lacks a column, or its column names are further down."""
    for name in names:
        if name in table.columns:
            continue
        for row, cells in zip(table.index[:30], table.head(30).to_numpy(dtype=object)):
            if any(isinstance(cell, str) and cell.strip() == name for cell in cells):
                raise DataError(
                    f"the file has no column {name!r}; that name is in row {row}.",
                    remedy=f"Say header_row={row}: the rows above hold no data.",
                )
    require_columns(table, names, table_name="the file")


def _long(table: pd.DataFrame, layout: Layout, problems: Problems) -> tuple[pd.DataFrame, list[str]]:
    if layout.wide is None:
        return table, []
    _require_named(table, [layout.patient])
    long, measures, remarks = wide_to_long(table, layout.wide, kept=[layout.patient])
    for sentence in remarks:
        problems.add(WARNING, "session absent", sentence, remedy="Is the column named otherwise?")
    return long, measures


def _with_roles(table: pd.DataFrame, layout: Layout, problems: Problems, raw: Raw) -> pd.DataFrame:
    """Columns under the names of SESSIONS; a column of the file that is in the way gets ``_in_file`` after its name."""
    roles = {role: name for role, name in layout.roles().items() if name != role}
    measures = {new: old for new, old in layout.renamed_measures().items() if new != old and not naming.is_pattern(old)}
    _require_named(table, [*layout.roles().values(), *measures.values()])
    renamed = {old: new for new, old in {**roles, **measures}.items()}
    if len(renamed) < len(roles) + len(measures):
        raise ValueError("A column of the file is named for two things; each may be named once.")
    taken = {}
    for role in [*ROLES, *measures]:
        declared = layout.roles().get(role, measures.get(role))
        in_the_way = role in table.columns and role not in renamed and declared != role
        undeclared_time = role in (PATIENT, SESSION) or declared is not None
        if in_the_way and undeclared_time and not (role == SESSION and layout.wide is not None):
            taken[role] = f"{role}_in_file"
            problems.add(NOTE, "renamed", f"The file's own column {role!r} is called '{role}_in_file'.", remedy="")
    for name in layout.labelled:
        require_columns(table, [name], table_name="the file")
        if name not in raw.labels:
            raise DataError(f"{name!r} has no value labels.", remedy=suggest(name, raw.labels))
        table = table.assign(**{name: _labels(table, name, raw.labels[name], layout, problems)})
    return table.rename(columns={**taken, **renamed})


def _labels(table: pd.DataFrame, name: str, labels: Mapping[Any, str], layout: Layout, problems: Problems) -> pd.Series:
    """A column as its value labels; a code without label is an error."""
    codes = table[name]
    coded = as_numbers(codes, layout.codes_for(layout.named(name))).coded
    bad = ~codes.isin(list(labels)) & codes.notna() & ~coded
    problem = f"{int(bad.sum())} cell(s) of {name!r} hold a code without a value label."
    remedy = (
        f"If it means missing: missing_codes={{{layout.named(name)!r}: [...]}}. Otherwise leave it out of labelled=."
    )
    problems.add(ERROR, "no label", problem, remedy=remedy, table=table, bad=bad, column=name)
    return codes.map(dict(labels)).where(codes.notna())


def _ids(table: pd.DataFrame, layout: Layout, problems: Problems) -> pd.DataFrame:
    """Patient and therapist as ids; a missing patient is an error, a changing therapist a note."""
    patient = as_ids(table[PATIENT], missing_text=layout.missing_text)
    checks.patient_ids(table, patient, problems)
    replaced: dict[str, Any] = {PATIENT: patient.values}
    if THERAPIST in table and (layout.therapist is not None or layout.wide is not None):
        replaced[THERAPIST] = as_ids(
            table[THERAPIST], layout.codes_for(THERAPIST), missing_text=layout.missing_text
        ).values
    return table.assign(**replaced)


def _dates(table: pd.DataFrame, layout: Layout, problems: Problems) -> pd.DataFrame:
    if layout.date is None:
        return table
    found = as_dates(
        table[DATE], layout.codes_for(DATE), date_format=layout.date_format, missing_text=layout.missing_text
    )
    checks.dates(table, found, layout.date_format, problems)
    return table.assign(**{DATE: found.values})


def _sessions(table: pd.DataFrame, layout: Layout, problems: Problems, steps: Steps) -> pd.DataFrame:
    """Whole session numbers: as written, by ``session_format``, or counted from the dates."""
    if layout.session is None and layout.wide is None:
        return _numbered_by_date(table, layout, problems)
    column, allowed = table[SESSION], layout.range_for(SESSION) or SESSION_RANGE
    if layout.session_format is not None:
        column = checks.formatted_sessions(table, layout.session_format, problems)
    found = as_numbers(column, missing_text=layout.missing_text, decimal=layout.decimal)
    if checks.sessions_are_dates(table, column, problems):
        return table.assign(**{SESSION: found.values})
    checks.session_numbers(table, found, allowed, problems)
    if layout.range_for(SESSION) is None:
        checks.session_codes(table, np.where(found.values <= SESSION_RANGE[1], found.values, np.nan), problems)
    whole = np.floor(found.values) == found.values
    values = np.where(whole & (np.abs(found.values) < 2**53), found.values, 0).astype(np.int64)
    return table.assign(**{SESSION: values}) if whole.all() else table.assign(**{SESSION: found.values})


def _numbered_by_date(table: pd.DataFrame, layout: Layout, problems: Problems) -> pd.DataFrame:
    """Session numbers from dates within each patient: 1, 2, ... in order, or days or weeks since the first, from 1."""
    day = table[DATE]
    if day.isna().any():
        bad = day.isna()
        remedy = "Fill in the date or remove the row: sessions are numbered by date."
        problems.add(
            ERROR, "missing date", f"{int(bad.sum())} row(s) have no date.", remedy=remedy, table=table, bad=bad
        )
        return table.assign(**{SESSION: 0})
    by_patient = day.groupby(table[PATIENT].astype(object).to_numpy(), dropna=False)
    if layout.number_by == "order":
        number = by_patient.rank(method="dense").to_numpy()
        rule = "in the order of the dates"
    else:
        length = 7 if layout.number_by == "weeks" else 1
        number = (day - by_patient.transform("min")).dt.days.to_numpy() // length + 1
        rule = f"as {layout.number_by} since the patient's first date, from 1"
    problems.add(NOTE, "numbered by date", f"Sessions were numbered {rule}.", remedy="")
    return table.assign(**{SESSION: np.nan_to_num(number).astype(np.int64)})


def _attendance(table: pd.DataFrame, layout: Layout, problems: Problems) -> pd.DataFrame:
    if layout.attendance is None:
        return table
    codes = {str(code): meaning for code, meaning in layout.attendance_codes.items()}
    places, distinct = distinct_cells(table[ATTENDANCE])
    words = as_ids(pd.Series(distinct), layout.codes_for(ATTENDANCE), missing_text=layout.missing_text).values
    meant = [np.nan if pd.isna(word) else codes.get(str(word), str(word)) for word in words]
    text = pd.Series([*meant, np.nan], dtype=object).infer_objects().iloc[places].set_axis(table.index)
    if not {*meant} <= {*ATTENDANCES, np.nan}:
        checks.attendance(table, text, problems)
    return table.assign(**{ATTENDANCE: text})


def _without_unheld(table: pd.DataFrame, measures: list[str], steps: Steps) -> pd.DataFrame:
    """A wide file has a cell for every session number: those after a patient's last value were never held."""
    filled = np.zeros(len(table), dtype=bool)
    for name in (*measures, *(role for role in (DATE, ATTENDANCE) if role in table)):
        filled |= table[name].notna().to_numpy(dtype=bool)
    owner = table.groupby(table.index, sort=False).ngroup().to_numpy()
    last = np.full(owner.max() + 1, -1, dtype=np.int64)
    position = np.arange(len(table))
    np.maximum.at(last, owner[filled], position[filled])
    held = position <= last[owner]
    kept = table.loc[held]
    steps.append(counted("with a value in this session or a later one", kept))
    if kept.empty:
        raise DataError("No session of any patient has a value.", remedy="Check wide= and missing_codes=.")
    return kept
