"""`fit_dropout`: the hazard of an ending, given what was known at the start of each interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import (
    BASELINES,
    SINCE,
    HazardDesign,
    build_design,
    clock_of,
    sessions_without_choice,
)
from alliance_stats.dropout.models import Job, cox_model, discrete_model, frailty_model, mixed_model, penalised_model
from alliance_stats.dropout.result import HazardFit
from alliance_stats.dropout.rows import rows_at_risk
from alliance_stats.hazard.binary import LINKS
from alliance_stats.hazard.clustered import ADJUSTMENTS
from alliance_stats.hazard.cox import TIES
from alliance_stats.tables.attenuation import WORDS, expected_attenuation
from alliance_stats.tables.flow import Steps, count_patients, record, with_step
from alliance_stats.tables.schema import DROPOUT, ENDING, PATIENT, DataError, require_choice, require_columns
from alliance_stats.tables.states import PROBABILITIES, distrust

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "model": ("discrete", "cox"),
    "link": LINKS,
    "baseline": tuple(BASELINES),
    "ties": TIES,
    "adjust": (None, *ADJUSTMENTS),
    "frailty": ("gamma", "lognormal"),
    "method": ("reml", "ml"),
    "penalty": (None, "firth"),
}


def fit_dropout(
    formula: str,
    intervals: pd.DataFrame,
    *,
    model: str = "discrete",
    link: str = "logit",
    baseline: str | None = None,
    ties: str = "efron",
    ending: str = DROPOUT,
    cluster: str | None = None,
    adjust: str | None = None,
    random: str | None = None,
    frailty: str = "gamma",
    method: str = "reml",
    nodes: int = 25,
    strata: str | None = None,
    penalty: str | None = None,
    states: Any = None,
) -> HazardFit:
    """Fit the cause-specific hazard of an ending.

    Parameters
    ----------
    formula : str
        The right-hand side, e.g. ``"rupture_open + repaired_before + session"``; ``C(x)`` makes a factor,
        ``cr(session, df=4, constraints='center')`` a natural cubic spline.
    intervals : DataFrame
        INTERVALS, from `dropout_intervals`. Rows with ``at_risk`` 0, and rows that lack a value the model needs, are
        left out and counted.
    model : {"discrete", "cox"}
        A hazard per session (binary regression on the intervals), or Cox regression on ``(start, stop]``.
    link : {"logit", "cloglog"}
        Of the discrete model: odds ratios, or hazard ratios of an underlying proportional-hazards process.
    baseline : {None, "linear", "log", "spline", "dummies"}
        How the discrete hazard changes with the session, added to the formula: nothing (the formula says it all), a
        line, log ``stop``, a natural cubic spline with 4 df, or one level per session (sessions in which nobody or
        everybody had the event are then left out: their hazard is 0 or 1). Intervals from the onset of a rupture
        (`repair_intervals`) count sessions since the onset.
    ties : {"efron", "breslow"}
        Of the Cox model.
    ending : str
        The event; every other ending is censoring. See `fit_endings` for all of them in one call.
    cluster : str, optional
        Column whose groups are independent (``therapist``): errors that allow for differences between them, and a t
        distribution with G - 1 df. Without it errors are model-based and the distribution normal; a patient's own
        intervals need no clustering.
    adjust : {None, "jackknife", "groups", "groups and terms", "none"}
        How the errors by `cluster` are made. ``jackknife``: leaving out one cluster at a time, in one Newton step
        (CR3, Bell & McCaffrey 2002); its intervals hold with 8 therapists. The others multiply the sandwich by
        G/(G-1) (R's ``vcovCL`` for a glm, Stata), by the same times (n-1)/(n-p) (statsmodels), or by 1 (R's
        ``coxph(cluster=)``); with fewer than about 40 therapists they understate the errors of what varies between
        therapists. Default: the jackknife; with 50 clusters or more, ``groups``.
    random : str, optional
        Column whose groups have an effect of their own: a normal intercept by adaptive Gauss-Hermite quadrature with
        `nodes` points (discrete), or a shared `frailty` (Cox). Not together with `cluster`. Intervals use t with
        between-within df (Li & Redden 2015).
    frailty : {"gamma", "lognormal"}
    nodes : int
        Quadrature points for `random` in the discrete model.
    method : {"reml", "ml"}
        The variance of a log-normal frailty: the REML-type equation of Ripatti & Palmgren (2000), as R's
        ``frailty(dist="gaussian", sparse=FALSE)``, or the maximum of the Laplace likelihood, as R's ``coxme``. The
        log-likelihood, AIC and the test of no variance are those of the maximum, whichever is chosen. The gamma
        variance is always that of the maximum.
    strata : str, optional
        Cox: a column whose levels have baseline hazards of their own.
    penalty : {None, "firth"}
        Firth's (1993) penalised likelihood, for few events or infinite estimates: intervals and p values come from its
        profile (Heinze & Schemper 2001, 2002), patients counting as independent. Not with `cluster` or `random`.
    states : DataFrame or detector's result, optional
        STATES, or the result of `detect_latent`, where the intervals hold the states of a rule: the summary then shows
        beside each rupture state what share of its effect the rule's marks are expected to show.

    Returns
    -------
    HazardFit
        Read it with `tidy`, `glance`, `variances`; it says how the errors were made and counts every row lost.

    Raises
    ------
    DataError
        For a missing column, no events, or an infinite estimate (separation), naming the terms.
    ValueError
        For an unknown choice, or terms that are aliased.

    Notes
    -----
    Few events: ``diagnostics["events_by_state"]`` counts the events, and the clusters with events, in each state of the
    terms with two values. With fewer than 5 events or 3 clusters with events ``diagnostics["notes"]`` says so, and no
    sandwich error is given: std_error, p_value and interval are missing.

    Censoring must be independent given the covariates. The coefficients are those of the cause-specific hazard; they
    are not effects on the proportion who drop out where other endings depend on the covariates too (Putter et al.
    2007): see `predict_paths`.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": range(8), "start": 1, "stop": 2, "session": 1,
    ...                      "ending": ["dropout", "dropout", "", "", "dropout", "", "", ""],
    ...                      "rupture_open": [1, 1, 1, 1, 0, 0, 0, 0]})
    >>> fit = fit_dropout("rupture_open", rows)
    >>> fit.tidy()[["term", "estimate", "std_error"]].round(4)
               term  estimate  std_error
    0     Intercept   -1.0986     1.1547
    1  rupture_open    1.0986     1.5275
    """
    given = locals()
    for name, allowed in _CHOICES.items():
        require_choice(given[name], allowed, name=name)
    _check_together(given)
    needed = [PATIENT, "start", "stop", *(name for name in (cluster, random, strata) if name is not None)]
    require_columns(intervals, [*needed, ENDING], table_name="intervals")
    if baseline in ("linear", "spline", "dummies"):
        require_columns(intervals, [clock_of(intervals)], table_name="intervals")
    everything = rows_at_risk(intervals).reset_index(drop=True)
    table, fixed = _leave_out_decided(everything, ending, baseline)
    design = build_design(
        formula, table, baseline=baseline, intercept=model == "discrete", needed=list(dict.fromkeys(needed))
    )
    data = table if len(design.rows) == len(table) else table.iloc[design.rows].reset_index(drop=True)
    event = (data[ENDING] == ending).to_numpy(dtype=np.float64)
    if not event.any():
        raise DataError(
            f"No {ending!r} happens in the {len(data)} intervals used.",
            remedy="A hazard of zero has no model; check ending= and the rows dropped for missing values.",
        )
    settings: dict[str, Any] = {
        "formula": formula, "baseline": baseline, "definition": intervals.attrs.get("definition"),
        "rule": intervals.attrs.get("rule"), "lag": intervals.attrs.get("lag"), "cluster": cluster, "random": random,
        "adjust": adjust, "fixed_hazards": fixed, "strata": strata, "penalty": penalty,
    }  # fmt: skip
    used = _diagnostics(everything, table, data, design, ending, fixed)
    used["rows_not_at_risk"] = len(intervals) - len(everything)
    if used["rows_not_at_risk"]:
        used["notes"].append(
            f"the risk set is the sessions held: {used['rows_not_at_risk']} intervals that start at a missed session, "
            "where no ending is recorded, are left out"
        )
    if set(PROBABILITIES) & set(design.variables):
        used["notes"] += distrust(intervals.attrs)
    used["flow"] = _flow(intervals, used)
    job = Job(formula, ending, data, design, event, settings, used)
    try:
        if penalty is not None:
            fit = penalised_model(job, model, link, ties)
        elif random is not None:
            fit = mixed_model(job, link, nodes) if model == "discrete" else frailty_model(job, ties, frailty, method)
        else:
            fit = discrete_model(job, link) if model == "discrete" else cox_model(job, ties)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(str(error), remedy=f"(model of {ending!r}, {int(event.sum())} events)") from error
    return fit if states is None else _with_attenuation(fit, states)


def _with_attenuation(fit: HazardFit, states: Any) -> HazardFit:
    """The fit with what share of an effect its rupture states are expected to show; rows weigh by their variance."""
    weight = None
    if fit.settings["strata"] is None:
        hazard = np.minimum(fit.predict(), 1.0)
        weight = hazard if fit.is_cox else hazard * (1 - hazard)
    lag = (fit.settings["lag"] or 1) - 1
    found = expected_attenuation(fit.data, fit.design.matrix, fit.terms, states, lag=lag, weight=weight)
    return replace(
        fit, diagnostics={**fit.diagnostics, "attenuation": found, "notes": [*fit.diagnostics["notes"], WORDS]}
    )


def _check_together(given: dict[str, Any]) -> None:
    """Raise ``ValueError`` for options of `fit_dropout` that do not go together."""
    discrete, cluster, random = given["model"] == "discrete", given["cluster"], given["random"]
    if given["penalty"] is not None and (cluster is not None or random is not None):
        raise ValueError("penalty='firth' takes patients as independent: leave cluster= and random= out.")
    if random is not None and cluster is not None:
        raise ValueError("Choose one: cluster= (errors robust to therapists) or random= (a therapist effect).")
    if not discrete and given["baseline"] is not None:
        raise ValueError("A Cox model leaves its baseline free: baseline= belongs to model='discrete'.")
    if discrete and given["strata"] is not None:
        raise ValueError("strata= belongs to model='cox'; in a discrete model add C(stratum) to the formula.")


def _leave_out_decided(table: pd.DataFrame, ending: str, baseline: str | None) -> tuple[pd.DataFrame, dict[int, float]]:
    """With one level per session: the rows of sessions whose level can be estimated, and the hazards of the rest."""
    if baseline != "dummies":
        return table, {}
    clock = table[clock_of(table)]
    fixed = sessions_without_choice((table[ENDING] == ending).to_numpy(), clock.to_numpy())
    kept = table[~clock.isin(list(fixed))]
    if kept.empty:
        raise DataError(
            f"In no session do some patients, but not all, end by {ending!r}.",
            remedy="A level per session cannot be estimated; choose another baseline.",
        )
    return kept.reset_index(drop=True), fixed


def _flow(intervals: pd.DataFrame, used: dict[str, Any]) -> Steps:
    """The record of the intervals, and what the model used of them."""
    lost = {f"no {name}": n for name, n in used["dropped"].items()}
    return with_step(
        record(intervals),
        "used by the dropout model",
        patients=used["n_patients"],
        sessions=used["n_rows"],
        lost=lost
        | {"at a missed session, where no ending is recorded": used["rows_not_at_risk"]}
        | {"in a session whose hazard is 0 or 1": used["rows_with_fixed_hazard"]},
        unit="intervals",
    )


def _diagnostics(
    everything: pd.DataFrame,
    table: pd.DataFrame,
    data: pd.DataFrame,
    design: HazardDesign,
    ending: str,
    fixed: dict[int, float],
) -> dict[str, Any]:
    events = int((data[ENDING] == ending).sum())
    notes = []
    if design.dropped:
        lost = ", ".join(f"{count} without {name!r}" for name, count in design.dropped.items())
        notes.append(f"intervals left out: {lost}")
    if fixed:
        sure = [s for s, rate in fixed.items() if rate == 1.0]
        never = [s for s, rate in fixed.items() if rate == 0.0]
        when = "this many sessions after the onset:" if clock_of(table) == SINCE else "after session(s)"
        notes += [f"no {ending} {when} {', '.join(map(str, never))}: hazard 0"] if never else []
        notes += [f"only {ending} {when} {', '.join(map(str, sure))}: hazard 1"] if sure else []
    return {
        "n_rows": len(data),
        "n_events": events,
        "n_patients": count_patients(data),
        "n_dropped": len(table) - len(data),
        "events_dropped": int((table[ENDING] == ending).sum()) - events,
        "dropped": dict(design.dropped),
        "rows_with_fixed_hazard": len(everything) - len(table),
        "n_groups": 0,
        "notes": notes,
    }
