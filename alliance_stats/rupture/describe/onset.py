"""The mean course around the onset of ruptures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import EVENTS_COLUMNS, PATIENT, SESSION, STATUSES, check_sessions, require_columns


def onset_aligned(
    sessions: pd.DataFrame, events: pd.DataFrame, *, score: str, before: int = 3, after: int = 6, level: float = 0.95
) -> pd.DataFrame:
    """The mean course around the onset of a rupture, in points from its baseline, by the rupture's status.

    Ruptures of one patient are not independent: the interval is that of a mean with the patients as clusters
    (sandwich variance with the factor G/(G-1), t with G-1 degrees of freedom for G patients). Offsets at which
    nobody was rated have no row.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS with the column `score`, and EVENTS found in it.
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
        two patients contribute.

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
    require_columns(events, EVENTS_COLUMNS, table_name="events")
    rated = table.loc[table[score].notna(), [PATIENT, SESSION, score]]
    pairs = events[[PATIENT, "event", "onset", "status", "baseline"]].merge(rated, on=PATIENT, how="inner")
    pairs = pairs.assign(offset=pairs[SESSION] - pairs["onset"], gap=pairs[score] - pairs["baseline"])
    pairs = pairs.loc[pairs["offset"].between(-before, after)]
    rows = [
        {
            "status": status,
            "offset": offset,
            "n_ruptures": len(cell),
            "n_patients": cell[PATIENT].nunique(),
            **clustered_mean(cell["gap"].to_numpy(dtype=np.float64), pd.factorize(cell[PATIENT])[0], level),
        }
        for status in STATUSES
        for offset, cell in pairs.loc[pairs["status"] == status].groupby("offset", sort=True)
    ]
    columns = ["status", "offset", "n_ruptures", "n_patients", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def clustered_mean(values: FloatArray, cluster: Any, level: float) -> dict[str, float]:
    """Mean with the t interval of its cluster-robust standard error."""
    from scipy.special import stdtrit

    mean, n_clusters = float(values.mean()), int(cluster.max()) + 1
    if n_clusters < 2:
        return {"mean": mean, "ci_low": np.nan, "ci_high": np.nan}
    sums = np.bincount(cluster, weights=values - mean)
    error = np.sqrt(n_clusters / (n_clusters - 1) * float(sums @ sums)) / len(values)
    half = float(stdtrit(n_clusters - 1, 0.5 + level / 2)) * error
    return {"mean": mean, "ci_low": mean - half, "ci_high": mean + half}
