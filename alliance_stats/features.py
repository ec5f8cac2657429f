"""Covariates made from a session table: within and between parts, lags, and the rupture state of each session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.panel import earlier_rated, lagged_rows, series_means, split
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    THERAPIST,
    check_sessions,
    require_choice,
    require_columns,
    require_whole,
)
from alliance_stats.tables.states import (
    PROBABILITIES,
    STATE_COLUMNS,
    check_one_rule,
    events_or_states,
    require_prospective,
    rupture_states,
)

CENTRES = ("patient", "so_far")


def split_within_between(
    sessions: pd.DataFrame,
    columns: Iterable[str] | str,
    *,
    detrend: bool = False,
    centre: str = "patient",
    grand_mean: bool = False,
    therapist: bool = False,
) -> pd.DataFrame:
    """Split time-varying measures into a part within and a part between patients.

    Entered together, the two coefficients are the within- and between-patient effects (Curran & Bauer, 2011). The
    patient's mean knows the whole course, later sessions included: right for describing, and for a next-session model
    under strict exogeneity; for strict prediction use ``centre="so_far"``.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the measures.
    columns : str or iterable of str
        The measures, numeric.
    detrend : bool
        The within part is the deviation from the patient's own least-squares line over session number instead of
        from the patient's mean (Wang & Maxwell, 2015), missing for a patient with fewer than three ratings. Report
        both: an effect that vanishes with the trend may have been the trend.
    centre : {"patient", "so_far"}
        The level to deviate from: the mean of all the patient's ratings, or (prospective) of those up to and including
        this session, in columns ending in ``_within_so_far`` and ``_between_so_far``.
    grand_mean : bool
        Subtract from the between part the mean over patients, each counted once, so that an intercept speaks of the
        average patient.
    therapist : bool
        Split the between part further: ``<column>_therapist`` is the mean, over the patients a therapist sees, of
        their means, and ``<column>_between`` the patient's deviation from it.

    Returns
    -------
    DataFrame
        SESSIONS, sorted by patient and session, with ``<column>_within`` and ``<column>_between`` for each measure.
        The between part is filled in every row of a rated patient, also where this session was not rated.
        ``attrs["within_between"]`` states the choices and counts the rows left without a within part.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 1, 2, 2], "session": [1, 2, 3, 1, 2],
    ...                          "alliance": [4.0, 5.0, 6.0, 3.0, 3.5]})
    >>> split_within_between(sessions, "alliance")[["patient", "alliance_within", "alliance_between"]]
       patient  alliance_within  alliance_between
    0        1            -1.00              5.00
    1        1             0.00              5.00
    2        1             1.00              5.00
    3        2            -0.25              3.25
    4        2             0.25              3.25
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    require_choice(centre, CENTRES, name="centre")
    for choice, name in ((detrend, "detrend"), (therapist, "therapist")):
        if choice and centre == "so_far":
            raise ValueError(f"{name}=True needs the patient's whole course: it does not go with centre='so_far'.")
    table = check_sessions(sessions, names)
    if therapist:
        require_columns(table, [THERAPIST], table_name="sessions")
    series = pd.factorize(table[PATIENT])[0]
    new: dict[str, Any] = {}
    record: dict[str, Any] = {"detrend": detrend, "centre": centre, "grand_mean": grand_mean, "therapist": therapist}
    ending = "_so_far" if centre == "so_far" else ""
    for name in names:
        values = table[name].to_numpy()
        within, between = split(series, table[SESSION].to_numpy(), values, "detrend" if detrend else centre)
        if therapist:
            above = _therapist_level(table[THERAPIST], series, between, values)
            between = between - above
            new[f"{name}_therapist"] = above - _mean_of_series(series, above) if grand_mean else above
        if grand_mean:
            between = between - _mean_of_series(series, between)
        new |= {f"{name}_within{ending}": within, f"{name}_between{ending}": between}
        record[f"{name}_rows_without_within"] = int(np.isnan(within).sum())
        record[f"{name}_rows_too_few_for_trend"] = int((np.isnan(within) & ~np.isnan(values)).sum())
    result = table.assign(**new)
    result.attrs = {**sessions.attrs, "within_between": record}
    return result


