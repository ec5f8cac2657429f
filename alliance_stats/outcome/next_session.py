"""The next session's symptoms: what alliance, rupture and repair say about them within patients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.outcome.calibrated import calibrate
from alliance_stats.outcome.engine import fit_nested, quoted
from alliance_stats.outcome.next_session_fit import STATES, NextSessionFit
from alliance_stats.tables.arrays import changes
from alliance_stats.tables.attenuation import WORDS, calibrated, expected_attenuation
from alliance_stats.tables.flow import FLOW, record, rows_left, with_step
from alliance_stats.tables.panel import lagged_rows, split
from alliance_stats.tables.same_series import is_linear_function, same_series_error
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    THERAPIST,
    DataError,
    check_sessions,
    numbered,
    require_choice,
    require_columns,
)
from alliance_stats.tables.states import (
    check_one_rule,
    distrust,
    events_or_states,
    require_prospective,
    rupture_states,
)
from alliance_stats.tables.words import at_the_edge

CENTRES = ("so_far", "patient", "detrend")


def fit_next_session(
    sessions: pd.DataFrame,
    events: Any = None,
    *,
    symptom: str,
    alliance: str,
    states: Any = None,
    centre: str = "so_far",
    initial: bool = True,
    split_states: bool = True,
    slope: bool = True,
    therapist: str | None = THERAPIST,
    covariates: Iterable[str] = (),
    correlation: str | None = None,
    error: float | None = None,
    allow_lookahead: bool = False,
) -> NextSessionFit:
    """Model the symptoms of session t + 1 on symptoms, alliance and rupture state of session t.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    events : DataFrame or detector's result, optional
        EVENTS by a prospective rule; or the result of `detect_latent`, whose probabilities given the ratings so far
        take the place of 0 and 1, calibrated on the model's other covariates (see Notes); or STATES, whose
        probabilities enter as they are. None: without rupture terms.
    symptom, alliance : str
        Columns of `sessions`.
    states : DataFrame or detector's result, optional
        STATES, or the result of `detect_latent`, beside EVENTS of a rule: the summary then shows beside each rupture
        state what share of its effect the rule's marks are expected to show.
    centre : {"so_far", "patient", "detrend"}
        What the within part of the alliance deviates from: the mean of the ratings so far, which knows no later
        session; the patient's mean over the whole course; or the patient's own line over sessions (Wang & Maxwell,
        2015). The last two have narrower intervals, of the rupture states most, but where symptoms also move the later
        alliance their answers are far from the truth (the table of worlds is on the page "Which comes first").
    initial : bool
        Enter the patient's first symptom score. With last session's symptoms among the covariates a random intercept
        is tied to where the series began; conditioning on it (Wooldridge, 2005) frees the other coefficients of that.
    split_states : bool
        Enter beside ``rupture_open`` and ``repaired_before`` the share of the patient's sessions in that state
        (``rupture_open_between``, ``repaired_before_between``; shares so far with ``centre="so_far"``), so that the
        states speak of change within patients, as the split alliance does, and not of who has ruptures.
    slope : bool
        Random slope of session by patient, beside the random intercept.
    therapist : str or None
        Column of therapists, who get a random intercept; ignored where absent, all the same, or not fewer than the
        patients.
    covariates : iterable of str
        Further columns of session t, numbers or categories.
    correlation : {None, "ar1"}
        Residuals correlated over session numbers.
    error : float, optional
        Variance of the measurement error of one alliance score, in squared points: known from elsewhere, or what the
        items imply (:func:`alliance_stats.reliability.error_variance`). The within part is then that of the alliance
        to be expected given score and rupture state (:func:`alliance_stats.outcome.calibrated.calibrate`). Without it
        the alliance enters as if measured without error: its coefficient comes out too near 0, and ``rupture_open``
        takes over a part of it.
    allow_lookahead : bool
        Accept events of a rule that looks ahead; the result is then a description, not a prediction.

    Returns
    -------
    NextSessionFit
        Terms: ``<symptom>``, ``<symptom>_first``, ``<alliance>_within``, ``<alliance>_between``, ``rupture_open`` and
        ``repaired_before`` (0/1, or probabilities, as known after session t) with their between parts, ``session``.

    Raises
    ------
    DataError
        If no row has all it needs, a column is missing, the symptom is a linear function of the alliance, or a rule
        or STATES look ahead or do not say whether they do.

    Notes
    -----
    A row needs session t + 1 by number: nothing is carried across a missed session. Rows lost are counted by reason.
    ``rupture_open`` is entered beside the alliance of the same session: its coefficient is what an open rupture says
    beyond the low score that reveals it. Measurement error of the alliance draws the within coefficient towards 0 and
    that of ``rupture_open`` away from the truth, unless `error` is given; the error variance is taken as known.
    Ruptures are uncertain. The marks of a rule show only a part of an effect (`states` says which part). With the
    result of a detector the states are what all covariates of the row predict for the probability given the whole
    course (regression calibration; Carroll et al., 2006): later ratings of a patient enter only through the patient's
    means. A rupture that ended short of the level before counts as open. The coefficients are then right to a few per
    cent where the probabilities are: ``docs/states.md``.
    Where worse symptoms also lower the later alliance, its coefficient is too high (a benefit looks smaller, no effect
    looks harmful), with ``"so_far"`` least; ``fit.feedback`` says whether they do in these sessions. The answer without
    that bias is :func:`fit_dynamics`.
    With the last symptom score among the covariates the usual standard errors are too small, its own most of all: in
    simulations its 95 % interval covered 88 %. They are therefore widened by the uncertainty of the variances
    (:func:`alliance_stats.outcome.dynamic.dynamic_covariance`), which brought it to 95 %.

    Examples
    --------
    >>> from alliance_stats.simulate.simulated import simulate_study
    >>> study = simulate_study(n_patients=80, n_therapists=6, seed=1)
    >>> fit = fit_next_session(study.sessions, study.events, symptom="phq9", alliance="alliance")
    >>> fit.tidy()["term"].tolist()
    ['Intercept', 'phq9', 'phq9_first', 'alliance_within', 'alliance_between', 'rupture_open', 'repaired_before',
     'rupture_open_between', 'repaired_before_between', 'session']
    """
    require_choice(centre, CENTRES, name="centre")
    require_choice(correlation, (None, "ar1"), name="correlation")
    covariates = list(covariates)
    whole = None if events is None or isinstance(events, pd.DataFrame) else events_or_states(events, so_far=False)
    events = None if events is None else events_or_states(events, so_far=True)
    prospective = None if events is None else require_prospective(events, allow_lookahead=allow_lookahead)
    table = check_sessions(sessions, [symptom, alliance])
    table.attrs = {}  # pandas copies them at each step
    require_columns(table, covariates, table_name="sessions")
    if is_linear_function(table[symptom], table[alliance]):
        raise same_series_error(symptom, alliance)
    table, after, reliability = _assembled(table, events, symptom, alliance, centre, error)
    outcome, (within, between) = f"{symptom}_next", (f"{alliance}_within", f"{alliance}_between")
    terms = [symptom, *([f"{symptom}_first"] if initial else []), within, between]
    found = [name for name in STATES if f"{name}_between" in table]
    terms += [*found, *(f"{name}_between" for name in found if split_states)]
    terms += [SESSION, *covariates]
    nested = therapist is not None and therapist in table and _varies(table[therapist].dropna())
    data, lost = _complete(table, after, outcome, [symptom, alliance, *terms], therapist if nested else None)
    left_out = [name for name in terms if not _varies(data[name])]
    if within in left_out:
        remedy = "Patients need at least two ratings (three with centre='detrend')."
        raise DataError(f"{alliance!r} does not vary within patients in any usable row.", remedy=remedy)
    used = [name for name in terms if name not in left_out]
    random = f"(1{' + ' + SESSION if slope else ''} | {PATIENT})"
    patients = int(changes(data[PATIENT]).sum())
    if nested and 1 < data[therapist].nunique() < patients:
        data = data.assign(therapist=data[therapist])
        random += f" + (1 | {THERAPIST})"
    formula = f"{quoted(outcome)} ~ {' + '.join(map(quoted, used))} + {random}"
    steps = with_step(
        record(sessions),
        "used by the next-session model",
        patients=patients,
        sessions=len(data),
        lost=lost,
    )
    data.attrs = {FLOW: steps}
    fit = fit_nested(formula, data, correlation=correlation, drop_aliased=True)
    if whole is not None:
        data = data.assign(**calibrated(fit, data, whole))
        fit = fit_nested(formula, data, correlation=correlation, drop_aliased=True)
    rule = None if events is None else check_one_rule(events)
    diagnostics: dict[str, Any] = {
        "converged": bool(fit.diagnostics["converged"]),
        "boundary": list(fit.diagnostics["boundary"]),
        "rows": len(data),
        "patients": patients,
        "rows_lost": lost,
        "flow": steps,
        "rule": rule,
        "prospective": prospective,
        "verdict": None if events is None else events.attrs.get("verdict"),
        "at_bound": None if events is None else events.attrs.get("at_bound"),
        "centre": centre,
        "error": error,
        "within_reliability": reliability,
        "left_out": left_out,
        "aliased": list(fit.diagnostics["aliased"]),
        "calibrated": whole is not None,
        "attenuation": None,
    }
    if states is not None:
        design = fit.design
        diagnostics["attenuation"] = expected_attenuation(data.iloc[design.kept], design.user_x(), fit.terms, states)
    diagnostics["notes"] = _notes(diagnostics, data, centre)
    scores = table[[PATIENT, SESSION, alliance, symptom]]
    return NextSessionFit(fit, data, formula, outcome, diagnostics, scores)


def _assembled(
    table: pd.DataFrame, events: pd.DataFrame | None, symptom: str, alliance: str, centre: str, error: float | None
) -> tuple[pd.DataFrame, Any, float | None]:
    """The table with every covariate and the next symptom, the row of the next session (-1: none), the reliability."""
    series, patients = numbered(table)
    session, score = table[SESSION].to_numpy(), table[alliance].to_numpy()
    after = lagged_rows(series, session, -1)
    values = table[symptom].to_numpy()
    parts = split(series, session, score, centre)
    states = {} if events is None else rupture_states(table, events)
    within, reliability = parts.within, None
    if error is not None:
        about = {} if events is None else events.attrs
        expected, reliability = calibrate(series, score, states.get("rupture_open"), error, about)
        within = split(series, session, expected, centre).within
    rated = np.flatnonzero(~np.isnan(values))
    begin = pd.Series(values[rated]).groupby(series[rated]).first().reindex(range(len(patients))).to_numpy()
    new: dict[str, Any] = {
        f"{symptom}_next": np.where(after >= 0, values[np.maximum(after, 0)], np.nan),
        f"{symptom}_first": begin[series],
        f"{alliance}_within": within,
        f"{alliance}_between": parts.between,
    }
    for name in [name for name in STATES if name in states]:
        share = split(series, session, states[name].astype(np.float64), centre).between
        new |= {name: states[name], f"{name}_between": share}
    return table.assign(**new), after, reliability


def _complete(
    table: pd.DataFrame, after: Any, outcome: str, needed: list[str], therapist: str | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that have all they need, and how many were lost for each reason (the first that holds)."""
    reasons: dict[str, Any] = {
        "last session of a patient": np.append(changes(table[PATIENT])[1:], True),
        "no row for the next session": after < 0,
        f"no {outcome}": table[outcome].isna(),
    }
    names = [*dict.fromkeys([*needed, *([therapist] if therapist else [])])]
    reasons |= {f"no {name}": table[name].isna() for name in names}
    left, lost = rows_left(reasons)
    if not left.any():
        why = "; ".join(f"{reason}: {count}" for reason, count in lost.items())
        raise DataError(
            f"No session has all the model needs ({why}).",
            remedy="Check the columns and that session numbers are consecutive.",
        )
    columns = [*dict.fromkeys([PATIENT, SESSION, outcome, *names])]
    return table.loc[left, columns].reset_index(drop=True), lost


