"""What a design matrix cannot tell: aliased columns, and directions along which a likelihood rises for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

ALIASED = 1e-9
"""A column is aliased if the earlier ones leave less than this share of its (centred) sum of squares."""


class Separated(ValueError):
    """The estimate is infinite: `terms` split events from non-events without overlap (Albert & Anderson 1984)."""

    def __init__(self, message: str, terms: Sequence[str]) -> None:
        self.terms = list(terms)
        super().__init__(message)


def require_full_rank(design: Array, names: Sequence[str], *, intercept: bool) -> None:
    """Raise ``ValueError`` naming the first column that the earlier ones (and the intercept) determine."""
    constant = np.ptp(design, axis=0) == 0 if len(design) else np.ones(design.shape[1], dtype=bool)
    constants = np.flatnonzero(constant)
    allowed = 1 if intercept and any(design[0, j] != 0 for j in constants) else 0
    nonzero = [j for j in constants if design[0, j] != 0]
    bad = [j for j in constants if j not in nonzero[:allowed]]
    if bad:
        raise ValueError(f"The term {names[int(bad[0])]!r} does not vary in the rows used. Leave it out.")
    varying = np.flatnonzero(~constant)
    if not len(varying):
        return
    centre = design[:, varying].mean(axis=0) if allowed or not intercept else np.zeros(len(varying))
    gram = np.zeros((len(varying), len(varying)))
    for begin in range(0, len(design), 65536):
        block = design[begin : begin + 65536, varying] - centre
        gram += block.T @ block
    scale = np.sqrt(np.diag(gram))
    gram /= np.outer(scale, scale)
    lower = np.zeros_like(gram)
    for j in range(len(varying)):
        left = gram[j, j] - lower[j, :j] @ lower[j, :j]
        if left < ALIASED:
            raise ValueError(f"The term {names[int(varying[j])]!r} is determined by the terms before it. Leave it out.")
        lower[j, j] = np.sqrt(left)
        lower[j + 1 :, j] = (gram[j + 1 :, j] - lower[j + 1 :, :j] @ lower[j, :j]) / lower[j, j]


def leading_terms(direction: Array, spread: Array, names: Sequence[str]) -> list[str]:
    """The terms that carry a direction, by their share of it over the spread of the data."""
    share = np.abs(direction) * spread
    return [names[j] for j in np.argsort(-share, kind="stable") if share[j] > 0.2 * share.max()][:5]
