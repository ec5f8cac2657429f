"""A fit in words: what text and HTML show."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers import tables
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.flow import in_words
from alliance_stats.tables.rendering import Tables


def parts(fit: Fitted) -> tuple[list[str], Tables, list[str]]:
    """Heading, tables and notes of a fit, as ``rendering.as_text`` and ``as_html`` take them."""
    found = fit.diagnostics
    groups = ", ".join(f"{count:,} {name}" for name, count in found["groups"].items())
    method = "REML" if fit.reml else "maximum likelihood"
    serial = {None: "", "ar1": ", AR(1) residuals", "car1": ", continuous AR(1) residuals"}[fit.correlation]
    left_out = f"; {found['rows_dropped']:,} incomplete rows left out" if found["rows_dropped"] else ""
    heading = [
        f"Linear mixed model, {method}{serial}",
        fit.formula,
        f"{found['rows']:,} rows; groups: {groups}{left_out}",
        in_words(found["flow"]),
        f"log-likelihood {fit.log_likelihood:.3f}, AIC {fit.aic:.1f}, BIC {fit.bic:.1f}",
    ]
    shown: Tables = {
        "Fixed effects (t tests, Satterthwaite df)": tables.terms(fit, level=0.95, df="satterthwaite"),
        "Random effects and residual": _random(fit),
    }
    notes = [f"Boundary: {text}." for text in found["boundary"]]
    if not found["converged"]:
        notes.append(f"NOT CONVERGED: {found['message']}.")
    if found["aliased"]:
        notes.append(f"Left out as combinations of other terms: {', '.join(found['aliased'])}.")
    return heading, shown, [*notes, *found["notes"]]


def _random(fit: Fitted) -> pd.DataFrame:
    table = tables.variances(fit)
    pair = np.where(table["term_2"] != "", table["term"] + " x " + table["term_2"], table["term"])
    return table.assign(term=pair).drop(columns="term_2")
