"""The numbers of scoring: answers in, an array for each item, scores out; knows nothing of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.schema import require_choice


class Scale(NamedTuple):
    """A score: the positions of its items, and how many of their answers may be missing."""

    name: str
    columns: list[int]
    max_missing: int


@dataclass(frozen=True)
class Plan:
    """How the answers of a study become scores: the instrument and the user's choices, checked."""

    key: Instrument
    how: str
    allowed: int
    turned: frozenset[int]
    scales: tuple[Scale, ...]

    @property
    def reverse(self) -> list[int]:
        """Positions of the items still to be reversed."""
        return [self.key.items.index(item) for item in self.key.reversed if item not in self.turned]

    @property
    def total_range(self) -> tuple[float, float]:
        """The smallest and largest total there can be."""
        return self.range_of(self.key.items)

    def range_of(self, items: Sequence[int]) -> tuple[float, float]:
        """The smallest and largest score of some items."""
        n = len(items) if self.how == "sum" else 1
        return self.key.low * n * self.key.factor, self.key.high * n * self.key.factor


class Scores(NamedTuple):
    """The scores of rows: the total, the subscales, answers used, straight-lining; and the answers after reversal."""

    total: FloatArray
    parts: dict[str, FloatArray]
    n_items: IntArray
    straight: BoolArray
    keyed: list[FloatArray]


def plan_scoring(
    key: Instrument, *, score: str | None, max_missing: int | None, already_reversed: bool | Sequence[int]
) -> Plan:
    """The user's choices against the instrument; ``ValueError`` where they cannot be."""
    how = key.score if score is None else score
    require_choice(how, ("sum", "mean", "mean_of_subscales"), name="score")
    if how == "mean_of_subscales" and not key.subscales:
        raise ValueError(f"score='mean_of_subscales' needs subscales; {key.name} has none.")
    allowed = key.max_missing if max_missing is None else max_missing
    if not 0 <= allowed < len(key.items):
        raise ValueError(f"max_missing={allowed} must lie in 0 to {len(key.items) - 1}.")
    turned = frozenset(_turned_already(key, already_reversed))
    return Plan(key, how, allowed, turned, tuple(_scales(key, allowed, own=max_missing is None)))


def _turned_already(key: Instrument, done: bool | Sequence[int]) -> set[int]:
    if done is True:
        return set(key.reversed)
    turned = set() if done is False else set(done)
    unknown = sorted(turned - set(key.reversed))
    if unknown:
        raise ValueError(f"already_reversed names item {unknown[0]}; {key.name} reverses {list(key.reversed)}.")
    return turned


def _scales(key: Instrument, allowed: int, *, own: bool) -> list[Scale]:
    """The subscales with the number of missing answers allowed in each: the published one, or the same share."""
    found = []
    for name, items in key.subscales.items():
        share = allowed * len(items) // len(key.items)
        limit = key.max_missing_subscale if own and key.max_missing_subscale is not None else share
        found.append(Scale(name, [key.items.index(item) for item in items], min(limit, len(items) - 1)))
    return found


def score_rows(values: Sequence[FloatArray], plan: Plan) -> Scores:
    """The scores of rows of answers (of each item an array over rows, as answered)."""
    key, everything = plan.key, Scale("", list(range(len(values))), plan.allowed)
    reverse = plan.reverse
    keyed = [key.low + key.high - item if place in reverse else item for place, item in enumerate(values)]
    answered = [~np.isnan(item) for item in keyed]
    filled = _filled(keyed, answered, plan)
    there = answered if filled is keyed else [~np.isnan(item) for item in filled]
    n_items = _count(answered, everything.columns)
    if n_items.min() < len(values):
        filled = [np.where(own, item, 0.0) for own, item in zip(there, filled)]
    counted = _Counted(filled, there, answered)
    parts = {scale.name: _score(counted, scale, plan.how) * key.factor for scale in plan.scales}
    total = _score(counted, everything, plan.how) * key.factor
    if plan.how == "mean_of_subscales":
        total = np.mean([parts[scale.name] for scale in plan.scales], axis=0)
        total[len(values) - n_items > plan.allowed] = np.nan
    return Scores(total, parts, n_items, straight_lines(values), keyed)


def all_whole(values: Sequence[FloatArray]) -> bool:
    """Whether there is no fraction in the answers; missing ones do not count."""
    for item in values:
        broken = np.floor(item) != item  # NaN is not equal to itself either
        if broken.any() and (broken & ~np.isnan(item)).any():
            return False
    return True


def _filled(keyed: list[FloatArray], answered: list[BoolArray], plan: Plan) -> list[FloatArray]:
    """Answers after reversal, missing ones filled where the instrument fills them one by one (OQ-45)."""
    if plan.key.missing != "subscale_mean_rounded":
        return keyed
    filled = keyed.copy()
    for scale in plan.scales or [Scale("", list(range(len(keyed))), 0)]:
        columns = scale.columns
        n = _count(answered, columns)
        total = np.nansum([keyed[column] for column in columns], axis=0)
        mean = np.floor(total / np.where(n > 0, n, 1) + 0.5)  # halves upwards, as by hand
        mean[n == 0] = np.nan
        for column in columns:
            filled[column] = np.where(answered[column], keyed[column], mean)
    return filled


class _Counted(NamedTuple):
    """Answers with zero for missing; which of them are there, given or filled; and which were given."""

    values: list[FloatArray]
    there: list[BoolArray]
    answered: list[BoolArray]


def _count(masks: Sequence[BoolArray], columns: Sequence[int]) -> IntArray:
    """How many of some columns hold, row by row."""
    n = np.zeros(len(masks[0]), dtype=np.int16)
    for column in columns:
        n += masks[column]
    return n.astype(np.int64)


def _score(counted: _Counted, scale: Scale, how: str) -> FloatArray:
    """Sum or mean over a scale's items; missing answers as the mean of the present ones, NaN with too many missing."""
    total = counted.values[scale.columns[0]].copy()
    for column in scale.columns[1:]:
        total += counted.values[column]
    present = _count(counted.there, scale.columns)
    given = present if counted.answered is counted.there else _count(counted.answered, scale.columns)
    n = len(scale.columns)
    with np.errstate(invalid="ignore"):
        mean = total / present  # nothing there: NaN
    result = np.where(present == n, total, mean * n) if how == "sum" else mean  # a complete sum stays exact
    result[n - given > scale.max_missing] = np.nan
    return result


def straight_lines(values: Sequence[FloatArray]) -> BoolArray:
    """Rows with three or more answers that are all the same, as answered."""
    lowest, highest = values[0].copy(), values[0].copy()
    for column in values[1:]:
        np.fmin(lowest, column, out=lowest)
        np.fmax(highest, column, out=highest)
    straight: BoolArray = lowest == highest
    some = np.flatnonzero(straight)
    straight[some] = sum(~np.isnan(column[some]) for column in values) >= 3
    return straight
