"""A table as a file has it, before any of its columns has a meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from alliance_stats.tables.schema import DataError


class Raw(NamedTuple):
    """A table as the file has it."""

    table: pd.DataFrame  # Named columns, the file row in the index
    how: dict[str, Any]  # How it was read, in plain values that go into the report
    labels: dict[str, dict[Any, str]]  # The value labels of a statistics file: column to code to label
    # What the reader did that the user should know: a rule of ``REMARKS``, the column, and a sentence
    remarks: tuple[tuple[str, str, str], ...] = ()


def require_names(names: Sequence[str]) -> None:
    """Raise where the line of column names holds numbers alone."""
    given = [name.strip() for name in names if name.strip()]
    if given and all(name.replace(".", "", 1).replace("-", "", 1).isdigit() for name in given):
        raise DataError(
            f"The line of column names holds numbers alone ({', '.join(given[:4])}, ...).",
            remedy="Add a line of column names, or say which line it is with header_row=.",
        )


def unique_names(names: Sequence[str]) -> list[str]:
    """Column names without surrounding blanks; unnamed columns are called ``unnamed_<position>``.

    Raises
    ------
    DataError
        If two columns have the same name.
    """
    found: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        label = name.strip() or f"unnamed_{position}"
        if label in found:
            raise DataError(
                f"The file has two columns named {label!r} (columns {found[label]} and {position}).",
                remedy="Rename one of them in the file.",
            )
        found[label] = position
    return list(found)
