"""What a rule finds in scores without ruptures: many studies drawn, detected and counted side by side; arrays only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.compared import statistics
from alliance_stats.rupture.chance.fit_check import check_fit
from alliance_stats.rupture.chance.frame import Frame
from alliance_stats.rupture.chance.null import NullParameters, draw_normals, draw_scores
from alliance_stats.rupture.chance.null_fit import NullFit
from alliance_stats.rupture.rules.criterion import Judged, judge
from alliance_stats.rupture.rules.follow import Ruptures, follow
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.progress import run_pieces

Draw = Callable[[int, np.random.Generator], FloatArray]
"""From a number of simulated studies and a stream of random numbers to their scores, (n, draws)."""
Answer = TypeVar("Answer")

BLOCK_RATINGS = 150_000
"""Draws go through the rule in blocks of about this many ratings, small enough for the processor's cache."""
WIDER = 2.0
"""By how much, per share of ratings near the highest score, the range of chance is widened: see :func:`adjust`."""
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


def count_draws(
    frame: Frame, like: Judged, draw: Draw, draws: int, rng: np.random.Generator, *, n_jobs: int | None = None
) -> Counts:
    """What the rule of `like`, the data, finds in draws.

    What the rule's unit takes from the whole study (a pooled SD, say) is held where the data put it: ruptures inflate
    that SD, so that draws judged in an SD of their own would be judged by smaller falls than the data.
    """
    counted = partial(_count_block, frame, like.rule, like.of_study)
    blocks = each_block(counted, frame.series, draw, draws, rng, n_jobs=n_jobs)
    return Counts(
        np.concatenate([block.total for block in blocks]),
        np.sum([block.per_patient for block in blocks], axis=0) / draws,
        np.concatenate([block.by_session for block in blocks]),
        blocks[0].numbers,
        np.concatenate([block.depth for block in blocks]),
        np.concatenate([block.statistics for block in blocks], axis=1),
    )


def _count_block(
    frame: Frame, rule: Rule, of_study: dict[str, FloatArray], drawn: Series, scores: FloatArray
) -> Counts:
    """What the rule finds in the studies of one block; `per_patient` is their sum."""
    numbers, place = np.unique(frame.series.session, return_inverse=True)
    judged = judge(drawn, rule, of_study)
    ruptures = follow(judged)
    counted, by_session = _count(judged, ruptures, drawn.n_studies, place, len(numbers))
    compared = statistics(frame, scores) if frame.pairs and frame.scale > 0 else np.zeros((0, drawn.n_studies))
    return Counts(counted.sum(axis=1), counted.sum(axis=0), by_session, numbers, depth_of(judged, ruptures), compared)


def each_block(
    work: Callable[[Series, FloatArray], Answer],
    series: Series,
    draw: Draw,
    draws: int,
    rng: np.random.Generator,
    *,
    n_jobs: int | None = None,
) -> list[Answer]:
    """`work` of every block of draws, which it gets side by side in one Series, and as an array (n, draws).

    Every block has its own stream of random numbers, so that the answer is the same for any number of workers.
    """
    sizes = block_sizes(len(series.score), draws)
    pieces = list(zip(sizes, rng.spawn(len(sizes)), strict=True))
    return run_pieces(partial(_one_block, work, series, draw), pieces, n_jobs=n_jobs)


def _one_block(
    work: Callable[[Series, FloatArray], Answer], series: Series, draw: Draw, piece: tuple[int, np.random.Generator]
) -> Answer:
    scores = draw(*piece)
    return work(series.tiled(piece[0]).with_scores(np.ascontiguousarray(scores.T).ravel()), scores)


def draw_null(frame: Frame, fit: NullFit, draws: int, rng: np.random.Generator) -> FloatArray:
    """Scores (n, draws) from the fitted null."""
    return draw_scores(frame, fit.around(draws, rng), draw_normals(frame, draws, rng))


def draw_shuffled(series: Series, draws: int, rng: np.random.Generator) -> FloatArray:
    """The patients' own scores in random order over their own sessions, (n, draws)."""
    key = rng.random((draws, len(series.score))) + series.owner
    return series.score[np.argsort(key, axis=1)].T


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


def adjust(
    around: Counts, at_estimate: Counts, fit: NullFit, *, crowding: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Counts under the null *given* the estimates from the data, by linear regression of counts on estimates.

    A null with estimated parameters does not have the data's own variability, autocorrelation, ...: draws scatter
    around the estimates while the estimates follow the data. Moving every draw along the regression line to where its
    own estimates would be those of the data (Beaumont, Zhang & Balding 2002; estimates as statistics: Fearnhead &
    Prangle 2012) removes that; without it p-values bunch around one half. The estimates allow for ruptures, so that
    ruptures in the data do not enter. What the line misses where counts bend is removed by drawing at the estimate
    itself too: those draws say where the middle lies, the scattered ones how far counts stray from it. That range is
    widened by :data:`WIDER` times the share of ratings near the highest score (`crowding`), where the null's shape is
    less certain than its parameters.

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
    residual *= (1.0 + WIDER * crowding) * np.sqrt(len(design) / max(len(design) - design.shape[1], 1))
    moved = residual + at_estimate.total.mean(axis=0)
    return np.maximum(np.rint(moved), 0.0), np.maximum(moved, 0.0).mean(axis=0)


class Drawn(NamedTuple):
    """What a rule found in draws.

    Attributes
    ----------
    found : Counts
        In draws with the estimated parameters (or in shuffled scores).
    totals : (draws, q) array
        Given the data's statistics, with the uncertainty of the parameters, as p-values need them.
    expected : (q,) array
        Their mean.
    """

    found: Counts
    totals: FloatArray
    expected: FloatArray
    parameters: NullParameters | None
    warnings: list[str]
    fit: pd.DataFrame
    verdict: str
    words: str


def draw_fitted(
    fit: NullFit,
    judged: Judged,
    frame: Frame,
    draws: int,
    rng: np.random.Generator,
    stream: np.random.Generator,
    *,
    n_jobs: int | None = None,
) -> Drawn:
    """What the rule finds in draws under the fitted null; `stream` is for the check of the fit."""
    warnings = list(fit.warnings)
    parameters = NullParameters(*(float(value) for value in fit.parameters))
    table, verdict, words = check_fit(frame, fit, stream)
    found = count_draws(frame, judged, partial(draw_null, frame, fit.exact()), draws // 2, rng, n_jobs=n_jobs)
    around = count_draws(frame, judged, partial(draw_null, frame, fit), draws, rng, n_jobs=n_jobs)
    if not fit.estimator.size:
        return Drawn(found, around.total, found.total.mean(axis=0), parameters, warnings, table, verdict, words)
    return Drawn(
        found, *adjust(around, found, fit, crowding=frame.crowding), parameters, warnings, table, verdict, words
    )
