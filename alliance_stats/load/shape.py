"""From one row per patient to one row per patient and session, by patterns of column names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables import naming
from alliance_stats.tables.schema import SESSION, DataError

Wide = str | Sequence[str] | Mapping[str, str]


def wide_to_long(table: pd.DataFrame, wide: Wide, *, kept: Sequence[str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """One row per file row and session number, the columns that fit the patterns becoming measures.

    `table` has one row per patient, the file row in its index. `wide` holds patterns with ``{session}``: one with
    ``{measure}`` names its measures itself (``"{measure}_s{session}"``); a dict gives the name (``{"alliance":
    "wai_s{session}"}``), which may use the pattern's other fields (``{"wai_{item}": "w{item}_t{session}"}``). Columns
    in `kept` are never taken for a measure (the patient).

    Returns the table with a column ``session``, every column without a session number repeated on each row of its
    patient; the measures, in the order of the file; and sentences about session numbers that a measure lacks. Raises
    ``DataError`` if a pattern fits no column, two columns give the same measure and session, or a column nearly fits,
    such as ``wai_S3`` for ``wai_s{session}``; ``ValueError`` if a pattern lacks ``{session}`` or a name.

    >>> table = pd.DataFrame({"id": [1], "wai_s1": [5.0], "wai_s2": [4.0], "age": [30]})
    >>> wide_to_long(table, {"alliance": "wai_s{session}"}, kept=["id"])[0]
       id  age  session  alliance
    0   1   30        1       5.0
    0   1   30        2       4.0
    """
    named = _named(wide)
    cells: dict[str, dict[int, str]] = {}
    for name, pattern in named:
        expression = naming.matcher(pattern)
        n_found = 0
        for column in table.columns:
            fit = expression.match(str(column))
            if fit is None or column in kept:
                continue
            n_found += 1
            groups = {field: int(text) if field in naming.NUMBERS else text for field, text in fit.groupdict().items()}
            measure, session = name.format(**groups), int(groups[SESSION])
            earlier = cells.setdefault(measure, {}).setdefault(session, column)
            if earlier != column:
                raise DataError(
                    f"{earlier!r} and {column!r} are both {measure!r} of session {session}.",
                    remedy="Drop one of the columns or make the pattern stricter.",
                )
        if not n_found:
            shown = ", ".join(repr(column) for column in list(table.columns)[:12])
            shown += ", ..." if table.shape[1] > 12 else "."
            raise DataError(
                f"No column fits the pattern {pattern!r}; the file has {shown}",
                remedy="Correct wide=; {session} is where the number is.",
            )
    _refuse_near(table, named, cells, kept)
    used = {column for by_session in cells.values() for column in by_session.values()}
    sessions = sorted({session for by_session in cells.values() for session in by_session})
    for measure in (*cells, SESSION):
        if measure in table.columns and measure not in used:
            raise DataError(
                f"The file has a column {measure!r} besides those that fit the pattern.",
                remedy="Give the measure another name in wide=, or rename the column.",
            )
    rest = table[[column for column in table.columns if column not in used]]
    n, width = len(table), len(sessions)
    long = rest.iloc[np.repeat(np.arange(n), width)]
    made: dict[str, Any] = {SESSION: np.tile(np.array(sessions, dtype=np.int64), n)}
    for measure, by_session in cells.items():
        made[measure] = _interleaved([by_session.get(session) for session in sessions], table)
    return pd.concat([long, pd.DataFrame(made, index=long.index)], axis=1), list(cells), _absent(cells)


def _refuse_near(
    table: pd.DataFrame, named: list[tuple[str, str]], cells: dict[str, dict[int, str]], kept: Sequence[str]
) -> None:
    """Raise where a column differs from a pattern only in capitals, blanks or punctuation: it would be left out."""
    used = {column for by_session in cells.values() for column in by_session.values()}
    measures: dict[str, str] = {}
    for one in cells:
        other = measures.setdefault(_bare(one), one)
        if other != one:
            columns = [next(iter(cells[name].values())) for name in (other, one)]
            raise DataError(
                f"The columns {columns[0]!r} and {columns[1]!r} nearly fit together: {other!r}, {one!r}.",
                remedy="Write the measure the same way in every column name, or rename one measure.",
            )
    for name, pattern in named:
        expression = naming.matcher(_bare(pattern))
        for column in table.columns:
            fit = None if column in used or column in kept else expression.match(_bare(str(column)))
            if fit is None:
                continue
            measure = measures.get(_bare(name.format(**fit.groupdict())))
            if measure is not None and int(fit[SESSION]) not in cells[measure]:
                raise DataError(
                    f"The column {column!r} nearly fits the pattern {pattern!r}.",
                    remedy="Rename the column so that it fits, or so that it does not look like a session.",
                )


def _bare(text: str) -> str:
    """A name or pattern in small letters without blanks and punctuation; names in braces stay.

    >>> _bare("WAI_ s{session}")
    'wais{session}'
    """
    return "".join(
        part if part.startswith("{") else re.sub(r"[\W_]", "", part.casefold()) for part in _BRACES.split(text)
    )


_BRACES = re.compile(r"(\{\w+\})")


def _absent(cells: dict[str, dict[int, str]]) -> list[str]:
    """Session numbers left out between a measure's first and last, unless it was taken at regular intervals."""
    found = []
    for measure, by_session in cells.items():
        sessions = sorted(by_session)
        absent = sorted(set(range(sessions[0], sessions[-1])) - set(sessions))
        if absent and len(set(np.diff(sessions))) > 1:
            shown = ", ".join(map(str, absent[:8])) + (", ..." if len(absent) > 8 else "")
            found.append(f"{measure!r} has no column for session {shown}.")
    return found


def _named(wide: Wide) -> list[tuple[str, str]]:
    if isinstance(wide, Mapping):
        named = list(wide.items())
    else:
        named = [("{measure}", pattern) for pattern in ([wide] if isinstance(wide, str) else wide)]
    if not named:
        raise ValueError("wide names no pattern.")
    for name, pattern in named:
        fields = naming.fields(pattern)
        if SESSION not in fields:
            raise ValueError(f"wide: the pattern {pattern!r} must hold {{session}}.")
        unknown = sorted(set(naming.fields(name)) - set(fields))
        if unknown == ["measure"] and not isinstance(wide, Mapping):
            raise ValueError(
                f"wide: name the measure of {pattern!r}, as in wide={{'alliance': {pattern!r}}} or '{{measure}}_...'."
            )
        if unknown:
            raise ValueError(f"wide: the name {name!r} uses {{{unknown[0]}}}, which {pattern!r} lacks.")
    return named


def _interleaved(columns: list[str | None], table: pd.DataFrame) -> Any:
    """The cells of several columns (None: missing everywhere) row by row: row 1 of each, row 2 of each, ..."""
    n = len(table)
    there = [table[column] for column in columns if column is not None]
    if all(column.dtype.kind in "iufb" for column in there):
        block = np.full((n, len(columns)), np.nan)
    else:
        block = np.full((n, len(columns)), None, dtype=object)
    for position, column in enumerate(columns):
        if column is not None:
            block[:, position] = table[column].to_numpy()
    flat = block.ravel()
    return pd.Series(flat).infer_objects().to_numpy() if flat.dtype == object else flat
