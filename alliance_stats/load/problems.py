"""What is wrong with a file: collected cell by cell, raised as the first or shown as one table."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import PATIENT, SESSION, DataError, plain

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
PROBLEM_COLUMNS = ("severity", "rule", "row", PATIENT, SESSION, "column", "value", "problem", "remedy")
"""CHECK, one row per bad cell (or per problem of the whole file, then without a place)."""


@dataclass(frozen=True)
class _Problem:
    severity: str
    rule: str
    problem: str
    remedy: str
    column: str | None
    places: pd.DataFrame


@dataclass
class Problems:
    """The problems found so far, in the order in which they were looked for."""

    found: list[_Problem] = field(default_factory=list)

    def add(
        self,
        severity: str,
        rule: str,
        problem: str,
        *,
        remedy: str,
        table: pd.DataFrame | None = None,
        bad: Any = None,
        column: str | None = None,
        values: Any = None,
    ) -> None:
        """Note a problem: of the whole file, or of the rows of `table` where the mask `bad` holds.

        `table` carries the file row in its index; `values` are the cells as found (default: the column itself).
        """
        if table is None:
            places = pd.DataFrame({"row": [None], PATIENT: [None], SESSION: [None], "value": [values]}, dtype=object)
        else:
            at = np.flatnonzero(np.asarray(bad))
            if not len(at):
                return
            cells = table.get(column) if values is None else values
            places = pd.DataFrame(
                {
                    "row": _objects(table.index, at),
                    PATIENT: _objects(table[PATIENT], at) if PATIENT in table and column != PATIENT else None,
                    SESSION: _objects(table[SESSION], at) if SESSION in table and column != SESSION else None,
                    "value": _objects(cells, at) if cells is not None else None,
                },
                dtype=object,
            )
        self.found.append(_Problem(severity, rule, problem, remedy, column, places))

    def add_error(self, error: DataError, rule: str) -> None:
        """Note a problem that stopped the reading."""
        place = {"row": error.row, PATIENT: error.patient, SESSION: error.session, "value": error.value}
        places = pd.DataFrame({name: [value] for name, value in place.items()}, dtype=object)
        self.found.append(_Problem(ERROR, rule, error.problem, error.remedy, error.column, places))

    def raise_first(self) -> None:
        """Raise the first error as :class:`DataError`, if there is one; warnings and notes do not raise."""
        errors = [problem for problem in self.found if problem.severity == ERROR]
        if not errors:
            return
        first = errors[0]
        place = first.places.iloc[0]
        more = sum(len(problem.places) for problem in errors) - 1
        also = f" ({more} more {'problem' if more == 1 else 'problems'}: check_file lists them all.)" if more else ""
        raise DataError(
            first.problem,
            remedy=first.remedy + also,
            row=_cell(place["row"]),
            patient=_cell(place[PATIENT]),
            session=_cell(place[SESSION]),
            column=first.column,
            value=_cell(place["value"]),
        )

    def table(self) -> pd.DataFrame:
        """CHECK, the errors first, then warnings and notes."""
        if not self.found:
            return pd.DataFrame({name: pd.Series(dtype=object) for name in PROBLEM_COLUMNS})
        parts = [
            problem.places.assign(
                severity=problem.severity,
                rule=problem.rule,
                column=problem.column,
                problem=problem.problem,
                remedy=problem.remedy,
            )
            for problem in sorted(self.found, key=lambda problem: SEVERITIES.index(problem.severity))
        ]
        return pd.concat(parts, ignore_index=True).astype(object)[list(PROBLEM_COLUMNS)]

    def texts(self, severity: str) -> list[str]:
        """Problem sentences of one severity, with how often and where first."""
        sentences = []
        for problem in self.found:
            if problem.severity != severity:
                continue
            row = _cell(problem.places["row"].iloc[0])
            at = "" if row is None else f" First at row {row}."
            sentences.append(f"{problem.problem}{at}")
        return sentences


def _objects(values: Any, at: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """The cells at some positions as plain Python objects, None for missing."""
    picked = pd.Series(values).iloc[at] if not isinstance(values, pd.Index) else pd.Series(values[at])
    cells = np.empty(len(at), dtype=object)
    cells[:] = [_cell(value) for value in picked]
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value
    missing = value is None or (np.ndim(value) == 0 and pd.isna(value))
    if missing:
        return None
    value = plain(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, datetime.date):
        return str(value).removesuffix(" 00:00:00")
    return value
