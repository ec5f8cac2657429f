"""Coarse scores: where a hair's breadth of a SD decides which falls count, chance is asked about the falls that did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alliance_stats.rupture.rules.criterion import Judged
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import IntArray

ON_THE_GRID = ("previous", "running_max", "own_median")
"""References from which falls are whole or (from the median) half steps of the score's grid."""
OF_THE_STUDY = ("pooled_sd", "between_sd", "rci")
"""Units that are one SD for the whole study."""
COARSE = 12
"""A criterion that is met from fewer half steps on leaps noticeably from one to the next."""


def fewest_half_steps(judged: Judged, step: float) -> IntArray | None:
    """For each study the fewest half steps of the score's grid that meet the criterion.

    None where that does not hang on the study (falls off the grid, a unit that is fixed or the patient's own), and for
    run rules, which count smaller falls too.
    """
    rule, series = judged.rule, judged.series
    if step <= 0 or rule.reference not in ON_THE_GRID or rule.unit not in OF_THE_STUDY or rule.run_rules:
        return None
    first = series.start[np.searchsorted(series.study, np.arange(series.n_studies))]
    whole = _half_steps_of(rule)
    needed = rule.size * np.broadcast_to(judged.unit, series.score.shape)[first] / (whole * step / 2.0)
    fewest = np.floor(needed + 1e-6) + 1.0 if rule.strict else np.ceil(needed - 1e-6)
    counted: IntArray = whole * fewest.astype(np.int64)
    return counted


def held_in_points(judged: Judged, step: float) -> Rule:
    """The rule with its unit held where the data put it, if scores are coarse; otherwise the rule itself.

    Where a score moves in few steps and the unit is a SD of the study, that SD decides whether falls of one step more
    count, and the number of ruptures leaps between studies that hardly differ. Held in points, midway between two
    steps, the rule finds the same in the data, and in draws what is to be compared with it.
    """
    fewest = fewest_half_steps(judged, step)
    if fewest is None or fewest[0] >= COARSE or not judged.judgeable.any():
        return judged.rule
    size = (float(fewest[0]) - _half_steps_of(judged.rule) / 2.0) * step / 2.0
    return replace(judged.rule, unit="points", size=size, strict=False, reliability=None)


def _half_steps_of(rule: Rule) -> int:
    """How many half steps of the grid falls can differ by."""
    return 1 if rule.reference == "own_median" else 2
