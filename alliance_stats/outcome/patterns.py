"""Outcome at the end of therapy by rupture pattern: post ~ pre + pattern + number of rated sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from alliance_stats.mixed.result import MixedFit
from alliance_stats.outcome.engine import BOTH_WAYS, fit_nested, quoted
from alliance_stats.outcome.linear import LinearFit, fit_linear
from alliance_stats.outcome.membership import named_pattern, pattern_sizes, spread_within, with_patterns
from alliance_stats.outcome.patterns_fit import OutcomeFit
from alliance_stats.tables.flow import FLOW, Steps, rows_left, with_step
from alliance_stats.tables.same_series import same_series_error
from alliance_stats.tables.schema import THERAPIST, numeric, require_choice, require_columns
from alliance_stats.tables.states import distrust

BETTER = ("lower", "higher")


def fit_outcome(
    patients: pd.DataFrame,
    *,
    post: str,
    pre: str | None,
    pattern: str | None = None,
    reference: str = "none",
    exposure: str | None = "n_rated",
    covariates: Iterable[str] = (),
    therapist: str | None = THERAPIST,
    better: str = "lower",
    exclude: Sequence[str] = ("censored",),
) -> OutcomeFit:
    """Model the outcome of therapy by rupture pattern, adjusted for where patients began and how often they were rated.

    Parameters
    ----------
    patients : DataFrame
        PATIENTS, from `summarise_patients` with ``measures=[...]``.
    post, pre : str
        The outcome at the end and at the start, such as ``phq9_post`` and ``phq9_pre``; without a start (None) the
        raw difference between patterns.
    pattern, reference : str
        The column of rupture patterns, and the one the others are compared with; or the stem of columns that hold the
        probability of each pattern, which then take the place of 0 and 1 (regression calibration). Default:
        ``p_pattern`` where PATIENTS have it (from `summarise_patients` with the result of `detect_latent`), otherwise
        ``pattern``.
    exposure : str or None
        The number of rated sessions: who is rated more often has more chances to show a rupture, and to repair it.
        None leaves it out; otherwise the result has both.
    covariates : iterable of str
        Further columns, numbers or categories.
    therapist : str or None
        Column of therapists, who get a random intercept. Without the column, with a single therapist, or with one
        patient each, the model is ordinary least squares.
    better : {"lower", "higher"}
        Which way of `post` is the better outcome; orients the partial correlation.
    exclude : sequence of str
        Patterns left out (and counted). A ``censored`` pattern is not decided yet. Probabilities leave nobody out.

    Raises
    ------
    DataError
        For missing columns, fewer than two patterns, too few patients, or an outcome that is a linear function of the
        score that ruptures were detected in (which PATIENTS of `summarise_patients` name).

    Notes
    -----
    The pattern describes a finished course and is not known while therapy goes on: to be ``repaired`` a patient has to
    stay for the repair (immortal time). The number of sessions removes part of that bias at best; `fit_next_session`
    has none. Where worse symptoms also lower the later alliance, patterns differ in outcome without any effect of
    ruptures or repairs. A patient rated once has pre and post in one value and is left out where ``n_<measure>`` tells.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(2)
    >>> patients = pd.DataFrame({"patient": range(60), "pattern": ["none", "repaired", "unrepaired"] * 20,
    ...                          "pre": rng.normal(15, 4, 60), "n_rated": rng.integers(5, 20, 60)})
    >>> patients["post"] = 0.5 * patients["pre"] + 3 * (patients["pattern"] == "unrepaired") + rng.normal(0, 3, 60)
    >>> fit = fit_outcome(patients, post="post", pre="pre")
    >>> fit.effects()[["contrast", "adjusted", "r"]].round(2)
                    contrast  adjusted     r
    0  repaired - unrepaired      True  0.60
    1  repaired - unrepaired     False  0.60
    2        repaired - none      True  0.07
    3        repaired - none     False  0.07
    4      unrepaired - none      True -0.54
    5      unrepaired - none     False -0.54
    """
    covariates = list(covariates)
    require_choice(better, BETTER, name="better")
    pattern, members = named_pattern(patients, pattern)
    wanted = [post, *([pre] if pre else []), *members, *([exposure] if exposure else []), *covariates]
    require_columns(patients, wanted, table_name="patients")
    measure = post.removesuffix("_post")
    if measure in patients.attrs.get("linear_in_score", ()):
        raise same_series_error(measure, patients.attrs["score"])
    therapist = _nesting(patients, therapist)
    table, lost = _kept(patients, post, pre, pattern, exclude, wanted, therapist)
    steps = _flow(patients, table, lost)
    table.attrs = {}  # the record counts sessions, the models below patients
    sizes = pattern_sizes(table, pattern, reference)
    levels = [name for name in sizes if name != reference]
    table = with_patterns(table, pattern, reference, levels)
    therapist = _nesting(table, therapist)
    constant = exposure is not None and len(table[exposure].unique()) < 2
    exposure = None if constant else exposure
    dummies = [f"pattern_{name}" for name in levels]
    basic = [*([quoted(pre)] if pre else []), *dummies, *map(quoted, covariates)]
    fit = _fit(post, [*basic, *([quoted(exposure)] if exposure else [])], table, therapist)
    plain = _fit(post, basic, table, therapist) if exposure else fit
    diagnostics = {
        "converged": bool(fit.diagnostics["converged"]),
        "boundary": list(fit.diagnostics.get("boundary", [])),
        "rows": len(table),
        "rows_lost": lost,
        "flow": steps,
        "patterns": sizes,
        "exposure_by_pattern": _medians(table, exposure, pattern),
        "therapists": int(table[therapist].nunique()) if therapist else 0,
    }
    diagnostics["notes"] = distrust(patients.attrs) + _notes(diagnostics, exposure, constant)
    spread = spread_within(table[post], table[dummies])
    return OutcomeFit(
        fit, plain, fit.formula, post, pre, pattern, reference, better, *spread, data=table, diagnostics=diagnostics
    )


def _kept(
    patients: pd.DataFrame,
    post: str,
    pre: str | None,
    pattern: str,
    exclude: Sequence[str],
    wanted: list[str],
    therapist: str | None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows the model can use, numbers as floats, and how many were lost for each reason (the first that holds)."""
    table = patients.reset_index(drop=True)
    table = table.assign(**{name: numeric(patients, name) for name in (post, pre) if name})
    rated = f"n_{post.removesuffix('_post')}"
    reasons: dict[str, Any] = {}
    if pre and post.endswith("_post") and rated in table:
        reasons["rated once: pre and post are one value"] = numeric(patients, rated) < 2
    reasons |= {f"pattern {name!r}": table[pattern] == name for name in exclude if pattern in table}
    reasons |= {f"no {name}": table[name].isna() for name in (*wanted, therapist) if name is not None}
    left, lost = rows_left(reasons)
    return table.loc[left].reset_index(drop=True), lost


