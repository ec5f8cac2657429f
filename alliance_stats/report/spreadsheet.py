"""CSV files that a spreadsheet shows as they are: no cell that came from data is run as a formula."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from alliance_stats.report.study import StudyError
from alliance_stats.tables.files import write_whole

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV text.

    Text that a spreadsheet would take for a formula (beginning with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
    return) gets an apostrophe in front, in column names too. Numbers, and text that is a number, stay as they are.

    Examples
    --------
    >>> print(as_csv(pd.DataFrame({"id": ["=1+1", "-7", "p1"], "x": [-1.5, 2, 3]})), end="")
    id,x
    '=1+1,-1.5
    -7,2.0
    p1,3.0
    """
    changed = {}
    for name in table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]:
        cells = table[name].tolist()
        harmless = [_defused(cell) for cell in cells]
        if any(new is not old for new, old in zip(harmless, cells, strict=True)):
            changed[name] = pd.Series(harmless, index=table.index, dtype=object)
    return table.assign(**changed).rename(columns=_defused).to_csv(index=False, lineterminator="\n")


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write a table as CSV, whole or not at all; a link is followed, a device or pipe is written to as it is."""
    out = out.resolve()
    if out.is_dir():
        raise StudyError(f"{out} is a folder.", remedy="Give --out the name of a file.")
    text = as_csv(table)
    if out.exists() and not out.is_file():
        out.write_text(text, encoding="utf-8", newline="\n")
        return
    write_whole(out, text.encode())


def _defused(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_DANGEROUS) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
