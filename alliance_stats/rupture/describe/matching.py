"""Pair the marks of two sources that stand near each other; arrays only."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.rupture.rules.series import IntArray


def match_within(owner_a: Any, time_a: Any, owner_b: Any, time_b: Any, *, margin: int) -> tuple[IntArray, IntArray]:
    """Pairs (a, b) of one patient at most `margin` sessions apart, each mark in one pair at most, as many as possible.

    Marks are taken from the earliest on and paired with the earliest free partner in reach, which on a line gives the
    largest number of pairs.

    Returns
    -------
    (k,) int arrays
        Positions of the paired marks in a and in b.

    Examples
    --------
    >>> a, b = match_within([0, 0], [3, 5], [0, 0], [4, 9], margin=1)
    >>> a.tolist(), b.tolist()
    ([0], [0])
    """
    owner_a, time_a = np.asarray(owner_a, dtype=np.int64), np.asarray(time_a, dtype=np.int64)
    owner_b, time_b = np.asarray(owner_b, dtype=np.int64), np.asarray(time_b, dtype=np.int64)
    order_a, order_b = np.lexsort((time_a, owner_a)), np.lexsort((time_b, owner_b))
    marks_a = list(zip(owner_a[order_a].tolist(), time_a[order_a].tolist(), strict=True))
    marks_b = list(zip(owner_b[order_b].tolist(), time_b[order_b].tolist(), strict=True))
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(marks_a) and j < len(marks_b):
        (who_a, when_a), (who_b, when_b) = marks_a[i], marks_b[j]
        if who_a == who_b and abs(when_a - when_b) <= margin:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif (who_a, when_a) < (who_b, when_b):
            i += 1
        else:
            j += 1
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return order_a[found[:, 0]], order_b[found[:, 1]]
