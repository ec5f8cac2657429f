"""A fit in words: text and HTML ready to be pasted."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers import tables
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.flow import in_words


def as_text(fit: Fitted) -> str:
    """Heading, fixed effects, variances and notes."""
    parts = [
        *_heading(fit),
        "",
        "Fixed effects (t tests, Satterthwaite df)",
        _fixed(fit).to_string(index=False),
        "",
        "Random effects and residual",
        _random(fit).to_string(index=False),
        "",
        *_notes(fit),
    ]
    return "\n".join(parts).rstrip()


def as_html(fit: Fitted) -> str:
    """The same as HTML without style of its own."""
    heading = "<br>".join(escape(line) for line in _heading(fit))
    notes = "<br>".join(escape(line) for line in _notes(fit))
    fixed = _fixed(fit).to_html(index=False, border=0)
    random = _random(fit).to_html(index=False, border=0)
    return (
        f"<div><p>{heading}</p><p><b>Fixed effects</b> (t tests, Satterthwaite df)</p>{fixed}"
        f"<p><b>Random effects and residual</b></p>{random}<p>{notes}</p></div>"
    )


def p_text(p: float) -> str:
    """A p value as APA style prints it.

    >>> p_text(0.0314), p_text(0.00002)
    ('.031', '< .001')
    """
    if np.isnan(p):
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def _heading(fit: Fitted) -> list[str]:
    found = fit.diagnostics
    groups = ", ".join(f"{count:,} {name}" for name, count in found["groups"].items())
    method = "REML" if fit.reml else "maximum likelihood"
    serial = {None: "", "ar1": ", AR(1) residuals", "car1": ", continuous AR(1) residuals"}[fit.correlation]
    return [
        f"Linear mixed model, {method}{serial}",
        fit.formula,
        f"{found['rows']:,} rows; groups: {groups}"
        + (f"; {found['rows_dropped']:,} incomplete rows left out" if found["rows_dropped"] else ""),
        in_words(found["flow"]),
        f"log-likelihood {fit.log_likelihood:.3f}, AIC {fit.aic:.1f}, BIC {fit.bic:.1f}",
    ]


def _fixed(fit: Fitted) -> pd.DataFrame:
    tidy = tables.terms(fit, level=0.95, df="satterthwaite")
    return pd.DataFrame(
        {
            "term": tidy["term"],
            "estimate": [_number(value) for value in tidy["estimate"]],
            "SE": [_number(value) for value in tidy["std_error"]],
            "df": [f"{value:.1f}" for value in tidy["df"]],
            "t": [f"{value:.2f}" for value in tidy["statistic"]],
            "p": [p_text(value) for value in tidy["p_value"]],
            "95% CI": [f"[{_number(low)}, {_number(high)}]" for low, high in zip(tidy["ci_low"], tidy["ci_high"])],
        }
    )


def _random(fit: Fitted) -> pd.DataFrame:
    table = tables.variances(fit)
    name = [f"{a} x {b}" if b else a for a, b in zip(table["term"], table["term_2"])]
    return pd.DataFrame(
        {
            "group": table["group"],
            "term": name,
            "variance": [_number(value) for value in table["variance"]],
            "SD": [_number(value) for value in table["sd"]],
            "corr": [f"{value:.2f}" if value == value else "" for value in table["correlation"]],
        }
    )


def _notes(fit: Fitted) -> list[str]:
    found = fit.diagnostics
    notes = [f"Boundary: {text}." for text in found["boundary"]]
    if not found["converged"]:
        notes.append(f"NOT CONVERGED: {found['message']}.")
    if found["aliased"]:
        notes.append(f"Left out as combinations of other terms: {', '.join(found['aliased'])}.")
    return notes + [f"{note}" for note in found["notes"]]


def _number(value: float) -> str:
    """Four significant digits, no exponent for the sizes this field meets."""
    if not np.isfinite(value):
        return ""
    if value == 0:
        return "0"
    digits = max(0, 3 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{digits}f}" if digits < 8 else f"{value:.3g}"
