"""Coarse scores: draws are compared with the data only if a fall counts from the same size on; arrays only.

Where a score moves in few steps and the rule's unit is a SD of the study, a hair's breadth of that SD decides whether
falls of one step more count, and the number of ruptures leaps. Studies on both sides of such an edge are no comparison
for a study that stands on one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alliance_stats.rupture.criterion import Judged, judge
from alliance_stats.rupture.draws import fitted_blocks
from alliance_stats.rupture.null import Frame
from alliance_stats.rupture.null_fit import NullFit
from alliance_stats.rupture.rule import Rule
from alliance_stats.rupture.series import FloatArray, IntArray

ON_THE_GRID = ("previous", "running_max", "own_median")
"""References from which falls are whole or (from the median) half steps of the score's grid."""
OF_THE_STUDY = ("pooled_sd", "between_sd", "rci")
"""Units that are one SD for the whole study."""
COARSE = 20
"""A criterion that is met from fewer half steps on leaps noticeably from one to the next."""
PILOT_RATINGS = 120_000
"""About so many ratings are drawn to see how many draws stand on the data's side."""
RAREST, USUAL = 0.2, 0.9
"""If a smaller share of draws at the estimate does, or a larger one, all draws serve."""


def fewest_half_steps(judged: Judged, step: float) -> IntArray | None:
    """For each study the fewest half steps of the score's grid that meet the criterion.

    None where that does not hang on the study: falls off the grid, or a unit that is fixed or the patient's own.
    """
    rule, series = judged.rule, judged.series
    if step <= 0 or rule.reference not in ON_THE_GRID or rule.unit not in OF_THE_STUDY:
        return None
    first = series.start[np.searchsorted(series.study, np.arange(series.n_studies))]
    half_steps = 1 if rule.reference == "own_median" else 2
    needed = rule.size * np.broadcast_to(judged.unit, series.score.shape)[first] / (half_steps * step / 2.0)
    fewest = np.floor(needed + 1e-6) + 1.0 if rule.strict else np.ceil(needed - 1e-6)
    counted: IntArray = half_steps * fewest.astype(np.int64)
    return counted


def edge_of(judged: Judged, frame: Frame, fit: NullFit, rng: np.random.Generator) -> tuple[int | None, list[str]]:
    """From how many half steps on a fall counts in the data, if draws must share that; and what to be wary of."""
    fewest = fewest_half_steps(judged, frame.step)
    if fewest is None or fewest[0] >= COARSE:
        return None, []
    edge, pilot = int(fewest[0]), int(np.clip(PILOT_RATINGS // len(frame.series.score), 2, 60))
    drawn = np.concatenate([_edges(frame, judged.rule, s) for s in fitted_blocks(frame, fit.exact(), pilot, rng)])
    alike = float(np.mean(drawn == edge))
    if alike >= RAREST:
        return (edge if alike < USUAL else None), []
    here, there = edge * frame.step / 2.0, float(np.median(drawn)) * frame.step / 2.0
    text = (
        f"Scores are coarse, and their SD decides which falls count: those of {here:g} points or more in the data, "
        f"of {there:g} or more in most draws. Compare with a rule in points."
    )
    return None, [text]


def alike_blocks(
    frame: Frame, rule: Rule, fit: NullFit, edge: int | None, draws: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """Draws from the fitted null, in blocks; only those in which falls count from `edge` half steps on, if given."""
    if edge is None:
        yield from fitted_blocks(frame, fit, draws, rng)
        return
    for scores in fitted_blocks(frame, fit, int(draws / RAREST), rng):
        kept = scores[:, _edges(frame, rule, scores) == edge][:, :draws]
        draws -= kept.shape[1]
        if kept.shape[1]:
            yield kept
        if not draws:
            return


def _edges(frame: Frame, rule: Rule, scores: FloatArray) -> IntArray:
    drawn = frame.series.tiled(scores.shape[1]).with_scores(np.ascontiguousarray(scores.T).ravel())
    edges = fewest_half_steps(judge(drawn, rule), frame.step)
    assert edges is not None
    return edges
