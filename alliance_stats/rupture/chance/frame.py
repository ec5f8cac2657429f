"""What every draw shares with the data: who was rated when, grid and bounds, first estimates; arrays only."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np

from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray, IntArray

LAGS = (1, 2, 3, 5, 8, 13)
MIN_PAIRS = 20
CURVED = 5.99
"""The 5 % point of chi-squared with 2 df."""
PART_RATINGS = 16_000
"""Studies with more ratings are judged on a random part of their patients that has about this many."""


@dataclass(frozen=True)
class Frame:
    """What every draw shares with the data: who was rated when, the score's grid and bounds, and what is compared."""

    series: Series  # The data
    bounds: tuple[float, float]  # Lowest and highest possible score
    step: float  # Grid of the score; 0 for none
    scale: float  # Robust within-patient SD of the data, a fixed yardstick
    lags: tuple[int, ...]  # Session distances at which ratings are compared
    pairs: list[tuple[IntArray, IntArray]] = field(repr=False)
    time: FloatArray = field(repr=False)  # (n,): Sessions since the patient's mean session
    # (n, 2): What log t and log^2 t add to a straight line, from the patient's mean, with mean square 1
    curves: FloatArray = field(repr=False)
    # (n,): The curve that patients have more or less of: the mean course beyond its trend where there is one
    shape: FloatArray = field(repr=False)
    # (n, 2): log t, and what t adds to it, with mean 0 and SD 1 over ratings: what the spread may go with
    widths: FloatArray = field(repr=False)
    # course, width: (n,): First estimates of the mean course and of the relative spread: a yardstick that data and
    # draws are freed of before they are compared, not a part of the model
    course: FloatArray = field(repr=False)
    width: FloatArray = field(repr=False)
    steps: list[tuple[IntArray, IntArray]] = field(repr=False)

    @property
    def crowding(self) -> float:
        """Share of the ratings within one robust SD of the highest score."""
        return float(np.mean(self.series.score >= self.bounds[1] - self.scale))


def frame_of(series: Series, *, bounds: tuple[float, float] | None, step: float | None) -> Frame:
    """What the draws share with the data."""
    low, high = bounds if bounds is not None else (float(series.score.min()), float(series.score.max()))
    gaps = np.diff(series.session)[series.neighbours(None)[1:]]
    unit = max(int(np.median(gaps)), 1) if len(gaps) else 1
    pairs = [(lag * unit, _pairs(series, lag * unit)) for lag in LAGS]
    pairs = [(lag, found) for lag, found in pairs if len(found[0]) >= MIN_PAIRS]
    step = grid_of(series.score) if step is None else step
    scale = robust_scale(series, series.score, step)
    elapsed = 1.0 + (series.session - series.session.min()) / unit
    time, curves = _smooth(series, elapsed * unit, np.log(elapsed))
    course, shape = _mean_course(series, time, curves, scale)
    free = robust_scale(series, series.score - course, step)
    if free < 0.05 * scale:  # a course that explains everything leaves no noise to judge by
        course, free = np.zeros_like(course), scale
    widths = _standardised(np.log(elapsed), elapsed)
    return Frame(
        series=series,
        bounds=(low, high),
        step=step,
        scale=free,
        lags=tuple(lag for lag, _ in pairs),
        pairs=[found for _, found in pairs],
        time=time,
        curves=curves,
        shape=shape,
        widths=widths,
        course=course,
        width=_relative_spread(series, widths, series.score - course),
        steps=_steps(series),
    )


