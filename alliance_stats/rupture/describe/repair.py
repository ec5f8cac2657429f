"""When ruptures are repaired, and how patients do after a repair beside how they did before."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.describe import PlacedEvents, place_events
from alliance_stats.rupture.describe.onset import clustered_mean
from alliance_stats.rupture.rules.recovery import change_after_repair, repair_curve, watched
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.arrays import IntArray
from alliance_stats.tables.panel import rows_at
from alliance_stats.tables.schema import DataError, numeric, require_whole
from alliance_stats.tables.shares import check_level, log_log_interval, normal_quantile


def repair_times(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    level: float = 0.95,
    score: str | None = None,
    rule: str | Rule | None = None,
) -> pd.DataFrame:
    """The share of ruptures repaired by each number of sessions after their onset.

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

    Notes
    -----
    Ruptures open when therapy ends are censored: counting them as unrepaired would make short therapies look bad,
    leaving them out would make them look good. Kaplan-Meier assumes that they would have been repaired as often as the
    others; patients who leave because of a rupture would not. The two shares are the two ends of what is possible.
    Standard errors take the patients as units. A rule's window ends the watch. Without any true rupture many events
    are "repaired" as well: see :func:`chance_of_repair`.

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
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    within: int = 4,
    level: float = 0.95,
    score: str | None = None,
) -> pd.DataFrame:
    """How much higher patients rate after a repair than they did before the rupture.

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

    Notes
    -----
    Without any rupture the change is not 0: a rule chooses onsets after high scores, and a patient who improves all the
    time is higher later. :func:`chance_of_repair` gives what is to be expected.
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
