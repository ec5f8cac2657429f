"""The columns that hold numbers: declared measures must, others may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load import checks
from alliance_stats.load.cells import Numbers, as_numbers, is_plain_number
from alliance_stats.load.layout import ROLES, Layout
from alliance_stats.load.problems import NOTE, Problems
from alliance_stats.tables import naming
from alliance_stats.tables.schema import SESSION, DataError, suggest


def read_measures(
    table: pd.DataFrame, layout: Layout, wide_measures: list[str], problems: Problems
) -> tuple[pd.DataFrame, list[str]]:
    """Declared measures as numbers; every other column as numbers where it holds nothing else."""
    declared = _declared(table, layout, wide_measures)
    replaced: dict[str, Any] = {}
    measures, commas = [], []
    for name in table.columns:
        if name in (*ROLES, layout.patient):
            continue
        column, codes = table[name], layout.codes_for(name)
        if name not in declared and pd.api.types.is_datetime64_any_dtype(column.dtype):
            continue
        found = as_numbers(column, codes, missing_text=layout.missing_text, decimal=layout.decimal)
        n_text = np.count_nonzero(found.text)
        strict = name in declared
        if n_text and not strict and (layout.measures is not None or _mostly_text(found)):
            checks.mixed_text(table, name, found, layout.measures is not None, problems)
            replaced[name] = _text_column(column, codes, layout.missing_text)
            continue
        if not strict and _leading_zeros(column):
            continue
        if n_text:
            checks.text_in_numbers(table, name, found.text, problems, declared=strict)
        if found.comma:
            commas.append(name)
        checks.codes_inside_range(name, codes, layout.range_for(name))
        checks.out_of_range(table, name, found.values, layout.range_for(name), problems)
        checks.infinite(table, name, found.values, problems)
        replaced[name] = pd.Series(found.values, index=table.index, copy=False)
        measures.append(name)
    if commas:
        shown = ", ".join(map(repr, commas[:5])) + (", ..." if len(commas) > 5 else "")
        problems.add(NOTE, "decimal comma", f"Decimal commas were read as such: {shown}.", remedy="", column=commas[0])
    return table.assign(**replaced), measures


def _mostly_text(found: Numbers) -> bool:
    return bool(found.text.sum() > 0.5 * np.count_nonzero(~np.isnan(found.values)))


def _declared(table: pd.DataFrame, layout: Layout, wide_measures: list[str]) -> set[str]:
    others = [name for name in table.columns if name not in ROLES]
    declared = {name for name in wide_measures if name not in ROLES}
    for new, old in layout.renamed_measures().items():
        found = naming.matching(others, new if not naming.is_pattern(old) else old)
        if not found:
            raise DataError(f"measures: the file has no column {old!r}.", remedy=suggest(old, others))
        declared |= set(found)
    for name in layout.ranges:
        if name == SESSION:
            continue
        found = naming.matching(others, name)
        if not found:
            raise DataError(f"ranges: the table has no column {name!r}.", remedy=suggest(name, others))
        declared |= set(found)
    if isinstance(layout.missing_codes, Mapping):
        for name in layout.missing_codes:
            if not naming.matching([*table.columns], name):
                remedy = suggest(name, [str(column) for column in table.columns])
                raise DataError(f"missing_codes: the table has no column {name!r}.", remedy=remedy)
    return declared


def _leading_zeros(column: pd.Series) -> bool:
    if is_plain_number(column):
        return False
    return any(isinstance(cell, str) and cell.strip()[:1] == "0" and cell.strip()[1:2].isdigit() for cell in column)


def _text_column(column: pd.Series, codes: Sequence[Any], missing_text: Sequence[str]) -> pd.Series:
    """A column of text with the missing codes as missing."""
    gone = {str(code).strip() for code in codes} | set(missing_text)
    places, distinct = pd.factorize(column)
    hidden = np.array([*(isinstance(cell, str) and cell.strip() in gone for cell in distinct), False], dtype=bool)[
        places
    ]
    return column.mask(hidden) if hidden.any() else column
