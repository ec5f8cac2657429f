"""The rows' covariance matrix V written out, block by block: for small-sample methods that need V itself.

The engine never forms V; Kenward-Roger and cluster-robust covariances are defined over it. Blocks are the levels of
the top grouping factor (rows of different blocks are independent); with crossed factors all rows are one block, so
these methods are for studies of up to some thousand rows a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray, IntArray

LARGEST_BLOCK = 5000  # Rows of a block up to which V is written out: 200 MB for each matrix


@dataclass(frozen=True)
class MarginalBlock:
    """The rows of one independent block, in internal units."""

    x: FloatArray  # (n, p): fixed columns
    residual: FloatArray  # (n,): y - X beta
    covariance: FloatArray  # (n, n): V
    changes: list[FloatArray]  # dV by each covariance of random effects, sigma^2, and rho if there is one
    bends: dict[tuple[int, int], FloatArray]  # Second derivatives that are not zero: (k, l) to an (n, n) array


def block_starts(fit: Fitted) -> IntArray:
    """The first row of each independent block, rows in the order used."""
    grouping = fit.design.grouping
    if grouping.block_starts is None:
        return np.zeros(1, dtype=np.int64)
    return np.asarray(grouping.starts[grouping.block_starts])


def check_size(fit: Fitted, *, method: str) -> None:
    """Raise ``ValueError`` where a block is too large for V to be written out."""
    largest = int(np.diff(block_starts(fit), append=fit.design.n).max())
    if largest > LARGEST_BLOCK:
        raise ValueError(
            f"{method} writes out the covariance matrix of each independent block of rows; the largest here has "
            f"{largest} rows, the limit is {LARGEST_BLOCK}. Use Satterthwaite: it agrees in large blocks."
        )


def marginal_blocks(fit: Fitted, *, derivatives: bool = False) -> Iterator[MarginalBlock]:
    """Every independent block of a fitted model, in the order used."""
    design, model, optimum = fit.design, fit.model, fit.optimum
    sigma2 = optimum.deviance.sigma2
    inner, outer, rho = model.matrices(optimum.theta)
    inner_of_row = design.grouping.inner_of_row()
    residual = design.y - optimum.deviance.beta @ design.x
    starts = block_starts(fit)
    for start, stop in zip(starts, np.append(starts[1:], design.n)):
        rows = slice(int(start), int(stop))
        a = design.effects[:, rows].T
        same_inner = _same(inner_of_row[rows])
        u, same_outer = a[:, list(model.outer_columns)], _same_outer(fit, rows)
        noise = _Noise(fit, rows, same_inner, rho)
        covariance = sigma2 * ((a @ inner @ a.T) * same_inner + noise.value)
        if outer is not None:
            covariance += sigma2 * _outer_part(u, outer, same_outer)
        changes: list[FloatArray] = []
        bends: dict[tuple[int, int], FloatArray] = {}
        if derivatives:
            for parameter in model.parameters:
                if parameter.kind == "inner":
                    changes.append(_outer_product(a, parameter.i, parameter.j) * same_inner)
                elif parameter.kind == "outer":
                    changes.append(_outer_product(u, parameter.i, parameter.j) * same_outer[parameter.i])
            changes.append(noise.value)
            if model.pairs is not None:
                last = len(changes)
                changes.append(sigma2 * noise.slope)
                bends = {(last - 1, last): noise.slope, (last, last): sigma2 * noise.bend}
        yield MarginalBlock(design.x[:, rows].T, residual[rows], covariance, changes, bends)


def whitened_residuals(fit: Fitted, *, most_groups: int = 2000) -> list[FloatArray]:
    """L^-1 (y - X beta) of single groups of the inner factor, V_i = L L': independent standard normal in a true model.

    Conditional residuals are not: what the random effects took up leaves them negatively correlated within a group. One
    array for each group, in the order of its rows (of time, with a serial correlation); at most `most_groups`, spread
    evenly over those there are.
    """
    design, model, optimum = fit.design, fit.model, fit.optimum
    inner, outer, rho = model.matrices(optimum.theta)
    residual = design.y - optimum.deviance.beta @ design.x
    starts, counts = design.grouping.starts, design.grouping.counts
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(len(starts), most_groups)).astype(np.int64))
    found = []
    for group in chosen:
        rows = slice(int(starts[group]), int(starts[group] + counts[group]))
        a = design.effects[:, rows].T
        covariance = a @ inner @ a.T + _Noise(fit, rows, np.ones((len(a), len(a))), rho).value
        if outer is not None:
            u = a[:, list(model.outer_columns)]
            covariance = covariance + _outer_part(u, outer, _same_outer(fit, rows))
        root = np.linalg.cholesky(optimum.deviance.sigma2 * covariance)
        found.append(np.asarray(solve_triangular(root, residual[rows], lower=True, check_finite=False)))
    return found


def _same(codes: IntArray) -> FloatArray:
    return np.asarray(codes[:, None] == codes[None, :], dtype=np.float64)


def _same_outer(fit: Fitted, rows: slice) -> list[FloatArray]:
    """For every row of T: which rows share the level of its factor."""
    masks = [_same(codes) for codes in fit.design.grouping.outer_of_row[:, rows]]
    return [mask for mask, own in zip(masks, fit.design.outer_columns) for _ in own]


def _outer_part(u: FloatArray, outer: FloatArray, same: list[FloatArray]) -> FloatArray:
    """U T U' over the outer levels."""
    return np.asarray(sum(mask * np.outer(u[:, i], u @ outer[i]) for i, mask in enumerate(same)))


def _outer_product(columns: FloatArray, i: int, j: int) -> FloatArray:
    product = np.outer(columns[:, i], columns[:, j])
    return product if i == j else product + product.T


class _Noise:
    """The residual's covariance in units of sigma^2, with its first and second derivative in rho."""

    def __init__(self, fit: Fitted, rows: slice, same: FloatArray, rho: float) -> None:
        design, pairs = fit.design, fit.model.pairs
        spread = np.ones(rows.stop - rows.start) if design.weights is None else 1 / np.sqrt(design.weights[rows])
        scale = np.outer(spread, spread)
        if pairs is None or design.time is None:
            self.value = np.diag(spread**2)
            return
        gap = np.abs(design.time[rows][:, None] - design.time[rows][None, :]) / pairs.unit
        gap = np.where(same > 0, gap, 0.0)
        base = rho if rho != 0 else 1e-12
        power = np.power(base, gap)
        self.value = power * same * scale
        self.slope = gap * power / base * same * scale
        self.bend = gap * (gap - 1) * power / base**2 * same * scale
