"""Items that run against the rest of their scale: asked about, never flipped."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.score.blocks import FloatArray, Plan

MIN_ROWS_FOR_QUESTION = 20
QUESTION_BELOW = -0.1


class Moments:
    """Sums and cross-products of the complete rows of keyed answers, gathered block by block."""

    def __init__(self, n_items: int, middle: float) -> None:
        self.n, self.middle = 0, middle
        self.total = np.zeros(n_items)
        self.cross = np.zeros((n_items, n_items))

    def add(self, keyed: FloatArray, complete: Any) -> None:
        """Add the complete rows of a block; centred at the middle of the range, so that nothing is lost."""
        rows = (keyed if complete.all() else keyed[complete]) - self.middle
        self.n += len(rows)
        self.total += rows.sum(axis=0)
        self.cross += rows.T @ rows

    def covariance(self) -> FloatArray:
        """Covariances of the items up to a factor."""
        covariance: FloatArray = self.cross - np.outer(self.total, self.total) / self.n
        return covariance


def questions(moments: Moments, plan: Plan, into: str) -> list[str]:
    """One sentence about the reversed items, and one about the others, that run against the rest after reversal."""
    key = plan.key
    if moments.n < MIN_ROWS_FOR_QUESTION or len(key.items) < 3:
        return []
    correlation = item_rest_correlations(moments.covariance())
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


def item_rest_correlations(covariance: FloatArray) -> FloatArray:
    """Correlation of each item with the sum of the others, from their covariances; NaN for a constant item.

    >>> item_rest_correlations(np.array([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]])).tolist()
    [nan, nan, -1.0]
    """
    own, with_all = np.diag(covariance), covariance.sum(axis=1)
    rest = covariance.sum() - 2 * with_all + own
    scale = np.sqrt(np.clip(own * rest, 0, None))
    tiny = scale <= 1e-12 * max(float(own.max(initial=0.0)), 1e-300)
    return np.where(tiny, np.nan, (with_all - own) / np.where(tiny, 1.0, scale))
