"""Estimating the latent model: penalised maximum likelihood, with scores at the scale's bounds drawn from their tail."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alliance_stats.rupture.latent_scan import (
    Bools,
    Floats,
    LatentParameters,
    Patterns,
    Problem,
    Series,
    multiply,
    patterns,
    residual,
    rupture_odds,
    single_odds,
    whitening,
    whole_problem,
)

FIT_PATIENTS = 1500
"""More patients than this add nothing to the estimates that matters; as many are taken, evenly spaced."""

LONGEST_AUTOCORRELATION = 0.95
PENALTY = {  # parameter (on its unbounded scale) -> (centre, SD) of a weak normal penalty, worth one patient or less
    "autocorrelation": (-0.8, 1.0),
    "state_share": (0.0, 1.0),
    "trend_sd": (-3.5, 1.5),
    "within_sd_df": (2.0, 1.5),
    "onset_rate": (-3.2, 1.0),
    "repair_rate": (-0.5, 1.0),
    "depth": (0.6, 0.5),
    "depth_cv": (-1.2, 0.3),
}
COVARIANCE = ("autocorrelation", "state_share", "level_sd", "trend_sd", "within_sd", "within_sd_df", "level", "trend")
RUPTURES = ("onset_rate", "repair_rate", "depth", "depth_cv")


@dataclass(frozen=True)
class Estimate:
    """Parameters with the log-likelihoods that say whether ruptures are needed.

    Attributes
    ----------
    parameters : LatentParameters
    log_likelihood, log_likelihood_null : float
        Of the model with ruptures, and of the same model without any.
    log_likelihood_mirrored : float
        Of the model with *rises* of the same kind in place of falls: noise with heavy tails lends itself to both.
    n_patients : int
        Patients the estimates rest on.
    converged : bool
    """

    parameters: LatentParameters
    log_likelihood: float
    log_likelihood_null: float
    log_likelihood_mirrored: float
    n_patients: int
    converged: bool


def estimate(series: Series, *, floor: float, ceiling: float, longest: int, seed: int) -> Estimate:
    """Fit the model to series of at least two ratings each."""
    sample = _sample(series)
    start = starting_values(sample, floor=floor, ceiling=ceiling)
    unit, found = start.within_sd, patterns(sample)
    complete, parameters = sample, start
    at_bound = (sample.rated & ((sample.score <= floor) | (sample.score >= ceiling))).any()
    rng = np.random.default_rng(seed)
    rounds = (8, 8, 8) if at_bound else ()
    for r, iterations in enumerate(rounds):
        complete = imputed(parameters, sample, complete, found, rng, sweeps=12, with_ruptures=r > 0, longest=longest)
        parameters, _, _ = _maximise(parameters, complete, found, COVARIANCE + RUPTURES, unit, iterations, longest)
    if at_bound:
        complete = imputed(parameters, sample, complete, found, rng, sweeps=12, with_ruptures=True, longest=longest)
    else:
        part = _sample(sample, 400)
        parameters, _, _ = _maximise(parameters, part, patterns(part), COVARIANCE + RUPTURES, unit, 25, longest)
    parameters, height, converged = _maximise(
        parameters, complete, found, COVARIANCE + RUPTURES, unit, 12 if at_bound else 40, longest
    )
    null, height_null, _ = _maximise(parameters, complete, found, COVARIANCE, unit, 40, 0)
    mirrored = _mirrored_height(null, complete, found, unit, longest)
    parameters = _update_rates(parameters, complete, found, longest)
    return Estimate(parameters, height, height_null, mirrored, len(sample.n_rated), converged)


def starting_values(series: Series, *, floor: float, ceiling: float) -> LatentParameters:
    """Rough values from medians, to start from; patients mostly at a bound say nothing about spread."""
    rated = series.rated
    scores, times = series.score[rated], series.time[rated]
    inside = rated & (series.score > floor) & (series.score < ceiling)
    free = (inside.sum(axis=1) >= 0.8 * series.n_rated) & (series.n_rated >= 3)
    use = free if free.sum() >= 5 else series.n_rated >= 2
    count = series.n_rated[use]
    mean = series.score[use].sum(axis=1) / count
    squares = (np.where(rated[use], series.score[use] - mean[:, None], 0.0) ** 2).sum(axis=1)
    within = float(np.sqrt(squares.sum() / max((count - 1).sum(), 1)))
    within = within if within > 0 else float(scores.std()) or 1.0
    every_mean = series.score.sum(axis=1) / series.n_rated
    between = float(every_mean.std()) if len(every_mean) > 1 else within
    return LatentParameters(
        onset_rate=0.04,
        repair_rate=0.4,
        depth=1.7 * within,
        depth_cv=0.3,
        autocorrelation=0.3,
        state_share=0.5,
        within_sd=0.9 * within,
        within_sd_df=10.0,
        level=float(np.median(scores)),
        level_sd=max(between, 0.2 * within),
        trend=0.0,
        trend_sd=0.03 * within,
        centre=float(np.median(times)),
        floor=floor,
        ceiling=ceiling,
    )


def height_of(parameters: LatentParameters, series: Series, found: Patterns, longest: int) -> float:
    """Log-likelihood: no rupture or one window; with ``longest=0`` no rupture at all."""
    from scipy.special import gammaln

    factor = whitening(parameters, found)
    problem = whole_problem(parameters, series, found, max(longest, 1), factor=factor)
    diagonal = np.diagonal(factor, axis1=1, axis2=2)
    log_root = np.log(np.where(diagonal > 0, diagonal, 1.0)).sum(axis=1)[found.of]
    degrees, n = parameters.within_sd_df, series.n_rated
    half = (degrees + n) / 2
    log_density = gammaln(half) - gammaln(degrees / 2) + log_root - n / 2 * np.log(np.pi * problem.scale)
    log_density = log_density - half * np.log1p(problem.square / problem.scale)
    if longest > 0:
        weight, _ = single_odds(problem)
        log_density += np.log1p(weight.sum(axis=1)) - np.log1p(problem.prior.sum(axis=1))[found.of]
    return float(log_density.sum())


def imputed(
    parameters: LatentParameters,
    observed: Series,
    current: Series,
    found: Patterns,
    rng: np.random.Generator,
    *,
    sweeps: int,
    with_ruptures: bool,
    longest: int,
) -> Series:
    """`observed` with the scores at a bound replaced by draws of what lies beyond, given everything else.

    Data augmentation (Tanner & Wong, 1987): the patient's variance, the rupture (if any), then each bounded score.
    """
    precision = np.swapaxes(factor := whitening(parameters, found), 1, 2) @ factor
    beyond = Bounds.of(parameters, observed)
    series, shift = current, np.zeros_like(observed.score)
    for _ in range(sweeps):
        values = residual(parameters, series) + shift
        uniform = rng.random((len(values), 1 + values.shape[1]))
        values = gibbs_sweep(parameters, values, shift, beyond, precision, found.of, observed.n_rated, uniform)
        values -= shift
        series = replace(series, score=np.where(beyond.any, values + observed.score - beyond.centred, observed.score))
        if with_ruptures:
            shift = _drawn_rupture(parameters, whole_problem(parameters, series, found, longest), rng)
    return series


@dataclass(frozen=True)
class Bounds:
    """Where scores stand at a bound, and the bound measured from the patients' mean course."""

    at_floor: Bools
    at_ceiling: Bools
    centred: Floats

    @classmethod
    def of(cls, parameters: LatentParameters, series: Series) -> Bounds:
        """The bounds of `parameters` applied to `series`."""
        rated = series.rated
        at_ceiling = rated & (series.score >= parameters.ceiling)
        return cls(rated & (series.score <= parameters.floor), at_ceiling, residual(parameters, series))

    @property
    def any(self) -> Bools:
        """Where a score stands at either bound."""
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
    of: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    n_rated: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
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
        least = np.minimum(sign * (beyond.centred[rows, t] + shift[rows, t] - mean) / spread_here, 8.0)
        tail = ndtr(-least) * uniform[rows, 1 + t]
        draw = np.maximum(-ndtri(np.clip(tail, 1e-300, 1 - 1e-16)), least)
        values[rows, t] = mean + sign * spread_here * draw
    return values


