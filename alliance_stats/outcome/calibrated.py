"""The alliance with its measurement error taken out, as far as the scores and the rupture states tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.panel import split_by_mean
from alliance_stats.tables.schema import DataError


class Calibrated(NamedTuple):
    """The expected true alliance, up to a constant for each patient, (n,); and the within-patient reliability used."""

    values: FloatArray
    reliability: float


def calibrate(
    series: IntArray, score: FloatArray, is_open: FloatArray | None, error: float, about: Mapping[Any, Any]
) -> Calibrated:
    """What the true alliance is expected to be, given the score and the (probability of an) open rupture, each (n,).

    `error` is the variance of the measurement error of a score, in squared points. `about` are the attrs of STATES:
    ``depth`` of a rupture and ``within_sd`` without ruptures, in points. Where it lacks them (EVENTS) they are
    estimated: the coefficient of `is_open` on the score within patients, and what is left. Raises ``DataError`` if the
    error is larger than the variance within patients.

    Regression calibration (Carroll, Ruppert, Stefanski & Crainiceanu, 2006, chapter 4). With the patient's level L,
    the score is L + state - depth * open + error. Its error is expected to be (1 - r) times the distance of the score
    from ``L - depth * open``, with r the reliability of the rest, so that ::

        E(alliance) = r * score - (1 - r) * depth * open + constant
    """
    n_series = int(series.max()) + 1
    within = split_by_mean(series, score, n_series).within
    known = ~np.isnan(within)
    depth = about.get("depth")
    if is_open is None:
        is_open, depth = np.zeros(len(score)), 0.0
    if depth is None:
        opening = split_by_mean(series, np.where(known, is_open, np.nan), n_series).within[known]
        moves = float(opening @ opening)
        depth = -float(opening @ within[known]) / moves if moves > 0 else 0.0
    if about.get("within_sd") is None:
        rest = split_by_mean(series, score + depth * is_open, n_series).within[known]
        degrees = known.sum() - len(np.unique(series[known]))
        variance = float(rest @ rest) / degrees if degrees > 0 else 0.0
    else:
        variance = float(about["within_sd"]) ** 2
    if not 0 <= error < variance:
        raise DataError(
            f"error={error:.4g} is not below the variance of the alliance within patients, {variance:.4g}.",
            remedy="It is the variance of the measurement error of one score, in squared points of that score.",
        )
    reliability = 1 - error / variance
    return Calibrated(reliability * score - (1 - reliability) * depth * is_open, reliability)