def _smooth(series: Series, session: FloatArray, logarithm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Time from the patient's mean, (n,), and what log t and log^2 t add to it, (n, 2): Gram-Schmidt, mean square 1."""
    found: list[FloatArray] = []
    for values in (session, logarithm, logarithm * logarithm):
        column = values - series.spread(series.total(values) / series.length)
        before = np.sqrt(np.mean(column**2))
        for other in found:
            square = other @ other
            column = column - other * ((other @ column) / square if square > 0 else 0.0)
        size = np.sqrt(np.mean(column**2))
        found.append(column if not found else column / size if size > 1e-3 * before and size > 0 else 0.0 * column)
    return found[0], np.column_stack(found[1:])


def _mean_course(series: Series, time: FloatArray, curves: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """The mean course by least squares, deviations bounded at 2.5 robust SD, and the shape of its curve, both (n,).

    Where the curve is no more than chance gives (its statistic below the 5 % point of chi-squared with 2 df, patients
    being the units) the shape is what log t adds to a line.
    """
    design = np.column_stack([time, curves])
    gram = design.T @ design
    coefficients, residual = np.zeros(3), series.score - series.spread(series.mean)
    limit = 2.5 * scale if scale > 0 else np.inf
    for _ in range(5):
        bounded = np.clip(residual - design @ coefficients, -limit, limit)
        bounded -= series.spread(series.total(bounded) / series.length)
        coefficients = coefficients + np.linalg.lstsq(gram, design.T @ bounded, rcond=None)[0]
    score = np.add.reduceat(design * bounded[:, None], series.start, axis=0)
    inverse = np.linalg.pinv(gram)
    variance = (inverse @ (score.T @ score) @ inverse)[1:, 1:]
    strength = float(coefficients[1:] @ np.linalg.pinv(variance) @ coefficients[1:])
    curve = curves @ coefficients[1:]
    size = np.sqrt(np.mean(curve**2))
    return design @ coefficients, curve / size if strength > CURVED and size > 0 else curves[:, 0]


def _standardised(*columns: FloatArray) -> FloatArray:
    """The columns with mean 0 and SD 1, each freed of those before it; 0 where nothing is left."""
    found: list[FloatArray] = []
    for values in columns:
        column, before = values - values.mean(), values.std()
        for other in found:
            column = column - other * np.mean(other * column)
        size = column.std()
        found.append(column / size if size > 1e-3 * before and size > 0 else 0.0 * column)
    return np.column_stack(found)


def _relative_spread(series: Series, widths: FloatArray, score: FloatArray) -> FloatArray:
    """By how much the spread at each rating differs from the average one: log |deviation| regressed on `widths`."""
    deviation = np.abs(score - series.spread(series.total(score) / series.length))
    usable = (deviation > 0) & series.spread(series.length > 2)
    if usable.sum() < MIN_PAIRS:
        return np.ones(len(score))
    logarithm = np.log(deviation[usable]) - np.log(deviation[usable]).mean()
    chosen = widths[usable] - widths[usable].mean(axis=0)
    slope = np.linalg.lstsq(chosen, logarithm, rcond=None)[0]
    width: FloatArray = np.exp(np.clip(widths @ slope, -1.0, 1.0))
    return width


def grid_of(score: FloatArray) -> float:
    """The step of the grid on which at least 98 % of the scores lie, 0 if there is none of at most 400 steps.

    Many different scores at one place of a grid (beside a few far away) are not on it.

    >>> grid_of(np.array([3.0, 3.5, 5.0, 4.5, 6.0]))
    0.5
    """
    distinct = np.unique(np.round(score, 9))
    if len(distinct) < 2:
        return 0.0
    above = score - float(np.median(score))
    above -= above[np.argmin(np.abs(above))]
    for step in np.unique(np.round(np.diff(distinct), 6)):
        if step <= 1e-5 or (distinct[-1] - distinct[0]) / step > 400.0:
            continue
        number = np.rint(above / step)
        on_grid = np.abs(above / step - number) < 0.02
        number, found = number[on_grid], np.unique(np.round(above[on_grid], 9))
        if len(number) >= 0.98 * len(score) and number.any() and len(found) <= 3 * len(np.unique(number)):
            return float(number @ above[on_grid] / (number @ number))
    return 0.0


def part_of(frame: Frame, ratings: int) -> Frame:
    """The frame of a subsample of whole patients, evenly spaced, with about `ratings` ratings."""
    series = frame.series
    share = max(1, series.n_patients * ratings // len(series.score))
    who = np.linspace(0, series.n_patients - 1, share).round().astype(np.int64)
    rows, part = series.rows_of(who), series.of_patients(who)
    names = ("time", "curves", "shape", "widths", "course", "width")
    taken = {name: getattr(frame, name)[rows] for name in names}
    return replace(frame, series=part, pairs=[_pairs(part, lag) for lag in frame.lags], steps=_steps(part), **taken)


def stream_of(series: Series) -> np.random.Generator:
    """A stream of random numbers that depends on the data alone: what is decided with it is the same for every seed."""
    above = series.score - series.score.min()
    grid = np.rint(1e6 * above / max(float(above.max()), 1e-300)).astype(np.int64)
    return np.random.default_rng(zlib.crc32(np.concatenate([grid, series.session, series.length]).tobytes()))


def part_words(who: IntArray, whole: Series) -> str:
    """The part in words; empty if it is the whole study."""
    p = whole.n_patients
    return f"a random {len(who):,} of the {p:,} rated patients" if len(who) < p else ""


def random_part(series: Series, rng: np.random.Generator) -> IntArray:
    """The patients of a random part with about :data:`PART_RATINGS` ratings; all patients of a smaller study."""
    p = series.n_patients
    share = p * PART_RATINGS // len(series.score)
    return np.arange(p) if share >= p else np.sort(rng.choice(p, max(share, 1), replace=False))


def _pairs(series: Series, lag: int) -> tuple[IntArray, IntArray]:
    """The ratings of one patient that are `lag` sessions apart: earlier, later."""
    low = int(series.session.min())
    span = int(series.session.max()) - low + lag + 1
    key = series.owner * span + (series.session - low)
    later = np.minimum(np.searchsorted(key, key + lag), len(key) - 1)
    early = np.flatnonzero(key[later] == key + lag)
    return early, later[early]


def _steps(series: Series) -> list[tuple[IntArray, IntArray]]:
    """For each place in a series after the first: the ratings at that place, and the sessions since the one before."""
    return [(rows, series.session[rows] - series.session[rows - 1]) for rows in series.places[1:]]


def robust_scale(series: Series, score: FloatArray, step: float) -> float:
    """A within-patient SD from the median absolute deviation around the own mean: a fixed yardstick, no estimate."""
    if len(score) == series.n_patients:
        return 0.0
    deviation = score - series.spread(series.total(score) / series.length)
    usable = series.spread(series.length > 1)
    correction = np.sqrt(series.length / np.maximum(series.length - 1.0, 1.0))
    absolute = np.abs(deviation * series.spread(correction))[usable]
    scale = float(np.median(absolute)) / 0.6745
    mean = float(absolute.mean()) * np.sqrt(np.pi / 2.0)
    return float(max(scale, 0.5 * mean, 0.25 * step if mean > 0 else 0.0))
