"""Whether the noise is skewed: what a long lower tail is taken for where ruptures are fitted to it."""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.latent.courses import Courses, Floats, Ints, multiply, patterns
from alliance_stats.rupture.latent.model import residual
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scan import running_sums, shared_by, single_odds, whole_problem
from alliance_stats.rupture.latent.windows import several

LEAST_CHANCE = 0.01
"""Windows less credible than this are left out."""
NEAR = 3.0
"""Within-patient SD from the ceiling; patients whose mean score lies nearer are left out, being skewed by it."""


def noise_skewness(parameters: LatentParameters, series: Courses) -> tuple[float, float]:
    """Skewness of the one-step errors, the falls of ruptures put back, and its z value over patients.

    A score test of symmetric noise: the mean of the Hermite polynomial x^3 - 3x of the standardised errors, which is
    the derivative of the log-likelihood in the noise's skewness (Edgeworth's expansion), each window weighed by its
    posterior probability. Ruptures are put back and hardly move it; of skewed noise they take a part only.
    """
    p = parameters
    series = series.take(np.flatnonzero(series.score.sum(axis=1) / series.n_rated < p.ceiling - NEAR * p.within_sd))
    if not len(series.n_rated):
        return 0.0, 0.0
    found, (n, n_positions) = patterns(series), series.score.shape
    shared = shared_by(p, found, p.max_length)
    problem = whole_problem(p, series, found, p.max_length, shared=shared)
    weight, size = single_odds(problem)
    weight *= several(p, found, problem.prior)[found.of, None]
    chance = weight / (1.0 + weight.sum(axis=1, keepdims=True))
    owner, k = np.nonzero(chance > LEAST_CHANCE)
    start, stop, of = problem.candidates.start[k], problem.candidates.stop[k], found.of[owner]
    slope = running_sums(problem.weighted)
    depth = problem.depth_weights(owner, slope[owner, stop] - slope[owner, start], size[owner, k]) @ problem.depths
    sums = running_sums(shared.factor.reshape(-1, n_positions)).reshape(-1, n_positions, n_positions + 1)
    calm = multiply(shared.factor, found.of, residual(p, series))
    mended = calm[owner] + depth[:, None] * (sums[of, :, stop] - sums[of, :, start])

    def third(errors: Floats, n_rated: Ints) -> Floats:
        spread = p.within_sd_df * p.within_sd**2 + (errors**2).sum(axis=1)
        scaled = errors / np.sqrt(spread / (p.within_sd_df + n_rated))[:, None]
        return np.asarray((scaled**3 - 3 * scaled).sum(axis=1))

    share = chance[owner, k]
    own = third(calm, series.n_rated) * (1.0 - np.bincount(owner, share, minlength=n))
    own += np.bincount(owner, share * third(mended, series.n_rated[owner]), minlength=n)
    return float(own.sum() / series.n_rated.sum()), float(own.sum() / max(np.sqrt((own**2).sum()), 1e-12))
