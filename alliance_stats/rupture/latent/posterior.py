"""From parameters and series to P(in rupture): smoothed by the whole series, or filtered by the sessions so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats, Ints, Patterns, multiply, patterns
from alliance_stats.rupture.latent.draws import Bounds, gibbs_sweep
from alliance_stats.rupture.latent.model import courses_of_patients, mean_course, residual, whitening
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scan import Problem, problem_of, rupture_odds
from alliance_stats.rupture.latent.windows import Windows

FALLS = 2
"""Most credible windows that are taken out of the series before others are weighed."""
DRAWS = 6
"""Draws of the scores beyond a bound, over which the evidence of a series with such scores is averaged."""
CHUNK = 1_500_000
"""Windows (or squared positions) times series worked on at a time."""


@dataclass(frozen=True)
class Posterior:
    """What the model says of each series; (n,) or padded (n, T) arrays, 0 beyond the last rating."""

    # smoothed, filtered: (n, T): P(a rupture is open), given all ratings; given those up to the session
    smoothed: Floats
    filtered: Floats
    begun: Floats  # (n, T): P(a rupture begins here), given all ratings
    # ended, ended_so_far: (n, T): P(a rupture has ended at or before the session), given all ratings; given those
    # up to the session
    ended: Floats
    ended_so_far: Floats
    # past, past_so_far: (n, T): P(one has ended, and a score since then has exceeded the baseline at its onset);
    # likewise
    past: Floats
    past_so_far: Floats
    outcomes: Floats  # (n, 3): Expected number of ruptures that were repaired past baseline, unrepaired, and censored
    evidence: Floats  # (n,): Natural log of the weight of all hypotheses over that of no rupture, given all ratings
    evidence_so_far: Floats  # (n, T): The same given the ratings up to the session
    # baseline, baseline_so_far: (n, T): The level the patient would have without a rupture: posterior mean of level
    # and trend, in points; given all ratings, and given those up to the session
    baseline: Floats
    baseline_so_far: Floats
    own_sd: Floats  # (n,): Posterior root mean square of the patient's within SD, in points
    residual: Floats  # (n, T): One-step prediction errors in units of `own_sd`, ruptures left in


def posterior(parameters: LatentParameters, series: Courses) -> Posterior:
    """P(in rupture) of every series; nothing in it depends on which other series there are."""
    n, n_positions = series.score.shape
    longest = parameters.max_length
    result = Posterior(*(np.zeros((n, *_PER_PATIENT.get(name, (n_positions,)))) for name in _NAMES))
    step = max(1, CHUNK // (n_positions * min(2 * longest, n_positions)))
    for low in range(0, n, step):
        rows = np.arange(low, min(low + step, n))
        beyond = Bounds.of(parameters, series.take(rows)).any.any(axis=1)
        for some, draws in ((rows[~beyond], 1), (rows[beyond], DRAWS)):
            if len(some):
                _fill(result, some, _of_block(parameters, series.take(some), longest, draws))
    return result


_NAMES = tuple(Posterior.__dataclass_fields__)
_PER_PATIENT: dict[str, tuple[int, ...]] = {"evidence": (), "own_sd": (), "outcomes": (3,)}
"""What has no column for each session: the shape of a patient's entry."""


def _fill(result: Posterior, rows: Ints, part: Posterior) -> None:
    """Write the posterior of some series into the whole."""
    for name in _NAMES:
        values = getattr(part, name)
        if values.ndim == 1:
            getattr(result, name)[rows] = values
        else:
            getattr(result, name)[rows, : values.shape[1]] = values


def _spread_numbers(step: int, draws: int, sweeps: int, n_positions: int) -> Floats:
    """(sweeps, draws, 1 + n_positions) numbers in (0, 1), evenly spread over the draws in every column.

    A Latin hypercube (McKay et al., 1979) in place of random draws. Every patient gets the same, so that the posterior
    is a function of the patient's scores and the parameters alone.
    """
    rng = np.random.default_rng([1979, step])
    cell = rng.permuted(np.repeat(np.arange(draws)[:, None], sweeps * (1 + n_positions), axis=1), axis=0)
    numbers = (cell + rng.random(cell.shape)) / draws
    return np.moveaxis(numbers.reshape(draws, sweeps, 1 + n_positions), 1, 0)


