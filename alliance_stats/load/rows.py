"""Which rows of a file are read: empty ones, rows that are no sessions, and rows of another rater are left out."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from alliance_stats.load.cells import as_text, distinct_cells, is_plain_number
from alliance_stats.load.layout import Layout
from alliance_stats.load.problems import NOTE, WARNING, Problems
from alliance_stats.tables.arrays import BoolArray
from alliance_stats.tables.flow import Steps, counted
from alliance_stats.tables.schema import SESSION, DataError, require_columns, suggest


def without_empty(table: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """The table without rows in which every cell is empty and without unnamed columns that are empty; both noted."""
    unnamed = [name for name in table.columns if name.startswith("unnamed_")]
    empty_columns = [name for name in unnamed if _blank(table[name]).all()]
    if empty_columns:
        problems.add(
            NOTE, "empty column", f"{len(empty_columns)} empty column(s) without a name were left out.", remedy=""
        )
        table = table.drop(columns=empty_columns)
    if "unnamed_1" in table and _counts_rows(table["unnamed_1"]):
        problems.add(NOTE, "row numbers", "The first column, unnamed row numbers, was left out.", remedy="")
        table = table.drop(columns="unnamed_1")
        unnamed.remove("unnamed_1")
    for name in sorted(set(unnamed) - set(empty_columns)):
        problems.add(WARNING, "unnamed column", f"A column without a name is called {name!r}.", remedy="Name it.")
    # Only where one cell is blank can the next one matter; numbers are looked at first, which is quick.
    empty = np.arange(len(table))
    for name in sorted(table.columns, key=lambda name: not is_plain_number(table[str(name)])):
        empty = empty[_blank(table[name].iloc[empty])] if len(empty) else empty
    if len(empty) and table.shape[1]:
        bad = np.isin(np.arange(len(table)), empty)
        text = f"{len(empty)} empty row(s) were left out."
        problems.add(NOTE, "empty row", text, remedy="", table=table, bad=bad)
        table = table.loc[~bad]
    if table.empty:
        raise DataError("The file has column names and no rows.", remedy="Export it again with its data.")
    return table


def _counts_rows(column: pd.Series) -> bool:
    """Whether a column is 1, 2, 3, ... or 0, 1, 2, ..., as R and pandas write row numbers."""
    if not is_plain_number(column) or column.isna().any():
        return False
    numbers = column.to_numpy(dtype=np.float64)
    return bool(numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def _blank(column: pd.Series) -> BoolArray:
    missing = column.isna().to_numpy(dtype=bool)
    if is_plain_number(column) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return missing
    places, cells = distinct_cells(column)
    blank = np.array([*(isinstance(cell, str) and not cell.strip() for cell in cells), True], dtype=bool)
    return np.asarray(missing | blank[places])


def only_wanted(table: pd.DataFrame, layout: Layout, steps: Steps) -> pd.DataFrame:
    """The rows on which the columns of ``only`` hold what is wanted there; counted in the flow."""
    for name, wanted in layout.only.items():
        column = layout.named(name)
        require_columns(table, [column], table_name="the file")
        words = [_as_written(cell) for cell in (wanted if isinstance(wanted, list | tuple) else [wanted])]
        kept, held = _holding(table[column], words)
        absent = [word for word in words if word and word not in held]
        if absent:
            raise DataError(f"only: no row has {absent[0]!r} in {name!r}.", remedy=suggest(absent[0], held))
        table = table.loc[kept]
        if table.empty:
            raise DataError(f"No row is left with {words[0]!r} in {name!r}.", remedy="Check only=.")
        steps.append(counted(f"with {' or '.join(words)} in {name!r}", table))
    return table


def without_other_rows(table: pd.DataFrame, layout: Layout, problems: Problems, steps: Steps) -> pd.DataFrame:
    """The table without the rows that ``not_sessions`` declares to be no sessions; counted, and noted."""
    if not layout.not_sessions:
        return table
    gone = {_as_written(cell) for cell in layout.not_sessions}
    declared, _ = _holding(table[SESSION], gone)
    named = ", ".join(repr(word) if word else "empty" for word in sorted(gone))
    if not declared.any():
        return table
    text = f"{int(declared.sum())} row(s) that are no sessions ({named}) were left out."
    problems.add(NOTE, "not a session", text, remedy="", table=table, bad=declared)
    kept = table.loc[~declared]
    if kept.empty:
        raise DataError(f"Every row is one of not_sessions ({named}).", remedy="Check session= and not_sessions=.")
    steps.append(counted(f"with a session (not {named})", kept))
    return kept


def _holding(column: pd.Series, words: Collection[str]) -> tuple[BoolArray, list[str]]:
    """Where a column holds one of the words ("" for an empty cell), and everything that it holds."""
    places, distinct = pd.factorize(column)
    held = [_as_written(cell) for cell in distinct]
    return np.array([*(word in words for word in held), "" in words], dtype=bool)[places], held


def _as_written(cell: object) -> str:
    """A cell as text, "" where it is missing."""
    return "" if isinstance(cell, float) and np.isnan(cell) else as_text(cell)
