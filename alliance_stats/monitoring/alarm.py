"""From which probability on a monitor gives alarm: a stated share of therapies without a rupture has a false one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from alliance_stats.rupture.latent.courses import Courses
from alliance_stats.rupture.latent.null import null_courses
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.posterior import posterior
from alliance_stats.tables.schema import require_whole


@lru_cache(maxsize=32)
def alarm_threshold(
    parameters: LatentParameters,
    *,
    n_sessions: int = 20,
    false_alarm: float = 0.05,
    draws: int = 1000,
    seed: int = 1,
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
