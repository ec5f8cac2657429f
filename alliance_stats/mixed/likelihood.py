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

from alliance_stats.mixed.products import segment_sum
from alliance_stats.mixed.residual import Change, Whitened

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Curvature:
    """Derivatives with respect to the variance parameters.

    Attributes
    ----------
    log_det : (parameters,) array
        d log|V|.
    cross : (parameters, k, k) array
        d W'V^-1 W.
    information : (parameters, parameters) array
        tr(V^-1 dV V^-1 dV') / 2; blocks of the residual parameters are approximate.
    """

    log_det: FloatArray
    cross: FloatArray
    information: FloatArray


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
    inner_gram : (a, a, m) array
        A'V1^-1 A of every group: without the outer level.
    outer_cross : (r, k, J) array or None
        U'V^-1 W of every outer level.
    outer_gram : (r, r, J) array or None
        U'V1^-1 U of every outer level (S).
    outer_cov : (r, r, J) array or None
        P, the conditional covariance of the outer effects.
    """

    log_det: float
    cross: FloatArray
    curvature: Curvature | None
    inner_cross: FloatArray
    inner_gram: FloatArray
    outer_cross: FloatArray | None
    outer_gram: FloatArray | None
    outer_cov: FloatArray | None


def posterior(gram: FloatArray, det: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
    """det(I + K D) of every group, and G = (I + K D)^-1 K; closed forms for one and two effects."""
    a = len(cov)
    if a == 1:
        size = 1 + gram[0, 0] * cov[0, 0]
        return size, gram / size
    if a == 2:
        det_cov = cov[0, 0] * cov[1, 1] - cov[0, 1] ** 2
        size = 1 + (gram[0, 0] * cov[0, 0] + 2 * gram[0, 1] * cov[0, 1] + gram[1, 1] * cov[1, 1]) + det * det_cov
        out = np.empty_like(gram)
        inverse = 1 / size
        out[0, 0] = (gram[0, 0] + det * cov[1, 1]) * inverse
        out[1, 1] = (gram[1, 1] + det * cov[0, 0]) * inverse
        out[0, 1] = out[1, 0] = (gram[0, 1] - det * cov[0, 1]) * inverse
        return size, out
    stacked = np.ascontiguousarray(np.moveaxis(gram, -1, 0))
    matrix = np.eye(a) + stacked @ cov
    solved = np.linalg.solve(matrix, stacked)
    solved = (solved + solved.transpose(0, 2, 1)) / 2
    return np.linalg.det(matrix), np.ascontiguousarray(np.moveaxis(solved, 0, -1))


def times(left: FloatArray, right: FloatArray) -> FloatArray:
    """The matrix product of every group: (a, b, m) by (b, c, m)."""
    out = left[:, 0, None] * right[None, 0]
    for b in range(1, left.shape[1]):
        out += left[:, b, None] * right[None, b]
    return out


def evaluate(
    white: Whitened,
    coef: FloatArray,
    cov: FloatArray,
    outer_cov: FloatArray | None,
    *,
    outer: tuple[int, ...] = (),
    outer_starts: IntArray | None = None,
    parameters: tuple[tuple[str, int, int], ...] | None = None,
    changes: tuple[Change, ...] = (),
    n: int = 0,
) -> Evaluation:
    """Evaluate one or two nested levels.

    Parameters
    ----------
    white : Whitened
        The residual's structure.
    coef : (a, k, m) array
        B.
    cov, outer_cov : (a, a), (r, r) arrays
        D (zero rows for effects of the outer factor only) and T.
    outer : tuple of int
        The columns of A that T acts on.
    outer_starts : (J,) int array
        The first group of each outer level.
    parameters : tuple of (kind, i, j), optional
        ``("inner", i, j)`` an element of D, ``("outer", i, j)`` of T, ``("residual", which, 0)``; derivatives are
        formed where given.
    changes : tuple of Change
        The residual parameters' derivatives.
    """
    size, gram = posterior(white.gram, white.det, cov)
    w = times(gram, coef)
    if white.cross is not None:
        w += white.cross - times(gram, np.tensordot(cov, white.cross, 1))
    cross = white.total + sum(coef[i] @ w[i].T for i in range(len(cov)))
    if white.cross is not None:
        reach = coef - np.tensordot(cov, w, 1)
        cross = cross + sum(white.cross[i] @ reach[i].T for i in range(len(cov)))
    log_det = white.log_det + float(np.log(size).sum())
    level: _Outer | None = None
    if outer_cov is not None and outer_starts is not None:
        level = _Outer.form(gram, w, outer_cov, outer, outer_starts)
        log_det += level.log_det
        cross = cross - level.reduction
        w = w - times(level.reach, level.spread(level.pull))
    cross = (cross + cross.T) / 2
    curvature = None
    if parameters is not None:
        curvature = _curvature(parameters, white, coef, cov, outer_cov, gram, w, level, changes)
    if level is None:
        return Evaluation(log_det, cross, curvature, w, gram, None, None, None)
    return Evaluation(log_det, cross, curvature, w, gram, level.cross, level.gram, level.cov)


@dataclass(frozen=True)
class _Outer:
    """The outer level: S, F, P and what follows from them."""

    columns: tuple[int, ...]
    counts: IntArray
    starts: IntArray
    gram: FloatArray
    full_gram: FloatArray
    cross: FloatArray
    cov: FloatArray
    pull: FloatArray
    reach: FloatArray
    reduction: FloatArray
    log_det: float

    @classmethod
    def form(
        cls, gram: FloatArray, w: FloatArray, cov: FloatArray, columns: tuple[int, ...], starts: IntArray
    ) -> _Outer:
        chosen = list(columns)
        reach = gram[:, chosen]
        s = segment_sum(reach[chosen], starts)
        f = segment_sum(w[chosen], starts)
        if len(chosen) == 1:
            size = 1 + s[0, 0] * cov[0, 0]
            post, full = cov[0, 0] / size[None, None], s / size
            cross = f / size
            log_det = float(np.log(size).sum())
        else:
            size, full = posterior(s, _det2(s), cov)
            post = cov[:, :, None] - np.einsum("ab,bcj,cd->adj", cov, full, cov)
            cross = f - times(full, np.tensordot(cov, f, 1))
            log_det = float(np.log(size).sum())
        pull = np.tensordot(cov, cross, 1)
        reduction = sum(f[i] @ pull[i].T for i in range(len(chosen)))
        counts = np.diff(starts, append=gram.shape[-1])
        return cls(columns, counts, starts, s, full, cross, post, pull, reach, np.asarray(reduction), log_det)

    def spread(self, values: FloatArray) -> FloatArray:
        """One value per outer level repeated over its groups."""
        return np.repeat(values, self.counts, axis=-1)


def _det2(gram: FloatArray) -> FloatArray:
    if len(gram) != 2:
        return np.empty(0)
    return np.asarray(np.maximum(gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2, 0.0))


def _curvature(
    parameters: tuple[tuple[str, int, int], ...],
    white: Whitened,
    coef: FloatArray,
    cov: FloatArray,
    outer_cov: FloatArray | None,
    gram: FloatArray,
    w: FloatArray,
    level: _Outer | None,
    changes: tuple[Change, ...],
) -> Curvature:
    k = coef.shape[1]
    a, count = len(cov), len(parameters)
    log_det, cross = np.zeros(count), np.zeros((count, k, k))
    full = gram
    if level is not None:
        held = times(level.reach, level.spread(level.cov))
        full = gram - times(held, level.reach.transpose(1, 0, 2))
    sums = full.sum(axis=-1)
    for number, (kind, i, j) in enumerate(parameters):
        twice = 1.0 if i == j else 2.0
        if kind == "inner":
            log_det[number] = twice * sums[i, j]
            product = w[i] @ w[j].T
            cross[number] = -product if i == j else -(product + product.T)
        elif kind == "outer" and level is not None:
            log_det[number] = twice * float(level.full_gram[i, j].sum())
            product = level.cross[i] @ level.cross[j].T
            cross[number] = -product if i == j else -(product + product.T)
        elif kind == "residual":
            change = changes[i]
            log_det[number], cross[number] = _residual_derivative(change, coef, cov, gram, w, level)
    information = _information(parameters, a, full, level, cov, changes)
    return Curvature(log_det, cross, information)


def _residual_derivative(
    change: Change, coef: FloatArray, cov: FloatArray, gram: FloatArray, w: FloatArray, level: _Outer | None
) -> tuple[float, FloatArray]:
    """With V^-1 W = R^-1 (E + A c), c = B - D w - (outer effects), and the conditional covariance Psi of b + c."""
    a = len(cov)
    reach = coef - np.tensordot(cov, w, 1)
    psi = cov[:, :, None] - np.einsum("ab,bcm,cd->adm", cov, gram, cov)
    if level is not None:
        chosen = list(level.columns)
        reach[chosen] -= level.spread(level.pull)
        lever = -np.tensordot(cov, level.reach, 1)
        for position, column in enumerate(chosen):
            lever[column, position] += 1.0
        psi += times(times(lever, level.spread(level.cov)), lever.transpose(1, 0, 2))
    log_det = change.log_det + float(np.einsum("abm,abm->", psi, change.gram))
    moved = times(change.gram, reach)
    cross = change.total + sum(reach[i] @ moved[i].T for i in range(a))
    if change.cross is not None:
        mixed = sum(reach[i] @ change.cross[i].T for i in range(a))
        cross = cross + mixed + mixed.T
    return log_det, cross


def _information(
    parameters: tuple[tuple[str, int, int], ...],
    a: int,
    full: FloatArray,
    level: _Outer | None,
    cov: FloatArray,
    changes: tuple[Change, ...],
) -> FloatArray:
    """tr(V^-1 dV V^-1 dV')/2, leaving out the small terms between different groups of one outer level."""
    inner = _pair_gram(full)
    outer = between = None
    if level is not None:
        outer = _pair_gram(level.full_gram)
        held = times(level.reach, level.spread(level.cov))
        seen = level.reach - times(held, level.spread(level.gram))
        between = np.einsum("aum,bvm->abuv", seen, seen)
    count = len(parameters)
    out = np.zeros((count, count))
    for x, (kind_x, i, j) in enumerate(parameters):
        for y, (kind_y, s, t) in enumerate(parameters[: x + 1]):
            value = 0.0
            if kind_x == kind_y and kind_x != "residual":
                table = inner if kind_x == "inner" else outer
                assert table is not None
                value = sum(table[p, u, q, v] for p, q in _both(i, j) for u, v in _both(s, t))
            elif {kind_x, kind_y} == {"inner", "outer"} and between is not None:
                (p, q), (u, v) = ((i, j), (s, t)) if kind_x == "inner" else ((s, t), (i, j))
                value = sum(between[e, f, g, h] for e, f in _both(p, q) for g, h in _both(u, v))
            elif kind_x == kind_y == "residual" and x == y:
                value = 2 * changes[i].information
            out[x, y] = out[y, x] = value / 2
    return out


def _both(i: int, j: int) -> tuple[tuple[int, int], ...]:
    return ((i, j),) if i == j else ((i, j), (j, i))


def _pair_gram(values: FloatArray) -> FloatArray:
    """T[p, u, q, v] = sum over groups of g_pu g_qv, of symmetric (a, a, m) matrices g."""
    a = len(values)
    rows, columns = np.triu_indices(a)
    flat = values[rows, columns]
    square = flat @ flat.T
    where = np.empty((a, a), dtype=np.int64)
    where[rows, columns] = where[columns, rows] = np.arange(len(rows))
    return square[where[:, :, None, None], where[None, None, :, :]]
