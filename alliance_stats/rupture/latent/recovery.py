"""Where the level lies after a rupture, against where it lay before: past it, at it or short of it."""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.latent.courses import Bools, Courses, Floats, Ints, patterns
from alliance_stats.rupture.latent.model import residual
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.rupture.latent.scan import shared_by

OPEN = 0.5
"""A rupture has lasted up to the last session at which P(open) is at least this."""


def last_open(chance: Floats, owner: Ints, onset: Ints, stop: Ints) -> Ints:
    """For each rupture the last position from `onset` to before `stop` at which it is open; at least the onset."""
    position = np.arange(chance.shape[1])
    here = (position >= onset[:, None]) & (position < stop[:, None]) & (chance[owner] >= OPEN)
    here[np.arange(len(owner)), onset] = True
    return np.asarray(here.shape[1] - 1 - here[:, ::-1].argmax(axis=1))


def level_changes(
    parameters: LatentParameters, courses: Courses, owner: Ints, onset: Ints, last: Ints
) -> tuple[Floats, Floats, Floats, Ints]:
    """Posterior of the level after each rupture minus that before: Student's t, and the ratings behind it.

    Generalised least squares with normal priors (Gelman et al., 2013, section 14.8), given which sessions the ruptures
    took. The model of the scores without ruptures gets one column for each rupture of the patient (its depth; prior:
    the depths of the study) and one for the change of level from the end of this one on (prior: mean 0, and as SD the
    median depth). The patient's variance is integrated out.

    Returns
    -------
    centre, scale, degrees : (k,) float arrays
        Of the t distribution, in points; NaN where no rating follows.
    n_after : (k,) int array
        Ratings after the end of the rupture that lie in no other.
    """
    p = parameters
    found = patterns(courses)
    precision, values = shared_by(p, found, p.max_length).precision, residual(p, courses)
    position = np.arange(courses.score.shape[1])
    inside: Bools = (position >= onset[:, None]) & (position <= last[:, None])
    centre, scale, degrees = (np.full(len(owner), np.nan) for _ in range(3))
    n_after = np.zeros(len(owner), dtype=np.int64)
    depth_sd = p.depth * max(p.depth_cv, 0.3)
    for k, i in enumerate(owner):
        n = int(courses.n_rated[i])
        falls = inside[owner == i, :n]
        after = position[:n] > last[k]
        n_after[k] = int((after & ~falls.any(axis=0)).sum())
        if not n_after[k]:
            continue
        design = np.column_stack([-falls.T.astype(np.float64), after])
        expected = np.r_[np.full(len(falls), p.depth), 0.0]
        known = np.diag(p.within_sd**2 / np.r_[np.full(len(falls), depth_sd), p.depth] ** 2)
        own, score = precision[found.of[i], :n, :n], values[i, :n]
        information = design.T @ own @ design + known
        estimate = np.linalg.solve(information, design.T @ own @ score + known @ expected)
        left = score @ own @ score + expected @ known @ expected - estimate @ information @ estimate
        degrees[k] = p.within_sd_df + n
        variance = (p.within_sd_df * p.within_sd**2 + left) / degrees[k] * np.linalg.inv(information)[-1, -1]
        centre[k], scale[k] = estimate[-1], np.sqrt(variance)
    return centre, scale, degrees, n_after
