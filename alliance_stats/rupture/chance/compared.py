"""What data and draws are compared by when the null is estimated: statistics that ruptures hardly touch; arrays only.

A variogram with bounded weights d^2 / (d^2 + c^2) at several lags (Genton & Ronchetti 2003), over the ratings that do
not lie far below the patient's own (upper-trimmed) centre; the part of the scores above that centre, the side that no
rupture touches; bounded regressions on session; and how scores crowd below the ceiling.
"""

from __future__ import annotations

import numpy as np

from alliance_stats.rupture.chance.null import Frame
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray

CROWDING = (0.5, 1.0, 2.0)
"""Distances below the highest score, in robust SD, within which scores are counted."""
SCREEN = 1.5
"""Ratings more than this many robust SD below the patient's centre take no part in the estimates."""


def freed(frame: Frame, scores: FloatArray) -> FloatArray:
    """Scores (n, draws) freed of the first estimates of mean course and relative spread; patients keep their means."""
    series = frame.series
    free: FloatArray = scores - frame.course[:, None]
    mean = np.repeat(np.add.reduceat(free, series.start, axis=0) / series.length[:, None], series.length, axis=0)
    free -= mean
    free /= frame.width[:, None]
    free += mean
    return free


def statistics(frame: Frame, scores: FloatArray) -> FloatArray:
    """What the data and the draws are compared by, (k, draws): variogram, drift, spread of patients, levels.

    Data and draws are freed of the same first estimates of mean course and relative spread. Rows: one per lag; the mean
    of signed bounded differences at the longest lag up to 8; the between-patient variance of the patients' own mean at
    the shortest lag, and how these differences go with session; mean and SD of the patients' centres, in robust SD; how
    bounded deviations go with time and the two curves, and the bounded squares and product of each patient's own
    coefficients; of the part of the scores above the centre the mean square, the tail and the spread over patients (the
    side that no rupture touches), and how that mean square goes with the patients' centres and with session; the shares
    of scores at the highest and the lowest score, and within half, one and two SD of the highest.
    """
    series, scale, seen = frame.series, frame.scale, scores
    scores = freed(frame, scores)
    start, length = series.start, series.length[:, None]
    centre = np.add.reduceat(scores, start, axis=0) / length
    upper = scores > np.repeat(centre - scale, series.length, axis=0)
    centre = np.add.reduceat(scores * upper, start, axis=0) / np.maximum(np.add.reduceat(upper, start, axis=0), 1)
    above = (scores - np.repeat(centre, series.length, axis=0)) / scale
    kept = above >= -SCREEN
    cut = 2.0 * (3.0 * scale) ** 2
    rows: list[FloatArray] = []
    for number, (early, late) in enumerate(frame.pairs):
        difference = scores[late] - scores[early]
        both = kept[late] & kept[early]
        squared = difference * difference
        weight = np.where(both, squared / (squared + cut), 0.0)
        count = np.maximum(both.sum(axis=0), 1)
        rows.append(weight.sum(axis=0) / count)
        if number == 0:
            dispersion = _dispersion(series.owner[late], weight, both)
            widening = (frame.widths[late].T @ weight) / count
        if frame.lags[number] <= 8 * frame.lags[0]:
            signed = np.where(both, difference * np.sqrt(cut) / (squared + cut), 0.0)
            drift = signed.sum(axis=0) / count
    if rows:
        rows += [drift, dispersion, *widening]
    rows += [centre.mean(axis=0) / scale, centre.std(axis=0) / scale]
    rows += _courses(frame, np.clip(above, -2.5, 2.5))
    np.clip(above, 0.0, 4.0, out=above)
    tail = np.maximum(above - 1.5, 0.0)
    above *= above
    own = np.add.reduceat(above, start, axis=0) / length
    pooled = above.mean(axis=0)
    rows += [pooled, tail.mean(axis=0), (length * (own - pooled) ** 2).sum(axis=0) / length.sum()]
    rows += [(length * (own - pooled) * (centre - centre.mean(axis=0))).sum(axis=0) / (length.sum() * scale)]
    rows += [*(frame.widths.T @ above / len(above))]
    rows += [(seen >= frame.bounds[1] - distance * scale).mean(axis=0) for distance in CROWDING]
    rows += [(seen >= frame.bounds[1] - 1e-9).mean(axis=0), (seen <= frame.bounds[0] + 1e-9).mean(axis=0)]
    return np.array(rows)


def _courses(frame: Frame, deviation: FloatArray) -> list[FloatArray]:
    """How bounded deviations (n, draws), in SD, go with session: on average, and how differently between patients."""
    start = frame.series.start
    time = frame.time / max(float(np.sqrt(np.mean(frame.time**2))), 1e-12)
    rows = list(np.column_stack([time, frame.curves]).T @ deviation / len(deviation))
    own = []
    for column in (time, frame.shape):
        square = np.add.reduceat(column * column, start)[:, None]
        size = np.add.reduceat(column[:, None] * deviation, start, axis=0)
        own.append(np.divide(size, np.sqrt(square), out=np.zeros_like(size), where=square > 1e-9))
    bounded = [values / np.sqrt(values * values + 9.0) for values in own]
    return [*rows, *((one * two).mean(axis=0) for one, two in ((bounded[0],) * 2, (bounded[1],) * 2, bounded))]


def _dispersion(owner: IntArray, weight: FloatArray, both: BoolArray) -> FloatArray:
    """The variance over patients of their mean bounded difference, each weighted by its number of pairs."""
    begins = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    count = np.add.reduceat(both, begins, axis=0).astype(np.float64)
    total = np.add.reduceat(weight, begins, axis=0)
    mean = total / np.maximum(count, 1.0)
    grand = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1.0)
    spread: FloatArray = (count * (mean - grand) ** 2).sum(axis=0) / np.maximum(count.sum(axis=0), 1.0)
    return spread
