"""Whether the data support ruptures, and where the question cannot be answered: the verdict in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats
from alliance_stats.rupture.latent.fit import Estimate
from alliance_stats.rupture.latent.posterior import Posterior

SUPPORTED, AMBIGUOUS, ABSENT, UNTESTED = "supported", "ambiguous", "none", "untested"
COARSE, SKEWED = "scores too coarse", "scores too skewed"
LASTING, TOO_FEW = "cannot be separated from a change of level", "too few sessions"
VERDICTS = {
    SUPPORTED: "The data support ruptures.",
    AMBIGUOUS: "Some scores fall far, but others rise as far: ruptures cannot be told from heavy-tailed noise.",
    ABSENT: "No sign of ruptures: without them the model describes these scores as well.",
    UNTESTED: "Parameters were given; whether these data support ruptures was not tested.",
    COARSE: "The scores take too few values, or move by steps too large against the within-patient SD: ruptures cannot "
    "be told from noise, and the probabilities are not calibrated.",
    SKEWED: "The noise is skewed (rises are cut short where falls are not): ruptures cannot be told from it, and the "
    "probabilities are not calibrated.",
    LASTING: "Scores fall and do not come back within the series: ruptures cannot be separated from a change of level.",
    TOO_FEW: "The series are too short to find ruptures or to rule them out.",
}
EMPTY = (ABSENT, TOO_FEW)
"""Verdicts with which no events are given unless asked for."""

FEWEST_VALUES, NEARLY_ALL, LARGEST_STEP = 4, 0.98, 2.0
"""Scores are too coarse if fewer values hold this share of them, or a step is larger than this (within-patient SD)."""
HALF_NORMAL, FURTHEST = 1.545, 4.0
"""E(x^2) / E(x)^2 of upward errors if noise is normal (the model's own, simulated); errors are cut at the second."""
SKEWED_BELOW, SKEWED_IF_BRIEF, BRIEF = -2.5, -1.5, 2.0
"""z values below which noise is taken to be skewed: the second where ruptures last less than the third, in sessions."""
FALLS_OVER_RISES = 1.5
"""z of falls against rises from which on heavy tails do not explain the falls (one-sided 7 %)."""
FEWEST_OVER = 0.4
"""Share of ruptures that end within as many sessions as the median patient has ratings, below which falls last."""
LASTING_GAIN = 6.0
"""Twice the gain in log-likelihood from which on a fall that lasts is no chance finding (2 df, 5 %)."""
SHORT = 8
"""Median number of ratings below which a study that shows no ruptures does not rule them out."""


class Evidence(NamedTuple):
    """What a verdict rests on, beside the fit.

    Attributes
    ----------
    n_values : int
        Values that it takes to hold 98 % of the scores.
    step : float
        Smallest distance between such values, in within-patient SD.
    upper_shape : float
        z value of E(x^2) / E(x)^2 of the upward one-step errors against normal noise. Ruptures are falls and hardly
        touch it; noise skewed downwards has short rises and a value far below 0.
    median_ratings : float
        Per patient.
    """

    n_values: int
    step: float
    upper_shape: float
    median_ratings: float


def evidence_of(fit: Estimate, found: Posterior, courses: Courses) -> Evidence:
    """What a verdict rests on, beside the fit."""
    values, counts = np.unique(np.round(courses.score[courses.rated], 9), return_counts=True)
    common = np.argsort(-counts, kind="stable")
    common = np.sort(common[: 1 + int(np.searchsorted(counts[common].cumsum(), NEARLY_ALL * counts.sum()))])
    step = float(np.diff(values[common]).min()) if len(common) > 1 else np.inf
    within_sd = fit.parameters.within_sd
    return Evidence(len(common), step / within_sd, upper_shape(found, courses), float(np.median(courses.n_rated)))


def upper_shape(found: Posterior, courses: Courses) -> float:
    """The z value of :class:`Evidence`; 0 with fewer than 100 upward errors."""
    use = courses.rated & (np.arange(courses.score.shape[1]) >= 2) & (found.residual > 0)
    upward: Floats = np.minimum(found.residual[use], FURTHEST)
    if len(upward) < 100:
        return 0.0
    mean, square = upward.mean(), (upward**2).mean()
    ratio = square / mean**2
    influence = (upward**2 - square) / mean**2 - 2 * ratio / mean * (upward - mean)
    return float((ratio - HALF_NORMAL) / (influence.std() / np.sqrt(len(upward))))


def bic_gain(fit: Estimate) -> float:
    """By how much ruptures, five more parameters, lower the Bayesian information criterion; patients are the units."""
    return 2 * (fit.log_likelihood - fit.log_likelihood_null) - 5 * float(np.log(fit.n_patients))


def verdict_of(fit: Estimate, evidence: Evidence) -> str:
    """One of :data:`VERDICTS`: first what keeps the question from being answered, then the answer."""
    gain = 2 * (fit.log_likelihood - fit.log_likelihood_null)
    p = fit.parameters
    over = (1 - p.never_ends) * (1 - (1 - p.repair_rate) ** evidence.median_ratings)
    lasting = over < FEWEST_OVER and gain > LASTING_GAIN
    if evidence.n_values < FEWEST_VALUES or evidence.step > LARGEST_STEP:
        return COARSE
    if bic_gain(fit) <= 0:
        if lasting:
            return LASTING
        return TOO_FEW if evidence.median_ratings < SHORT else ABSENT
    brief = p.mean_length < BRIEF
    if evidence.upper_shape < (SKEWED_IF_BRIEF if brief else SKEWED_BELOW):
        return SKEWED
    if lasting:
        return LASTING
    return SUPPORTED if fit.mirror > FALLS_OVER_RISES else AMBIGUOUS
