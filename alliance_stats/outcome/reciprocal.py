"""Which comes first: alliance and symptoms that move each other from session to session, within patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dynamics.fitting import fit_series
from alliance_stats.outcome.reciprocal_data import MEANS, Study, make_study, require_known_inputs
from alliance_stats.outcome.reciprocal_fit import DynamicsFit
from alliance_stats.outcome.reciprocal_words import diagnose
from alliance_stats.tables.flow import record, with_step
from alliance_stats.tables.schema import DataError, check_sessions, require_choice, require_columns
from alliance_stats.tables.states import AT_BOUND, PROBABILITIES, distrust, share_at_highest

TRENDS, STARTS = ("none", "random"), ("free", "stationary")
UNCALIBRATED = (
    "Rupture states that are probabilities enter as they are: in simulated studies of long ruptures the effect of an "
    "open one came out 18 % too small. fit_next_session calibrates them on its other covariates."
)


def fit_dynamics(
    sessions: pd.DataFrame,
    *,
    alliance: str | None = None,
    symptom: str | None = None,
    measures: Iterable[str] | None = None,
    means: str = "linear",
    trend: str = "none",
    start: str = "free",
    error: str | Mapping[str, float | str] | None = None,
    covariates: Iterable[str] = (),
    inputs: Iterable[str] = (),
    by: str | None = None,
    therapist: str | None = None,
    allow_lookahead: bool = False,
) -> DynamicsFit:
    """Fit reciprocal effects of two to four measures by exact maximum likelihood.

    A score is the mean course, the patient's own level (and slope), a deviation within the patient, and measurement
    error. The deviations of one session depend on those of the session before: on their own (inertia) and on each
    other's. With two measures this is the random-intercept cross-lagged panel model (RI-CLPM; Hamaker, Kuiper &
    Grasman, 2015), with ``trend="random"`` the latent curve model with structured residuals (Curran et al., 2014).
    Sessions may be unequal in number, missed, or rated on some of the measures.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    alliance, symptom : str
        Columns of the two measures.
    measures : iterable of str, optional
        Two to four columns in their place.
    means : {"linear", "quadratic", "free"}
        The mean course over session numbers; ``"free"`` has one mean per session.
    trend : {"none", "random"}
        ``"random"``: patients differ in their slopes over sessions.
    start : {"free", "stationary"}
        Variances of the deviations at the study's first session number: their own, or those that the lagged
        coefficients keep up. Patients who enter later are propagated from there.
    error : {None, "estimated"} or mapping
        Measurement error variance: none; estimated; or known, by measure (a number, or ``"estimated"``; a measure
        that is not named has none). To pass it is recommended: one minus the within-patient reliability of a session,
        times the variance of the scores within patients. What items imply is error that differs between items; moods
        and response styles that all items of a session share count as state. To estimate it needs long series in
        which no combination of the measures lacks inertia.
    covariates : iterable of str
        Columns that shift the mean of each measure; categories become 0/1. Centred at their mean over patients.
    inputs : iterable of str
        Columns known at session t that move the deviations of session t + 1, and through them later ones: an open
        rupture, an earlier repair. A session without a row has the input of the last one with a row.
    by : str, optional
        Column of groups of patients whose lagged coefficients differ; all else is shared.
    therapist : str, optional
        Column of therapists: standard errors robust to their clusters. A patient counts with the therapist of the first
        session. Differences between therapists in level are part of the patients' levels and leave the lagged
        coefficients unbiased, so that only standard errors need them, those of the means most.
    allow_lookahead : bool
        Accept inputs of a rupture rule that looks ahead; the result is then a description.

    Raises
    ------
    DataError
        For measures that are constant, or linear in each other; patients with one session only; fewer patients than
        parameters; a group without patients; duplicated sessions; missing inputs.
    ValueError
        For inputs of a rule that looks ahead, or does not say whether it does.

    Notes
    -----
    A gap of g sessions is g steps. Missing values are ignorable if they depend on what was observed. With error
    estimated, few sessions hardly tell error from low inertia; ``diagnostics["notes"]`` says how well they do.

    Examples
    --------
    >>> from alliance_stats.simulate.simulated import simulate_study
    >>> study = simulate_study(n_patients=100, n_therapists=8, symptom_feedback=-0.05, bounded=False, seed=3)
    >>> fit = fit_dynamics(study.sessions, alliance="alliance", symptom="phq9", trend="random")
    >>> fit.tidy()[["outcome", "term"]].values.tolist()
    [['alliance', 'alliance_lag'], ['alliance', 'phq9_lag'], ['phq9', 'alliance_lag'], ['phq9', 'phq9_lag']]
    """
    names = _measures(alliance, symptom, measures)
    for value, allowed, name in ((means, MEANS, "means"), (trend, TRENDS, "trend"), (start, STARTS, "start")):
        require_choice(value, allowed, name=name)
    covariates, inputs = list(covariates), list(inputs)
    known = _errors(error, names)
    table = check_sessions(sessions, names)
    require_columns(table, [*covariates, *inputs, *(c for c in (by, therapist) if c is not None)])
    require_known_inputs(sessions.attrs, inputs, allow_lookahead=allow_lookahead)
    study = make_study(table, names, means=means, covariates=covariates, inputs=inputs, therapist=therapist, by=by)
    _check_size(study, trend, start, known)
    options: dict[str, Any] = {"slopes": trend == "random", "stationary": start == "stationary", "error": known}
    try:
        fit = fit_series(study.panel, **options)
    except (FloatingPointError, np.linalg.LinAlgError) as problem:
        remedy = "Leave out covariates that repeat each other, or simplify the model (means, trend, error)."
        raise DataError(f"The model cannot be computed from these data ({problem}).", remedy=remedy) from problem
    steps = with_step(
        record(sessions),
        "used by the model of reciprocal effects",
        patients=len(study.patients),
        sessions=study.rows,
        lost=study.lost,
    )
    settings = {"means": means, "trend": trend, "start": start, "error": error, "by": by, "therapist": therapist}
    diagnostics = diagnose(fit, study, steps)
    highest = {name: share_at_highest(table[name]) for name in names}
    diagnostics["at_bound"] = {name: share for name, share in highest.items() if share > AT_BOUND}
    diagnostics["notes"] += _notes(table, inputs, sessions.attrs.get("marked") or {}, diagnostics["at_bound"])
    return DynamicsFit(fit, study, settings, table, diagnostics)


def _notes(table: pd.DataFrame, inputs: list[str], marked: Mapping[str, Any], at_bound: dict[str, float]) -> list[str]:
    """What the data do to the estimates: uncertain rupture states, scores at a ceiling."""
    states = [name for name in inputs if name in PROBABILITIES]
    notes = distrust(marked) if states else []
    if any(table[name].between(0, 1, inclusive="neither").any() for name in states):
        notes.append(UNCALIBRATED)
    return notes + [
        f"{share:.0%} of the scores of {name} are the highest one. With a tenth to a fifth of the scores at such a "
        f"ceiling effects of {name} came out 5 to 16 % too large in simulated studies, those on it a fifth too small."
        for name, share in at_bound.items()
    ]


def _measures(alliance: str | None, symptom: str | None, measures: Iterable[str] | None) -> list[str]:
    if measures is None:
        if alliance is None or symptom is None:
            raise ValueError("Name alliance= and symptom=, or two to four measures=.")
        names = [alliance, symptom]
    else:
        if alliance is not None or symptom is not None:
            raise ValueError("Name either alliance= and symptom=, or measures=.")
        names = list(measures)
    if not 2 <= len(names) <= 4 or len(set(names)) < len(names):
        raise ValueError(f"measures={names!r}: two to four different columns are needed.")
    return names


def _errors(error: str | Mapping[str, float | str] | None, names: list[str]) -> list[float]:
    """Error variances, NaN for one to be estimated."""
    if error is None:
        return [0.0] * len(names)
    if isinstance(error, str):
        require_choice(error, ("estimated",), name="error")
        return [float("nan")] * len(names)
    for name, value in error.items():
        require_choice(name, names, name="error")
        if value != "estimated" and (isinstance(value, str) or not 0 <= value < np.inf):
            raise ValueError(f"error[{name!r}]={value!r} must be a variance, or 'estimated'.")
    return [float("nan") if error.get(name) == "estimated" else float(error.get(name, 0.0)) for name in names]


def _check_size(study: Study, trend: str, start: str, known: list[float]) -> None:
    panel, k = study.panel, study.panel.k
    effects = k * (2 if trend == "random" else 1)
    triangle = k * (k + 1) // 2
    parameters = k * k * panel.n_groups + triangle * (1 if start == "stationary" else 2) + effects * (effects + 1) // 2
    parameters += int(np.isnan(known).sum()) + panel.coefficients
    if len(study.patients) < parameters:
        raise DataError(
            f"{len(study.patients)} patients cannot carry {parameters} parameters.",
            remedy="Use means='linear', trend='none' and start='stationary', or more patients.",
        )
    for name, value, j in zip(study.measures, known, range(k)):
        variance = float(np.nanvar(panel.y[:, :, j]))
        if value >= variance:
            raise DataError(
                f"The error variance {value:g} of {name!r} exceeds the variance of its scores, {variance:.4g}.",
                remedy="Pass a variance in squared points of the score.",
            )
