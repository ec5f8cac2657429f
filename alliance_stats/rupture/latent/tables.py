"""The tables that a detector's result gives, from its arrays: EVENTS, STATES, patterns, and the level afterwards."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.rupture.latent.courses import Bools, Courses, Floats, Ints
from alliance_stats.rupture.latent.flagging import episodes_of
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.posterior import Posterior
from alliance_stats.rupture.latent.recovery import last_open, level_changes
from alliance_stats.tables.schema import (
    CENSORED,
    EVENTS_COLUMNS,
    PATIENT,
    REPAIRED,
    SESSION,
    UNREPAIRED,
    empty_events,
)


def events_table(
    flagged: Bools,
    courses: Courses,
    level: Floats,
    parameters: LatentParameters,
    patients: pd.Series,
    about: str,
    rule: str,
) -> pd.DataFrame:
    """EVENTS from flagged sessions: a rupture is open until a later, unflagged score exceeds its baseline."""
    owner, onset, repaired_at = episodes_of(flagged, courses, level, parameters.ceiling)
    if not len(owner):
        return empty_events(patients)
    repaired, last = repaired_at >= 0, courses.n_rated[owner] - 1
    stop = np.where(repaired, repaired_at - 1, last)
    position = np.arange(flagged.shape[1])
    inside = (position >= onset[:, None]) & (position <= stop[:, None])
    nadir = np.where(inside, courses.score[owner], np.inf).argmin(axis=1)
    end = np.where(repaired, repaired_at, last)
    session, baseline = courses.time.astype(np.int64), level[owner, onset]
    drop = baseline - courses.score[owner, nadir]
    status = np.where(repaired, REPAIRED, np.where(onset == last, CENSORED, UNREPAIRED))
    columns = {
        PATIENT: patients.iloc[owner].reset_index(drop=True),
        "event": (np.arange(len(owner)) - np.searchsorted(owner, owner) + 1).astype(np.int64),
        "onset": session[owner, onset],
        "nadir": session[owner, nadir],
        "repaired_at": pd.array(session[owner, end], dtype="Int64"),
        "status": pd.Series(status, dtype=object),
        "baseline": baseline,
        "nadir_score": courses.score[owner, nadir],
        "repair_score": np.where(repaired, courses.score[owner, end], np.nan),
        "drop": drop,
        "drop_units": drop / parameters.within_sd,
        "sessions_to_repair": pd.array(session[owner, end] - session[owner, onset], dtype="Int64"),
        "score": pd.Series([about] * len(owner), dtype=object),
        "rule": pd.Series([rule] * len(owner), dtype=object),
    }
    table = pd.DataFrame(columns, columns=list(EVENTS_COLUMNS))
    table.loc[~repaired, ["repaired_at", "sessions_to_repair"]] = pd.NA
    return table


def states_table(
    probabilities: pd.DataFrame,
    score: str,
    parameters: LatentParameters,
    courses: Courses,
    found: Posterior,
    short: Floats | None,
) -> pd.DataFrame:
    """STATES with the baseline, one row per row of `probabilities`; given the whole course if with `short`."""
    so_far = short is None
    ended, past = (found.ended_so_far, found.past_so_far) if so_far else (found.ended, found.past)
    mask = courses.rated
    values = {
        "rupture_open": found.filtered if so_far else found.smoothed,
        "repaired_to_baseline": ended,
        "repaired_before": past,
        "unrepaired": np.maximum(ended - past, 0.0),
    }
    if short is not None:
        values |= {"short": short, "rupture_begins": found.begun}
    rated = probabilities[score].notna().to_numpy()
    too_few = (courses.n_rated <= parameters.min_ratings)[:, None]
    table = probabilities[[PATIENT, SESSION]].copy()
    for name, wide in values.items():
        column = np.full(len(table), np.nan)
        column[rated] = np.where(too_few, 0.0, wide)[mask]
        if name != "rupture_begins":  # it happens at one session and does not last
            column = pd.Series(column).groupby(table[PATIENT].to_numpy(), sort=False).ffill().to_numpy()
        table[name] = np.clip(np.nan_to_num(column), 0.0, 1.0)  # sums of probabilities end within rounding of 1
    table["baseline"] = np.nan
    table.loc[rated, "baseline"] = (found.baseline_so_far if so_far else found.baseline)[mask]
    return table


def pattern_table(found: Posterior, patients: pd.Series) -> pd.DataFrame:
    """The probability of each rupture pattern of PATIENTS, if a patient has two ruptures at most.

    With N the expected number of ruptures and P that of any, two have the probability N - P.
    """
    any_one = -np.expm1(-found.evidence)
    number = found.outcomes.sum(axis=1)
    two = np.clip(number - any_one, 0.0, any_one)
    one = any_one - two
    repaired, unrepaired, censored = (found.outcomes / np.where(number > 0, number, 1.0)[:, None]).T
    patterns = {
        "none": 1.0 - any_one,
        "repaired": one * repaired + two * (repaired**2 + 2 * repaired * censored),
        "unrepaired": one * unrepaired + two * (unrepaired**2 + 2 * unrepaired * censored),
        "mixed": two * 2 * repaired * unrepaired,
        "censored": one * censored + two * censored**2,
    }
    return pd.DataFrame({PATIENT: patients} | {f"p_pattern_{name}": values for name, values in patterns.items()})


def recovery_table(
    parameters: LatentParameters,
    courses: Courses,
    found: Posterior,
    events: pd.DataFrame,
    owner: Ints,
    band: float,
    level: float,
) -> pd.DataFrame:
    """Where the level lies after each of `events`, of the patients in rows `owner`, against the level before."""
    from scipy.special import stdtr, stdtrit

    time = np.where(courses.rated, courses.time, np.inf)
    onset = (time[owner] < events["onset"].to_numpy(dtype=np.float64)[:, None]).sum(axis=1)
    ends = events["repaired_at"].to_numpy(dtype=np.float64, na_value=np.inf)
    stop = (time[owner] < ends[:, None]).sum(axis=1)
    last = last_open(found.smoothed, owner, onset, np.minimum(stop, courses.n_rated[owner]))
    centre, scale, degrees, n_after = level_changes(parameters, courses, owner, onset, last)
    half = stdtrit(degrees, 0.5 + level / 2) * scale
    p_past = stdtr(degrees, (centre - band) / scale)
    p_short = stdtr(degrees, (-band - centre) / scale)
    return (
        events[[PATIENT, "event", "onset"]]
        .reset_index(drop=True)
        .assign(
            last_open=courses.time.astype(np.int64)[owner, last],
            n_after=n_after,
            level_before=found.baseline[owner, onset],
            difference=centre,
            ci_low=centre - half,
            ci_high=centre + half,
            p_past=p_past,
            p_at=1.0 - p_past - p_short,
            p_short=p_short,
            band=band,
            level=level,
        )
    )
