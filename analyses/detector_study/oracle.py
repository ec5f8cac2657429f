"""The limit: what a detector could say that knew a simulated world's law and every parameter of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from detector_study.worlds import BETWEEN_VARIANCE, LEVEL, TREND, TREND_SD, DetectorWorld

from alliance_stats.rupture.latent.courses import Courses, Floats, Ints, patterns
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scan import rupture_odds, shared_by, whole_problem
from alliance_stats.rupture.latent.windows import Windows

SD_NODES = 5
"""Gauss-Hermite nodes over the patient's own SD."""
KNOWN_VARIANCE = 1e9
"""Degrees of freedom at which the scan's Student t is the normal density of a known variance."""
FALLS = 3
LONGEST = {"brief": 12, "long": 8}
"""Longest rupture that ends within the series: all of them if long, all but one in four thousand if brief."""


def has_known_law(world: DetectorWorld) -> bool:
    """Whether :func:`known_world` covers the world: all scores there, unrounded, normal, below no ceiling."""
    plain = DetectorWorld(
        name=world.name,
        n_sessions=world.n_sessions,
        reliability=world.reliability,
        autocorrelation=world.autocorrelation,
        depth=world.depth,
        lengths=world.lengths,
        onset_rate=world.onset_rate,
        first_onset=world.first_onset,
        assumed=world.assumed,
    )
    return world == plain and world.lengths in LONGEST


def known_world(world: DetectorWorld, series: Courses) -> tuple[Floats, Floats]:
    """P(in rupture) given all ratings, (n, T), and the log evidence for any rupture, (n,), the world being known.

    Level, trend, the patient's SD and the depth of each rupture are integrated out under the laws they are drawn from;
    onset rate, law of the lengths, autocorrelation and noise are the true ones. No detector that has to estimate them
    finds more, by the same decision rule, save by chance. Approximate in three places: depths are log-normal for gamma
    (the same mean logarithm, five nodes), more than two ruptures in one patient are left out, and of pairs of ruptures
    those count that hold one of the patient's three most credible windows.
    """
    found = patterns(series)
    nodes, weights = np.polynomial.hermite_e.hermegauss(SD_NODES)
    log_calm, totals, covered = [], [], []
    for own_sd in np.exp(world.different_sd * nodes - world.different_sd**2):
        parameters = true_parameters(world, own_sd=float(own_sd))
        shared = shared_by(parameters, found, LONGEST[world.lengths])
        problem = whole_problem(parameters, series, found, LONGEST[world.lengths], shared=shared)
        prior = true_prior(world, problem.candidates, found.n_rated)
        odds = rupture_odds(replace(problem, prior=prior), falls=FALLS)
        log_root = np.log(np.diagonal(shared.factor, axis1=1, axis2=2)).sum(axis=1)[found.of]
        log_calm.append(log_root - series.n_rated * np.log(own_sd) - problem.square / (2 * own_sd**2))
        totals.append(odds.total)
        covered.append(odds.covered(problem.candidates, series.score.shape[1]))
    share = weights[:, None] * np.exp(np.array(log_calm) - np.max(log_calm, axis=0))
    share /= share.sum(axis=0)
    total = (share * np.array(totals)).sum(axis=0)
    return (share[:, :, None] * np.array(covered)).sum(axis=0) / total[:, None], np.log(total)


def true_parameters(world: DetectorWorld, *, own_sd: float) -> LatentParameters:
    """The world's parameters in the words of the latent model, for patients with the within SD `own_sd`."""
    from scipy.special import digamma

    return LatentParameters(
        onset_rate=world.onset_rate,
        repair_rate=0.5 if world.lengths == "brief" else 2 / 11,
        depth=world.depth * float(np.exp(digamma(16.0) - np.log(16.0))),
        depth_cv=0.25,
        autocorrelation=world.autocorrelation,
        state_share=1 - world.noise_variance,
        within_sd=own_sd,
        within_sd_df=KNOWN_VARIANCE,
        level=LEVEL,
        level_sd=float(np.sqrt(BETWEEN_VARIANCE)),
        trend=TREND,
        trend_sd=TREND_SD,
        centre=(world.n_sessions + 1) / 2,
        min_ratings=world.first_onset - 1,
    )


def true_prior(world: DetectorWorld, candidates: Windows, n_rated: Ints) -> Floats:
    """Odds of each window against no rupture, (p, W), by the world's own law of onsets and lengths.

    A rupture of length l takes its sessions and the one after it from those at which one could begin.
    """
    start, stop, is_open = candidates
    last = n_rated[:, None]
    length = np.where(is_open, last - start, stop - start)
    if world.lengths == "brief":
        exactly, at_least = 0.5**length, 0.5 ** (length - 1.0)
    else:
        exactly, at_least = np.where((length >= 3) & (length <= 8), 1 / 6, 0.0), np.clip((9 - length) / 6, 0.0, 1.0)
    spent = np.where(is_open, length, length + 1)
    odds = world.onset_rate * np.where(is_open, at_least, exactly) / (1 - world.onset_rate) ** spent
    possible = (start >= world.first_onset - 1) & np.where(is_open, start < last, stop < last)
    return np.asarray(np.where(possible, odds, 0.0))
