"""Cells of a file as dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.load.cells import as_text, distinct_cells, is_code, split_codes
from alliance_stats.tables.arrays import BoolArray

DATE_FORMATS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y%m%d", "%d.%m.%y", "%m/%d/%y", "%d %b %Y",
    "%Y-%m-%d", "excel",
)  # fmt: skip
"""Formats that are tried to say which would fit; ``excel`` means day numbers since 1899-12-30."""


class Dates(NamedTuple):
    """Dates (NaT where missing), the cells that are no dates, formats that fit all cells, and how many each fits."""

    values: pd.Series
    bad: BoolArray
    fitting: list[str]
    counts: dict[str, int]


def as_dates(
    column: pd.Series, codes: Iterable[object] = (), *, date_format: str | None, missing_text: Sequence[str] = ("",)
) -> Dates:
    """A column as dates: ISO (2026-01-31) unless `date_format` says otherwise; 03/04/2026 is never guessed.

    Examples
    --------
    >>> found = as_dates(pd.Series(["31.01.2026", "02.02.2026"]), date_format=None)
    >>> found.bad.tolist(), found.fitting
    ([True, True], ['%d.%m.%Y'])
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        values = column.dt.tz_localize(None) if getattr(column.dt, "tz", None) is not None else column
        return Dates(values, np.zeros(len(column), dtype=bool), [], {})
    numeric_codes, text_codes = split_codes(codes)
    places, distinct = distinct_cells(column)
    cells = [value if hasattr(value, "isoformat") else as_text(value) for value in distinct]
    gone = [
        isinstance(cell, str) and (cell in missing_text or cell in text_codes or is_code(cell, numeric_codes))
        for cell in cells
    ]
    parsed = [_NO_DATE if none else _date(cell, date_format) for cell, none in zip(cells, gone)]
    bad = np.array([np.isnat(day) and not none for day, none in zip(parsed, gone)] + [False])[places]
    values = pd.Series(
        np.array([*parsed, _NO_DATE], dtype="datetime64[ns]")[places], index=column.index, name=column.name
    )
    if not bad.any():
        return Dates(values, bad, [], {})
    used = np.bincount(places[places >= 0], minlength=len(cells))
    texts = [(cell, n) for cell, none, n in zip(cells, gone, used) if isinstance(cell, str) and not none]
    counts = {form: sum(int(n) for cell, n in texts if not np.isnat(_date(cell, form))) for form in DATE_FORMATS}
    total = sum(int(n) for _, n in texts)
    return Dates(
        values, bad, [form for form, n in counts.items() if n == total], {k: n for k, n in counts.items() if n}
    )


_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?\Z")


_NO_DATE = np.datetime64("NaT", "ns")


def _date(cell: Any, date_format: str | None) -> Any:
    try:
        if not isinstance(cell, str):
            day = pd.Timestamp(cell)
        elif date_format == "excel":
            number = float(cell)
            if not 20_000 <= number < 80_000:  # 1954 to 2119
                return _NO_DATE
            day = pd.Timestamp("1899-12-30") + pd.Timedelta(days=int(number))
        elif date_format is None:
            if not _ISO.match(cell):
                return _NO_DATE
            day = pd.Timestamp(cell)
        else:
            day = pd.to_datetime(cell, format=date_format)
        return day.tz_localize(None).to_datetime64().astype("datetime64[ns]")
    except (ValueError, TypeError, OverflowError):
        return _NO_DATE
