"""Results as text and as HTML, in one style. Numbers are rounded here and never before.

Text holds plain characters, so that any terminal can print it. The HTML names no colour and no font: it takes those
of the page, so a notebook shows it as well on dark as on light. Everything that may come from data is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

Tables = Mapping[str, pd.DataFrame]  # Tables to show, each under its heading

_HEADINGS = {"std_error": "SE", "p_value": "p"}
_INTERVALS = {"ci": "{} CI", "ratio": "ratio {} CI"}


class Shown:
    """A result that shows itself: as text where it is printed, as HTML in a notebook."""

    def _shown(self) -> tuple[Sequence[str], Tables, Sequence[str]]:
        """Heading, tables and notes, as :func:`as_text` takes them."""
        raise NotImplementedError

    def summary(self) -> str:
        """The result as text."""
        return as_text(*self._shown())

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return as_html(*self._shown())


def as_text(head: Sequence[str], tables: Tables, notes: Sequence[str] = (), *, level: float = 0.95) -> str:
    """A result as text: its title and the lines below it, its tables by heading, and what to beware of.

    TERMS get the headings and the form of numbers that the field prints; `level` is that of their intervals.

    >>> table = pd.DataFrame({"term": ["session"], "estimate": [-0.3121], "p_value": [0.0004], "n": [1200]})
    >>> print(as_text(["Linear model"], {"Coefficients": table}, ["Few patients."]))
    Linear model
    <BLANKLINE>
    Coefficients
       term  estimate      p    n
    session   -0.3121 < .001 1200
    <BLANKLINE>
    Note: Few patients.
    """
    parts = list(head)
    for heading, table in tables.items():
        parts += ["", heading, printed(table, level=level).to_string(index=False)]
    parts += ["", *(f"Note: {note}" for note in notes)] if notes else []
    return "\n".join(parts)


def as_html(head: Sequence[str], tables: Tables, notes: Sequence[str] = (), *, level: float = 0.95) -> str:
    """The same as :func:`as_text` in HTML.

    >>> as_html(["a < b"], {}, [])
    '<div><p><strong>a &lt; b</strong></p></div>'
    """
    lines = "".join(f"<br>{escape(line)}" for line in head[1:])
    parts = [f"<p><strong>{escape(head[0])}</strong>{lines}</p>"]
    for heading, table in tables.items():
        parts += [f"<p><strong>{escape(heading)}</strong></p>"] if heading else []
        parts.append(_html_table(table, printed(table, level=level)))
    parts += [f"<p>Note: {escape(note)}</p>" for note in notes]
    return f"<div>{''.join(parts)}</div>"


def printed(table: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """A table with every cell as the text to print, the two ends of an interval in one column; text stays.

    >>> printed(pd.DataFrame({"share": [0.21], "ci_low": [0.1], "ci_high": [0.37], "df": [12.62]}), level=0.9)
        share            90% CI    df
    0  0.2100  [0.1000, 0.3700]  12.6
    """
    columns: dict[str, list[str]] = {}
    for name in map(str, table.columns):
        stem, _, end = name.rpartition("_")
        if stem in _INTERVALS and end == "low" and f"{stem}_high" in table:
            ends = zip(_cells(table[name]), _cells(table[f"{stem}_high"]), strict=True)
            columns[_INTERVALS[stem].format(f"{100 * level:g}%")] = [
                f"[{low}, {high}]" if low or high else "" for low, high in ends
            ]
        elif not (stem in _INTERVALS and end == "high" and f"{stem}_low" in table):
            columns[_HEADINGS.get(name, name)] = _cells(table[name])
    return pd.DataFrame(columns)


def p_value(value: Any, *, missing: str = "") -> str:
    """A p value in the field's form.

    >>> p_value(0.0004), p_value(0.0321), p_value(0.4), p_value(1.0), p_value(float("nan"))
    ('< .001', '.032', '.400', '1.000', '')
    """
    if value is None or pd.isna(value):
        return missing
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def significant(value: float, digits: int = 4) -> str:
    """A number to that number of significant digits, with an exponent only where it is very large or very small.

    >>> significant(0.0456789), significant(1234.5678), significant(0.0), significant(2e-9), significant(99.996)
    ('0.04568', '1,235', '0.000', '2.000e-09', '100.0')
    """
    if value == 0:
        return f"{0:.{digits - 1}f}"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))  # of the rounded value: 99.996 is 100.0
    if digits - 1 - exponent > 7 or exponent >= 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"


def decimals_for(low: Any, high: Any) -> int:
    """Decimals for an estimate with this interval: two, or more where the interval's width needs them for two digits.

    >>> decimals_for(-0.9, 0.9), decimals_for(-0.013, 0.0032), decimals_for(None, 1.0)
    (2, 3, 2)
    """
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return 2
    width = float(high) - float(low)
    return max(2, 1 - math.floor(math.log10(width))) if 1e-9 < width < math.inf else 2


def _cells(column: pd.Series) -> list[str]:
    form = {"p_value": p_value, "df": lambda value: f"{value:.1f}", "statistic": lambda value: f"{value:.2f}"}
    return [_cell(value, form.get(str(column.name), significant)) for value in column.tolist()]


def _cell(value: Any, form: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else (f"{value:g}" if math.isinf(value) else form(value))
    return str(value)


def _html_table(table: pd.DataFrame, cells: pd.DataFrame) -> str:
    """Numbers to the right, text to the left."""
    text = {_HEADINGS.get(str(name), str(name)) for name in table if not pd.api.types.is_numeric_dtype(table[name])}
    names = [str(name) for name in cells]
    styles = [f"text-align: {'left' if name in text else 'right'}" for name in names]
    head = "".join(f'<th style="{style}">{escape(name)}</th>' for name, style in zip(names, styles, strict=True))
    rows = (
        "".join(f'<td style="{style}">{escape(cell)}</td>' for cell, style in zip(row, styles, strict=True))
        for row in cells.itertuples(index=False, name=None)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
