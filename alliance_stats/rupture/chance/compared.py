"""What data and draws are compared by when the null is estimated; arrays only.

Products of ratings some sessions apart, the upper and the lower side of the scores, how long low ratings last, how each
patient's variance goes over patients, levels and sessions, regressions on session, and how scores crowd at the bounds.
"""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.chance.frame import Frame
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray, IntArray

CROWDING = (0.5, 1.0, 2.0)
"""Distances below the highest score, in robust SD, within which scores are counted."""
DEPTHS = (1.0, 2.0, 3.0)
"""Distances below the patient's centre, in robust SD, beyond which the lower tail is measured."""


def freed(frame: Frame, scores: FloatArray) -> FloatArray:
    """Scores (n, draws) freed of the first estimates of mean course and relative spread; patients keep their means."""
    series = frame.series
    free: FloatArray = scores - frame.course[:, None]
    mean = np.repeat(np.add.reduceat(free, series.start, axis=0) / series.length[:, None], series.length, axis=0)
    free -= mean
    free /= frame.width[:, None]
    free += mean
    return free


def upper_centre(series: Series, z: FloatArray) -> FloatArray:
    """Each patient's centre (p, draws): the mean of ratings (n, draws), in SD, not more than 1.3 SD below it.

    Started from the mean of the upper half, so that a fall that lasts half of the course does not move it.
    """
    centre = np.add.reduceat(z, series.start, axis=0) / series.length[:, None]
    for below in (0.0, 1.8, 1.3):
        upper = z >= np.repeat(centre - below, series.length, axis=0) - 1e-9
        many = np.add.reduceat(upper, series.start, axis=0, dtype=np.float64)
        centre = np.add.reduceat(z * upper, series.start, axis=0) / many
    return centre


def statistics(frame: Frame, scores: FloatArray) -> FloatArray:
    """What the data and the draws are compared by, (k, draws), in robust SD.

    Data and draws are freed of the same first estimates of mean course and relative spread. Rows: mean products of
    deviations from the patient's mean, one per lag; how deviations go with time and the two curves, and squares and
    product of each patient's own coefficients; mean square and tail above the centre; the tail below it from three
    depths on; products of low ratings at the first and the third lag; how squared deviations go with session; of the
    logarithm of the patient's variance the mean, the variance over patients and how it goes with the centre; mean and
    SD of the centres; the shares of scores near and at the bounds.
    """
    series, length = frame.series, frame.series.length
    z = freed(frame, scores) / frame.scale
    centre = upper_centre(series, z)
    above = z - np.repeat(centre, length, axis=0)
    own = z - np.repeat(np.add.reduceat(z, series.start, axis=0) / length[:, None], length, axis=0)
    np.clip(own, -4.0, 4.0, out=own)
    rows = [_mean_product(own, *pair) for pair in frame.pairs]
    rows += _courses(frame, own)
    upper = np.clip(above, 0.0, 4.0)
    rows += [(upper * upper).mean(axis=0), np.maximum(upper - 1.5, 0.0).mean(axis=0)]
    low = np.clip(-above, 0.0, 5.0)
    rows += [np.maximum(low - depth, 0.0).mean(axis=0) for depth in DEPTHS]
    low = np.clip(low - 1.0, 0.0, 3.0)
    rows += [_mean_product(low, *pair) for pair in frame.pairs[0:3:2]]
    own *= own
    rows += [*(np.einsum("ik,ij->kj", frame.widths, own) / len(own))]
    share = np.maximum(length - 1.0, 0.0)[:, None]
    logarithm = np.log(np.add.reduceat(own, series.start, axis=0) / np.maximum(share, 1.0) + 0.05)
    share /= max(share.sum(), 1.0)
    mean, middle = (share * logarithm).sum(axis=0), centre.mean(axis=0)
    away = logarithm - mean
    rows += [mean, (share * away * away).sum(axis=0), (share * away * (centre - middle)).sum(axis=0)]
    rows += [middle, centre.std(axis=0)]
    high, low_bound = frame.bounds[1], frame.bounds[0]
    rows += [(scores >= high - distance * frame.scale).mean(axis=0) for distance in CROWDING]
    rows += [(scores >= high - 1e-9).mean(axis=0), (scores <= low_bound + 1e-9).mean(axis=0)]
    return np.array(rows)


def _mean_product(values: FloatArray, early: IntArray, late: IntArray) -> FloatArray:
    product: FloatArray = np.einsum("ij,ij->j", values.take(early, axis=0), values.take(late, axis=0)) / len(early)
    return product


def _courses(frame: Frame, deviation: FloatArray) -> list[FloatArray]:
    """How deviations (n, draws), in SD, go with session: on average, and how differently between patients."""
    start = frame.series.start
    time = frame.time / max(float(np.sqrt(np.mean(frame.time**2))), 1e-12)
    rows = list(np.einsum("ik,ij->kj", np.column_stack([time, frame.curves]), deviation) / len(deviation))
    own = []
    for column in (time, frame.shape):
        square = np.add.reduceat(column * column, start)[:, None]
        size = np.add.reduceat(column[:, None] * deviation, start, axis=0)
        own.append(np.divide(size, np.sqrt(square), out=np.zeros_like(size), where=square > 1e-9))
    bounded = [values / np.sqrt(values * values + 9.0) for values in own]
    return [*rows, *((one * two).mean(axis=0) for one, two in ((bounded[0],) * 2, (bounded[1],) * 2, bounded))]
