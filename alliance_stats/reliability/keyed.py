"""Answers to items as one array: columns found, reversed items reversed, incomplete rows left out and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.catalogue import as_instrument
from alliance_stats.instruments.instrument import Instrument
from alliance_stats.tables import naming
from alliance_stats.tables.arrays import BoolArray, FloatArray
from alliance_stats.tables.schema import DataError, numeric, require_columns, suggest


class Keyed(NamedTuple):
    """Complete rows of keyed answers, their column names, and which rows of the table they are."""

    values: FloatArray
    columns: list[str]
    complete: BoolArray


def keyed_answers(
    table: pd.DataFrame, items: str | Sequence[str], instrument: str | Path | Instrument | None = None
) -> Keyed:
    """The answers to `items` (a pattern such as ``wai_{item}`` or column names), in the key's direction.

    Without an instrument the columns are taken as they are: reverse-keyed items must be reversed already. Raises
    ``DataError`` if columns are missing, fewer than two items are found, or fewer than three rows are complete.
    """
    if isinstance(items, str):
        columns = list(naming.numbered(table.columns, items).values())
        if not columns:
            names = [str(name) for name in table.columns]
            raise DataError(f"No column fits the pattern {items!r}.", remedy=suggest(items, names))
    else:
        columns = list(items)
    require_columns(table, columns)
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise DataError(f"items names the column {twice[0]!r} twice.", remedy="Name each item column once.")
    if len(columns) < 2:
        raise DataError("Reliability needs two or more items.", remedy="Name more item columns.")
    values = np.column_stack([numeric(table, column) for column in columns])
    if instrument is not None:
        key = as_instrument(instrument)
        if len(columns) != len(key.items):
            raise DataError(
                f"{len(columns)} columns were found; {key.name} has {len(key.items)} items.",
                remedy="Name one column per item, in the order of the item numbers.",
            )
        values = key.reverse(values)
    complete: BoolArray = np.logical_not(np.isnan(values).any(axis=1))
    if complete.sum() < 3:
        raise DataError(
            f"{int(complete.sum())} rows have an answer to every item; three or more are needed.",
            remedy="Check missing_codes= and the item columns.",
        )
    return Keyed(values[complete], columns, complete)
