"""The window scan: how well a fall over each run of sessions explains each series. Arrays in, arrays out.

A series is written as patient level and trend (both random), AR(1) fluctuation, measurement noise, and a fall of depth
``d`` while a rupture is open. Levels, trends and the patient's own variance are integrated out in closed form (the
variance has an inverse-gamma distribution over patients, which makes the marginal density multivariate Student t), so
that the Bayes factor of a fall over sessions ``first .. last`` needs only running sums of the precision matrix ``P``
and of ``P r``. Summed over all windows, and over sets of them, weighted by a two-state Markov prior, these factors give
the odds that a rupture is open at each session.

Positions count rated sessions from 0; session numbers (``time``) enter the autocorrelation and the prior, so holes are
handled exactly. Rows are padded on the right to the longest series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats, Ints, Patterns, multiply
from alliance_stats.rupture.latent.model import residual, whitening
from alliance_stats.rupture.latent.parameters import DEPTH_WEIGHTS, LatentParameters
from alliance_stats.rupture.latent.windows import Windows, window_prior, windows

LARGEST_FACTOR, LARGEST_LOG_ODDS = 1e140, 600.0  # so that what is computed from them stays finite


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
    """Weights relative to "no rupture at all" (weight 1)."""

    total: Floats  # (n,): sum over no rupture and all sets of windows
    windows: Floats  # (n, W): sum over those that hold the window

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