def _drawn_rupture(parameters: LatentParameters, problem: Problem, rng: np.random.Generator) -> Floats:
    """For each patient a window (or none) drawn from its posterior: the typical depth over its sessions, else 0."""
    weight, _ = single_odds(problem)
    running = np.cumsum(weight, axis=1)
    target = rng.random(len(weight)) * (1.0 + running[:, -1]) - 1.0
    window = (running < target[:, None]).sum(axis=1)
    start, stop = problem.candidates.start[window], problem.candidates.stop[window]
    position = np.arange(problem.weighted.shape[1])
    inside = (position >= start[:, None]) & (position < stop[:, None]) & (target >= 0)[:, None]
    inside &= position < problem.n_rated[:, None]
    return np.asarray(np.where(inside, parameters.depth, 0.0))


def _maximise(
    start: LatentParameters,
    series: Series,
    found: Patterns,
    free: tuple[str, ...],
    unit: float,
    iterations: int,
    longest: int,
) -> tuple[LatentParameters, float, bool]:
    """Maximise the penalised likelihood over the parameters named in `free`."""
    from scipy.optimize import minimize

    n = len(series.n_rated)

    def loss(vector: Floats) -> float:
        parameters = _unpack(start, vector, free, unit)
        penalty = sum(
            0.5 * ((value - PENALTY[name][0]) / PENALTY[name][1]) ** 2
            for name, value in zip(free, vector)
            if name in PENALTY
        )
        return (penalty - height_of(parameters, series, found, longest)) / n

    first = np.array([_to_line(name, getattr(start, name), unit, start) for name in free])
    limits = [_LIMITS.get(name, (None, None)) for name in free]
    options = {"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-5}
    result = minimize(loss, first, method="L-BFGS-B", bounds=limits, options=options)
    best = _unpack(start, result.x, free, unit)
    return best, height_of(best, series, found, longest), bool(result.success)


_LIMITS: dict[str, tuple[float | None, float | None]] = {
    "autocorrelation": (-6.0, 6.0),
    "state_share": (-6.0, 6.0),
    "level_sd": (-4.0, 6.0),
    "trend_sd": (-9.0, 2.0),
    "within_sd": (-6.0, 4.0),
    "within_sd_df": (-4.0, 7.0),
    "onset_rate": (-8.0, 0.0),
    "repair_rate": (-5.0, 5.0),
    "depth": (-1.5, 2.5),
    "depth_cv": (-3.0, 0.3),
}


def _to_line(name: str, value: float, unit: float, other: LatentParameters) -> float:
    """A parameter on the scale it is optimised on, where every real number is allowed."""
    if name == "autocorrelation":
        value = value / LONGEST_AUTOCORRELATION
    if name in ("autocorrelation", "state_share", "onset_rate", "repair_rate"):
        return float(np.log(value / (1 - value)))
    if name in ("level_sd", "trend_sd", "depth"):
        return float(np.log(value / other.within_sd))
    if name == "within_sd":
        return float(np.log(value / unit))
    if name == "within_sd_df":
        return float(np.log(value - 2))
    if name == "depth_cv":
        return float(np.log(value))
    return value / unit


def _unpack(start: LatentParameters, vector: Floats, free: tuple[str, ...], unit: float) -> LatentParameters:
    """The parameters that a point of the optimiser stands for; those not free stay as in `start`."""
    line = dict(zip(free, (float(value) for value in vector)))
    value: dict[str, float] = {}
    sd = unit * float(np.exp(line["within_sd"])) if "within_sd" in line else start.within_sd
    for name, x in line.items():
        if name in ("autocorrelation", "state_share", "onset_rate", "repair_rate"):
            value[name] = float(1 / (1 + np.exp(-x))) * (LONGEST_AUTOCORRELATION if name == "autocorrelation" else 1.0)
        elif name in ("level_sd", "trend_sd", "depth"):
            value[name] = sd * float(np.exp(x))
        elif name == "within_sd":
            value[name] = sd
        elif name == "within_sd_df":
            value[name] = 2 + float(np.exp(x))
        elif name == "depth_cv":
            value[name] = float(np.exp(x))
        else:
            value[name] = x * unit
    return replace(start, **value)


def _mirrored_height(null: LatentParameters, series: Series, found: Patterns, unit: float, longest: int) -> float:
    """How much rises in place of falls gain over no ruptures, from the parameters fitted without any.

    Returned as the difference (falls minus rises) in log-likelihood, both over the rupture parameters alone.
    """
    part = _sample(series, 500)
    turned = replace(part, score=np.where(part.rated, 2 * null.level - part.score, 0.0))
    found = patterns(part)
    heights = []
    for values, slope in ((part, null.trend), (turned, -null.trend)):
        start = replace(null, trend=slope)
        heights.append(_maximise(start, values, found, RUPTURES, unit, 15, longest)[1])
    return heights[0] - heights[1]


def _update_rates(parameters: LatentParameters, series: Series, found: Patterns, longest: int) -> LatentParameters:
    """Onset and repair rates by expectation-maximisation with up to two ruptures per series (the likelihood has one)."""
    gap = np.diff(series.time, axis=1) * series.rated[:, 1:]
    for _ in range(4):
        onsets, at_risk, repairs, open_time = 1.0, 20.0, 2.0, 5.0  # a weak prior: one onset in 20 sessions
        odds = rupture_odds(whole_problem(parameters, series, found, longest), pairs=2)
        chance = odds.covered / odds.total[:, None]
        onsets += float((odds.begun / odds.total[:, None]).sum())
        at_risk += float((gap * (1 - chance[:, :-1])).sum())
        repairs += float((odds.ended / odds.total[:, None]).sum())
        open_time += float((gap * chance[:, :-1]).sum())
        onset_rate, repair_rate = min(onsets / at_risk, 0.5), min(max(repairs / open_time, 0.01), 0.98)
        parameters = replace(parameters, onset_rate=onset_rate, repair_rate=repair_rate)
    return parameters


def _sample(series: Series, size: int = FIT_PATIENTS) -> Series:
    """At most `size` patients, evenly spaced."""
    n = len(series.n_rated)
    return series if n <= size else series.take(np.linspace(0, n - 1, size).round().astype(np.int64))
