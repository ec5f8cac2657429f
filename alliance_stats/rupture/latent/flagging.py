"""Which sessions are flagged, and the ruptures that flagged sessions make; arrays only."""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.latent.courses import Bools, Courses, Floats, Ints
from alliance_stats.rupture.latent.posterior import Posterior


def episodes_of(flagged: Bools, courses: Courses, level: Floats, ceiling: float) -> tuple[Ints, Ints, Ints]:
    """Owner, onset and repair of each rupture: positions among the rated sessions, -1 where none was repaired.

    A rupture begins at a flagged session. It is repaired at the first later session that is not flagged and whose score
    exceeds the baseline at its onset (or is at the ceiling); until then further flagged sessions belong to it.
    """
    n, n_positions = flagged.shape
    began = np.full(n, -1)  # where the open rupture of each patient began
    found: list[tuple[int, int, int]] = []
    rows = np.arange(n)
    for t in range(n_positions):
        is_open, rated = began >= 0, courses.rated[:, t]
        score = courses.score[:, t]
        above = (score > level[rows, np.maximum(began, 0)]) | (score >= ceiling)
        regained = is_open & rated & ~flagged[:, t] & above
        found += [(int(row), int(began[row]), t) for row in np.flatnonzero(regained)]
        began[regained] = -1
        began[~is_open & rated & flagged[:, t]] = t
    found += [(int(row), int(began[row]), -1) for row in np.flatnonzero(began >= 0)]
    table = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def statistic(found: Posterior, courses: Courses, version: str, session_probability: float) -> Floats:
    """What is compared with the threshold, (n, T): the patient's log evidence where the rupture is likely to be.

    Likely means: given that the patient has any, it is open there with more than `session_probability`. The filtered
    evidence is the largest so far, so that a patient once conspicuous stays so. -1 elsewhere.
    """
    if version == "smoothed":
        chance, now = found.smoothed, np.repeat(found.evidence[:, None], found.smoothed.shape[1], axis=1)
        evidence = now
    else:
        chance, now = found.filtered, found.evidence_so_far
        evidence = np.maximum.accumulate(now, axis=1)
    return np.where(courses.rated, where_likely(chance, now, evidence, session_probability), -1.0)


def where_likely(chance: Floats, now: Floats, evidence: Floats, session_probability: float) -> Floats:
    """`evidence` where `chance` (that one is open) exceeds that share of P(any), by log odds `now`; -1 elsewhere."""
    return np.where(chance > -session_probability * np.expm1(-now), evidence, -1.0)