class _Block(NamedTuple):
    """Some series, each repeated for its draws; the draws of what lies beyond the bounds are renewed in `values`."""

    parameters: LatentParameters
    series: Courses
    found: Patterns
    beyond: Bounds
    factor: Floats
    values: Floats
    longest: int
    draws: int

    def mean(self, sums: Floats) -> Floats:
        """The mean over each series' draws."""
        return np.asarray(sums.reshape(-1, self.draws, *sums.shape[1:]).mean(axis=1))


def _of_block(parameters: LatentParameters, series: Courses, longest: int, draws: int) -> Posterior:
    """One pass through the sessions for the filter, and one look at the whole for the smoother."""
    series = series.take(np.repeat(np.arange(len(series.n_rated)), draws))
    found, beyond = patterns(series), Bounds.of(parameters, series)
    factor, values = whitening(parameters, found), residual(parameters, series)
    block = _Block(parameters, series, found, beyond, factor, values, longest, draws)
    scores = np.where(series.score >= parameters.ceiling, np.inf, series.score)  # nothing higher can be scored
    so_far, precision = _so_far(block, scores)
    return Posterior(**so_far, **_of_the_whole(block, np.where(series.rated, scores, -np.inf), precision))


def _so_far(block: _Block, scores: Floats) -> tuple[dict[str, Floats], Floats]:
    """What is known at each session from the ratings up to it, and the precision at the last one."""
    parameters, series, found, beyond, factor, values, longest, draws = block
    n, n_positions = series.score.shape
    precision = np.zeros((len(factor), n_positions, n_positions))
    filtered, evidence, reference, ended, past = np.zeros((5, n // draws, n_positions))
    for t in range(n_positions):
        precision[:, : t + 1, : t + 1] += factor[:, t, : t + 1, None] * factor[:, t, None, : t + 1]
        active = np.flatnonzero(series.n_rated > t)
        known = precision[:, : t + 1, : t + 1]
        if draws > 1:
            numbers = np.tile(_spread_numbers(t + 1, draws, 2, t + 1), (1, len(active) // draws, 1))
            some = beyond.take(active, t + 1)
            values[active, : t + 1] = _beyond_bounds(
                parameters, values[active, : t + 1], some, known, found.of[active], t + 1, numbers
            )
        seen = Patterns(found.time[:, : t + 1], np.minimum(found.n_rated, t + 1), found.of[active])
        problem = problem_of(parameters, known, seen, values[active, : t + 1], longest)
        odds = rupture_odds(problem, falls=FALLS)
        total = block.mean(odds.total)
        patients = active[::draws] // draws
        filtered[patients, t] = block.mean(odds.windows[:, problem.candidates.is_open].sum(axis=1)) / total
        evidence[patients, t] = np.log(total)
        chance = np.repeat(filtered[patients, : t + 1], draws, axis=0)
        level = _level(parameters, series.time[active, : t + 1], problem, chance)
        reference[patients, t] = block.mean(level[:, -1])
        repaired = _first_above(scores[active, : t + 1], level, problem.candidates)
        for sums, happened in ((ended, ~problem.candidates.is_open), (past, repaired <= t)):
            sums[patients, t] = np.minimum(block.mean((odds.windows * happened).sum(axis=1)) / total, 1.0)
    told = {"filtered": filtered, "evidence_so_far": evidence, "baseline_so_far": reference}
    return told | {"ended_so_far": ended, "past_so_far": past}, precision


def _of_the_whole(block: _Block, scores: Floats, precision: Floats) -> dict[str, Floats]:
    """What is known at each session from all ratings."""
    parameters, series, found, beyond, factor, values, longest, draws = block
    n, n_positions = series.score.shape
    if draws > 1:
        numbers = np.tile(_spread_numbers(0, draws, 8, n_positions), (1, n // draws, 1))
        values = _beyond_bounds(parameters, values, beyond, precision, found.of, series.n_rated, numbers)
    problem = problem_of(parameters, precision, found, values, longest)
    odds, candidates = rupture_odds(problem, falls=FALLS), problem.candidates
    total = block.mean(odds.total)
    smoothed, begun = (
        np.where(series.rated[::draws], block.mean(sums) / total[:, None], 0.0)
        for sums in (odds.covered(candidates, n_positions), odds.begun(candidates, n_positions))
    )
    chance = np.repeat(smoothed, draws, axis=0)
    level = _level(parameters, series.time, problem, chance)
    repaired = _first_above(scores, level, candidates)
    ended, past, outcomes = (
        _mean_of_draws(each, odds.total, draws)
        for each in _endings(odds.windows / odds.total[:, None], repaired, candidates, series.n_rated, n_positions)
    )
    own_sd = _own_sd(parameters, values, problem, chance)
    return {
        "smoothed": smoothed,
        "begun": begun,
        "ended": ended,
        "past": past,
        "outcomes": outcomes,
        "evidence": np.log(total),
        "baseline": block.mean(level),
        "own_sd": np.sqrt(block.mean(own_sd**2)),
        "residual": (multiply(factor, found.of, values) / own_sd[:, None])[::draws],
    }


def _mean_of_draws(values: Floats, total: Floats, draws: int) -> Floats:
    """The mean of `values` (n x draws, k) over each patient's draws, each weighted by its evidence `total`."""
    weight = total.reshape(-1, draws)
    weight = weight / weight.sum(axis=1, keepdims=True)
    return np.asarray((values.reshape(*weight.shape, -1) * weight[:, :, None]).sum(axis=1))


def _first_above(scores: Floats, level: Floats, candidates: Windows) -> Ints:
    """For each series and window the first position after it whose score exceeds the level at its start; T if none."""
    n, n_positions = scores.shape
    first = np.full((n, n_positions, n_positions + 1), n_positions, dtype=np.int64)  # by start, and position after
    for t in range(n_positions - 1, -1, -1):
        first[:, :, t] = np.where(scores[:, t, None] > level, t, first[:, :, t + 1])
    return np.asarray(first[:, candidates.start, candidates.stop])


def _endings(
    shares: Floats, repaired: Ints, candidates: Windows, n_rated: Ints, n_positions: int
) -> tuple[Floats, Floats, Floats]:
    """P(ended by t) and P(repaired past baseline by t), (n, T), and expected outcomes, (n, 3), from window `shares`.

    Two ruptures in one patient count twice: the probabilities are cut at 1, the expected numbers are not.
    """
    position = np.arange(n_positions)
    closed = shares * ~candidates.is_open
    ended = closed @ (position >= candidates.stop[:, None]).astype(np.float64)
    past = np.zeros_like(ended)
    for t in position:
        past[:, t] = (closed * (repaired <= t)).sum(axis=1)
    at_last = candidates.is_open & (candidates.start == n_rated[:, None] - 1)
    n_past, n_censored = past[:, -1], (shares * at_last).sum(axis=1)
    outcomes = np.column_stack([n_past, shares.sum(axis=1) - n_past - n_censored, n_censored])
    return np.minimum(ended, 1.0), np.minimum(past, 1.0), np.maximum(outcomes, 0.0)


def _beyond_bounds(
    parameters: LatentParameters,
    values: Floats,
    beyond: Bounds,
    precision: Floats,
    of: Ints,
    n_rated: Ints | int,
    numbers: Floats,
) -> Floats:
    """Gibbs sweeps over the scores at a bound as if there were no rupture.

    The Bayes factor of a window given the recorded scores is the mean, over draws from the model *without* rupture, of
    its Bayes factor given the drawn scores; so these draws are the right ones to average over.
    """
    none, rated = np.zeros_like(values), np.broadcast_to(np.asarray(n_rated), len(values))
    for uniform in numbers:
        values = gibbs_sweep(parameters, values, none, beyond, precision, of, rated, uniform)
    return values


def _level(parameters: LatentParameters, time: Floats, problem: Problem, chance: Floats) -> Floats:
    """Level and trend of each series, (n, T): posterior means once the expected falls are put back."""
    weighted = problem.weighted + parameters.depth * multiply(problem.precision, problem.of, chance)
    level = mean_course(parameters, time)
    for variance, shape in courses_of_patients(parameters, time):
        level = level + variance * shape * (shape * weighted).sum(axis=1, keepdims=True)
    return np.asarray(np.clip(level, parameters.floor, parameters.ceiling))


def _own_sd(parameters: LatentParameters, values: Floats, problem: Problem, chance: Floats) -> Floats:
    """Posterior root mean square of each patient's within SD, (n,), expected falls put back."""
    mended = values + parameters.depth * chance
    square = (mended * multiply(problem.precision, problem.of, mended)).sum(axis=1)
    degrees = parameters.within_sd_df
    return np.asarray(np.sqrt((degrees * parameters.within_sd**2 + square) / (degrees + problem.n_rated - 2)))
