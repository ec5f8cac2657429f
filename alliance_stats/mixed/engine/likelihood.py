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

import numpy as np

from alliance_stats.mixed.engine.crossed import Crossed, CrossedSpec
from alliance_stats.mixed.engine.nested import Nested, NestedSpec
from alliance_stats.mixed.engine.products import Products
from alliance_stats.mixed.engine.residual import Change, Whitened
from alliance_stats.mixed.engine.small import apply, pair_table, paired, posterior, times
from alliance_stats.tables.arrays import FloatArray


@dataclass(frozen=True)
class Directions:
    """The variance parameters as directions of D and T."""

    # ``("inner", i, j)`` an element of D, ``("outer", i, j)`` of T, ``("residual", 0, 0)``
    keys: tuple[tuple[str, int, int], ...]
    # inner, outer: (parameters, a, a), (parameters, r, r); ones at (i, j) and (j, i) of the parameter's own matrix
    inner: FloatArray
    outer: FloatArray


@dataclass(frozen=True)
class Curvature:
    """Derivatives with respect to the variance parameters."""

    log_det: FloatArray  # (parameters,): d log|V|
    cross: FloatArray  # (parameters, k, k): d W'V^-1 W
    # (parameters, parameters): tr(V^-1 dV V^-1 dV') / 2, leaving out the small terms between different groups of one
    # outer level and some of the residual parameter's: it steers the search, nothing that is reported
    information: FloatArray


@dataclass(frozen=True)
class Evaluation:
    """log|V| and W'V^-1 W with their derivatives; per group what predictions need."""

    log_det: float
    cross: FloatArray  # (k, k): W'V^-1 W
    curvature: Curvature
    inner_cross: FloatArray  # (a, k, m): A'V^-1 W of every group
    gram: FloatArray  # (extended a, extended a, m): A'V1^-1 A of every group: without the outer level
    level: Nested | Crossed | None  # The outer level


@dataclass(frozen=True)
class _Groups:
    """Every group at one value of the parameters: D, A'V1^-1 A, A'V^-1 W, and the outer level."""

    cov: FloatArray
    gram: FloatArray
    w: FloatArray
    level: Nested | Crossed | None

    def lever(self) -> FloatArray:
        """L' = I - D G over the columns that have a random effect."""
        a = len(self.cov)
        out = -apply(self.cov, self.gram[:a, :a])
        for i in range(a):
            out[i, i] += 1.0
        return out


def evaluate(
    whitened: tuple[Whitened, Change | None],
    products: Products,
    cov: FloatArray,
    outer_cov: FloatArray | None,
    spec: NestedSpec | CrossedSpec | None,
    directions: Directions,
) -> Evaluation:
    """Evaluate one or two levels.

    Columns of W that are columns of A (`products.same`) have B = I and E = 0: their part of w is one of G. `whitened`
    is the residual's structure and its derivative by the residual parameter; `products` holds B (with a crossed outer
    factor A has that factor's slots as further columns); `cov` (a, a) is D, with zero rows for effects of the outer
    factor only, and `outer_cov` (r, r) is T.
    """
    white, change = whitened
    a, same, coef = len(cov), products.same, products.coef
    size, gram = posterior(white.gram, white.det, cov)
    cross = np.empty((products.k, products.k))
    w = np.empty((len(gram), products.k, gram.shape[-1]))
    for j, effect in same:
        w[:, j] = gram[:, effect]
    if white.cross is None:
        for place, j in enumerate(products.moving):  # one by one: all at once need memory that is given back each time
            w[:, j] = times(gram, coef[:, place, None])[:, 0]
        left = white.total + paired(coef, w)[:, products.moving_columns]
    else:
        pulled = coef.copy()
        pulled[:a] -= apply(cov, white.cross[:a])
        seen = times(gram, pulled)
        seen += white.cross
        reach = coef.copy()
        reach[:a] -= apply(cov, seen[:a])
        left = white.total + paired(coef, seen) + paired(white.cross, reach)
        w[:, products.moving_columns] = seen
    cross[products.moving_block] = left
    for j, effect in same:
        cross[j] = cross[:, j] = w[effect].sum(axis=-1)
    log_det = white.log_det + float(np.log(size).sum())
    level: Nested | Crossed | None = None
    if spec is not None and outer_cov is not None:
        level = spec.level_at(gram, w, outer_cov)
        log_det += float(level.log_det)
        cross -= level.reduction
        w = level.adjust(w)
    cross = (cross + cross.T) / 2
    curvature = _curvature(directions, change, products, _Groups(cov, gram, w, level))
    return Evaluation(log_det, cross, curvature, w, gram, level)


