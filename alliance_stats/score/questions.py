"""Items that run against the rest of their scale: asked about, never flipped."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.score.blocks import FloatArray, Plan

MIN_ROWS_FOR_QUESTION = 20
QUESTION_BELOW = -0.1


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
            f"items turned round already? If so: already_reversed={keyed_reversed}. Nothing was changed."
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
