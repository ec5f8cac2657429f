"""How ruptures end: back at the level before, short of it, or not before therapy does; by maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from alliance_stats.rupture.latent import scale
from alliance_stats.rupture.latent.courses import Bools, Courses, Floats, Ints, Patterns, patterns
from alliance_stats.rupture.latent.fit import evenly_spaced
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scan import Problem, double_sums, running_sums, shared_by, whole_problem
from alliance_stats.rupture.latent.windows import Windows, several, window_prior
from alliance_stats.tables.shares import normal_quantile

REMAINS = ((-0.2, -0.4), (0.0,), (0.3, 0.6))
"""What remains of the fall once a rupture is over, as shares of its depth: past, at and short of the level before."""
PENALTY = np.array([*(scale.PENALTY[name] for name in scale.RATES), (0.0, 2.0), (0.0, 2.0)])
"""Centre and SD of weak normal penalties: on the logits of the rates, and, of the ruptures that end, on the log odds of
past and of short against at."""
ENDINGS = (
    ("repaired", "ended in therapy, the level being back where it was or higher"),
    ("short", "ended in therapy, the level staying below where it was"),
    ("open", "not over at the last rating"),
)


@dataclass(frozen=True)
class _Likelihood:
    """One window per patient or none: closed and past, at or short of the level before, or open at the last rating.

    ``closed`` (3, n, closed windows) and ``still`` (n, open windows) are Bayes factors against no rupture.
    """

    parameters: LatentParameters
    found: Patterns
    candidates: Windows
    closed: Floats
    still: Floats
    at_last: Bools

    def prior(self, point: Floats) -> tuple[Floats, Floats]:
        """Prior odds of closed and of open windows against no rupture, one row per patient."""
        rates = dict(zip(scale.RATES, _expit(point[: len(scale.RATES)]).tolist(), strict=True))
        parameters = replace(self.parameters, **rates)
        odds = window_prior(parameters, self.found, self.candidates)
        odds = (odds * several(parameters, self.found, odds)[:, None])[self.found.of]
        return odds[:, ~self.candidates.is_open], odds[:, self.candidates.is_open]

    def weights(self, point: Floats, prior: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Weights of the closed windows, (3, n, closed), and of the open ones, from their `prior`."""
        closed, still = prior
        kinds = _kinds(point)[:, None, None]
        return kinds * self.closed * closed, still * self.still

    def loss(self, point: Floats) -> float:
        """Minus the penalised log-likelihood."""
        odds = self.prior(point)
        closed, still = self.weights(point, odds)
        weight = closed.sum(axis=(0, 2)) + still.sum(axis=1)
        prior = odds[0].sum(axis=1) + odds[1].sum(axis=1)
        penalty = 0.5 * (((point - PENALTY[:, 0]) / PENALTY[:, 1]) ** 2).sum()
        return float(penalty - (np.log1p(weight) - np.log1p(prior)).sum())

    def numbers(self, point: Floats) -> Floats:
        """Expected numbers of ruptures repaired, short and open, given the scores; onsets before the last rating."""
        closed, still = self.weights(point, self.prior(point))
        ended = closed.sum(axis=2)
        total = 1.0 + ended.sum(axis=0) + still.sum(axis=1)
        past, at, short = (ended / total).sum(axis=1)
        return np.array([past + at, short, ((still * ~self.at_last).sum(axis=1) / total).sum()])


