"""Landmark analysis: what is known at session s, against what happens afterwards, among those still in treatment.

A landmark turns a state that changes into a group that is fixed, without looking ahead (Anderson, Cain & Gelber 1983);
several landmarks in one stratified model use more of the data (van Houwelingen 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import build_design
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.result import RATIOS, HazardFit
from alliance_stats.tables.flow import FLOW, record, with_step
from alliance_stats.tables.schema import DROPOUT, ENDING, PATIENT, SESSION, TERMS_COLUMNS, DataError, require_columns


def landmark_intervals(intervals: pd.DataFrame, *, at: int | Sequence[int], horizon: int | None = None) -> pd.DataFrame:
    """One row per landmark and patient still in treatment there: covariates of the landmark, what ended it and when.

    Parameters
    ----------
    intervals : DataFrame
        INTERVALS by session number.
    at : int or sequence of int
        The landmark sessions.
    horizon : int, optional
        Sessions to look ahead; later endings are censored there. Default: to the end.

    Returns
    -------
    DataFrame
        INTERVALS with a column ``landmark``: ``start`` is the landmark, ``stop`` the end of follow-up. For
        `fit_dropout` with ``model="cox"``, ``strata="landmark"`` and ``cluster="patient"`` (or ``"therapist"``), since
        a patient appears at several landmarks.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1], "start": [1, 2, 1], "stop": [2, 3, 2],
    ...                      "ending": ["", "dropout", "completed"], "rupture_open": [0, 1, 0]})
    >>> landmark_intervals(rows, at=1)[["patient", "start", "stop", "ending", "rupture_open"]]
       patient  start  stop     ending  rupture_open
    0        1      1     3    dropout             0
    1        2      1     2  completed             0
    """
    require_columns(intervals, [PATIENT, SESSION, "start", "stop", ENDING], table_name="intervals")
    landmarks = [at] if isinstance(at, int | np.integer) else list(at)
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon={horizon!r} must be at least one session.")
    ordered = intervals.sort_values([PATIENT, "start"], kind="stable")
    last = ordered.drop_duplicates(PATIENT, keep="last").set_index(PATIENT)
    parts = []
    for landmark in landmarks:
        here = ordered[ordered["start"] == landmark]
        if here.empty:
            raise DataError(
                f"Nobody is in treatment at the landmark session {landmark}.", remedy="Choose an earlier one."
            )
        stop = last["stop"].reindex(here[PATIENT]).to_numpy()
        ending = last[ENDING].astype(object).reindex(here[PATIENT]).to_numpy()
        if horizon is not None:
            ending = np.where(stop > landmark + horizon, "", ending)
            stop = np.minimum(stop, landmark + horizon)
        changed: dict[str, Any] = {"stop": stop, ENDING: ending, "landmark": landmark, "at_risk": 1}
        parts.append(here.assign(**changed))
    result = pd.concat(parts, ignore_index=True)
    steps = with_step(
        record(intervals),
        "in treatment at the landmark",
        patients=result[PATIENT].nunique(),
        sessions=len(result),
        unit="intervals",
    )
    result.attrs = {**intervals.attrs, FLOW: steps}
    return result


def landmark_terms(
    formula: str,
    intervals: pd.DataFrame,
    *,
    at: Sequence[int],
    horizon: int | None = None,
    ending: str = DROPOUT,
    cluster: str | None = None,
    level: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """A Cox model at each landmark, and one for all of them.

    Parameters
    ----------
    formula, intervals, ending, cluster
        As for `fit_dropout`; the model of all landmarks clusters by patient where no `cluster` is named.
    at, horizon
        As for `landmark_intervals`.
    level : float
        Coverage of the intervals.
    **options
        As for `fit_dropout`.

    Returns
    -------
    DataFrame
        TERMS with ``landmark`` (a session, or ``all``), ``n_at_risk`` and ``n_events``. A term that does not vary at a
        landmark is left out of its model, and is missing there.
    """
    table = landmark_intervals(intervals, at=at, horizon=horizon)
    parts = []
    for landmark, rows in table.groupby("landmark"):
        varying, constant = _split_constant(formula, rows)
        if varying:
            fit = fit_dropout(varying, rows, model="cox", ending=ending, cluster=cluster, **options)
            parts.append(_terms(fit, str(landmark), level))
        if constant:
            events = int((rows[ENDING] == ending).sum())
            unknown = pd.DataFrame({"term": constant}).reindex(
                columns=["term", *TERMS_COLUMNS[1:], *RATIOS], fill_value=np.nan
            )
            parts.append(unknown.assign(landmark=str(landmark), n_at_risk=len(rows), n_events=events))
    if len(parts) > 1:
        together = cluster or PATIENT
        fit = fit_dropout(formula, table, model="cox", ending=ending, cluster=together, strata="landmark", **options)
        parts.append(_terms(fit, "all", level))
    return pd.concat(parts, ignore_index=True)


def _split_constant(formula: str, rows: pd.DataFrame) -> tuple[str, list[str]]:
    """The formula without the terms that do not vary in `rows`, and the columns of these."""
    design = build_design(formula, rows, baseline=None, intercept=True, needed=[])
    constant = (design.matrix == design.matrix[0]).all(axis=0)
    terms = [str(term) for term in design.spec.term_slices]
    kept, lost = [], []
    for term, columns in zip(terms, design.columns_by_term(), strict=True):
        if columns and constant[columns].all():
            lost += [design.names[j] for j in columns]
        elif columns:
            kept.append(term)
    return (formula if not lost else " + ".join(kept)), lost


def _terms(fit: HazardFit, landmark: str, level: float) -> pd.DataFrame:
    used = fit.diagnostics
    return fit.tidy(level=level).assign(landmark=landmark, n_at_risk=used["n_rows"], n_events=used["n_events"])
