"""What a dry run found: each cause once, with its first places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from alliance_stats.load.problems import ERROR, NOTE, WARNING
from alliance_stats.report.study import StudyError, StudyFile
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, suggest

SHOWN = 3
"""Places of a cause that are shown; the rest are counted."""
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
