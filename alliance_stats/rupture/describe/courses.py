"""Tables of a study's courses: around a rupture's onset, and the distribution of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import EVENTS_COLUMNS, PATIENT, SESSION, STATUSES, check_sessions, require_columns

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_BARS = 40
_MOST_BARS = 100


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
            **_clustered_mean(cell["gap"].to_numpy(dtype=np.float64), pd.factorize(cell[PATIENT])[0], level),
        }
        for status in STATUSES
        for offset, cell in pairs.loc[pairs["status"] == status].groupby("offset", sort=True)
    ]
    columns = ["status", "offset", "n_ruptures", "n_patients", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def score_distribution(sessions: pd.DataFrame, *, score: str) -> pd.DataFrame:
    """How often each score was given: one bar per possible value, or about 40 bars where the values have no grid.

    Returns
    -------
    DataFrame
        ``low, high, value, n, share``: the bar's edges, the one value it stands for (missing where it groups
        several), the number of ratings and their share of all ratings.
    """
    values = check_sessions(sessions, [score])[score].dropna().to_numpy()
    if len(values) == 0:
        columns = {"low": [], "high": [], "value": [], "n": np.array([], dtype=np.int64), "share": []}
        return pd.DataFrame(columns)
    distinct = np.unique(np.round(values, 9))  # means of items are equal only to rounding
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
    place = (distinct - distinct[0]) / step
    if place[-1] <= _MOST_BARS and np.allclose(place, np.round(place), atol=1e-3):
        n = np.bincount(np.round((values - distinct[0]) / step).astype(np.int64))
        middle = distinct[0] + step * np.arange(len(n))
        low, high = middle - step / 2, middle + step / 2
    else:
        width = _round_width((distinct[-1] - distinct[0]) / _BARS)
        place = np.floor(values / width + 0.5).astype(np.int64)  # bars stand around round numbers
        n = np.bincount(place - place.min())
        low = (np.arange(len(n)) + place.min() - 0.5) * width
        high, middle = low + width, np.full(len(n), np.nan)
    table = {"low": low, "high": high, "value": middle, "n": n.astype(np.int64), "share": n / len(values)}
    return pd.DataFrame(table)


def _round_width(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9)))


def _clustered_mean(values: FloatArray, cluster: Any, level: float) -> dict[str, float]:
    """Mean with the t interval of its cluster-robust standard error."""
    from scipy.special import stdtrit

    mean, n_clusters = float(values.mean()), int(cluster.max()) + 1
    if n_clusters < 2:
        return {"mean": mean, "ci_low": np.nan, "ci_high": np.nan}
    sums = np.bincount(cluster, weights=values - mean)
    error = np.sqrt(n_clusters / (n_clusters - 1) * float(sums @ sums)) / len(values)
    half = float(stdtrit(n_clusters - 1, 0.5 + level / 2)) * error
    return {"mean": mean, "ci_low": mean - half, "ci_high": mean + half}
