"""Estimates of alliance without ruptures: draws with ruptures are made to resemble the data; arrays only.

The parameters of module ``null`` are matched, by simulation, on the statistics of module ``compared`` (indirect
inference: Gourieroux, Monfort & Renault 1993). The draws that are matched have ruptures too, at a rate estimated
beside the rest: so ruptures in the data do not pass for noise. The null is the same model with none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.chance.compared import statistics
from alliance_stats.rupture.chance.frame import Frame, part_of
from alliance_stats.rupture.chance.null import NullParameters, draw_falls, draw_normals, draw_scores, ruptured
from alliance_stats.tables.arrays import FloatArray

COARSE, FINE = 20_000, 90_000
"""Simulated ratings, about, that serve one evaluation of the fit: to come near the estimate, and to settle it."""
WEIGHED = 1_200
"""Ratings of the part from which the covariance of the statistics is learned."""
ROUNDS = 3
"""Rounds, at most, after which the statistics get new weights: how much they vary where the last search ended."""
MARGIN = 3.0
"""By how much the search that starts with many ruptures must end better than the one that starts with none."""
BELOW = 0.5
"""Standard errors below its estimate at which the rate of ruptures in the data is taken: size before power."""
SHRUNKEN = 0.3
"""Share by which correlations of the statistics are drawn towards 0."""
SCATTER = 1.5
"""Standard errors by which the draws' parameters scatter; see :meth:`NullFit.around`."""

N = len(NullParameters._fields)
LOW = np.array([1e-6, -0.4, 0, 0, -np.inf, 0, -np.inf, 0.2, 0, -1.0, -1.5, -1.5, 0, -0.95, -np.inf, -np.inf, -0.3])
HIGH = np.array([np.inf, 0.95, 1, 0.8, np.inf, np.inf, np.inf, 3, 4, 1.0, 1.5, 1.5, np.inf, 0.95, np.inf, np.inf, 0.3])


class NullFit(NamedTuple):
    """Estimated parameters (16,), a root (16, 16) of their covariance, and what to be wary of.

    `estimator` (16, k) turns the statistics of a draw, less `mean`, into what the estimates would have been; `rate` is
    the rate of ruptures that the null leaves out (:data:`BELOW`).
    """

    parameters: FloatArray
    root: FloatArray
    estimator: FloatArray
    rate: float
    warnings: list[str]

    def around(self, draws: int, rng: np.random.Generator) -> FloatArray:
        """Parameters (16, draws) scattered around the estimate by :data:`SCATTER` standard errors."""
        moved = self.parameters[:, None] + SCATTER * self.root @ rng.standard_normal((self.root.shape[1], draws))
        moved[0] = np.maximum(moved[0], 0.3 * self.parameters[0])
        clipped: FloatArray = np.clip(moved, LOW[:N, None], HIGH[:N, None])
        return clipped

    def exact(self) -> NullFit:
        """The same estimate, from which draws do not scatter."""
        return self._replace(root=np.zeros_like(self.root))


@dataclass(frozen=True)
class Matching:
    """What a search brings together, and what holds those parameters of which the data say little."""

    # target, weight: (k,) and (k, k): The statistics of the data, and the inverse of their covariance over studies
    target: FloatArray
    weight: FloatArray
    # usual, loose: (17,), or (16,) without the rate: Ordinary values of the parameters, and how far from them is
    # still ordinary (a normal penalty)
    usual: FloatArray
    loose: FloatArray
    steps: FloatArray  # (17,): Changes of the parameters that can be told from none

    def loss(self, mean: FloatArray, parameters: FloatArray) -> float:
        """How far draws with the statistics `mean` are from the data, and the parameters from ordinary ones."""
        away = (self.target - mean) @ self.weight @ (self.target - mean)
        return float(away + np.sum(((parameters - self.usual) / self.loose) ** 2))

    def information(self, jacobian: FloatArray) -> FloatArray:
        """What data and penalty tell about the parameters, a square matrix."""
        told: FloatArray = jacobian.T @ self.weight @ jacobian + np.diag(1.0 / self.loose**2)
        return told

    def move(self, mean: FloatArray, parameters: FloatArray, jacobian: FloatArray) -> FloatArray:
        """The step to where the loss would be least if the statistics were linear in the parameters."""
        gradient = jacobian.T @ self.weight @ (self.target - mean) - (parameters - self.usual) / self.loose**2
        return np.asarray(np.linalg.lstsq(self.information(jacobian), gradient, rcond=None)[0], dtype=np.float64)

    def estimator(self, jacobian: FloatArray) -> FloatArray:
        """By how much each estimate (row) moves with each statistic (column)."""
        return np.asarray(np.linalg.lstsq(self.information(jacobian), jacobian.T @ self.weight, rcond=None)[0])

    def root(self, jacobian: FloatArray) -> FloatArray:
        """A root of the covariance of the estimates."""
        values, vectors = np.linalg.eigh(self.information(jacobian) * np.outer(self.steps, self.steps))
        root: FloatArray = self.steps[:, None] * vectors / np.sqrt(np.maximum(values, 1e-6))
        return root


