"""Answers that look wrong: asked about, never changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.score.totals import Plan, Scores
from alliance_stats.tables.arrays import FloatArray

MIN_ROWS_FOR_QUESTION = 20
QUESTION_BELOW = -0.1
MOST_STRAIGHT = 0.5
FAR = 0.15  # Share of the range by which means of items must lie beyond its middle to tell their direction


def questions(scores: Scores, plan: Plan, into: str) -> list[str]:
    """One sentence about the reversed items, and one about the others, that run against the rest after reversal."""
    key = plan.key
    answered = np.flatnonzero(scores.n_items == len(key.items))
    if len(answered) < MIN_ROWS_FOR_QUESTION or len(key.items) < 3:
        return []
    complete = [item[answered] for item in scores.keyed]
    total = np.sum(complete, axis=0)
    total -= total.mean()
    squares = [item @ item - item.sum() ** 2 / len(item) for item in complete]
    correlation = item_rest_correlations(np.array(squares), np.array([total @ item for item in complete]))
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
    turned = middle - np.mean([answers[place] for place in plan.reverse], axis=0)  # after reversal
    rest = np.mean([answers[place] for place in others], axis=0) - middle
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


def straight_throughout(scores: Scores, key: Instrument, into: str) -> list[str]:
    """A remark where most sheets have the same answer to every item."""
    straight = scores.straight[scores.n_items >= 3]
    if len(straight) < MIN_ROWS_FOR_QUESTION or straight.mean() < MOST_STRAIGHT:
        return []
    share = f"{100 * straight.mean():.0f} %"
    return [f"{into}: in {share} of the rows all items of {key.name} have the same answer. Were they really answered?"]


def coded_one_lower(
    table: pd.DataFrame, columns: list[str], n_out_of_range: Any, key: Instrument, into: str
) -> list[str]:
    """A question where every answer that counts as missing is the one just below the range."""
    n = int(n_out_of_range.sum())
    if not n or n != int((table[columns] == key.low - 1).to_numpy().sum()):
        return []
    return [
        f"{into}: all {n} answers outside the range of {key.name} are {key.low - 1:g}, and count as missing. Are the "
        f"answers of some rows coded from {key.low - 1:g} to {key.high - 1:g}?"
    ]
