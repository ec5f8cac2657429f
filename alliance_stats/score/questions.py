"""Answers that look wrong: asked about, never changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.score.blocks import Plan
from alliance_stats.tables.arrays import FloatArray

MIN_ROWS_FOR_QUESTION = 20
QUESTION_BELOW = -0.1
MOST_STRAIGHT = 0.5
FAR = 0.15
"""Share of the range by which means of items must lie beyond its middle to tell their direction."""


class Moments:
    """Sums, squares and products with the sum of all items, of the complete rows of keyed answers, block by block."""

    def __init__(self, n_items: int, middle: float) -> None:
        self.n, self.middle = 0, middle
        self.total = np.zeros(n_items)
        self.squares = np.zeros(n_items)
        self.with_all = np.zeros(n_items)

    def add(self, keyed: FloatArray, complete: Any) -> None:
        """Add the complete rows of a block without NaN; centred at the middle of the range, so that nothing is lost."""
        items = keyed.T - self.middle
        n = int(np.count_nonzero(complete))
        if n < len(keyed):
            items *= complete.astype(np.float64)  # rows of zeros add nothing to any sum
        self.n += n
        self.total += items.sum(axis=1)
        self.squares += np.einsum("ij,ij->i", items, items)
        self.with_all += items @ items.sum(axis=0)

    def item_rest_correlations(self) -> FloatArray:
        """Correlation of each item with the sum of the others."""
        variances = self.squares - self.total**2 / self.n
        return item_rest_correlations(variances, self.with_all - self.total * self.total.sum() / self.n)


def questions(moments: Moments, plan: Plan, into: str) -> list[str]:
    """One sentence about the reversed items, and one about the others, that run against the rest after reversal."""
    key = plan.key
    if moments.n < MIN_ROWS_FOR_QUESTION or len(key.items) < 3:
        return []
    correlation = moments.item_rest_correlations()
    against = {item: r for item, r in zip(key.items, correlation) if r < QUESTION_BELOW}
    asked = []
    keyed_reversed = [item for item in against if item in key.reversed and item not in plan.turned]
    if keyed_reversed:
        shown = ", ".join(f"{item} (r = {against[item]:.2f})" for item in keyed_reversed)
        asked.append(
            f"{into}: after reversal, item {shown} runs against the rest of {key.name}. Does the file hold reversed "
            f"items already reversed? If so: already_reversed={keyed_reversed}. Nothing was changed."
        )
    others = [item for item in against if item not in keyed_reversed]
    if others:
        shown = ", ".join(f"{item} (r = {against[item]:.2f})" for item in others)
        asked.append(
            f"{into}: item {shown} runs against the rest of {key.name}. Is it keyed the other way round in this "
            "study, or in another column? Nothing was changed."
        )
    return asked


def item_rest_correlations(own: FloatArray, with_all: FloatArray) -> FloatArray:
    """Correlation of each item with the sum of the others; NaN for a constant item.

    From the items' variances and their covariances with the sum of all items, both up to the same factor.

    >>> item_rest_correlations(np.array([1.0, 1, 1]), np.array([1.0, 1, -1])).tolist()  # the third is minus the first
    [nan, nan, -1.0]
    """
    rest = with_all.sum() - 2 * with_all + own
    scale = np.sqrt(np.clip(own * rest, 0, None))
    tiny = scale <= 1e-12 * max(float(own.max(initial=0.0)), 1e-300)
    return np.where(tiny, np.nan, (with_all - own) / np.where(tiny, 1.0, scale))


def turned_in_part(answers: list[FloatArray], patients: pd.Series, plan: Plan, into: str) -> list[str]:
    """A question where the reversed items of some patients, and of some only, seem to be reversed already.

    A sheet votes where the means of its reversed and of its other items both lie well beyond the middle of the range;
    a patient with two or more votes is counted where nine in ten of them say the same.
    """
    key = plan.key
    others = [position for position in range(len(key.items)) if key.items[position] not in key.reversed]
    if not plan.reverse or not others:
        return []
    middle, far = (key.low + key.high) / 2, FAR * (key.high - key.low)
    turned = middle - np.mean([answers[position] for position in plan.reverse], axis=0)  # after reversal
    rest = np.mean([answers[position] for position in others], axis=0) - middle
    straight = np.ptp(answers, axis=0) == 0
    votes = pd.DataFrame({"patient": patients.to_numpy(), "against": turned * rest < 0})
    votes = votes[(np.abs(turned) > far) & (np.abs(rest) > far) & ~straight]
    found = votes.groupby("patient")["against"].agg(["mean", "size"])
    found = found[found["size"] >= 2]
    against, fine = int((found["mean"] >= 0.9).sum()), int((found["mean"] <= 0.1).sum())
    if against < 3 or fine < 3 or against < 0.05 * (against + fine):
        return []
    return [
        f"{into}: after reversal, the reversed items run against the others in {against} patients and with them in "
        f"{fine}. Are they reversed already in a part of the file? Nothing was changed."
    ]


def straight_throughout(straight: Any, n_items: Any, key: Instrument, into: str) -> list[str]:
    """A remark where most sheets have the same answer to every item."""
    sheets = n_items >= 3
    if np.count_nonzero(sheets) < MIN_ROWS_FOR_QUESTION or straight[sheets].mean() < MOST_STRAIGHT:
        return []
    share = f"{100 * straight[sheets].mean():.0f} %"
    return [f"{into}: in {share} of the rows all items of {key.name} have the same answer. Were they really answered?"]


def coded_one_lower(answers: list[FloatArray], n_out_of_range: Any, key: Instrument, into: str) -> list[str]:
    """A question where every answer that counts as missing is the one just below the range."""
    n = int(n_out_of_range.sum())
    if not n or n != sum(int(np.count_nonzero(column == key.low - 1)) for column in answers):
        return []
    return [
        f"{into}: all {n} answers outside the range of {key.name} are {key.low - 1:g}, and count as missing. Are the "
        f"answers of some rows coded from {key.low - 1:g} to {key.high - 1:g}?"
    ]
