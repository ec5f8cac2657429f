"""How well detected ruptures agree with the true ones, where the truth is known: simulated studies, coded sessions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.agreement import match_within
from alliance_stats.tables.schema import PATIENT, DataError, check_sessions, require_columns, require_whole
from alliance_stats.tables.shares import check_level, clustered_share, normal_quantile

COLUMNS = ("quantity", "count", "of", "estimate", "ci_low", "ci_high", "unit")


def evaluate_detection(
    events: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    margin: int = 1,
    sessions: pd.DataFrame | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare detected with true ruptures by their onsets.

    A detected and a true rupture of the same patient match if their onsets lie at most `margin` session numbers apart.
    Matching is one to one, as complete as possible, and among the most complete ones the nearest.

    Parameters
    ----------
    events : DataFrame
        EVENTS of any detector: ``patient`` and ``onset``.
    truth : DataFrame
        The true ruptures: ``patient`` and ``onset``.
    margin : int
        Session numbers by which an onset may be off.
    sessions : DataFrame, optional
        SESSIONS of the study. Only with it are the patients known who have neither true nor detected ruptures, and so
        the rate of false alarms.
    level : float
        Coverage of the intervals, in (0, 1). Patients are the units of sampling.

    Returns
    -------
    DataFrame
        ``quantity, count, of, estimate, ci_low, ci_high, unit``, NaN where there is nothing to count:
        ``sensitivity`` (true ruptures found), ``precision`` (detected ones that are true), ``f1``,
        ``timing_bias`` and ``timing_error`` (detected minus true onset of matched pairs, as it is and absolute),
        ``patients_found`` (patients with a rupture in whom any is detected) and, with `sessions`, ``false_alarm``
        (patients without a rupture in whom any is detected) and ``false_per_100_sessions`` (detected ruptures that
        match none).

    Raises
    ------
    DataError
        If a table lacks a column or an onset, or names a patient who is not in `sessions`.

    Examples
    --------
    >>> truth = pd.DataFrame({"patient": [1, 1, 2], "onset": [4, 9, 5]})
    >>> events = pd.DataFrame({"patient": [1, 1, 3], "onset": [5, 12, 6]})
    >>> table = evaluate_detection(events, truth).set_index("quantity")
    >>> table.loc[["sensitivity", "precision", "timing_bias"], ["count", "of", "estimate"]].round(2)
                 count  of  estimate
    quantity
    sensitivity      1   3      0.33
    precision        1   3      0.33
    timing_bias      1   1      1.00
    """
    require_whole(margin, name="margin", low=0)
    check_level(level)
    found, true = _onsets(events, "events"), _onsets(truth, "truth")
    ids = [found[PATIENT], true[PATIENT]]
    n_sessions: Any = None
    if sessions is not None:
        table = check_sessions(sessions)
        n_sessions = table.groupby(PATIENT, sort=True).size()
        for name, part in (("events", found), ("truth", true)):
            unknown = ~part[PATIENT].isin(n_sessions.index)
            if unknown.any():
                raise DataError(
                    f"{name} has a patient who is not in sessions.",
                    remedy="Give the sessions of the whole study, with ids of the same type.",
                    patient=part.loc[unknown, PATIENT].iloc[0],
                )
        ids = [*ids, pd.Series(n_sessions.index)]
    # Empty tables are left out: their ids have no type of their own.
    code, patients = pd.factorize(pd.concat([part for part in ids if len(part)] or ids, ignore_index=True))
    of_found, of_true = code[: len(found)], code[len(found) : len(found) + len(true)]
    when, when_true = found["onset"].to_numpy(), true["onset"].to_numpy()
    i, j = match_within(of_found, when, of_true, when_true, margin=margin)
    n = len(patients)
    hits = np.bincount(of_true[j], minlength=n)
    n_found, n_true = np.bincount(of_found, minlength=n), np.bincount(of_true, minlength=n)
    lag = when[i] - when_true[j]
    has = n_true > 0
    rows = [
        _share("sensitivity", hits, n_true, level, "of true ruptures"),
        _share("precision", hits, n_found, level, "of detected ruptures"),
        _share("f1", 2 * hits, n_found + n_true, level, "harmonic mean of the two"),
        _mean("timing_bias", lag, level),
        _mean("timing_error", np.abs(lag), level),
        _share("patients_found", (n_found > 0) & has, has, level, "of patients with a rupture"),
    ]
    if n_sessions is not None:
        rows.append(_share("false_alarm", (n_found > 0) & ~has, ~has, level, "of patients without a rupture"))
        length = pd.Series(n_sessions).reindex(patients).to_numpy()
        per_session = list(_share("", n_found - hits, length, level, "per 100 sessions"))
        per_session[3:6] = [100 * value for value in per_session[3:6]]
        rows.append(("false_per_100_sessions", *per_session[1:]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _onsets(table: pd.DataFrame, name: str) -> pd.DataFrame:
    require_columns(table, [PATIENT, "onset"], table_name=name)
    part = table[[PATIENT, "onset"]].reset_index(drop=True)
    missing = part.isna().any(axis=1)
    if missing.any():
        first = int(np.flatnonzero(missing)[0])
        raise DataError(f"{name} has a row without patient or onset.", remedy="Remove the row.", row=table.index[first])
    if len(part) and not pd.api.types.is_numeric_dtype(part["onset"].dtype):
        raise DataError(f"'onset' of {name} must hold session numbers.", remedy="Convert the column to numbers.")
    return part.assign(onset=part["onset"].to_numpy(dtype=np.float64))


def _share(quantity: str, part: Any, whole: Any, level: float, unit: str) -> tuple[Any, ...]:
    estimate, low, high = clustered_share(part, whole, level=level)
    return quantity, int(np.sum(part)), int(np.sum(whole)), estimate, low, high, unit


def _mean(quantity: str, values: Any, level: float) -> tuple[Any, ...]:
    n = len(values)
    if not n:
        return quantity, 0, 0, np.nan, np.nan, np.nan, "sessions"
    half = normal_quantile(level) * float(values.std(ddof=1)) / np.sqrt(n) if n > 1 else np.nan
    return quantity, n, n, float(values.mean()), float(values.mean()) - half, float(values.mean()) + half, "sessions"
