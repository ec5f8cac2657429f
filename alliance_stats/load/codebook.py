"""What a study's data look like before any model: columns, coverage, missingness, spacing, therapists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import extremes, is_plain_number
from alliance_stats.tables.schema import ATTENDANCE, DATE, PATIENT, SESSION, THERAPIST, check_sessions, require_columns

_ROLES = (PATIENT, SESSION, THERAPIST, DATE, ATTENDANCE)


def describe_sessions(
    sessions: pd.DataFrame,
    measures: Iterable[str] | None = None,
    *,
    ranges: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """The codebook of the measures: one row per column.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    measures : iterable of str, optional
        Default: every numeric column that is no role.
    ranges : dict, optional
        Column to ``[lowest, highest]``. A score made by ``score_items`` brings its own range. Floor and ceiling are
        shares at the ends of the declared range; without one they are missing.

    Returns
    -------
    DataFrame
        ``column, n, n_missing, share_missing, n_patients`` (with at least one value), ``n_distinct, mean, sd, minimum,
        median, maximum, low, high, share_floor, share_ceiling, share_between`` (of the variance lies between patients,
        one-way analysis of variance; NaN where it cannot be estimated).

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2, 2], "session": [1, 2, 1, 2], "alliance": [5.0, 5, 3, None]})
    >>> describe_sessions(rows, ranges={"alliance": [1, 5]})[["column", "n", "n_missing", "share_ceiling"]].round(3)
         column  n  n_missing  share_ceiling
    0  alliance  3          1          0.667
    """
    numeric_columns = [str(name) for name in sessions if name not in _ROLES and is_plain_number(sessions[name])]
    names = numeric_columns if measures is None else list(dict.fromkeys(measures))
    table = check_sessions(sessions, names)
    patient = pd.factorize(table[PATIENT])[0]
    known = _scored_ranges(sessions.attrs.get("scored", {}))
    rows = []
    for name in names:
        values = table[name].to_numpy()
        low, high = (ranges or {}).get(name) or known.get(name) or (np.nan, np.nan)
        rows.append({"column": name, **_column(values, patient, float(low), float(high))})
    return pd.DataFrame(rows)


def _scored_ranges(scored: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    """The range of every total and subscale that ``score_items`` made."""
    ranges: dict[str, Sequence[float]] = {}
    for into, record in scored.items():
        ranges[into] = record["range"]
        ranges |= {f"{into}_{name}": ends for name, ends in record.get("subscale_ranges", {}).items()}
    return ranges


def _column(values: Any, patient: Any, low: float, high: float) -> dict[str, Any]:
    there = ~np.isnan(values)
    found = values[there]
    n = len(found)
    smallest, largest = extremes(values)
    known = n > 0
    return {
        "n": n,
        "n_missing": len(values) - n,
        "share_missing": (len(values) - n) / len(values),
        "n_patients": len(np.unique(patient[there])),
        "n_distinct": len(np.unique(found)),
        "mean": float(found.mean()) if known else np.nan,
        "sd": float(found.std(ddof=1)) if n > 1 else np.nan,
        "minimum": smallest if known else np.nan,
        "median": float(np.median(found)) if known else np.nan,
        "maximum": largest if known else np.nan,
        "low": low,
        "high": high,
        "share_floor": float((found == low).mean()) if known and not np.isnan(low) else np.nan,
        "share_ceiling": float((found == high).mean()) if known and not np.isnan(high) else np.nan,
        "share_between": _share_between(found, patient[there]),
    }


def _share_between(values: Any, patient: Any) -> float:
    """Share of the variance that lies between patients, set to 0 where the estimate is negative."""
    codes = pd.factorize(patient)[0]
    sizes = np.bincount(codes).astype(np.float64) if len(codes) else np.array([])
    n, p = len(values), len(sizes)
    if p < 2 or n - p < 1:
        return float("nan")
    means = np.bincount(codes, weights=values) / sizes
    within = float(np.sum((values - means[codes]) ** 2) / (n - p))
    between = float(np.sum(sizes * (means - values.mean()) ** 2) / (p - 1))
    n0 = (n - np.sum(sizes**2) / n) / (p - 1)
    variance = max((between - within) / n0, 0.0)
    return float(variance / (variance + within)) if variance + within > 0 else float("nan")


def describe_study(sessions: pd.DataFrame, measures: Iterable[str] = ()) -> pd.DataFrame:
    """Coverage, spacing and therapists, one fact per row.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    measures : iterable of str
        Columns whose rated sessions are counted per patient.

    Returns
    -------
    DataFrame
        ``fact``, ``unit``, ``n`` (how many patients, gaps, ... it is taken over), ``mean``, ``minimum``, ``median``,
        ``maximum``: sessions per patient, rated sessions per patient of each measure, session numbers skipped, days
        between neighbouring sessions, patients and sessions per therapist, therapists per patient.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 3, 1]})
    >>> describe_study(rows)[["fact", "n", "mean", "maximum"]]
                               fact  n  mean  maximum
    0          sessions per patient  2   1.5      2.0
    1  session numbers left out per patient  2   0.5      1.0
    """
    measures = list(dict.fromkeys(measures))
    table = check_sessions(sessions, measures)
    by_patient = table.groupby(PATIENT, sort=False)
    rows = [_fact("sessions per patient", "sessions", by_patient.size())]
    for name in measures:
        rows.append(_fact(f"sessions with {name} per patient", "sessions", by_patient[name].count()))
    span = by_patient[SESSION].max() - by_patient[SESSION].min() + 1
    rows.append(_fact("session numbers left out per patient", "sessions", span - by_patient.size()))
    if DATE in table and pd.api.types.is_datetime64_any_dtype(table[DATE].dtype):
        days = table.dropna(subset=[DATE]).groupby(PATIENT, sort=False)[DATE].diff().dt.days.dropna()
        rows.append(_fact("days between neighbouring sessions", "days", days))
    if THERAPIST in table:
        treated = table.dropna(subset=[THERAPIST])
        by_therapist = treated.groupby(THERAPIST, sort=False)
        rows.append(_fact("patients per therapist", "patients", by_therapist[PATIENT].nunique()))
        rows.append(_fact("sessions per therapist", "sessions", by_therapist.size()))
        rows.append(_fact("therapists per patient", "therapists", treated.groupby(PATIENT)[THERAPIST].nunique()))
    return pd.DataFrame(rows)


def _fact(fact: str, unit: str, values: pd.Series) -> dict[str, Any]:
    found = values.to_numpy(dtype=np.float64)
    some = len(found) > 0
    return {
        "fact": fact,
        "unit": unit,
        "n": len(found),
        "mean": float(found.mean()) if some else np.nan,
        "minimum": float(found.min()) if some else np.nan,
        "median": float(np.median(found)) if some else np.nan,
        "maximum": float(found.max()) if some else np.nan,
    }


def missing_patterns(sessions: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Which measures are missing together: one row per pattern, the commonest first.

    Returns
    -------
    DataFrame
        One bool column per measure (True: there), ``sessions``, ``patients``, ``share`` of the sessions.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1], "a": [1.0, None, 2], "b": [1.0, None, None]})
    >>> missing_patterns(rows, ["a", "b"])[["a", "b", "sessions"]].head(2)
           a      b  sessions
    0  False  False         1
    1   True  False         1
    """
    require_columns(sessions, measures, table_name="sessions")
    table = check_sessions(sessions, measures)
    there = table[list(measures)].notna().assign(**{PATIENT: table[PATIENT]})
    grouped = there.groupby(list(measures), sort=True)[PATIENT].agg(["size", "nunique"]).reset_index()
    grouped = grouped.rename(columns={"size": "sessions", "nunique": "patients"})
    grouped = grouped.assign(share=grouped["sessions"] / len(table))
    return grouped.sort_values("sessions", ascending=False, kind="stable").reset_index(drop=True)