def lag(
    sessions: pd.DataFrame, columns: Iterable[str] | str, *, by: int = 1, across_gaps: bool = False
) -> pd.DataFrame:
    """The value a column had some sessions earlier, by session number.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS; they come back sorted, with the new columns, whose names end in ``_lag1`` or ``_lead1``.
    columns : str or iterable of str
        Any columns, numbers or not.
    by : int
        How many sessions earlier; negative for later ones (a lead).
    across_gaps : bool
        False: the value of exactly the session that many numbers before, missing where that session has no row or no
        value. True: the value of the `by`-th session before that has one, however long ago.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 1], "session": [1, 2, 4], "phq9": [15.0, 13.0, 9.0]})
    >>> lag(sessions, "phq9")["phq9_lag1"].tolist(), lag(sessions, "phq9", across_gaps=True)["phq9_lag1"].tolist()
    ([nan, 15.0, nan], [nan, 15.0, 13.0])
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    if isinstance(by, bool) or not isinstance(by, int | np.integer) or by == 0:
        raise ValueError(f"by={by!r} must be a whole number of sessions other than 0 (negative for a lead).")
    require_columns(sessions, names, table_name="sessions")
    table = check_sessions(sessions)
    series = pd.factorize(table[PATIENT])[0]
    ending = f"_lag{by}" if by > 0 else f"_lead{-by}"
    exact = None if across_gaps else lagged_rows(series, table[SESSION].to_numpy(), by)
    new = {}
    for name in names:
        row = earlier_rated(series, table[name].notna().to_numpy(), by) if exact is None else exact
        new[f"{name}{ending}"] = _taken(table[name], row)
    result = table.assign(**new)
    result.attrs = dict(sessions.attrs)
    return result


def mark_ruptures(
    sessions: pd.DataFrame, events: Any, *, lag: int = 0, for_prediction: bool = False, allow_lookahead: bool = False
) -> pd.DataFrame:
    """The rupture state of every session, knowing only onsets and repairs up to then.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    events : DataFrame or detector's result
        EVENTS of one rule; or STATES, or the result of `detect_latent`, whose probabilities given the ratings so far
        are taken.
    lag : int
        How many session numbers before each session the state is taken.
    for_prediction : bool
        Refuse what looks ahead (``attrs["prospective"]``, which `detect_ruptures` and ``states`` set): by such a rule
        even the state at session 3 knows session 20.
    allow_lookahead : bool
        Accept them all the same.

    Returns
    -------
    DataFrame
        SESSIONS, sorted by patient and session, with ``rupture_open`` (0/1: some onset not yet repaired),
        ``repaired_before`` (0/1: some repair so far), ``n_ruptures_so_far``, ``n_repaired_so_far``,
        ``sessions_since_onset`` (of the latest onset, NaN before the first) and ``rupture_state`` (``none``, ``open``,
        ``repaired``); from STATES their probabilities (``rupture_open``, ``repaired_before``, ...), at a session
        without a row those of the last one before. Marks of an earlier call are replaced. ``attrs["marked"]`` names
        the rule and the lag.

    Raises
    ------
    DataError
        For events of several rules, of unknown patients, or without an onset; states that are no probabilities; or
        what looks ahead.
    ValueError
        For a negative `lag`.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1] * 5, "session": [1, 2, 3, 4, 5]})
    >>> events = pd.DataFrame({"patient": [1], "onset": [2], "repaired_at": [4]})
    >>> mark_ruptures(sessions, events)["rupture_state"].tolist()
    ['none', 'open', 'open', 'repaired', 'repaired']
    """
    require_whole(lag, name="lag", low=0)
    found = events_or_states(events, so_far=True)
    if for_prediction:
        require_prospective(found, allow_lookahead=allow_lookahead)
    table = check_sessions(sessions)
    states = rupture_states(table, found, lag=lag)
    earlier = [name for name in (*STATE_COLUMNS, *PROBABILITIES) if name in table and name not in states]
    result = table.drop(columns=earlier).assign(**states)
    marked = {"rule": check_one_rule(found), "lag": lag, "prospective": found.attrs.get("prospective")}
    if "verdict" in found.attrs:
        marked["verdict"] = found.attrs["verdict"]
    result.attrs = {**sessions.attrs, "marked": marked}
    return result


def _therapist_level(therapist: pd.Series, series: Any, between: Any, values: Any) -> Any:
    """For each row the mean, over the patients its therapist rated sessions of, of the patients' means.

    A patient who changes therapist counts with each of them.
    """
    who = pd.factorize(therapist)[0]
    rated = ~np.isnan(values) & (who >= 0)
    pairs = pd.DataFrame({"who": who[rated], "series": series[rated], "between": between[rated]})
    level = pairs.drop_duplicates(["who", "series"]).groupby("who")["between"].mean()
    return level.reindex(who).to_numpy()


def _mean_of_series(series: Any, values: Any) -> float:
    """The mean over series of their means."""
    return float(np.nanmean(series_means(series, values, int(series.max()) + 1)))


def _taken(values: pd.Series, row: Any) -> Any:
    """`values` at the rows, missing where the row is -1; numbers become floats so that they can be missing."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        values = pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan))
    taken = values.take(np.maximum(row, 0)).reset_index(drop=True)
    return taken.where(row >= 0)
