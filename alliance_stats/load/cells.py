"""Cells of a file as ids and numbers. Arrays in, arrays and masks out.

Text is converted value by distinct value, so that a million cells with twenty different answers cost twenty
conversions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import BoolArray, FloatArray, changes

_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+\Z")
_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})\Z")
_WHOLE_AS_FLOAT = re.compile(r"(0|-?[1-9][0-9]{0,14})\.0+\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


class Numbers(NamedTuple):
    """Cells as numbers."""

    values: FloatArray  # NaN where missing or not a number
    text: BoolArray  # Cells that hold something that is not a number
    coded: BoolArray  # Cells set to missing because they hold a missing code
    comma: bool  # Whether decimal commas were read


def as_numbers(
    column: pd.Series, codes: Iterable[object] = (), *, missing_text: Sequence[str] = ("",), decimal: str | None = None
) -> Numbers:
    """A column of any dtype as numbers.

    `codes` are values that mean missing, as numbers or text (``-9`` and ``"-9"`` are the same), `missing_text` is text
    that does. Without `decimal` a decimal comma is read where the column has cells such as ``3,5`` and none with a
    decimal point.

    >>> found = as_numbers(pd.Series(["3", " 4,5", "-9", "ill", None]), [-9])
    >>> found.values.tolist(), found.text.tolist(), found.coded.tolist()
    ([3.0, 4.5, nan, nan, nan], [False, False, False, True, False], [False, False, True, False, False])
    """
    numeric_codes, text_codes = split_codes(codes)
    if is_plain_number(column):
        if isinstance(column.dtype, np.dtype):
            values = column.to_numpy().astype(np.float64, copy=False)
        else:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        coded = _equals_any(values, numeric_codes)
        if numeric_codes and coded.any():
            values = np.where(coded, np.nan, values)
        return Numbers(values, np.zeros(len(values), dtype=bool), coded, False)
    places, distinct = distinct_cells(column)
    comma = decimal == "," or (decimal is None and _decimal_commas(distinct))
    parsed = [_number(value, comma, missing_text, text_codes, numeric_codes) for value in distinct]
    values = np.array([item[0] for item in parsed] + [np.nan])[places]
    text = np.array([item[1] for item in parsed] + [False])[places]
    coded = np.array([item[2] for item in parsed] + [False])[places]
    return Numbers(values, text, coded, comma)


def extremes(values: FloatArray) -> tuple[float, float]:
    """The smallest and largest number; (inf, -inf) where there are no numbers.

    >>> extremes(np.array([3.0, np.nan, 1.0]))
    (1.0, 3.0)
    """
    return float(np.fmin.reduce(values, initial=np.inf)), float(np.fmax.reduce(values, initial=-np.inf))


def is_plain_number(column: pd.Series) -> bool:
    """Whether a column holds real numbers by its dtype (bool included, dates and complex not)."""
    dtype = column.dtype
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)


def split_codes(codes: Iterable[object]) -> tuple[list[float], set[str]]:
    """Missing codes as numbers, and as texts."""
    numbers: list[float] = []
    texts: set[str] = set()
    for code in codes:
        if isinstance(code, str):
            texts.add(code.strip())
        if isinstance(code, int | float | np.number) or _NUMBER.match(str(code).strip()):
            numbers.append(float(str(code)))
    return numbers, texts


def _equals_any(values: FloatArray, codes: Sequence[float]) -> BoolArray:
    found = np.zeros(len(values), dtype=bool)
    for code in codes:
        found |= values == code
    return found


def _decimal_commas(distinct: Iterable[object]) -> bool:
    cells = [cell.strip() for cell in distinct if isinstance(cell, str)]
    return any(_COMMA.match(cell) for cell in cells) and not any("." in cell and _NUMBER.match(cell) for cell in cells)


def _number(
    value: object, comma: bool, missing_text: Sequence[str], text_codes: set[str], numeric_codes: Sequence[float]
) -> tuple[float, bool, bool]:
    """Value, whether it is text, whether it is a missing code."""
    if isinstance(value, str):
        cell = value.strip()
        if cell in text_codes:
            return np.nan, False, True
        if cell in missing_text:
            return np.nan, False, False
        if comma and _COMMA.match(cell):
            cell = cell.replace(",", ".")
        if not _NUMBER.match(cell):
            return np.nan, True, False
        number = float(cell)
    elif isinstance(value, bool | int | float | np.number | np.bool_):
        number = float(value)
    else:
        return np.nan, True, False
    return (np.nan, False, True) if number in numeric_codes else (number, False, False)


def distinct_cells(column: pd.Series) -> tuple[Any, list[Any]]:
    """The place of each cell among the distinct values (-1 for missing), and these values as Python objects."""
    head = changes(column)
    places, distinct = pd.factorize(column[head])
    places = places[np.cumsum(head) - 1]
    return places, np.asarray(distinct, dtype=object).tolist()


def is_code(text: str, numeric_codes: Sequence[float]) -> bool:
    """Whether a text is one of the missing codes, as a number."""
    return bool(numeric_codes) and bool(_NUMBER.match(text)) and float(text) in numeric_codes


class Ids(NamedTuple):
    """Ids, and the masks of cells that are missing or hold a date."""

    values: pd.Series
    missing: BoolArray
    dates: BoolArray


def as_ids(column: pd.Series, codes: Iterable[object] = (), *, missing_text: Sequence[str] = ("",)) -> Ids:
    """Ids as whole numbers where every one is written as one, otherwise as text.

    Surrounding blanks are removed and accents composed (NFC). An id with leading zeros keeps the whole column text:
    ``007`` is not ``7``.

    Examples
    --------
    >>> as_ids(pd.Series(["7", "12 "])).values.tolist(), as_ids(pd.Series(["007", "12"])).values.tolist()
    ([7, 12], ['007', '12'])
    """
    numeric_codes, text_codes = split_codes(codes)
    is_date = pd.api.types.is_datetime64_any_dtype(column.dtype)
    plain = isinstance(column.dtype, np.dtype) and not numeric_codes
    if plain and (column.dtype.kind == "i" or (column.dtype.kind == "u" and column.max() < 2**63)):
        nothing = np.zeros(len(column), dtype=bool)
        return Ids(column.astype("int64") if column.dtype.kind == "u" else column, nothing, nothing)
    places, distinct = distinct_cells(column)
    texts = [as_text(value) for value in distinct]
    absent = {*missing_text, *text_codes}
    gone = [text in absent or is_code(text, numeric_codes) for text in texts]
    missing = np.array([*gone, True])[places]
    if isinstance(column.dtype, pd.StringDtype):
        dates = np.zeros(len(column), dtype=bool)
    else:
        dates = np.array([is_date or hasattr(value, "isoformat") for value in distinct] + [False])[places]
    kept = [text for text, none in zip(texts, gone) if not none]
    whole = bool(kept) and all(_WHOLE.match(text) for text in kept)
    as_floats = bool(kept) and not whole and all(_WHOLE_AS_FLOAT.match(text) or _WHOLE.match(text) for text in kept)
    if whole or as_floats:
        numbers = np.array([0 if none else int(text.split(".")[0]) for text, none in zip(texts, gone)] + [0])[places]
        if missing.any():
            values = pd.Series(pd.array(numbers, dtype="Int64"), index=column.index)
            values[missing] = pd.NA
        else:
            values = pd.Series(numbers.astype(np.int64), index=column.index)
        values.name = column.name
        return Ids(values, missing, dates)
    if column.dtype == _TEXT and column.dtype != object and not missing.any() and texts == distinct:
        return Ids(column, missing, dates)
    labels = np.array([*(None if none else text for text, none in zip(texts, gone)), None], dtype=object)
    values = pd.Series(labels[places], index=column.index, name=column.name)
    values = values.astype("str") if not missing.any() else values.astype(object).where(~missing, None).astype(_TEXT)
    return Ids(values, missing, dates)


_TEXT = pd.Series(["a"]).dtype  # object in pandas 2, str (NaN for missing) in pandas 3


def as_text(value: object) -> str:
    """An id or word as text, without surrounding blanks; ``7.0``, as a spreadsheet holds it, is ``7``."""
    if isinstance(value, str) and value.isascii():
        return value.strip()
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 1e15:
        return str(int(value))
    text = str(value)
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()
