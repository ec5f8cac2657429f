"""A fitted model's tables as text and as HTML; rounding happens here and nowhere before."""

from __future__ import annotations

import html

import pandas as pd


def as_text(title: str, tables: dict[str, pd.DataFrame], notes: list[str]) -> str:
    """Title, tables with three decimals, notes."""
    parts = [title]
    for heading, table in tables.items():
        parts += ["", heading, _rounded(table).to_string(index=False)]
    if notes:
        parts += ["", *(f"Note: {note}" for note in notes)]
    return "\n".join(parts)


def as_html(title: str, tables: dict[str, pd.DataFrame], notes: list[str]) -> str:
    """The same as HTML; every text from the data is escaped."""
    title, _, kept = title.partition("\n")
    parts = [f"<p><strong>{html.escape(title)}</strong></p>"]
    parts += [f"<p>{html.escape(kept)}</p>"] if kept else []
    for heading, table in tables.items():
        parts += [f"<p>{html.escape(heading)}</p>", _rounded(table).to_html(index=False, border=0)]
    parts += [f"<p>Note: {html.escape(note)}</p>" for note in notes]
    return "\n".join(parts)


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.copy()
    for name in shown.columns[[dtype.kind == "f" for dtype in shown.dtypes]]:
        shown[name] = shown[name].map(lambda value: "" if pd.isna(value) else f"{value:.3f}")
    if "p_value" in shown:
        small = table["p_value"] < 0.001
        shown["p_value"] = shown["p_value"].mask(small, "<.001")
    return shown
