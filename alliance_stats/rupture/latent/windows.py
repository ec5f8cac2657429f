"""Which runs of sessions could be a rupture, and their prior odds under the two-state chain. Arrays in, arrays out.

Positions count rated sessions from 0; session numbers (``time``) enter the prior, so holes are handled exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.latent.courses import Bools, Floats, Ints, Patterns
from alliance_stats.rupture.latent.parameters import LatentParameters


class Windows(NamedTuple):
    """Candidate ruptures over T positions: closed ones end before the last rating, open ones last to the end.

    ``stop`` is one past the last position; an open window has ``stop = T``, which beyond a shorter series adds nothing.
    """

    start: Ints
    stop: Ints
    is_open: Bools


def windows(n_positions: int, longest: int, first: int) -> Windows:
    """Closed windows of up to `longest` rated sessions, and the open one from each start, position `first` or later.

    None at all with ``longest=0``.
    """
    pairs = [(s, e) for s in range(first, n_positions - 1) for e in range(s + 1, min(s + longest, n_positions - 1) + 1)]
    closed = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    begin = np.arange(first, n_positions if longest else first, dtype=np.int64)
    start = np.concatenate([closed[:, 0], begin])
    stop = np.concatenate([closed[:, 1], np.full(len(begin), n_positions)])
    return Windows(start, stop, np.arange(len(start)) >= len(closed))


def window_prior(parameters: LatentParameters, found: Patterns, candidates: Windows) -> Floats:
    """Prior odds of each window against no rupture, (p, W), from the two-state Markov chain over session numbers.

    Zero where a pattern is too short for the window.
    """
    start, stop, is_open = candidates
    n_rated, time = found.n_rated[:, None], found.time
    last = np.where(is_open, n_rated - 1, stop - 1)
    possible = np.where(is_open, start <= n_rated - 1, stop < n_rated)
    start_gap = time[:, start] - time[:, start - 1]
    length = np.take_along_axis(time, last, axis=1) - time[:, start]
    after = np.minimum(last + 1, time.shape[1] - 1)
    end_gap = np.take_along_axis(time, after, axis=1) - np.take_along_axis(time, last, axis=1)
    stay, keep = np.log1p(-parameters.onset_rate), np.log1p(-parameters.repair_rate)
    never = parameters.never_ends
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        lasts = (1 - never) * np.exp(length * keep) + never * is_open
        log_odds = np.log(-np.expm1(start_gap * stay)) - (start_gap + length) * stay + np.log(lasts)
        closing = np.log(-np.expm1(end_gap * keep)) - end_gap * stay
        odds = np.exp(np.minimum(log_odds + np.where(is_open, 0.0, closing), 300.0))
    return np.asarray(np.where(possible, odds, 0.0))


def several(parameters: LatentParameters, found: Patterns, prior: Floats) -> Floats:
    """Prior odds of one rupture or more over those of a single one, (p,); `prior` is :func:`window_prior`.

    The chance of none is (1 - onset rate) ^ (sessions in which one could begin).
    """
    rows, begin = np.arange(len(found.n_rated)), min(parameters.min_ratings, found.time.shape[1]) - 1
    at_risk = np.maximum(found.time[rows, found.n_rated - 1] - found.time[:, begin], 0.0)
    single = prior.sum(axis=1)
    any_one = np.expm1(-at_risk * np.log1p(-parameters.onset_rate))
    return np.asarray(np.divide(any_one, single, out=np.ones_like(single), where=single > 0))
