"""What a fit of reciprocal effects says about itself: diagnostics, and notes in sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.dynamics.fitting import SeriesFit
from alliance_stats.dynamics.parameters import Matrices
from alliance_stats.outcome.reciprocal_data import Study
from alliance_stats.outcome.reciprocal_tables import within
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.flow import FLOW, Steps

WEAK = 0.15
"""A standard error of the within-patient reliability above this says that error and inertia are hardly told apart."""
SINGULAR = (
    "Some combination of the measures may have no inertia (the determinant of the lagged coefficients is within two "
    "standard errors of zero). Error variances cannot be estimated there, and the lagged coefficients hang on them."
)


def diagnose(fit: SeriesFit, study: Study, steps: Steps) -> dict[str, Any]:
    """Diagnostics and notes in sentences."""
    optimum = fit.optimum
    notes = []
    if not optimum.converged:
        notes.append(f"The search did not converge (largest gradient {optimum.gradient:.2g}): do not report this fit.")
    for name in optimum.boundary:
        notes.append(_boundary_note(name, study.measures))
    if optimum.rival is not None:
        gap = optimum.rival.value - optimum.point.value
        notes.append(
            f"A solution in which the measures' shocks are copies of each other lies {gap:.2f} log-likelihood units "
            "higher; it cannot say which measure moves which. Pass the error variances if the items tell them."
        )
    unstable = [g for g, one in enumerate(fit.groups) if np.abs(np.linalg.eigvals(one.lagged)).max() >= 1]
    if unstable:
        notes.append("The lagged coefficients do not die out (an eigenvalue of 1 or more): consider trend='random'.")
    exact = [name for name, value in zip(study.measures, fit.layout.error) if value == 0]
    if exact:
        notes.append(
            f"Taken as measured without error: {', '.join(exact)}. Effects then come out too near 0 (see docs); "
            "pass the error variance of a session's score, error={measure: variance}."
        )
    found: dict[str, Any] = {
        "converged": optimum.converged,
        "gradient": optimum.gradient,
        "evaluations": optimum.evaluations,
        "boundary": list(optimum.boundary),
        "patients": len(study.patients),
        "rows": study.rows,
        "rows_lost": study.lost,
        FLOW: steps,
        "patterns": sum(len(batch.counts) for batch in fit.likelihood.batches),
    }
    if fit.layout.free_errors and not unstable:
        notes += _about_error(fit, study, found)
    return {**found, "notes": notes}


def _about_error(fit: SeriesFit, study: Study, found: dict[str, Any]) -> list[str]:
    """How well estimated error variances are known; the reliabilities that they imply go into `found`."""
    value, covariance = fit.delta(lambda groups, _: _reliability(groups[0]))
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    found["within_reliability"] = dict(zip(study.measures, value.tolist()))
    found["within_reliability_se"] = dict(zip(study.measures, error.tolist()))
    at_zero = [f"error[{j}]" in fit.optimum.boundary for j in range(fit.layout.k)]
    weak = [j for j in fit.layout.free_errors if error[j] > WEAK and not at_zero[j]]
    notes = [
        f"The sessions hardly tell measurement error of {study.measures[j]} from low inertia: its within-patient "
        f"reliability is {value[j]:.2f} with a standard error of {error[j]:.2f}."
        for j in weak
    ]
    if _may_be_singular(fit):
        notes.append(SINGULAR)
        weak = fit.layout.free_errors
    weak = [j for j in fit.layout.free_errors if j in weak or at_zero[j]]
    return notes + [_remedy(study.measures[j], fit.groups[0], j) for j in weak]


def _boundary_note(name: str, measures: tuple[str, ...]) -> str:
    if name.startswith("error"):
        measure = measures[int(name[6:-1])]
        return (
            f"The error variance of {measure} is estimated as zero. Standard errors take it as known to be zero; the "
            "intervals and p values of the lagged coefficients, from the profile likelihood, do not."
        )
    what = {
        "between": "levels and slopes of patients",
        "start": "deviations at the first session",
        "shock": "shocks within patients",
    }[name]
    return f"The covariance matrix of the {what} is singular (a variance of zero or a correlation of 1)."


def _remedy(measure: str, one: Matrices, j: int) -> str:
    variance = within(one)[j, j] + one.error[j]
    return (
        f"Pass the error variance of {measure} instead, if its items tell the within-patient reliability r of a "
        f"session: error={{{measure!r}: (1 - r) x {variance:.3g}}}, which is {0.3 * variance:.3g} for r = .70."
    )


def _may_be_singular(fit: SeriesFit) -> bool:
    """Whether the matrix of lagged coefficients may have a determinant of zero, in any group."""

    def determinants(groups: list[Matrices], _: FloatArray) -> FloatArray:
        return np.array([np.linalg.det(one.lagged) for one in groups])

    value, covariance = fit.delta(determinants)
    return bool((np.abs(value) < 2 * np.sqrt(np.maximum(np.diag(covariance), 0.0))).any())


def _reliability(one: Matrices) -> FloatArray:
    state = np.diag(within(one))
    return np.asarray(state / (state + one.error))