def fit_null(frame: Frame, rng: np.random.Generator) -> NullFit:
    """Parameters whose draws resemble the data in the statistics, and how sure they are.

    A penalised Gauss-Newton search with common random numbers: on few draws from two starts, then on many from there.
    A weak penalty holds what the data cannot tell near ordinary values (ar .25, noise .3, spread .3, no trend, bounds
    felt over .5 SD, spread that depends on neither session nor level, no rupture).
    """
    series, scale = frame.series, frame.scale
    usual = np.zeros(N + 1)
    usual[:9] = [1.1 * scale, 0.25, 0.3, 0.3, 0.0, 0.02 * scale, 0.0, 1.0, 0.5]
    usual[12] = 0.1 * scale
    nothing = np.zeros((N, N)), np.zeros((N, 0)), 0.0
    if scale <= 0:
        still = np.zeros(N)
        still[[0, 7]] = 1e-6, 1.0
        return NullFit(still, *nothing, ["No patient's scores vary: there is nothing to estimate."])
    if len(frame.lags) < 2:
        text = "Too few ratings to estimate the null: ordinary values of autocorrelation and noise were taken."
        return NullFit(usual[:N], *nothing, [text])
    free, far = np.inf, 0.1 * scale
    loose = np.array([free, 0.25, 0.4, 0.3, free, far, free, 0.5, 1.0, 0.05, 0.5, 0.5, 3 * far, 0.5, free, free, 0.03])
    steps = np.array([1, 0, 0, 0, 0.2, 0.2, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0]) * far
    steps += np.array([0, 0.15, 0.15, 0.15, 0, 0, 0, 0.1, 0.3, 0.1, 0.1, 0.1, 0, 0.2, 0, 0, 0.01])
    guess = usual.copy()
    design = np.column_stack([frame.time, frame.curves])
    guess[[4, 14, 15]] = np.linalg.lstsq(design, frame.course, rcond=None)[0]
    guess[[10, 11]] = np.linalg.lstsq(frame.widths, np.log(frame.width), rcond=None)[0]
    guess = np.clip(guess, LOW, HIGH)
    unweighted = Matching(statistics(frame, series.score[:, None])[:, 0], np.zeros((0, 0)), usual, loose, steps)
    mean_at, weight_at = _simulator(frame, COARSE, rng), _weigher(frame, COARSE, rng)

    def settle(guess: FloatArray) -> tuple[float, FloatArray]:
        """Search, weigh again, and repeat until the weights no longer change."""
        jacobian: FloatArray | None = None
        for _ in range(ROUNDS):
            before = guess
            matching = replace(unweighted, weight=weight_at(before))
            guess, jacobian, loss = _search(mean_at, matching, before, jacobian)
            if np.max(np.abs(guess - before) / steps) < 0.3:
                break
        return loss, guess

    # ruptures may look like a wider and slower state: start with none, and with many
    many = guess * np.where(np.arange(N + 1) == 0, 0.85, 1.0) + np.where(np.arange(N + 1) == N, 0.05, 0.0)
    calm, stormy = settle(guess), settle(many)
    _, guess = stormy if stormy[0] < calm[0] - MARGIN else calm
    matching = replace(unweighted, weight=_weigher(frame, FINE, rng)(guess))
    guess, jacobian, _ = _search(_simulator(frame, FINE, rng), matching, guess, None)
    # no more ruptures than the data insist on: a rate below the estimate, and the rest as it is given that rate
    covariance = np.linalg.pinv(matching.information(jacobian))
    sure = max(guess[N] - BELOW * np.sqrt(covariance[N, N]), 0.0)
    guess = np.clip(guess + covariance[:, N] / covariance[N, N] * (sure - guess[N]), LOW, HIGH)
    jacobian, matching = jacobian[:, :N], replace(matching, usual=usual[:N], loose=loose[:N], steps=steps[:N])
    # the draws that the data were matched with have an error of their own
    simulated_too = np.sqrt(1.0 + 1.0 / _draws(len(series.score), FINE))
    root = simulated_too * matching.root(jacobian)
    warnings = []
    if series.n_patients < 20:
        warnings.append(f"Only {series.n_patients} patients with ratings: the estimated null is rough.")
    return NullFit(guess[:N], root, matching.estimator(jacobian), float(guess[N]), warnings)


