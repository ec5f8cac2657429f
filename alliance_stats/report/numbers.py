"""Numbers as the report prints them; the tables on disk keep them unrounded."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

MISSING = "–"


def number(value: Any, digits: int = 3) -> str:
    """`value` to `digits` significant digits, whole numbers whole, a dash where it is missing.

    >>> number(0.04567), number(12), number(1234.5678), number(-2.0), number(None)
    ('0.0457', '12', '1,235', '−2.00', '–')
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return _significant(value, digits).replace("-", "−")


def p_value(value: Any) -> str:
    """A p value in the field's form.

    >>> p_value(0.0004), p_value(0.0321), p_value(0.4), p_value(1.0)
    ('< .001', '.032', '.400', '1.000')
    """
    if value is None or pd.isna(value):
        return MISSING
    if value < 0.001:
        return "< .001"
    return f"{value:.3f}".removeprefix("0")


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.2264), percent(float("nan"))
    ('22.6 %', '–')
    """
    if value is None or pd.isna(value):
        return MISSING
    return f"{100 * value:.{digits}f} %".replace("-", "−")


def degrees(value: Any) -> str:
    """Degrees of freedom, one decimal.

    >>> degrees(83.6298), degrees(float("inf"))
    ('83.6', '∞')
    """
    return number(value) if math.isnan(value) or math.isinf(value) else f"{value:,.1f}"


def brief(value: Any) -> str:
    """A number as short as it can be written: ends of scales, settings.

    >>> brief(5.0), brief(0.25)
    ('5', '0.25')
    """
    return f"{value:g}".replace("-", "−")


def count(n: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> count(1, "patient"), count(1200, "session"), count(0, "study", "studies")
    ('1 patient', '1,200 sessions', '0 studies')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return f"{0:.{digits - 1}f}"
    place = digits - 1 - math.floor(math.log10(abs(value)))
    if place > 7 or abs(value) >= 1e9:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(place, 0)}f}"
