"""What was fitted, in words read off the fitted object; and what to know of it before trusting it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.result import HazardFit
from alliance_stats.mixed.result import MixedFit
from alliance_stats.outcome.growth import TIME, GrowthFit
from alliance_stats.outcome.next_session_fit import NextSessionFit
from alliance_stats.outcome.patterns_fit import OutcomeFit
from alliance_stats.outcome.reciprocal_fit import DynamicsFit
from alliance_stats.tables.schema import PATIENT, SESSION, THERAPIST
from alliance_stats.tables.words import term_in_words

AnyFit = OutcomeFit | NextSessionFit | GrowthFit | HazardFit

MODELS = {
    "outcome": "outcome by pattern",
    "next_session": "next session",
    "next_session_marked": "next session, marks of the rule",
    "growth": "course by pattern",
    "dynamics": "alliance and symptoms, both ways",
    "dropout": "dropout",
    "dropout_marked": "dropout, marks of the rule",
    "repair": "repair of coded ruptures",
}
"""Names of models in words."""
_CENTRES = {"patient": "mean", "detrend": "trend", "so_far": "mean so far"}
_HAZARDS = {
    "discrete logit": "discrete-time hazard, logit link",
    "discrete cloglog": "discrete-time hazard, complementary log-log link",
    "cox efron": "Cox regression, Efron ties",
    "cox breslow": "Cox regression, Breslow ties",
}


def facts(name: str, fit: AnyFit | DynamicsFit) -> dict[str, Any]:
    """What a reader must know of a model, as a row of the table ``models``: how many, and by which method.

    ``sessions`` counts patients' sessions (of the dropout model: sessions at risk) and is missing where patients are
    the rows; ``therapists`` is missing where the model does not use them.
    """
    found = fit.diagnostics
    if isinstance(fit, DynamicsFit):
        clusters = fit.study.clusters
        therapists = None if clusters is None else len(np.unique(clusters))
        counts = {"patients": found["patients"], "sessions": found["rows"], "therapists": therapists, "events": None}
        tests = "normal" if therapists is None else f"t, {therapists - 1} df"
        errors = "observed information" if therapists is None else "robust to clusters of therapists"
        estimator = "state-space model, maximum likelihood"
        return {"name": name, **counts, "estimator": estimator, "tests": tests, "errors": errors} | {
            "converged": bool(found["converged"])
        }
    if isinstance(fit, HazardFit):
        groups = {column for column in (fit.settings["cluster"], fit.settings["random"]) if column}
        therapists = fit.data[THERAPIST].nunique() if THERAPIST in groups else None
        counts = {"patients": found["n_patients"], "sessions": found["n_rows"], "therapists": therapists}
        counts["events"] = found["n_events"]
        method: dict[str, Any] = {"estimator": _HAZARDS.get(fit.model, fit.model), "tests": _hazard_tests(fit)}
        return {"name": name, **counts, **method, "errors": fit.settings["errors"], "converged": fit.converged}
    model = fit.fit
    if isinstance(model, MixedFit):
        estimator = f"linear mixed model, {'REML' if model.reml else 'maximum likelihood'}"
        tests, therapists = "t, Satterthwaite df", model.diagnostics["groups"].get(THERAPIST)
    else:
        estimator, tests, therapists = "ordinary least squares", "t, n − p df", None
    of_patients = isinstance(fit, OutcomeFit)
    counts = {
        "patients": found["rows"] if of_patients else found["patients"],
        "sessions": None if of_patients else found["rows"],
        "therapists": therapists,
        "events": None,
    }
    errors = "widened for the estimated variances" if isinstance(fit, NextSessionFit) else "model-based"
    method = {"estimator": estimator, "tests": tests, "errors": errors, "converged": bool(found["converged"])}
    return {"name": name, **counts, **method}


def predictors(fit: AnyFit, words: Mapping[str, str]) -> str:
    """The fixed terms of the fitted model as a list in running text; dummies of the rupture pattern count as one."""
    terms = [term for term in terms_of(fit) if term != "Intercept"]
    named = ["the rupture pattern" if term.startswith("pattern_") else words[term] for term in terms]
    return listed(dict.fromkeys(named))


def random_effects(fit: AnyFit) -> str:
    """The random part of the fitted model in running text, with a comma in front; empty without one."""
    if isinstance(fit, HazardFit):
        group = fit.settings["random"]
        return f", with a random effect of {group}" if group else ""
    if not isinstance(fit.fit, MixedFit):
        return ""
    variances = fit.variances()
    own = variances[(variances["term_2"].fillna("") == "") & variances["group"].isin([PATIENT, THERAPIST])]
    parts = []
    for group, terms in own.groupby("group", sort=False)["term"]:
        group = str(group)
        slopes = [term for term in terms if term not in ("(Intercept)", "Intercept")]
        named = ["session number" if slope in (SESSION, TIME) else term_in_words(slope) for slope in slopes]
        parts.append(f"random intercepts{f' and slopes of {listed(named)}' if named else ''} for {group}s")
    if fit.fit.correlation is not None:
        parts.append("residuals correlated over sessions (AR(1))")
    return f", with {listed(parts)}" if parts else ""


def term_words(fit: AnyFit, *, symptom: str = "", alliance: str = "") -> dict[str, str]:
    """The terms of the fitted model in words, for running text, tables and figures."""
    words = {}
    if symptom:
        words = dict.fromkeys((f"{symptom}_first", f"{symptom}_pre"), f"first {symptom}")
        words[symptom] = f"present {symptom}"
    if isinstance(fit, NextSessionFit):
        centre = _CENTRES[fit.diagnostics["centre"]]
        words[f"{alliance}_within"] = f"{alliance} relative to the patient's own {centre}"
        words[f"{alliance}_between"] = f"the patient's own {centre} of {alliance}"
    if isinstance(fit, OutcomeFit | GrowthFit):
        for pattern in fit.diagnostics["patterns"]:
            words[f"pattern_{pattern}"] = f"{pattern} minus {fit.reference}"
            words[f"{TIME}:pattern_{pattern}"] = f"change per session, {pattern} minus {fit.reference}"
        if isinstance(fit, GrowthFit):
            words[TIME] = f"change per session, {fit.reference}"
            words |= {f"pattern_{p}": f"at session 1, {p} minus {fit.reference}" for p in fit.diagnostics["patterns"]}
    return {term: term_in_words(term, words) for term in terms_of(fit)}


def terms_of(fit: AnyFit) -> list[str]:
    """The names of the fixed terms of the fitted model."""
    return [str(term) for term in (fit.terms if isinstance(fit, HazardFit) else fit.fit.terms)]


def listed(parts: Iterable[str]) -> str:
    """Words as a list in running text.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def models_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table ``models``, one row per fitted model."""
    counts = dict.fromkeys(("patients", "sessions", "therapists", "events"), "Int64")
    return pd.DataFrame(rows).astype(counts)


def _hazard_tests(fit: HazardFit) -> str:
    if fit.settings.get("penalty"):
        return "profile penalised likelihood"
    df = np.unique(np.asarray(fit.df, dtype=np.float64))
    df = df[np.isfinite(df)]
    if not len(df):
        return "normal"
    return f"t, {df[0]:.3g} df" if len(df) == 1 else f"t, {df[0]:.3g}–{df[-1]:.3g} df"


FEW_CLUSTERS = 10
"""With fewer therapists their variance, and errors that are robust to them, rest on little (Cameron & Miller, 2015)."""
PER_COEFFICIENT = 10  # Events for each coefficient below which a hazard model is unstable (Peduzzi et al., 1995)


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
