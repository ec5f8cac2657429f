"""Structure within and between patients: correlations of columns at each level, and omega at each level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.reliability.consistency import keyed_answers, omega_total, patient_means
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import PATIENT, DataError, check_sessions
from alliance_stats.tables.shares import normal_quantile


class _Levels(NamedTuple):
    within: FloatArray
    means: FloatArray
    between: FloatArray
    n_patients: int
    n_rows: int


def level_correlations(sessions: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Correlations of every pair of columns within patients, between patients, and over all rows.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS; rows that miss any of the columns are left out and counted.
    columns : list of str
        Two or more measures, such as the subscales or two raters' scores.

    Returns
    -------
    DataFrame
        One row per pair: ``first, second, r_within`` (deviations from the patients' own means), ``r_between`` (the
        patients' means weighted by their numbers of sessions), ``r_between_latent`` (the between-patient covariances
        freed of within-patient variance; NaN where a variance is not positive), ``r_total, n_rows, n_patients,
        n_incomplete``.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 1, 2, 2, 2], "session": [1, 2, 3] * 2,
    ...                      "x": [1.0, 2, 3, 4, 5, 6], "y": [3.0, 2, 1, 6, 5, 4]})
    >>> level_correlations(rows, ["x", "y"])[["r_within", "r_between"]]
       r_within  r_between
    0      -1.0        1.0
    """
    columns = list(dict.fromkeys(columns))
    if len(columns) < 2:
        raise ValueError("columns must name two or more measures.")
    table = check_sessions(sessions, columns)
    values = table[columns].to_numpy(dtype=np.float64)
    complete = ~np.isnan(values).any(axis=1)
    levels = _split(values[complete], pd.factorize(table.loc[complete, PATIENT])[0])
    total = np.cov(values[complete], rowvar=False)
    rows = []
    for first, second in combinations(range(len(columns)), 2):
        rows.append(
            {
                "first": columns[first],
                "second": columns[second],
                "r_within": _r(levels.within, first, second),
                "r_between": _r(levels.means, first, second),
                "r_between_latent": _r(levels.between, first, second),
                "r_total": _r(total, first, second),
                "n_rows": levels.n_rows,
                "n_patients": levels.n_patients,
                "n_incomplete": int((~complete).sum()),
            }
        )
    return pd.DataFrame(rows)


def repeated_correlation(sessions: pd.DataFrame, first: str, second: str, *, level: float = 0.95) -> pd.DataFrame:
    """Repeated-measures correlation: whether two measures rise and fall together within patients.

    Bakdash & Marusich (2017): the correlation of the deviations from the patients' own means (``r_within`` of
    :func:`level_correlations`), with df = rows - patients - 1. Every patient has the same slope, and sessions are
    independent given the patient: autocorrelation makes p too small. The interval is Fisher's, with standard error
    1 / sqrt(df - 1). ``pingouin.rm_corr`` gives the same r and p, with an interval of 95 % in two digits.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS; rows that miss either measure are left out and counted.
    first, second : str
        Two measures of the same session, such as the patient's and the therapist's alliance.
    level : float
        Coverage of the interval, in (0, 1).

    Returns
    -------
    DataFrame
        One row: ``first, second, r, df, p_value, ci_low, ci_high, n_rows, n_patients, n_incomplete``.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 1, 2, 2, 2], "session": [1, 2, 3] * 2,
    ...                      "x": [1.0, 2, 3, 4, 5, 6], "y": [3.0, 2, 2, 6, 5, 5]})
    >>> repeated_correlation(rows, "x", "y")[["r", "df", "p_value"]].round(3)
           r  df  p_value
    0 -0.866   3    0.058
    """
    from scipy.special import stdtr

    z = normal_quantile(level)
    found = level_correlations(sessions, [first, second])
    df = int(found["n_rows"].iloc[0] - found["n_patients"].iloc[0]) - 1
    r = float(found["r_within"].iloc[0])
    with np.errstate(divide="ignore"):
        t = abs(r) * np.sqrt(df / (1.0 - r * r)) if df > 0 else np.nan
        half = z / np.sqrt(df - 1.0) if df > 1 else np.nan
        low, high = np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
    p_value = 2.0 * stdtr(df, -t) if df > 0 else np.nan
    table = found.rename(columns={"r_within": "r"}).assign(df=df, p_value=p_value, ci_low=low, ci_high=high)
    return table[["first", "second", "r", "df", "p_value", "ci_low", "ci_high", "n_rows", "n_patients", "n_incomplete"]]


def level_omega(
    sessions: pd.DataFrame, items: str | Sequence[str], *, instrument: str | Path | Instrument | None = None
) -> pd.DataFrame:
    """Omega within and between patients: one common factor at each level.

    Geldhof, Preacher & Zyphur (2014), in two steps: a one-factor model is fitted by maximum likelihood to the pooled
    within-patient covariances, and another to the between-patient covariances freed of within-patient variance (by
    least squares where these are not positive definite).

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with one column per item; incomplete rows are left out and counted.
    items : str or list of str
        A pattern such as ``"wai_{item}"``, or three or more columns.
    instrument : optional
        Reverses its reversed items.

    Returns
    -------
    DataFrame
        ``level`` (``within``, ``between``), ``omega`` (NaN where an item does not vary at that level), ``n_rows``,
        ``n_patients``, ``n_incomplete``.
    """
    table = check_sessions(sessions)
    answers = keyed_answers(table, items, instrument)
    levels = _split(answers.values, pd.factorize(table.loc[answers.complete, PATIENT])[0])
    return pd.DataFrame(
        {
            "level": ["within", "between"],
            "omega": [omega_total(levels.within), omega_total(levels.between)],
            "n_rows": levels.n_rows,
            "n_patients": levels.n_patients,
            "n_incomplete": int((~answers.complete).sum()),
        }
    )


def _split(values: FloatArray, patient: Any) -> _Levels:
    """Pooled within-patient covariances, those of the patients' means, and the latent between-patient ones."""
    if not len(values) or len(values) - (patient.max() + 1) < 1 or patient.max() < 1:
        raise DataError(
            "The rows cannot be split into levels.",
            remedy="At least two patients and one with two complete sessions are needed.",
        )
    sizes = np.bincount(patient).astype(np.float64)
    means = patient_means(values, patient, sizes)
    inside = values - means[patient]
    n, p = len(values), len(sizes)
    within = inside.T @ inside / (n - p)
    gap = means - values.mean(axis=0)
    between = (gap * sizes[:, None]).T @ gap / (p - 1)
    n0 = (n - np.sum(sizes**2) / n) / (p - 1)
    return _Levels(within, between, (between - within) / n0, p, n)


def _r(covariance: FloatArray, first: int, second: int) -> float:
    own = covariance[first, first], covariance[second, second]
    return float(covariance[first, second] / np.sqrt(own[0] * own[1])) if min(own) > 0 else float("nan")
