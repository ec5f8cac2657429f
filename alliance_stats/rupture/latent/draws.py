"""Drawing what the scores do not show: what lies beyond a bound, and which ruptures there were (Gibbs sampling)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alliance_stats.rupture.latent.courses import Bools, Courses, Floats, Ints, Patterns, multiply
from alliance_stats.rupture.latent.model import residual
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scan import Problem, shared_by, single_odds, whole_problem


def imputed(
    parameters: LatentParameters,
    observed: Courses,
    current: Courses,
    found: Patterns,
    rng: np.random.Generator,
    *,
    sweeps: int,
    with_ruptures: bool,
    longest: int,
) -> Courses:
    """`observed` with the scores at a bound replaced by draws of what lies beyond, given everything else.

    Data augmentation (Tanner & Wong, 1987): the patient's variance, the rupture (if any), then each bounded score.
    """
    shared = shared_by(parameters, found, longest)
    beyond = Bounds.of(parameters, observed)
    series, shift = current, np.zeros_like(observed.score)
    for _ in range(sweeps):
        values = residual(parameters, series) + shift
        uniform = rng.random((len(values), 1 + values.shape[1]))
        values = gibbs_sweep(parameters, values, shift, beyond, shared.precision, found.of, observed.n_rated, uniform)
        values -= shift
        series = replace(series, score=np.where(beyond.any, values + observed.score - beyond.centred, observed.score))
        if with_ruptures:
            problem = whole_problem(parameters, series, found, longest, shared=shared)
            window, depth = _drawn_rupture(problem, rng)
            shift = depth[:, None] * _indicator(problem, window)
    return series


@dataclass(frozen=True)
class Bounds:
    """Where scores are at a bound, and the bound measured from the patients' mean course."""

    at_floor: Bools
    at_ceiling: Bools
    centred: Floats

    @classmethod
    def of(cls, parameters: LatentParameters, series: Courses) -> Bounds:
        """The bounds of `parameters` applied to `series`."""
        rated = series.rated
        at_ceiling = rated & (series.score >= parameters.ceiling)
        return cls(rated & (series.score <= parameters.floor), at_ceiling, residual(parameters, series))

    @property
    def any(self) -> Bools:
        """Where a score is at either bound."""
        return self.at_floor | self.at_ceiling

    def take(self, rows: object, n_positions: int) -> Bounds:
        """Some patients and the first positions."""
        return Bounds(
            self.at_floor[rows, :n_positions],  # type: ignore[index]
            self.at_ceiling[rows, :n_positions],  # type: ignore[index]
            self.centred[rows, :n_positions],  # type: ignore[index]
        )


def gibbs_sweep(
    parameters: LatentParameters,
    values: Floats,
    shift: Floats,
    beyond: Bounds,
    precision: Floats,
    of: Ints,
    n_rated: Ints,
    uniform: Floats,
) -> Floats:
    """One Gibbs sweep: each patient's variance, then each bounded score from its truncated normal.

    `values` are residuals with any rupture (`shift`) taken out; `uniform` holds one draw for the variance in column 0
    and one for each position after it, so that a draw belongs to a patient and position whatever the other data are.
    """
    from scipy.special import chdtri, ndtr, ndtri

    values = values.copy()
    square = (multiply(precision, of, values) * values).sum(axis=1)
    degrees = parameters.within_sd_df + n_rated
    spread = parameters.within_sd_df * parameters.within_sd**2 + square
    sd = np.sqrt(spread / chdtri(degrees, np.clip(uniform[:, 0], 1e-12, 1 - 1e-12)))
    for t in np.flatnonzero(beyond.any.any(axis=0)):
        rows = np.flatnonzero(beyond.any[:, t])
        sign = np.where(beyond.at_ceiling[rows, t], 1.0, -1.0)
        line = precision[of[rows], t]
        own = line[:, t]
        mean = values[rows, t] - (line * values[rows]).sum(axis=1) / own
        spread_here = sd[rows] / np.sqrt(own)
        inside = sign * (beyond.centred[rows, t] + shift[rows, t] - mean) - parameters.step / 2
        least = np.minimum(inside / spread_here, 8.0)
        tail = ndtr(-least) * uniform[rows, 1 + t]
        draw = np.maximum(-ndtri(np.clip(tail, 1e-300, 1 - 1e-16)), least)
        values[rows, t] = mean + sign * spread_here * draw
    return values


def _drawn_rupture(problem: Problem, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """For each patient a window (-1: none) and its depth, drawn from the posterior."""
    weight, size = single_odds(problem)
    running = np.cumsum(weight, axis=1)
    target = rng.random(len(weight)) * (1.0 + running[:, -1]) - 1.0
    window = np.minimum((running < target[:, None]).sum(axis=1), weight.shape[1] - 1)
    inside = _indicator(problem, window)
    slope, rows = (inside * problem.weighted).sum(axis=1), np.arange(len(weight))
    log_factor = np.log(np.maximum(problem.depth_weights(rows, slope, size[rows, window]), 1e-300))
    gumbel = -np.log(-np.log(rng.random(log_factor.shape)))
    depth = problem.depths[np.argmax(log_factor + gumbel, axis=1)]
    return np.where(target >= 0, window, -1), depth


def _indicator(problem: Problem, window: Ints) -> Floats:
    """1 over the rated sessions of each patient's window, (n, T); 0 everywhere for -1."""
    position = np.arange(problem.weighted.shape[1])
    start, stop = problem.candidates.start[window], problem.candidates.stop[window]
    inside = (position >= start[:, None]) & (position < stop[:, None]) & (position < problem.n_rated[:, None])
    return (inside & (window >= 0)[:, None]).astype(np.float64)