def _curvature(directions: Directions, change: Change | None, products: Products, groups: _Groups) -> Curvature:
    """D log|V| = tr(A'V^-1 A dD) and d W'V^-1 W = -W'V^-1 A dD A'V^-1 W, likewise over T; then the residual's."""
    k, a, count, level = products.k, len(groups.cov), len(directions.keys), groups.level
    log_det, cross = np.zeros(count), np.zeros((count, k, k))
    full = groups.gram if level is None else level.condition(groups.gram)
    steer = _information(directions, full[:a, :a], level)
    tables = {"inner": (full.sum(axis=-1), _cross_table(groups.w[:a]))}
    if level is not None:
        tables["outer"] = (level.full.sum(axis=-1), _cross_table(level.cross))
    for number, (kind, i, j) in enumerate(directions.keys):
        if kind in tables:
            total, table = tables[kind]
            log_det[number] = total[i, j] * (1.0 if i == j else 2.0)
            cross[number] = -table[i, :, j] if i == j else -(table[i, :, j] + table[j, :, i])
        elif change is not None:
            log_det[number], cross[number] = _residual_score(change, products, groups)
            row, own = _residual_information(change, directions, groups)
            steer[number] += row
            steer[:, number] += row
            steer[number, number] = own
    return Curvature(log_det, cross, steer)


def _cross_table(w: FloatArray) -> FloatArray:
    """T[i, u, j, v] = sum over groups of w_iu w_jv."""
    flat = w.reshape(-1, w.shape[-1])
    return np.asarray(flat @ flat.T).reshape(*w.shape[:2], *w.shape[:2])


def _residual_score(change: Change, products: Products, groups: _Groups) -> tuple[float, FloatArray]:
    """The derivatives by rho of log|V| and W'V^-1 W.

    With dR^-1 the derivative of R^-1 and Psi the conditional covariance of all random effects given y,

        d log|V| = d log|R| + tr(Psi A'dR^-1 A),
        d W'V^-1 W = E'dR^-1 E + c'A'dR^-1 E + E'dR^-1 A c + c'A'dR^-1 A c,

    where R V^-1 W = E + A c, c = B - D w - (outer effects): the envelope theorem, as c minimises the penalised sum of
    squares. Without an outer level Psi = D L, L = I - G D.
    """
    cov, w, level = groups.cov, groups.w, groups.level
    a = len(cov)
    spread = apply(cov, times(groups.lever().transpose(1, 0, 2), change.gram[:a, :a]))  # Psi A'dR^-1 A
    log_det = change.log_det + sum(float(spread[i, i].sum()) for i in range(a))
    reach = np.zeros((len(groups.gram), *w.shape[1:]))  # c
    reach[:a] = -apply(cov, w[:a])
    for j, effect in products.same:
        reach[effect, j] += 1.0
    reach[:, products.moving_columns] += products.coef
    if level is not None:
        level.take_modes(reach)
        further = np.zeros_like(groups.gram)
        level.add_spread(further, cov)
        log_det += float(np.vdot(further, change.gram))
    cross = paired(reach, times(change.gram, reach))
    moving = products.moving_columns
    cross[products.moving_block] += change.total
    if change.cross is not None:
        mixed = paired(reach, change.cross)
        cross[:, moving] += mixed
        cross[moving] += mixed.T
    return log_det, cross


def _residual_information(change: Change, directions: Directions, groups: _Groups) -> tuple[FloatArray, float]:
    """Half of tr(V^-1 dR V^-1 dV') for every parameter, by A'V^-1 dR V^-1 A = -L (A'dR^-1 A) L', and for rho itself."""
    a, count = len(groups.cov), len(directions.keys)
    lever = groups.lever()
    held = times(lever.transpose(1, 0, 2), change.gram[:a, :a])
    seen = paired(held.transpose(1, 0, 2), lever)
    spread = apply(groups.cov, held)
    row = -directions.inner.reshape(count, -1) @ seen.ravel() / 2
    return row, change.information - float(np.vdot(spread, spread.transpose(1, 0, 2))) / 2


def _information(directions: Directions, full: FloatArray, level: Nested | Crossed | None) -> FloatArray:
    """Half the sum of tr(dD g dD' g) over groups and outer levels, g = A'V^-1 A and U'V^-1 U."""
    count = len(directions.keys)
    inner = directions.inner.reshape(count, -1)
    out = inner @ _by_pairs(pair_table(full)) @ inner.T
    if level is not None:
        outer = directions.outer.reshape(count, -1)
        both = inner @ _by_pairs(level.between(), split=True) @ outer.T
        out += outer @ _by_pairs(level.information()) @ outer.T + both + both.T
    return np.asarray(out / 2)


def _by_pairs(table: FloatArray, *, split: bool = False) -> FloatArray:
    """T[p, u, q, v] (or, split, [p, q, u, v]) as a matrix with rows (p, q) and columns (u, v)."""
    ordered = table if split else table.transpose(0, 2, 1, 3)
    return ordered.reshape(ordered.shape[0] * ordered.shape[1], -1)