def _flow(patients: pd.DataFrame, table: pd.DataFrame, lost: dict[str, int]) -> Steps:
    """The record of the patients, and those the model used; lost are patients, not sessions."""
    steps = patients.attrs.get(FLOW) or [{"step": "at the start", "patients": len(patients), "sessions": None}]
    sessions = int(table["n_sessions"].sum()) if "n_sessions" in table else None
    lost = {f"patients: {reason}": n for reason, n in lost.items()}
    return with_step(steps, "used by the outcome model", patients=len(table), sessions=sessions, lost=lost)


def _fit(post: str, terms: list[str], table: pd.DataFrame, therapist: str | None) -> MixedFit | LinearFit:
    formula = f"{quoted(post)} ~ {' + '.join(terms)}"
    if therapist is None:
        return fit_linear(formula, table)
    return fit_nested(f"{formula} + (1 | therapist)", table.assign(therapist=table[therapist]))


def _nesting(table: pd.DataFrame, therapist: str | None) -> str | None:
    """The column of therapists, where there are several and some of them have several patients; else None."""
    if therapist is None or therapist not in table:
        return None
    known = table[therapist].dropna()
    return therapist if 1 < len(known.unique()) < len(known) else None


def _medians(table: pd.DataFrame, exposure: str | None, pattern: str) -> dict[Any, float]:
    if exposure is None or pattern not in table:
        return {}
    return table.groupby(pattern, observed=True)[exposure].median().to_dict()


def _notes(diagnostics: dict[str, Any], exposure: str | None, constant: bool) -> list[str]:
    notes = []
    if {"repaired", "mixed"} & set(list(diagnostics["patterns"])[1:]):  # the first is the reference
        shown = ", ".join(f"{name} {value:g}" for name, value in diagnostics["exposure_by_pattern"].items())
        notes.append(
            "The pattern is known only at the end: a repair needs later sessions, so repaired patients have stayed "
            "longer (immortal time)"
            + (f"; median {exposure} by pattern: {shown}" if shown else "")
            + ". Adjusting for "
            "the number of sessions removes part of this bias at best; fit_next_session and a time-varying dropout "
            "model do not have it."
        )
    notes.append(BOTH_WAYS)
    small = [f"{name} ({n:g})" for name, n in diagnostics["patterns"].items() if n < 10]
    if small:
        notes.append(f"Few patients in: {', '.join(small)}.")
    if diagnostics["boundary"]:
        notes.append("The variance between therapists is estimated as zero.")
    if constant:
        notes.append("Every patient has the same number of rated sessions: there is nothing to adjust.")
    return notes
