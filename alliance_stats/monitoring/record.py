"""What a monitor would have done in a finished study: how early it saw the ruptures, how often it was wrong."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from alliance_stats.rupture.latent.courses import Courses
from alliance_stats.rupture.latent.detect import states_so_far
from alliance_stats.rupture.latent.null import null_courses
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.posterior import posterior
from alliance_stats.tables.schema import PATIENT, SESSION, check_sessions, require_whole
from alliance_stats.tables.shares import wilson
from alliance_stats.tables.states import rupture_states


def alarm_record(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    parameters: LatentParameters,
    score: str = "alliance",
    n_sessions: int = 20,
    false_alarm: float = 0.05,
    threshold: float | None = None,
) -> pd.DataFrame:
    """The alarms of a past study beside its ruptures.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS of the past study; better not the one that `parameters` were estimated on.
    events : DataFrame
        EVENTS taken for the truth: coded by observers, reported by patients, or simulated.
    parameters, score, n_sessions, false_alarm, threshold
        As in :func:`alliance_stats.monitor`.

    Returns
    -------
    DataFrame
        One row: ``n_ruptures`` with a rating while open, ``n_seen`` with an alarm then, ``seen`` their share (Wilson
        interval ``ci_low``, ``ci_high``; ruptures taken as independent), ``delay`` (mean number of sessions from onset
        to the first alarm of those seen), ``n_alarms`` that began, ``n_false`` of them at a session with no open
        rupture, ``false_per_100`` rated sessions without an open rupture, ``therapies_false`` (share of therapies
        without a rupture that had an alarm, to set beside `false_alarm`), ``threshold``.
    """
    table = check_sessions(sessions, [score])
    if threshold is None:
        threshold = alarm_threshold(parameters, n_sessions=n_sessions, false_alarm=false_alarm)
    states = states_so_far(table, score=score, parameters=parameters)
    rated = table[score].notna().to_numpy()
    alarm = (states["rupture_open"].to_numpy() > threshold) & rated
    truth = rupture_states(table, events)
    is_open = truth["rupture_open"] == 1
    of = table[[PATIENT, SESSION]].assign(event=truth["n_ruptures_so_far"], alarm=alarm)
    during = of[is_open & rated].groupby([PATIENT, "event"], sort=False)["alarm"].any()
    first = of[is_open & alarm].groupby([PATIENT, "event"], sort=False)[SESSION].min()
    onset = events.sort_values([PATIENT, "onset"]).assign(event=lambda rows: rows.groupby(PATIENT).cumcount() + 1)
    delay = first - onset.set_index([PATIENT, "event"])["onset"].reindex(first.index)
    before = of.groupby(PATIENT, sort=False)["alarm"].shift(fill_value=False).to_numpy(dtype=bool)
    begins = alarm & ~before
    calm = ~of[PATIENT].isin(events[PATIENT]).to_numpy()
    low, high = wilson(during.mean() if len(during) else np.nan, len(during), level=0.95)
    n_calm = int((rated & ~is_open).sum())
    n_false = int((begins & ~is_open).sum())
    return pd.DataFrame(
        {
            "n_ruptures": [len(during)],
            "n_seen": [int(during.sum())],
            "seen": [float(during.mean()) if len(during) else np.nan],
            "ci_low": [float(low)],
            "ci_high": [float(high)],
            "delay": [float(delay.mean()) if len(delay) else np.nan],
            "n_alarms": [int(begins.sum())],
            "n_false": [n_false],
            "false_per_100": [100 * n_false / n_calm if n_calm else np.nan],
            "therapies_false": [float(of[calm].groupby(PATIENT)["alarm"].any().mean()) if calm.any() else np.nan],
            "threshold": [threshold],
        }
    )


@lru_cache(maxsize=32)
def alarm_threshold(
    parameters: LatentParameters, *, n_sessions: int = 20, false_alarm: float = 0.05, draws: int = 1000, seed: int = 1
) -> float:
    """The probability of an open rupture above which a monitor gives alarm.

    Parameters
    ----------
    parameters : LatentParameters
        Estimates of an earlier study.
    n_sessions : int
        Length of a therapy, in rated sessions. The longer it is, the more chances there are for a false alarm.
    false_alarm : float
        Share of therapies without any rupture that may have an alarm at some session, in (0, 1).
    draws : int
        Therapies without a rupture that are simulated from `parameters`, at most 4,000. With 1,000 the realised rate is
        within 1.4 points of .05 (95 %).
    seed : int

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        For a rate outside (0, 1), or fewer than 20 draws.
    """
    require_whole(n_sessions, name="n_sessions", low=1)
    require_whole(draws, name="draws", low=20)
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm={false_alarm!r} must lie between 0 and 1.")
    like = Courses(np.zeros((1, n_sessions)), np.arange(1.0, n_sessions + 1)[None, :], np.array([n_sessions]))
    calm = null_courses(parameters, like, noise_df=np.inf, rng=np.random.default_rng(seed))
    calm = calm.take(np.arange(min(draws, len(calm.n_rated))))
    highest = posterior(parameters, calm).filtered.max(axis=1)
    return float(np.quantile(highest, 1 - false_alarm, method="higher"))