def _varies(column: pd.Series) -> bool:
    """Whether a column without missing cells holds two values."""
    return bool((column != column.iloc[0]).any()) if len(column) else False


def _notes(diagnostics: dict[str, Any], data: pd.DataFrame, centre: str) -> list[str]:
    notes = distrust(diagnostics)
    if diagnostics["prospective"] is False or (diagnostics["rule"] and diagnostics["prospective"] is None):
        notes.append(f"The rule {diagnostics['rule']!r} may look ahead: this describes, it does not predict.")
    if diagnostics["left_out"]:
        notes.append(f"Left out because they never vary in the rows used: {', '.join(diagnostics['left_out'])}.")
    if diagnostics["aliased"]:
        named = ", ".join(diagnostics["aliased"])
        notes.append(f"Left out because they are combinations of other terms in the rows used: {named}.")
    if "rupture_open" in data and 0 < data["rupture_open"].sum() < 20:
        notes.append(f"Only {data['rupture_open'].sum():.0f} sessions with an open rupture.")
    if diagnostics["error"] is None:
        notes.append(
            "The alliance is taken as measured without error, so that its coefficient is too near 0 and an open "
            "rupture's takes over a part of it; error= says how large the error is."
        )
    if diagnostics["calibrated"]:
        notes.append("Rupture states are probabilities, calibrated on the other covariates (regression calibration).")
    if diagnostics["attenuation"]:
        notes.append(WORDS)
    if centre != "so_far":
        notes.append("The alliance is centred on the patient's whole course, later sessions included.")
    if diagnostics["boundary"]:
        notes.append(at_the_edge(diagnostics["boundary"]))
    return notes