def rupture_endings(found: tuple[_Likelihood, Floats] | None, *, level: float) -> pd.DataFrame:
    """Shares of ruptures by ending with intervals: ``ending``, ``estimate``, ``ci_low``, ``ci_high``, ``meaning``.

    From what :func:`most_likely` found; the shares are those of the numbers expected given the scores. Ruptures too
    brief to be found count as far as the model expects them, so that lasting ones, which are found more easily, do not
    count for more. Intervals: on the logit scale, from the curvature at the maximum and the binomial variance of as
    many ruptures.
    """
    names, meanings = zip(*ENDINGS, strict=True)
    table = pd.DataFrame(
        {"ending": names, "estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "meaning": meanings}
    )
    if found is None:
        return table
    likelihood, best = found
    covariance = np.linalg.inv(_curvature(likelihood.loss, best))
    numbers = likelihood.numbers(best)
    with np.errstate(invalid="ignore"):  # NaN where no rupture can begin before a last rating
        shares = numbers / numbers.sum()
        ahead, back = (np.array([likelihood.numbers(best + sign * step) for step in _STEPS]) for sign in (1, -1))
        slopes = (ahead / ahead.sum(axis=1, keepdims=True) - back / back.sum(axis=1, keepdims=True)) / (2 * _STEP)
        variance = np.einsum("jk,jl,lk->k", slopes, covariance, slopes) + shares * (1 - shares) / numbers.sum()
        error = np.sqrt(variance)
        odds, half = np.log(shares / (1 - shares)), normal_quantile(level) * error / (shares * (1 - shares))
    return table.assign(estimate=shares, ci_low=_expit(odds - half), ci_high=_expit(odds + half))


def ended_short(found: tuple[_Likelihood, Floats] | None, series: Courses) -> Floats:
    """P(a rupture has ended by the session, and the level has stayed below where it was), given all ratings, (n, T)."""
    if found is None:
        return np.zeros(series.score.shape)
    point, likelihood = found[1], _likelihood(found[0].parameters, series)
    closed, still = likelihood.weights(point, likelihood.prior(point))
    over = np.arange(series.score.shape[1]) >= likelihood.candidates.stop[~likelihood.candidates.is_open, None]
    total = 1.0 + closed.sum(axis=(0, 2)) + still.sum(axis=1)
    return np.asarray(closed[2] @ over.astype(np.float64) / total[:, None])


def most_likely(parameters: LatentParameters, series: Courses) -> tuple[_Likelihood, Floats] | None:
    """The likelihood of the ruptures' endings and the point of its maximum; None where no rupture can begin.

    Given the parameters of the scores and the depths, it is maximised over the rates of onset and ending, the share of
    ruptures that never end, and where those that end leave the level.
    """
    from scipy.optimize import minimize

    long = series.n_rated > parameters.min_ratings
    if not long.any():
        return None
    likelihood = _likelihood(parameters, evenly_spaced(series.take(np.flatnonzero(long))))
    return likelihood, np.asarray(minimize(likelihood.loss, PENALTY[:, 0], method="BFGS").x)


_STEP = 1e-3
_STEPS = _STEP * np.eye(len(PENALTY))


def _expit(value: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-value)))


def _kinds(point: Floats) -> Floats:
    """The shares past, at and short among the ruptures that end."""
    odds = np.exp([point[3], 0.0, point[4]])
    return np.asarray(odds / odds.sum())


def _likelihood(parameters: LatentParameters, series: Courses) -> _Likelihood:
    found = patterns(series)
    shared = shared_by(parameters, found, parameters.max_length)
    problem = whole_problem(parameters, series, found, parameters.max_length, shared=shared)
    is_open, sizes = problem.candidates.is_open, problem.sizes[problem.of]
    start = problem.candidates.start[is_open]
    return _Likelihood(
        parameters=parameters,
        found=found,
        candidates=problem.candidates,
        closed=np.array([closed_factors(problem, remains) for remains in REMAINS]),
        still=problem.factors(problem.weighted, problem.square, sizes)[:, is_open],
        at_last=start == series.n_rated[:, None] - 1,
    )


def closed_factors(problem: Problem, remains: tuple[float, ...]) -> Floats:
    """Bayes factors of the closed windows after which a share of the fall stays, (n, W), averaged over `remains`."""
    closed = ~problem.candidates.is_open
    start, stop = problem.candidates.start[closed], problem.candidates.stop[closed]
    sums, double = running_sums(problem.weighted), double_sums(problem.precision)
    inside, after = sums[:, stop] - sums[:, start], sums[:, -1:] - sums[:, stop]

    end = np.full_like(stop, sums.shape[1] - 1)

    def block(a: Ints, b: Ints, c: Ints, d: Ints) -> Floats:  # sums of P over [a, b) x [c, d)
        return np.asarray(double[:, b, d] - double[:, a, d] - double[:, b, c] + double[:, a, c])

    own, rest, between = block(start, stop, start, stop), block(stop, end, stop, end), block(start, stop, stop, end)
    result = np.zeros_like(inside)
    for share in remains:
        size = np.maximum(own + 2 * share * between + share**2 * rest, 0.0)[problem.of]
        result += problem.averaged(inside + share * after, problem.square, size) / len(remains)
    return result


def _curvature(loss: Callable[[Floats], float], point: Floats) -> Floats:
    """Second derivatives of `loss` at its minimum, by central differences."""
    n = len(point)
    found = np.zeros((n, n))
    for j, a in enumerate(_STEPS):
        for k, b in enumerate(_STEPS[: j + 1]):
            rise = loss(point + a + b) - loss(point + a - b) - loss(point - a + b) + loss(point - a - b)
            found[j, k] = found[k, j] = rise / (4 * _STEP**2)
    return found
