"""When ruptures are repaired, how patients do after a repair, and the mean course around the onset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.describe import PlacedEvents, place_events
from alliance_stats.rupture.rules.recovery import change_after_repair, repair_curve, watched
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.panel import rows_at
from alliance_stats.tables.schema import (
    EVENTS_COLUMNS,
    PATIENT,
    SESSION,
    STATUSES,
    DataError,
    check_sessions,
    numeric,
    require_columns,
    require_whole,
)
from alliance_stats.tables.shares import check_level, log_log_interval, normal_quantile
from alliance_stats.tables.states import are_states, events_or_states


def repair_times(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    level: float = 0.95,
    score: str | None = None,
    rule: str | Rule | None = None,
) -> pd.DataFrame:
    """The share of ruptures repaired by each number of sessions after their onset.

    Ruptures open when therapy ends are censored: counting them as unrepaired would make short therapies look bad,
    leaving them out would make them look good. Kaplan-Meier assumes that they would have been repaired as often as the
    others; patients who leave because of a rupture would not. The two shares are the two ends of what is possible.
    Standard errors take the patients as units. A rule's window ends the watch. Without any true rupture many events
    are "repaired" as well: see :func:`chance_of_repair`.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS and the EVENTS detected in them.
    level : float
        Coverage of the pointwise intervals.
    score, rule : optional
        What the events were detected on and by, where the events do not tell.

    Returns
    -------
    DataFrame
        One row per time at which a rupture was repaired: ``sessions`` since onset, ``n_open`` (ruptures still watched),
        ``n_repaired``, ``repaired`` (Kaplan-Meier: the share repaired by then if no therapy ended before) with
        ``ci_low``, ``ci_high``, and ``repaired_in_therapy`` (the share of ruptures that were repaired before therapy
        ended; Aalen & Johansen 1978).

    Raises
    ------
    DataError
        If there is no event, or an event does not belong to these sessions.

    Examples
    --------
    >>> from alliance_stats.rupture.rules.detect import detect_ruptures
    >>> courses = {1: [6.0, 3, 7, 7, 6], 2: [6.0, 3, 3, 3, 7, 6], 3: [6.0, 3, 3, 3]}
    >>> rows = [(who, place + 1, y) for who, course in courses.items() for place, y in enumerate(course)]
    >>> sessions = pd.DataFrame(rows, columns=["patient", "session", "alliance"])
    >>> rule = Rule(reference="previous", unit="points", size=2.0)
    >>> events = detect_ruptures(sessions, score="alliance", rule=rule)
    >>> repair_times(sessions, events)[["sessions", "n_open", "repaired", "repaired_in_therapy"]].round(3)
       sessions  n_open  repaired  repaired_in_therapy
    0         1       3     0.333                0.333
    1         3       1     1.000                0.667
    """
    check_level(level)
    if events.empty:
        raise DataError("There is no rupture in events.", remedy="Detect ruptures first, or choose another rule.")
    placed = place_events(sessions, events, score=score, rule=rule)
    window = None if placed.judged is None else placed.judged.rule.window
    repaired = _repairs(placed)
    resumed = np.where(repaired >= 0, repaired + 1, placed.closed)
    seen = watched(placed.series, placed.onset, repaired, resumed, window)
    alone, in_therapy = repair_curve(seen, pd.factorize(placed.owner)[0])
    found = alone.probability[:, 1]
    low, high = log_log_interval(found, alone.std_error[:, 1], quantile=normal_quantile(level))
    both = np.searchsorted(in_therapy.time, alone.time, side="right") - 1
    return pd.DataFrame(
        {
            "sessions": alone.time.astype(np.int64),
            "n_open": alone.at_risk[:, 0].astype(np.int64),
            "n_repaired": alone.moves[:, 1].astype(np.int64),
            "repaired": found,
            "ci_low": low,
            "ci_high": high,
            "repaired_in_therapy": in_therapy.probability[both, 1],
        }
    )


def growth_after_repair(
    sessions: pd.DataFrame, events: pd.DataFrame, *, within: int = 4, level: float = 0.95, score: str | None = None
) -> pd.DataFrame:
    """How much higher patients rate after a repair than they did before the rupture.

    Without any rupture the change is not 0: a rule chooses onsets after high scores, and a patient who improves all the
    time is higher later. :func:`chance_of_repair` gives what is to be expected.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS and the EVENTS detected in them.
    within : int
        Compared are the ratings of this many sessions after the repair and of as many before the onset. The ratings at
        the onset and at the repair are left out: they were chosen for being low and high.
    level : float
        Coverage of the interval (t, patients as clusters).
    score : str, optional
        What the events were detected on, where they do not tell.

    Returns
    -------
    DataFrame
        One row: ``n_repaired``, ``n_compared`` (repaired ruptures with a rating on both sides), ``n_patients``,
        ``mean`` change in points, ``ci_low``, ``ci_high``.
    """
    check_level(level)
    require_whole(within, name="within", low=1)
    placed = place_events(sessions, events, score=score)
    repaired = _repairs(placed)
    change = change_after_repair(placed.series, placed.onset, repaired, sessions=within)
    known = ~np.isnan(change)
    patients = pd.factorize(placed.owner[known])[0]
    found = {"mean": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    if known.any():
        found = clustered_mean(change[known], patients, level)
    counts = {
        "n_repaired": int((repaired >= 0).sum()),
        "n_compared": int(known.sum()),
        "n_patients": int(patients.max(initial=-1)) + 1,
    }
    return pd.DataFrame([counts | found])


def _repairs(placed: PlacedEvents) -> IntArray:
    """The rating that repaired each event, -1 where none did."""
    repaired_at = numeric(placed.events, "repaired_at")
    who = placed.roll.rated[placed.series.owner]
    found = rows_at(who, placed.series.session, placed.owner, np.nan_to_num(repaired_at, nan=-(2.0**31)))
    stray = (found < 0) & ~np.isnan(repaired_at)
    if stray.any():
        first = int(np.flatnonzero(stray)[0])
        raise DataError(
            "An event is repaired at a session without a rating.",
            remedy="Pass the sessions in which the events were detected.",
            patient=placed.events["patient"].iloc[first],
            session=int(repaired_at[first]),
        )
    return found


PROBABLE = "probable"  # The status of ruptures whose onsets are probabilities


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
