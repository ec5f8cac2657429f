"""What to know of a fitted model before trusting it: each doubt with its number and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alliance_stats.dropout.result import HazardFit
from alliance_stats.outcome.next_session_fit import NextSessionFit
from alliance_stats.outcome.patterns import OutcomeFit

FEW_CLUSTERS = 10
"""With fewer therapists their variance, and errors that are robust to them, rest on little (Cameron & Miller, 2015)."""
PER_COEFFICIENT = 10
"""Events for each coefficient below which a hazard model is unstable (Peduzzi et al., 1995)."""


def doubts(fit: Any, row: dict[str, Any]) -> Iterator[str]:
    """Sentences about one model, of which `row` is that of the table ``models``."""
    if not row["converged"]:
        yield "it did not converge: do not interpret its numbers."
    if row["therapists"] is not None and row["therapists"] < FEW_CLUSTERS:
        yield (
            f"only {row['therapists']} therapists, fewer than {FEW_CLUSTERS}: how they differ is poorly known. Read "
            "its intervals as too narrow."
        )
    if isinstance(fit, HazardFit):
        yield from _about_dropout(fit, row)
    elif isinstance(fit, OutcomeFit):
        small = [f"{name} ({n:g})" for name, n in fit.diagnostics["patterns"].items() if n < 10]
        if small:
            yield f"fewer than 10 patients in pattern {', '.join(small)}: do not rest a conclusion on its differences."
    elif isinstance(fit, NextSessionFit):
        thin = [str(note) for note in fit.diagnostics["notes"] if str(note).startswith("Only")]
        yield from (f"{note} Read its interval, not its p value alone." for note in thin)


def _about_dropout(fit: HazardFit, row: dict[str, Any]) -> Iterator[str]:
    n, k = row["events"], len(fit.terms) - ("Intercept" in fit.terms)
    if k and n < PER_COEFFICIENT * k:
        firth = "" if fit.settings.get("penalty") else " Leave terms out, or compare with penalty = 'firth'."
        yield f"{n} events for {k} coefficients, fewer than {PER_COEFFICIENT} for each.{firth}"
    yield from (str(note) for note in fit.diagnostics.get("notes", ()) if str(note).startswith("few events"))
