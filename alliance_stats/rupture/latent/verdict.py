"""Whether the data support ruptures, and where the question cannot be answered: the verdict in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.rupture.latent.courses import Courses
from alliance_stats.rupture.latent.fit import Estimate

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
    SKEWED: "The noise is skewed (scores fall further than they rise, ruptures apart): ruptures cannot be told from "
    "it, and the probabilities are not calibrated.",
    LASTING: "Scores fall and do not come back within the series: ruptures cannot be separated from a change of level.",
    TOO_FEW: "The series are too short to find ruptures or to rule them out.",
}
EMPTY = (ABSENT, TOO_FEW)
"""Verdicts with which no events are given unless asked for."""

FEWEST_VALUES, NEARLY_ALL, LARGEST_STEP = 4, 0.98, 2.0
"""Scores are too coarse if fewer values hold this share of them, or a step is larger than this (within-patient SD)."""
SKEWED_BELOW, SKEWED_FROM = -2.5, -0.1
"""z value of the noise's skewness, and the skewness, below which it is taken to be skewed."""
FALLS_OVER_RISES = 1.5
"""z of falls against rises from which on heavy tails do not explain the falls (one-sided 7 %)."""
FEWEST_OVER = 0.4
"""Share of ruptures that end within as many sessions as the median patient has ratings, below which falls last."""
LASTING_GAIN = 6.0
"""Twice the gain in log-likelihood from which on a fall that lasts is no chance finding (2 df, 5 %)."""
SHORT = 8
"""Median number of ratings below which a study that shows no ruptures does not rule them out."""


class Evidence(NamedTuple):
    """What a verdict rests on, beside the fit."""

    n_values: int  # Values that it takes to hold 98 % of the scores
    step: float  # Smallest distance between such values, in within-patient SD
    median_ratings: float  # Per patient


def evidence_of(fit: Estimate, courses: Courses) -> Evidence:
    """What a verdict rests on, beside the fit."""
    values, counts = np.unique(np.round(courses.score[courses.rated], 9), return_counts=True)
    common = np.argsort(-counts, kind="stable")
    common = np.sort(common[: 1 + int(np.searchsorted(counts[common].cumsum(), NEARLY_ALL * counts.sum()))])
    step = float(np.diff(values[common]).min()) if len(common) > 1 else np.inf
    within_sd = fit.parameters.within_sd
    return Evidence(len(common), step / within_sd, float(np.median(courses.n_rated)))


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
    if fit.skewness_z < SKEWED_BELOW and fit.skewness < SKEWED_FROM:
        return SKEWED
    if lasting:
        return LASTING
    return SUPPORTED if fit.mirror > FALLS_OVER_RISES else AMBIGUOUS
