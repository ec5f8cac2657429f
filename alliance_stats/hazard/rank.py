"""Estimates that do not exist: aliased columns, and terms that separate events from non-events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alliance_stats.tables.arrays import FloatArray

ALIASED = 1e-9
"""A column is aliased if the earlier ones leave less than this share of its (centred) sum of squares."""


class Separated(ValueError):
    """The estimate is infinite: `terms` split events from non-events without overlap (Albert & Anderson 1984)."""

    def __init__(self, message: str, terms: Sequence[str]) -> None:
        self.terms = list(terms)
        super().__init__(message)


def require_full_rank(design: FloatArray, names: Sequence[str], *, intercept: bool) -> None:
    """Raise ``ValueError`` naming the first column that the earlier ones (and the intercept) determine."""
    n_rows, p = design.shape
    if not n_rows or not p:
        return
    middle = design.mean(axis=0)  # dates and years keep their digits
    moved = design - middle
    total, gram = moved.sum(axis=0), moved.T @ moved
    centred = gram - np.outer(total, total) / n_rows
    size = n_rows * (np.abs(middle) + np.sqrt(np.diag(gram) / n_rows)) ** 2
    suspects = [j for j in range(p) if centred[j, j] <= 1e-12 * size[j]]
    constant = [j for j in suspects if (design[:, j] == design[0, j]).all()]
    allowed = [j for j in constant if design[0, j] != 0][:1] if intercept else []
    bad = [j for j in constant if j not in allowed]
    if bad:
        raise ValueError(f"The term {names[bad[0]]!r} does not vary in the rows used. Leave it out.")
    varying = [j for j in range(p) if j not in constant]
    if not varying:
        return
    if intercept and not allowed:  # a model without an intercept: columns that add up to one are no alias
        centred = gram + np.outer(total, middle) + np.outer(middle, total) + n_rows * np.outer(middle, middle)
    gram = centred[np.ix_(varying, varying)]
    scale = np.sqrt(np.diag(gram))
    gram /= np.outer(scale, scale)
    lower = np.zeros_like(gram)
    for j in range(len(varying)):
        left = gram[j, j] - lower[j, :j] @ lower[j, :j]
        if left < ALIASED:
            raise ValueError(f"The term {names[varying[j]]!r} is determined by the terms before it. Leave it out.")
        lower[j, j] = np.sqrt(left)
        lower[j + 1 :, j] = (gram[j + 1 :, j] - lower[j + 1 :, :j] @ lower[j, :j]) / lower[j, j]


def leading_terms(direction: FloatArray, spread: FloatArray, names: Sequence[str]) -> list[str]:
    """The terms that carry a direction, by their share of it over the spread of the data."""
    share = np.abs(direction) * spread
    return [names[j] for j in np.argsort(-share, kind="stable") if share[j] > 0.2 * share.max()][:5]
