"""Numbers as the report prints them (APA style, 7th edition); the tables on disk keep them unrounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from alliance_stats.tables import rendering

MISSING = "–"
Format = Callable[[Any], str]


def number(value: Any, places: int | None = None) -> str:
    """Whole numbers whole; others with `places` decimals, by default two or as many as two digits need.

    >>> number(0.04567), number(12), number(138.26), number(1234.5678), number(-2.0), number(None)
    ('0.046', '12', '138.3', '1,235', '−2.00', '–')
    >>> number(0.04567, 2), number(-0.005, 3)
    ('0.05', '−0.005')
    """
    value = _plain(value)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e9 or (places is None and 0 < size < 5e-7):
        return f"{value:.1e}".replace("-", "−")
    if places is None:
        places = 2 if size == 0 or size >= 0.0995 else 1 - math.floor(math.log10(size))
    return _decimals(value, 0 if size >= 999.5 else 1 if size >= 99.95 else places)


def two_decimals(value: Any) -> str:
    """A standardised effect.

    >>> two_decimals(-0.0199), two_decimals(-0.001)
    ('−0.02', '0.00')
    """
    return _fixed(value, 2)


def one_decimal(value: Any) -> str:
    """Degrees of freedom and expected counts.

    >>> one_decimal(83.6298), one_decimal(float("inf"))
    ('83.6', '∞')
    """
    return _fixed(value, 1)


def correlation(value: Any) -> str:
    """What cannot exceed 1 has no leading zero: correlations, reliabilities.

    >>> correlation(0.2946), correlation(-0.0058), correlation(1.0), correlation(-0.5)
    ('.29', '−.01', '1.00', '−.50')
    """
    text = _fixed(value, 2)
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0.") else text


def p_value(value: Any) -> str:
    """A p value.

    >>> p_value(0.0004), p_value(0.0321), p_value(0.4), p_value(0.9999)
    ('< .001', '.032', '.400', '> .999')
    """
    value = _plain(value)
    if value is None:
        return MISSING
    return "> .999" if value > 0.9995 else rendering.p_value(value)


def printed(table: pd.DataFrame, name: str, formats: Mapping[str, Format]) -> list[str]:
    """A column as it is printed: an estimate and its error with the decimals that the row's interval needs.

    >>> rows = pd.DataFrame({"estimate": [0.0456, -0.0051], "ci_low": [-0.4, -0.0134], "ci_high": [0.5, 0.0032]})
    >>> printed(rows, "estimate", {}), printed(rows, "ci_high", {})
    (['0.05', '−0.005'], ['0.50', '0.003'])
    """
    if name in formats or name == "p_value" or not {"ci_low", "ci_high"} <= set(table):
        form = formats.get(name, p_value if name == "p_value" else number)
        return [form(value) for value in table[name].tolist()]
    ends = zip(table[name].tolist(), table["ci_low"].tolist(), table["ci_high"].tolist(), strict=True)
    return [number(value, rendering.decimals_for(low, high)) for value, low, high in ends]


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.2264), percent(float("nan"))
    ('22.6%', '–')
    """
    value = _plain(value)
    return MISSING if value is None else f"{_decimals(100 * float(value), digits)}%"


def brief(value: Any) -> str:
    """A number as short as it can be written: ends of scales, settings.

    >>> brief(5.0), brief(0.25)
    ('5', '0.25')
    """
    return f"{value:g}".replace("-", "−")


def tally(value: Any) -> str:
    """A count, or a quantile of counts, which may fall between two of them.

    >>> tally(17.0), tally(25.025), tally(25.5)
    ('17', '25', '25.5')
    """
    return one_decimal(value).removesuffix(".0")


def count(n: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> count(1, "patient"), count(1200, "session"), count(0, "study", "studies")
    ('1 patient', '1,200 sessions', '0 studies')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def p_clause(text: str) -> str:
    """``p = .032`` or ``p < .001``, from a printed p value.

    >>> p_clause(".032"), p_clause("< .001")
    ('p = .032', 'p < .001')
    """
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def _plain(value: Any) -> Any:
    """A Python number, text or bool; None for everything that means missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _fixed(value: Any, digits: int) -> str:
    value = _plain(value)
    if value is None or math.isinf(value):
        return number(value)
    return _decimals(float(value), digits)


def _decimals(value: float, digits: int) -> str:
    """`value` with `digits` decimals, a true minus sign, and no minus before what rounds to zero."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if any(digit in text for digit in "123456789") else text.removeprefix("-")
