"""Where a search for the variance parameters begins: moments of the groups' own least-squares fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.mixed.engine.model import Model
from alliance_stats.mixed.engine.pairs import Pairs
from alliance_stats.mixed.engine.products import Basis
from alliance_stats.tables.arrays import FloatArray

_FAR = 3.0
"""Units of time between neighbours, on average, from which on their residuals tell little of a correlation."""


def start_values(model: Model) -> FloatArray:
    """D by moments: the spread of the groups' own coefficients beyond what their residuals explain.

    A serial correlation makes those coefficients vary more, and the residuals around them less: by a factor of
    (1 + rho) / (1 - rho) in long series, of about 1 + rho in short ones.
    """
    products, design = model.products, model.design
    a = len(design.effects)
    spread, rho = np.eye(a) * 0.2, 0.2 if model.pairs is not None else 0.0
    pivots = products.basis.pivots
    usable = (pivots > 0).all(axis=0) & (products.counts > a)
    rows = design.n * model.share
    spent = float((pivots > 0).sum()) / rows
    total = products.total
    within = np.append(-np.linalg.pinv(total[:-1, :-1], hermitian=True) @ total[:-1, -1], 1.0)
    rest = float(within @ total @ within)
    if usable.sum() > 2 * a and spent < 1 and rest > 0:
        longer = 1.0
        if model.pairs is not None:
            rho, longer = _start_correlation(model.pairs, within, spent)
        noise = rest / (rows * (1 - min(spent * longer, (1 + spent) / 2)))
        own = _mean_inverse(products.basis, usable) * longer
        found = np.atleast_2d(np.cov(products.coef[:, -1][:, usable])) / noise - own
        values, vectors = np.linalg.eigh((found + found.T) / 2)
        floor = 0.05 * np.diag(own).max()
        spread = (vectors * np.maximum(values, floor)) @ vectors.T
    r = len(model.outer_columns)
    outer = 0.1 * np.diag(np.diag(spread)[list(model.outer_columns)]) if r else None
    return model.vector(spread, outer, rho)


def _start_correlation(pairs: Pairs, within: FloatArray, spent: float) -> tuple[float, float]:
    """Rho and 1 + rho from neighbouring residuals, of whose degrees of freedom the share `spent` is used up."""
    most = int(np.argmax(pairs.count))
    chosen = slice(most, most + 1) if 2 * pairs.count[most] > pairs.count.sum() else slice(None)
    gap = float(pairs.count[chosen] @ pairs.gaps[chosen] / pairs.count[chosen].sum())
    tables = (table[chosen].sum(axis=0) for table in (pairs.total_own, pairs.total_lagged))
    own, lagged = (float(within @ table @ within) for table in tables)
    if gap > _FAR or own <= 0:
        return 0.2, 1.0
    seen, rho, longer = lagged / own, 0.2, 1.0
    for _ in range(3):
        share = min(spent * longer, 0.5)
        rho = min(max(seen * (1 - share) + share, 0.0), 0.7)
        longer = 1 + rho
    return max(rho, 0.05) ** (1 / gap), longer


def _mean_inverse(basis: Basis, usable: Any) -> FloatArray:
    """The mean of (A'A)^-1 over the groups `usable`, by A = O R."""
    a = len(basis.pivots)
    back = np.zeros_like(basis.upper)  # the inverse of R
    for j in range(a):
        back[j, j] = 1.0
        for i in range(j - 1, -1, -1):
            back[i, j] = -sum(basis.upper[i, k] * back[k, j] for k in range(i + 1, j + 1))
    weight = np.divide(1.0, basis.pivots, out=np.zeros_like(basis.pivots), where=usable) / usable.sum()
    weighted = (back * weight).reshape(a, -1)
    return np.asarray(weighted @ back.reshape(a, -1).T)
