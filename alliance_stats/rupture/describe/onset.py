"""The mean course around the onset of ruptures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import EVENTS_COLUMNS, PATIENT, SESSION, STATUSES, check_sessions, require_columns
from alliance_stats.tables.states import are_states, events_or_states

PROBABLE = "probable"
"""The status of ruptures whose onsets are probabilities."""


def onset_aligned(
    sessions: pd.DataFrame, events: Any, *, score: str, before: int = 3, after: int = 6, level: float = 0.95
) -> pd.DataFrame:
    """The mean course around the onset of a rupture, in points from its baseline, by the rupture's status.

    Ruptures of one patient are not independent: the interval is that of a mean with the patients as clusters
    (sandwich variance with the factor G/(G-1), t with G-1 degrees of freedom for G patients). Offsets at which
    nobody was rated have no row.

    With probabilities every session counts as an onset with the weight of its ``rupture_begins``. A rule selects
    sessions by the very scores that are then averaged, so that its course falls too deep and returns by regression
    to the mean; weights do so less (``docs/repair.md``).

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`.
    events : DataFrame or detector's result
        EVENTS found in `score`; or STATES of the whole course with ``rupture_begins`` and ``baseline``, or the result
        of `detect_latent`, which has them.
    score : str
        The measure.
    before, after : int
        How many sessions to show on either side of the onset.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        ``status, offset, n_ruptures, n_patients, mean, ci_low, ci_high``; the interval is missing where fewer than
        two patients contribute. With probabilities the one status is ``probable`` and the numbers are expected ones.

    Raises
    ------
    DataError
        If a column is missing.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 1], "session": [1, 2, 3], "alliance": [5.0, 3.0, 6.0]})
    >>> events = pd.DataFrame({"patient": [1], "event": [1], "onset": [2], "nadir": [2], "repaired_at": [3],
    ...     "status": ["repaired"], "baseline": [5.0], "nadir_score": [3.0], "repair_score": [6.0], "drop": [2.0],
    ...     "drop_units": [2.0], "sessions_to_repair": [1], "score": ["alliance"], "rule": ["by hand"]})
    >>> onset_aligned(sessions, events, score="alliance")[["status", "offset", "n_ruptures", "mean"]]
         status  offset  n_ruptures  mean
    0  repaired      -1           1   0.0
    1  repaired       0           1  -2.0
    2  repaired       1           1   1.0
    """
    table = check_sessions(sessions, [score])
    rated = table.loc[table[score].notna(), [PATIENT, SESSION, score]]
    onsets = _onsets(events_or_states(events, so_far=False))
    rows = [
        {"status": status, "offset": offset, **_mean_at(found, level)}
        for status in (*STATUSES, PROBABLE)
        for offset in range(-before, after + 1)
        if len(found := _at_offset(onsets[onsets["status"] == status], rated, score, offset))
    ]
    columns = ["status", "offset", "n_ruptures", "n_patients", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def _onsets(found: pd.DataFrame) -> pd.DataFrame:
    """``patient, session, status, baseline, weight``: one row per EVENT, or per session that may be an onset."""
    columns = [PATIENT, SESSION, "status", "baseline", "weight"]
    if are_states(found):
        require_columns(found, [PATIENT, SESSION, "rupture_begins", "baseline"], table_name="states")
        possible = found[found["rupture_begins"].gt(0) & found["baseline"].notna()]
        return possible.assign(status=PROBABLE, weight=possible["rupture_begins"])[columns]
    require_columns(found, EVENTS_COLUMNS, table_name="events")
    return found.assign(weight=1)[[PATIENT, "onset", *columns[2:]]].rename(columns={"onset": SESSION})


def _at_offset(onsets: pd.DataFrame, rated: pd.DataFrame, score: str, offset: int) -> pd.DataFrame:
    """``patient, gap, weight``: the score `offset` sessions from each onset, in points from its baseline."""
    pairs = onsets.assign(**{SESSION: onsets[SESSION] + offset}).merge(rated, on=[PATIENT, SESSION])
    return pairs.assign(gap=pairs[score] - pairs["baseline"])[[PATIENT, "gap", "weight"]]


def _mean_at(found: pd.DataFrame, level: float) -> dict[str, float]:
    weight, patient = found["weight"].to_numpy(), pd.factorize(found[PATIENT])[0]
    n_patients = np.minimum(np.bincount(patient, weights=weight), 1).sum().astype(weight.dtype)
    mean = clustered_mean(found["gap"].to_numpy(dtype=np.float64), patient, level, weight)
    return {"n_ruptures": weight.sum(), "n_patients": n_patients} | mean


def clustered_mean(values: FloatArray, cluster: Any, level: float, weight: Any = None) -> dict[str, float]:
    """Mean, weighted if asked for, with the t interval of its cluster-robust standard error."""
    from scipy.special import stdtrit

    weight = np.ones(len(values)) if weight is None else weight
    mean, n_clusters = float(np.average(values, weights=weight)), int(cluster.max()) + 1
    if n_clusters < 2:
        return {"mean": mean, "ci_low": np.nan, "ci_high": np.nan}
    sums = np.bincount(cluster, weights=weight * (values - mean))
    error = np.sqrt(n_clusters / (n_clusters - 1) * float(sums @ sums)) / weight.sum()
    half = float(stdtrit(n_clusters - 1, 0.5 + level / 2)) * error
    return {"mean": mean, "ci_low": mean - half, "ci_high": mean + half}