def _draws(n: int, ratings: int) -> int:
    """How many draws of a study with n ratings serve one evaluation."""
    return int(np.clip(ratings // n, 2, ratings // WEIGHED))


def _simulator(frame: Frame, ratings: int, rng: np.random.Generator) -> Callable[[FloatArray], FloatArray]:
    """The mean statistics of draws with given parameters, always from the same random numbers.

    A rate below 0 goes on in a line from 0, so that the estimate is not drawn away from 0.
    """
    draws = _draws(len(frame.series.score), ratings)
    normals, falls = draw_normals(frame, draws, rng), draw_falls(frame, draws, rng)

    def mean_at(parameters: FloatArray) -> FloatArray:
        null, rate = parameters[:N], parameters[N]
        low = ruptured(frame.series, abs(rate), falls)
        mean: FloatArray = statistics(frame, draw_scores(frame, null, normals, low)).mean(axis=1)
        if rate < 0:
            mean = 2.0 * statistics(frame, draw_scores(frame, null, normals)).mean(axis=1) - mean
        return mean

    return mean_at


def _weigher(frame: Frame, ratings: int, rng: np.random.Generator) -> Callable[[FloatArray], FloatArray]:
    """The inverse of the covariance of the statistics over studies, learned from a part of the patients."""
    n = len(frame.series.score)
    part = part_of(frame, WEIGHED) if n > WEIGHED else frame
    draws = _draws(len(part.series.score), ratings)
    normals, falls = draw_normals(part, draws, rng), draw_falls(part, draws, rng)

    def weight_at(parameters: FloatArray) -> FloatArray:
        low = ruptured(part.series, max(parameters[N], 0.0), falls)
        simulated = statistics(part, draw_scores(part, parameters[:N], normals, low))
        variance = np.cov(simulated) * (len(part.series.score) / n)
        own = np.diag(variance.diagonal())
        variance = own + (1.0 - SHRUNKEN) * (variance - own)
        variance += np.eye(len(own)) / n**2  # one rating more or less at a bound is no surprise
        return np.asarray(np.linalg.inv(variance), dtype=np.float64)

    return weight_at


def _search(
    mean_at: Callable[[FloatArray], FloatArray], matching: Matching, guess: FloatArray, jacobian: FloatArray | None
) -> tuple[FloatArray, FloatArray, float]:
    """Where the loss is least, from `guess` on, and the derivatives of the statistics there (Broyden's updates)."""
    steps, lowest = matching.steps, np.maximum(LOW, [0.3 * guess[0], *LOW[1:]])
    mean = mean_at(guess)
    inward = np.where(guess + steps > HIGH, -steps, steps)
    if jacobian is None:
        jacobian = np.column_stack([(mean_at(guess + step) - mean) / step.sum() for step in np.diag(inward)])
    best = matching.loss(mean, guess)
    for _ in range(8):
        move = matching.move(mean, guess, jacobian)
        improved = False
        for shrink in (1.0, 0.5, 0.2):
            trial = np.clip(guess + shrink * move, lowest, HIGH)
            change = trial - guess
            at_trial = mean_at(trial)
            if change @ change > 0:
                missed = at_trial - mean - jacobian @ change
                jacobian += np.outer(missed, change / steps**2) / np.sum(change**2 / steps**2)
            found = matching.loss(at_trial, trial)
            if found < best:
                improved, gain = True, best - found
                guess, mean, best = trial, at_trial, found
                break
        if not improved or gain < 0.01:
            break
    return guess, jacobian, best
