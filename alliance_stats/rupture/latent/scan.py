"""The window scan: how well a fall over each run of sessions explains each series. Arrays in, arrays out.

A series is written as patient level and trend (both random), AR(1) fluctuation, measurement noise, and a fall of depth
``d`` while a rupture is open. Levels, trends and the patient's own variance are integrated out in closed form (the
variance has an inverse-gamma distribution over patients, which makes the marginal density multivariate Student t), so
that the Bayes factor of a fall over sessions ``first .. last`` needs only running sums of the precision matrix ``P``
and of ``P r``. Summed over all windows, and over pairs of windows, weighted by a two-state Markov prior, these factors
give the odds that a rupture is open at each session.

Positions count rated sessions from 0; session numbers (``time``) enter the autocorrelation and the prior, so holes are
handled exactly. Rows are padded on the right to the longest series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.latent.courses import Bools, Courses, Floats, Ints, Patterns, multiply
from alliance_stats.rupture.latent.model import residual, whitening
from alliance_stats.rupture.latent.parameters import DEPTH_WEIGHTS, LatentParameters

LARGEST_FACTOR, LARGEST_LOG_ODDS = 1e140, 600.0  # so that what is computed from them stays finite


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


@dataclass(frozen=True)
class Problem:
    """Everything the scan needs about n series at one state of knowledge (all T positions, or the first few).

    ``precision``, ``sizes`` (x'Px for the indicator x of each window) and ``prior`` are per pattern; ``weighted`` is
    ``P r`` and ``square`` is ``r' P r`` per series.
    """

    precision: Floats
    of: Ints
    weighted: Floats
    square: Floats
    n_rated: Ints
    candidates: Windows
    sizes: Floats
    prior: Floats
    depths: Floats
    scale: float
    degrees: float

    def factors(self, weighted: Floats, square: Floats, size: Floats) -> Floats:
        """Bayes factor of each window against none, (n, W), averaged over depths; `size` is x'Px, (n, W)."""
        total = running_sums(weighted)
        return self.averaged(total[:, self.candidates.stop] - total[:, self.candidates.start], square, size)

    def averaged(self, slope: Floats, square: Floats, size: Floats) -> Floats:
        """Bayes factors of falls of any shape x against none, averaged over depths, from `slope` x'Pr and `size`.

        Overwrites `slope`.
        """
        base = 1.0 / (self.scale + square)[:, None]
        power = -0.5 * (self.degrees + self.n_rated)[:, None]
        slope *= 2 * base
        curve = size * base
        result = np.zeros_like(slope)
        for depth, weight in zip(self.depths, DEPTH_WEIGHTS):
            change = depth * slope
            change += depth**2 * curve
            np.log1p(change, out=change)
            change *= power
            np.exp(change, out=change)
            change *= weight
            result += change
        return np.asarray(np.minimum(result, LARGEST_FACTOR, out=result))

    def depth_weights(self, rows: Ints, slope: Floats, size: Floats) -> Floats:
        """Posterior of the depth, (k, 5), of one window for each of the series in `rows`, from its x'Pr and x'Px."""
        change = 2 * np.outer(slope, self.depths) + np.outer(size, self.depths**2)
        change /= (self.scale + self.square[rows])[:, None]
        log_factor = -0.5 * (self.degrees + self.n_rated[rows])[:, None] * np.log1p(change)
        factor = np.exp(log_factor - log_factor.max(axis=1, keepdims=True)) * DEPTH_WEIGHTS
        return np.asarray(factor / factor.sum(axis=1, keepdims=True))


class Odds(NamedTuple):
    """Weights relative to "no rupture at all" (weight 1).

    Attributes
    ----------
    total : (n,) float array
        Sum over no rupture, one, and two.
    windows : (n, W) float array
        Sum over those that hold the window.
    """

    total: Floats
    windows: Floats

    def covered(self, candidates: Windows, n_positions: int) -> Floats:
        """Sum over those in which a rupture is open at the position, (n, T)."""
        position = np.arange(n_positions)
        covers = (position >= candidates.start[:, None]) & (position < candidates.stop[:, None])
        return np.asarray(self.windows @ covers.astype(np.float64))

    def begun(self, candidates: Windows, n_positions: int) -> Floats:
        """Sum over those in which a rupture begins at the position, (n, T)."""
        return np.asarray(self.windows @ (np.arange(n_positions) == candidates.start[:, None]).astype(np.float64))


def running_sums(weighted: Floats) -> Floats:
    """Sums of P r up to each position, (n, T + 1): a difference of two is x'Pr for a window x."""
    total = np.zeros((len(weighted), weighted.shape[1] + 1))
    np.cumsum(weighted, axis=1, out=total[:, 1:])
    return total


def double_sums(precision: Floats) -> Floats:
    """Sums of P over all positions up to each pair of them, (p, T + 1, T + 1)."""
    p, n_positions, _ = precision.shape
    double = np.zeros((p, n_positions + 1, n_positions + 1))
    sums = np.tri(n_positions).T  # running sums as two large products: much faster than cumsum over small matrices
    once = (precision.reshape(-1, n_positions) @ sums).reshape(p, n_positions, n_positions)
    twice = np.swapaxes(once, 1, 2).reshape(-1, n_positions) @ sums  # P is symmetric
    double[:, 1:, 1:] = twice.reshape(p, n_positions, n_positions)
    return double


def window_sizes(precision: Floats, candidates: Windows) -> Floats:
    """X'Px for the indicator x of each window, (p, W)."""
    if not len(candidates.start):
        return np.zeros((len(precision), 0))
    double, start, stop = double_sums(precision), candidates.start, candidates.stop
    sizes = double[:, stop, stop] - 2 * double[:, start, stop] + double[:, start, start]
    return np.asarray(np.maximum(sizes, 0.0, out=sizes))


def single_odds(problem: Problem) -> tuple[Floats, Floats]:
    """Posterior weight of each single window against no rupture, (n, W), and x'Px per series, (n, W)."""
    size = problem.sizes[problem.of]
    return problem.factors(problem.weighted, problem.square, size) * problem.prior[problem.of], size


def rupture_odds(problem: Problem, *, falls: int) -> Odds:
    """Sum the evidence over every set of windows that do not touch each other.

    What a fall does to the evidence for others is taken into account for up to `falls` of them: the most credible one
    is taken out of the series, the others are weighed on what is left, the most credible of these is taken out as well,
    and so on. In a set that holds a window which touches one that was taken out, all others weigh what they weigh
    without it; otherwise a set weighs the product of its windows (:func:`_paths`).
    """
    start, stop, _ = problem.candidates
    left, size = single_odds(problem)
    rows, n_positions = np.arange(len(left)), problem.weighted.shape[1]
    running, prior = running_precision(problem.precision), problem.prior[problem.of]
    branches = [(1.0, np.zeros_like(left))]  # sign, and the windows that touch one taken out, by what they weighed
    terms: list[tuple[float, Floats, Floats]] = []
    here, taken = problem, np.zeros(left.shape, dtype=np.bool_)
    for _ in range(min(falls, len(start))):
        k = left.argmax(axis=1)
        touches = (start <= stop[k][:, None]) & (stop >= start[k][:, None]) & ~taken
        depth, shape, gain = _take_out(here, size[rows, k], k, running)
        here = replace(here, weighted=here.weighted + depth[:, None] * shape, square=here.square + gain)
        near, free = np.where(touches, left, 0.0), np.where(touches, 0.0, left)
        terms += [(sign, *_paths(kept + free, problem.candidates, n_positions)) for sign, kept in branches]
        branches = [(s, b) for sign, kept in branches for s, b in ((sign, kept + near), (-sign, kept))]
        taken = taken | touches
        left = np.where(taken, 0.0, here.factors(here.weighted, here.square, size) * prior)
    terms += [(sign, *_paths(kept + left, problem.candidates, n_positions)) for sign, kept in branches]
    largest = np.max([log_total for _, log_total, _ in terms], axis=0)
    total, sums = np.zeros(len(rows)), np.zeros_like(left)
    for sign, log_total, share in terms:
        part = sign * np.exp(log_total - largest)
        total += part
        sums += part[:, None] * share
    whole = np.exp(np.minimum(largest + np.log(total), LARGEST_LOG_ODDS))
    return Odds(whole, np.maximum(sums, 0.0) * (whole / total)[:, None])


def log_paths(weight: Floats, candidates: Windows, n_positions: int) -> Floats:
    """Log of the sum over sets of windows that do not touch; a set weighs the product of its windows' `weight` (n, W).

    Returns
    -------
    (n_positions + 1, n) array
        Of the sets that begin after each position; at 0, of all.
    """
    after = np.zeros((n_positions + 1, len(weight)))
    following = np.where(candidates.is_open, n_positions, candidates.stop)
    for t in range(n_positions - 2, -1, -1):
        beginning = np.flatnonzero(candidates.start == t + 1)
        added = weight[:, beginning].T * np.exp(after[following[beginning]] - after[t + 1])
        after[t] = after[t + 1] + np.log1p(added.sum(axis=0))
    return after


def _paths(weight: Floats, candidates: Windows, n_positions: int) -> tuple[Floats, Floats]:
    """The sums of :func:`log_paths`, (n,), and the share of them that holds each window, (n, W).

    Forward and backward as in a hidden Markov model.
    """
    start, stop, is_open = candidates
    after = log_paths(weight, candidates, n_positions)
    before = np.zeros_like(after)
    for t in range(1, n_positions):
        ending = np.flatnonzero(~is_open & (stop == t - 1))
        added = weight[:, ending].T * np.exp(before[start[ending]] - before[t - 1])
        before[t] = before[t - 1] + np.log1p(added.sum(axis=0))
    following = after[np.where(is_open, n_positions, stop)]
    return after[0], weight * np.exp(before[start] + following - after[0]).T


def running_precision(precision: Floats) -> Floats:
    """Running sums of P over its first index, (p, T + 1, T): a difference of two is P x for a window x."""
    running = np.zeros((len(precision), precision.shape[1] + 1, precision.shape[1]))
    np.cumsum(precision, axis=1, out=running[:, 1:])
    return running


def _take_out(problem: Problem, size: Floats, k: Ints, running: Floats) -> tuple[Floats, Floats, Floats]:
    """The credible depth of window k of each series, P x for it, and the change of ``r'Pr`` when it is taken out."""
    start, stop = problem.candidates.start[k], problem.candidates.stop[k]
    shape = running[problem.of, stop] - running[problem.of, start]
    inside = (np.arange(shape.shape[1]) >= start[:, None]) & (np.arange(shape.shape[1]) < stop[:, None])
    slope = np.where(inside, problem.weighted, 0.0).sum(axis=1)
    depth = problem.depth_weights(np.arange(len(k)), slope, size) @ problem.depths
    return depth, shape, 2 * depth * slope + depth**2 * size


class Shared(NamedTuple):
    """What every series of a pattern shares: whitening factors, precision, windows, their sizes and prior odds."""

    factor: Floats
    precision: Floats
    candidates: Windows
    sizes: Floats
    prior: Floats


def shared_by(parameters: LatentParameters, found: Patterns, longest: int, *, prior: Floats | None = None) -> Shared:
    """What every series of a pattern shares when every rating is known; `prior` odds if they are at hand."""
    factor, candidates = whitening(parameters, found), windows(found.time.shape[1], longest, parameters.min_ratings)
    precision = np.swapaxes(factor, 1, 2) @ factor
    sizes = window_sizes(precision, candidates)
    prior = window_prior(parameters, found, candidates) if prior is None else prior
    return Shared(factor, precision, candidates, sizes, prior)


def problem_of(
    parameters: LatentParameters,
    precision: Floats,
    found: Patterns,
    values: Floats,
    longest: int,
    *,
    shared: Shared | None = None,
) -> Problem:
    """The scan's problem for residuals `values` (n, T) known up to ``found.n_rated``; `shared` if it is at hand."""
    weighted = multiply(precision, found.of, values)
    candidates = windows(values.shape[1], longest, parameters.min_ratings) if shared is None else shared.candidates
    return Problem(
        precision=precision,
        of=found.of,
        weighted=weighted,
        square=(weighted * values).sum(axis=1),
        n_rated=found.n_rated[found.of],
        candidates=candidates,
        sizes=window_sizes(precision, candidates) if shared is None else shared.sizes,
        prior=window_prior(parameters, found, candidates) if shared is None else shared.prior,
        depths=parameters.depths(),
        scale=parameters.within_sd_df * parameters.within_sd**2,
        degrees=parameters.within_sd_df,
    )


def whole_problem(
    parameters: LatentParameters, series: Courses, found: Patterns, longest: int, *, shared: Shared | None = None
) -> Problem:
    """The scan's problem when every rating is known; `shared` is :func:`shared_by` of the same, if at hand."""
    shared = shared_by(parameters, found, longest) if shared is None else shared
    return problem_of(parameters, shared.precision, found, residual(parameters, series), longest, shared=shared)
