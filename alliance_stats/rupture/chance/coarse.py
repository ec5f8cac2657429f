"""Coarse scores: where a hair's breadth of a SD decides which falls count, chance is asked about the falls that did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alliance_stats.rupture.rules.criterion import Judged
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import IntArray
from alliance_stats.rupture.rules.vocabulary import REFERENCES, UNITS

COARSE = 12
"""A criterion that is met from fewer half steps on leaps noticeably from one to the next."""


def fewest_half_steps(judged: Judged, step: float) -> IntArray | None:
    """For each study the fewest half steps of the score's grid that meet the criterion.

    None where that does not hang on the study (falls off the grid, a unit that is fixed or the patient's own), and for
    run rules, which count smaller falls too.
    """
    rule, series = judged.rule, judged.series
    whole = REFERENCES[rule.reference].grid
    if step <= 0 or not whole or UNITS[rule.unit].of != "study" or rule.run_rules:
        return None
    first = series.start[np.searchsorted(series.study, np.arange(series.n_studies))]
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
    size = (float(fewest[0]) - REFERENCES[judged.rule.reference].grid / 2.0) * step / 2.0
    return replace(judged.rule, unit="points", size=size, strict=False, reliability=None)
