"""log|V| and W'V^-1 W with their derivatives, from the groups' summaries (Bates et al. 2015, section 3, by groups).

Notation, in units of the residual variance: group i has y_i = X_i beta + A_i (b_i + c_j) + e_i with b_i ~ N(0, D),
c_j ~ N(0, T) shared by the groups of outer level j (T acts on the columns `outer` of A), e_i ~ N(0, R_i); K = A'R^-1 A.

    G = A'V1^-1 A = (K^-1 + D)^-1 = (I + K D)^-1 K            V1: without the outer level
    w = A'V1^-1 W = G B + (I + K D)^-1 h                      W = A B + E, h = A'R^-1 E
    W'V1^-1 W = E'R^-1 E + B'w + h'(B - D w)
    log|V1|   = log|R| + log|I + K D|

The outer level adds, with S = sum of G and F = sum of w over its groups (rows `outer`), P = T (I + S T)^-1:

    W'V^-1 W = W'V1^-1 W - F'P F,   log|V| = log|V1| + log|I + S T|,   A'V^-1 W = w - G[:, outer] P F.

Derivatives use A'V^-1 A and A'V^-1 W only: d(W'V^-1 W) = -W'V^-1 dV V^-1 W, d log|V| = tr(V^-1 dV).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.mixed.crossed import Crossed, CrossedSpec
from alliance_stats.mixed.nested import Nested, NestedSpec
from alliance_stats.mixed.residual import Change, Whitened
from alliance_stats.mixed.small import apply, pair_table, posterior, sandwich, times

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Directions:
    """The variance parameters as directions of D and T.

    Attributes
    ----------
    keys : tuple of (kind, i, j)
        ``("inner", i, j)`` an element of D, ``("outer", i, j)`` of T, ``("residual", which, 0)``.
    inner, outer : (parameters, a, a), (parameters, r, r) arrays
        Ones at (i, j) and (j, i) of the parameter's own matrix.
    """

    keys: tuple[tuple[str, int, int], ...]
    inner: FloatArray
    outer: FloatArray


@dataclass(frozen=True)
class Curvature:
    """Derivatives with respect to the variance parameters.

    Attributes
    ----------
    log_det : (parameters,) array
        d log|V|.
    cross : (parameters, k, k) array
        d W'V^-1 W.
    information : (parameters, parameters) array or None
        tr(V^-1 dV V^-1 dV') / 2, leaving out the small terms between different groups of one outer level and an exact
        entry for the residual parameters: it steers the search, nothing that is reported.
    """

    log_det: FloatArray
    cross: FloatArray
    information: FloatArray | None


@dataclass(frozen=True)
class Evaluation:
    """log|V|, W'V^-1 W and, where asked for, their derivatives; per group what predictions need.

    Attributes
    ----------
    log_det : float
    cross : (k, k) array
        W'V^-1 W.
    curvature : Curvature or None
    inner_cross : (a, k, m) array
        A'V^-1 W of every group.
    gram : (extended a, extended a, m) array
        A'V1^-1 A of every group: without the outer level.
    level : Nested, Crossed or None
        The outer level.
    """

    log_det: float
    cross: FloatArray
    curvature: Curvature | None
    inner_cross: FloatArray
    gram: FloatArray
    level: Nested | Crossed | None


def evaluate(
    white: Whitened,
    coef: FloatArray,
    cov: FloatArray,
    outer_cov: FloatArray | None,
    spec: NestedSpec | CrossedSpec | None,
    *,
    directions: Directions | None = None,
    changes: tuple[Change, ...] = (),
    information: bool = True,
) -> Evaluation:
    """Evaluate one or two levels.

    Parameters
    ----------
    white : Whitened
        The residual's structure.
    coef : (a, k, m) array
        B; with a crossed outer factor A has that factor's slots as further columns.
    cov, outer_cov : (a, a), (r, r) arrays
        D (zero rows for effects of the outer factor only) and T.
    spec : NestedSpec, CrossedSpec or None
        The outer level.
    directions : Directions, optional
        Derivatives are formed where given.
    changes : tuple of Change
        The residual parameters' derivatives.
    information : bool
        Whether to form the expected information as well.
    """
    a = len(cov)
    size, gram = posterior(white.gram, white.det, cov)
    w = times(gram, coef)
    if white.cross is not None:
        w += white.cross - times(gram[:, :a], apply(cov, white.cross[:a]))
    cross = white.total + sum(coef[i] @ w[i].T for i in range(len(coef)))
    if white.cross is not None:
        reach = coef.copy()
        reach[:a] -= apply(cov, w[:a])
        cross = cross + sum(white.cross[i] @ reach[i].T for i in range(len(coef)))
    log_det = white.log_det + float(np.log(size).sum())
    level: Nested | Crossed | None = None
    if spec is not None and outer_cov is not None:
        level = spec.level_at(gram, w, outer_cov)
        log_det += float(level.log_det)
        cross = cross - level.reduction
        w = level.adjust(w)
    cross = (cross + cross.T) / 2
    curvature = None
    if directions is not None:
        curvature = _curvature(directions, coef, cov, gram, w, level, changes, information)
    return Evaluation(log_det, cross, curvature, w, gram, level)


def _curvature(
    directions: Directions,
    coef: FloatArray,
    cov: FloatArray,
    gram: FloatArray,
    w: FloatArray,
    level: Nested | Crossed | None,
    changes: tuple[Change, ...],
    information: bool,
) -> Curvature:
    k, a, count = coef.shape[1], len(cov), len(directions.keys)
    log_det, cross = np.zeros(count), np.zeros((count, k, k))
    full = gram if level is None else level.condition(gram)
    sums = full.sum(axis=-1)
    outer_full = outer_cross = None
    if level is not None:
        outer_full, outer_cross = level.full.sum(axis=-1), level.cross
    for number, (kind, i, j) in enumerate(directions.keys):
        if kind == "residual":
            log_det[number], cross[number] = _residual_derivative(changes[i], coef, cov, gram, w, level)
            continue
        total, by_group = (sums, w) if kind == "inner" else (outer_full, outer_cross)
        assert total is not None
        assert by_group is not None
        log_det[number] = total[i, j] * (1.0 if i == j else 2.0)
        product = by_group[i] @ by_group[j].T
        cross[number] = -product if i == j else -(product + product.T)
    steer = _information(directions, full[:a, :a], level, changes) if information else None
    return Curvature(log_det, cross, steer)


def _residual_derivative(
    change: Change, coef: FloatArray, cov: FloatArray, gram: FloatArray, w: FloatArray, level: Nested | Crossed | None
) -> tuple[float, FloatArray]:
    """With V^-1 W = R^-1 (E + A c), c = B - D w - (outer effects), and the conditional covariance Psi of b + c."""
    a = len(cov)
    reach = coef.copy()
    reach[:a] -= apply(cov, w[:a])
    psi = np.zeros_like(gram)
    psi[:a, :a] = cov[:, :, None] - sandwich(cov, gram[:a, :a])
    if level is not None:
        level.take_modes(reach)
        level.add_spread(psi, cov)
    log_det = change.log_det + float(np.einsum("abm,abm->", psi, change.gram))
    moved = times(change.gram, reach)
    cross = change.total + sum(reach[i] @ moved[i].T for i in range(len(reach)))
    if change.cross is not None:
        mixed = sum(reach[i] @ change.cross[i].T for i in range(len(reach)))
        cross = cross + mixed + mixed.T
    return log_det, cross


def _information(
    directions: Directions, full: FloatArray, level: Nested | Crossed | None, changes: tuple[Change, ...]
) -> FloatArray:
    """Half the sum of tr(dD g dD' g) over groups and outer levels, g = A'V^-1 A and U'V^-1 U."""
    count = len(directions.keys)
    inner = directions.inner.reshape(count, -1)
    out = inner @ _by_pairs(pair_table(full)) @ inner.T
    if level is not None:
        outer = directions.outer.reshape(count, -1)
        both = inner @ _by_pairs(level.between(), split=True) @ outer.T
        out += outer @ _by_pairs(level.information()) @ outer.T + both + both.T
    for number, (kind, which, _) in enumerate(directions.keys):
        if kind == "residual":
            out[number, number] += 2 * changes[which].information
    return np.asarray(out / 2)


def _by_pairs(table: FloatArray, *, split: bool = False) -> FloatArray:
    """T[p, u, q, v] (or, split, [p, q, u, v]) as a matrix with rows (p, q) and columns (u, v)."""
    ordered = table if split else table.transpose(0, 2, 1, 3)
    return ordered.reshape(ordered.shape[0] * ordered.shape[1], -1)
