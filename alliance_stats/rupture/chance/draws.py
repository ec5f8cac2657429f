"""What a rule finds in scores without ruptures: many studies drawn, detected and counted side by side; arrays only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alliance_stats.rupture.chance.compared import statistics
from alliance_stats.rupture.chance.null import Frame, draw_normals, draw_scores
from alliance_stats.rupture.chance.null_fit import NullFit
from alliance_stats.rupture.rules.criterion import Judged, judge
from alliance_stats.rupture.rules.follow import Ruptures, follow
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.progress import advance

BLOCK_RATINGS = 300_000
"""Draws go through the rule in blocks of about so many ratings, small enough for the processor's cache."""
QUANTITIES = (
    "patients with a rupture",
    "ruptures",
    "sessions with a fall",
    "repaired ruptures",
    "patients with a repaired rupture",
)


@dataclass(frozen=True)
class Counts:
    """What a rule found in one or many studies of the same patients.

    Attributes
    ----------
    total : (draws, 5) array
        The :data:`QUANTITIES` of each study.
    per_patient : (p, 5) array
        Their mean over studies for each patient.
    by_session : (draws, s) array
        Onsets by session number (of `numbers`).
    depth : (m,) array
        Depth in units of every rupture of every study.
    statistics : (k, draws) array
        What the null is compared with the data by (:func:`alliance_stats.rupture.chance.compared.statistics`).
    """

    total: FloatArray
    per_patient: FloatArray
    by_session: FloatArray
    numbers: IntArray
    depth: FloatArray
    statistics: FloatArray


def count_study(
    series: Series, rule: Rule, of_study: dict[str, FloatArray] | None = None
) -> tuple[Counts, Judged, Ruptures]:
    """What the rule finds in the data themselves; `of_study` as in :func:`~..rules.criterion.judge`."""
    judged = judge(series, rule, of_study)
    ruptures = follow(judged)
    numbers, place = np.unique(series.session, return_inverse=True)
    per_patient, by_session = _count(judged, ruptures, 1, place, len(numbers))
    found = per_patient.reshape(-1, len(QUANTITIES))
    depth = depth_of(judged, ruptures)
    counts = Counts(found.sum(axis=0)[None], found, by_session, numbers, depth, np.zeros((0, 1)))
    return counts, judged, ruptures


def count_draws(frame: Frame, like: Judged, blocks: Iterator[FloatArray]) -> Counts:
    """What the rule of `like`, the data, finds in draws; `blocks` yields scores (n, draws in the block).

    What the rule's unit takes from the whole study (a pooled SD, say) is held where the data put it: ruptures inflate
    that SD, so that draws judged in an SD of their own would be judged by smaller falls than the data.
    """
    series = frame.series
    numbers, place = np.unique(series.session, return_inverse=True)
    totals, sessions, depths, kept = [], [], [], []
    per_patient = np.zeros((series.n_patients, len(QUANTITIES)))
    template, done = series, 0
    for scores in blocks:
        draws = scores.shape[1]
        if draws != template.n_studies or template is series:
            template = series.tiled(draws)
        judged = judge(template.with_scores(np.ascontiguousarray(scores.T).ravel()), like.rule, like.of_study)
        ruptures = follow(judged)
        counted, by_session = _count(judged, ruptures, draws, place, len(numbers))
        totals.append(counted.sum(axis=1))
        per_patient += counted.sum(axis=0)
        sessions.append(by_session)
        depths.append(depth_of(judged, ruptures))
        kept.append(statistics(frame, scores) if frame.pairs and frame.scale > 0 else np.zeros((0, draws)))
        done += draws
        advance(draws)
    return Counts(
        np.concatenate(totals),
        per_patient / done,
        np.concatenate(sessions),
        numbers,
        np.concatenate(depths),
        np.concatenate(kept, axis=1),
    )


def fitted_blocks(frame: Frame, fit: NullFit, draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Draws from the fitted null, in blocks."""
    for size in block_sizes(len(frame.series.score), draws):
        yield draw_scores(frame, fit.around(size, rng), draw_normals(frame, size, rng))


def shuffled_blocks(series: Series, draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """The patients' own scores in random order over their own sessions, in blocks."""
    for size in block_sizes(len(series.score), draws):
        key = rng.random((size, len(series.score))) + series.owner
        yield series.score[np.argsort(key, axis=1)].T


def block_sizes(n: int, draws: int) -> list[int]:
    """How many draws go into each block."""
    size = int(np.clip(BLOCK_RATINGS // max(n, 1), 1, draws))
    return [min(size, draws - first) for first in range(0, draws, size)]


def depth_of(judged: Judged, ruptures: Ruptures) -> FloatArray:
    """How far below its baseline each rupture went, in units."""
    unit = np.broadcast_to(judged.unit, judged.baseline.shape)[ruptures.onset]
    depth: FloatArray = (judged.baseline[ruptures.onset] - judged.series.score[ruptures.nadir]) / unit
    return depth


def _count(
    judged: Judged, ruptures: Ruptures, draws: int, place: IntArray, n_numbers: int
) -> tuple[FloatArray, FloatArray]:
    """The quantities for each study and patient, (draws, p, 5), and onsets by study and session number."""
    series = judged.series
    slots = series.n_patients
    owner = np.searchsorted(series.start, ruptures.onset, side="right") - 1
    repaired = ruptures.is_repaired
    onsets = np.bincount(owner, minlength=slots)
    repairs = np.bincount(owner[repaired], minlength=slots)
    falls = series.total(judged.fires)
    counted = np.stack([onsets > 0, onsets, falls, repairs, repairs > 0], axis=1).astype(np.float64)
    n = len(series.score) // draws
    cell = (ruptures.onset // n) * n_numbers + place[ruptures.onset % n]
    by_session = np.bincount(cell, minlength=draws * n_numbers).reshape(draws, n_numbers).astype(np.float64)
    return counted.reshape(draws, slots // draws, len(QUANTITIES)), by_session


def adjust(around: Counts, at_estimate: Counts, fit: NullFit) -> tuple[FloatArray, FloatArray]:
    """Counts under the null *given* the estimates from the data, by linear regression of counts on estimates.

    A null with estimated parameters does not have the data's own variability, autocorrelation, ...: draws scatter
    around the estimates while the estimates follow the data. Moving every draw along the regression line to where its
    own estimates would be those of the data (Beaumont, Zhang & Balding 2002; estimates as statistics: Fearnhead &
    Prangle 2012) removes that; without it p-values bunch around one half. The estimates allow for ruptures, so that
    ruptures in the data do not enter. What the line misses where counts bend is removed by drawing at the estimate
    itself too: those draws say where the middle lies, the scattered ones how far counts stray from it.

    Returns
    -------
    (draws, q) array
        Adjusted counts, whole numbers not below 0.
    (q,) array
        The mean adjusted count before rounding.
    """
    middle = at_estimate.statistics.mean(axis=1, keepdims=True)
    estimates = fit.estimator @ (around.statistics - middle)
    spread = estimates.std(axis=1)
    design = np.column_stack([np.ones(len(around.total)), (estimates[spread > 0] / spread[spread > 0, None]).T])
    line = np.linalg.lstsq(design, around.total, rcond=None)[0]
    residual = around.total - design @ line
    residual *= np.sqrt(len(design) / max(len(design) - design.shape[1], 1))
    moved = residual + at_estimate.total.mean(axis=0)
    return np.maximum(np.rint(moved), 0.0), np.maximum(moved, 0.0).mean(axis=0)
