"""One model's deviance as a function of its variance parameters: from design and products to numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.linalg.lapack import dpotrf, dtrtri

from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.design.grouping import Grouping
from alliance_stats.mixed.engine.crossed import CrossedSpec
from alliance_stats.mixed.engine.likelihood import Curvature, Directions, Evaluation, evaluate
from alliance_stats.mixed.engine.nested import NestedSpec
from alliance_stats.mixed.engine.products import Products, build_products, with_outcome
from alliance_stats.mixed.engine.residual import Pairs, build_pairs, whiten
from alliance_stats.tables.arrays import FloatArray, IntArray

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Parameter:
    """A variance parameter."""

    kind: str  # {"inner", "outer", "residual"}
    # i, j: row and column (i >= j) in D over all effect columns, or in T over the outer factors' effects
    i: int
    j: int
    # group, term, term_2: as in the table of variances
    group: str
    term: str
    term_2: str = ""


@dataclass(frozen=True)
class Deviance:
    """The criterion at one value of the variance parameters, in internal units."""

    value: float  # -2 log-likelihood (ML) or -2 log restricted likelihood, in the user's units, sigma^2 profiled out
    beta: FloatArray  # (p,)
    sigma2: float
    unscaled: FloatArray  # (p, p): (X'V^-1 X)^-1, so that cov(beta) = sigma2 * unscaled
    gradient: FloatArray  # (parameters,)
    information: FloatArray  # (parameters, parameters): half the expected Hessian, sigma^2 profiled out
    evaluation: Evaluation


@dataclass(frozen=True)
class Model:
    """A mixed model ready to be evaluated."""

    design: Design
    products: Products
    pairs: Pairs | None  # Serial correlation
    correlation: str | None  # None, "ar1" or "car1"
    reml: bool
    spec: NestedSpec | CrossedSpec | None  # The outer level

    # -- parameters -------------------------------------------------------------------------------------------
    @cached_property
    def outer_columns(self) -> tuple[int, ...]:
        """The effect column of each row of T: those of every outer factor in turn."""
        return tuple(column for own in self.design.outer_columns for column in own)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The variance parameters but sigma^2: D by blocks, T by blocks, then the residual's."""
        found = []
        for block in self.design.blocks:
            for s, low in enumerate(block.places):
                for t, high in enumerate(block.places[s:], start=s):
                    pair = sorted((low, high), reverse=True)
                    found.append(
                        Parameter(
                            "outer" if block.outer else "inner",
                            pair[0],
                            pair[1],
                            block.factor,
                            block.names[s],
                            block.names[t] if t > s else "",
                        )
                    )
        found.sort(key=lambda parameter: parameter.kind == "outer")
        if self.pairs is not None:
            found.append(Parameter("residual", 0, 0, "residual", "rho"))
        return tuple(found)

    @cached_property
    def _keys(self) -> tuple[tuple[str, int, int], ...]:
        return tuple((parameter.kind, parameter.i, parameter.j) for parameter in self.parameters)

    @cached_property
    def directions(self) -> Directions:
        """The derivatives of D and T in every parameter."""
        a, r, count = len(self.design.effects), len(self.outer_columns), len(self._keys)
        inner, outer = np.zeros((count, a, a)), np.zeros((count, r, r))
        for number, (kind, i, j) in enumerate(self._keys):
            if kind != "residual":
                target = inner if kind == "inner" else outer
                target[number, i, j] = target[number, j, i] = 1.0
        return Directions(self._keys, inner, outer)

    def matrices(self, theta: FloatArray) -> tuple[FloatArray, FloatArray | None, float]:
        """D, T and rho from the vector of parameters (relative to sigma^2, internal units)."""
        a, r = len(self.design.effects), len(self.outer_columns)
        inner, outer, rho = np.zeros((a, a)), np.zeros((r, r)), 0.0
        for value, (kind, i, j) in zip(theta.tolist(), self._keys):
            if kind == "residual":
                rho = value
            else:
                target = inner if kind == "inner" else outer
                target[i, j] = target[j, i] = value
        return inner, (outer if r else None), rho

    def vector(self, inner: FloatArray, outer: FloatArray | None, rho: float) -> FloatArray:
        """The vector of parameters from D, T and rho."""
        out = []
        for kind, i, j in self._keys:
            if kind == "residual":
                out.append(rho)
            else:
                out.append(inner[i, j] if kind == "inner" or outer is None else outer[i, j])
        return np.array(out)

    # -- the criterion ----------------------------------------------------------------------------------------
    def evaluate(self, theta: FloatArray) -> Evaluation:
        """log|V| and W'V^-1 W (unit sigma^2) at `theta`, with derivatives."""
        inner, outer, rho = self.matrices(theta)
        whitened = whiten(self.products, self.pairs, rho)
        return evaluate(whitened, self.products, inner, outer, self.spec, self.directions)

    @property
    def freedom(self) -> int:
        """The divisor of sigma^2: n - p with REML, n with ML."""
        return self.design.n - self.design.p if self.reml else self.design.n

    @cached_property
    def offset(self) -> float:
        """What maps the internal criterion to the user's units: the log scales of y and, with REML, of X."""
        change = 2 * self.freedom * np.log(self.design.y_scale)
        if self.reml:
            change -= 2 * np.linalg.slogdet(self.design.x_map)[1]
        return float(change)

    def deviance(self, theta: FloatArray) -> Deviance:
        """The criterion with sigma^2 profiled out, its gradient and expected information."""
        evaluation = self.evaluate(theta)
        beta, rss, unscaled, log_xx = _solve(evaluation.cross)
        nu = self.freedom
        sigma2 = rss / nu
        value = evaluation.log_det + nu * (1 + LOG_2PI + np.log(sigma2)) + self.offset
        if self.reml:
            value += log_xx
        gradient, _ = self._score(evaluation.curvature, beta, unscaled, sigma2)
        information = self._profiled_information(evaluation.curvature)
        return Deviance(float(value), beta, float(sigma2), unscaled, gradient, information, evaluation)

    def full_gradient(self, theta: FloatArray, sigma2: float) -> tuple[float, FloatArray, FloatArray, FloatArray]:
        """The unprofiled criterion at (theta, sigma^2): value, gradient (sigma^2 last), unscaled, d(X'V^-1 X).

        The last is (parameters, p, p), in units of sigma^2.
        """
        evaluation = self.evaluate(theta)
        beta, rss, unscaled, log_xx = _solve(evaluation.cross)
        nu = self.freedom
        value = evaluation.log_det + nu * (LOG_2PI + np.log(sigma2)) + rss / sigma2 + self.offset
        if self.reml:
            value += log_xx
        score, change = self._score(evaluation.curvature, beta, unscaled, sigma2)
        last = nu / sigma2 - rss / sigma2**2
        return float(value), np.append(score, last), unscaled, change

    def _score(
        self, curvature: Curvature, beta: FloatArray, unscaled: FloatArray, sigma2: float
    ) -> tuple[FloatArray, FloatArray]:
        residual = np.append(-beta, 1.0)
        change = curvature.cross[:, :-1, :-1]
        score = curvature.log_det + curvature.cross @ residual @ residual / sigma2
        if self.reml:
            score = score + np.einsum("kij,ij->k", change, unscaled)
        return score, change

    def _profiled_information(self, curvature: Curvature) -> FloatArray:
        tied = np.outer(curvature.log_det, curvature.log_det) / (2 * self.design.n)
        return np.asarray(curvature.information - tied)

    def with_outcome(self, y: FloatArray) -> Model:
        """The same model for another outcome, given in the user's units and in the order used."""
        design = self.design
        centre = float(y.mean()) if design.y_centre else 0.0
        scaled = y - centre
        scale = float(np.sqrt(scaled @ scaled / len(y))) or 1.0
        changed = replace(design, y=scaled / scale, y_centre=centre, y_scale=scale)
        products = with_outcome(self.products, changed)
        return replace(self, design=changed, products=products, pairs=_pairs(changed, products, self.correlation))


def build_model(design: Design, *, correlation: str | None, reml: bool) -> Model:
    """Reduce the rows of a design once."""
    grouping, columns = design.grouping, design.outer_columns
    spec: NestedSpec | CrossedSpec | None = None
    extra = None
    if grouping.outer_codes:
        spec = crossed_spec(grouping, columns, len(design.effects))
        extra = slot_columns(grouping, columns, design.effects)
    elif columns and grouping.block_starts is not None:
        counts = np.diff(grouping.block_starts, append=grouping.n_inner)
        spec = NestedSpec(columns[0], grouping.block_starts, counts)
    products = build_products(design, extra)
    return Model(design, products, _pairs(design, products, correlation), correlation, reml, spec)


def _pairs(design: Design, products: Products, correlation: str | None) -> Pairs | None:
    if correlation is None or design.time is None:
        return None
    return build_pairs(products, design.time, continuous=correlation == "car1")


def _solve(cross: FloatArray) -> tuple[FloatArray, float, FloatArray, float]:
    """beta, residual sum of squares, (X'V^-1 X)^-1 and log|X'V^-1 X| from W'V^-1 W."""
    root, failed = dpotrf(cross, lower=1)
    if failed:
        raise np.linalg.LinAlgError("W'V^-1 W is not positive definite")
    p = len(cross) - 1
    half = root[p, :p]
    inverse = dtrtri(root[:p, :p], lower=1)[0] if p else np.empty((0, 0))
    log_xx = float(2 * np.log(root.diagonal()[:p]).sum())
    return np.asarray(half @ inverse), float(root[p, p] ** 2), np.asarray(inverse.T @ inverse), log_xx


def crossed_spec(grouping: Grouping, columns: tuple[tuple[int, ...], ...], a: int) -> CrossedSpec:
    """The cells of a grouping; `columns` are the effect columns of each outer factor."""
    inner = grouping.inner_of_row()
    cells: list[tuple[IntArray, IntArray, IntArray]] = []
    place, level, parts = [], [], []
    extended, effects, levels, rows = a, 0, 0, 0
    for codes, labels, own in zip(grouping.outer_codes, grouping.outer_labels, columns):
        count, q = len(labels), len(own)
        group, at, slot = _slots(inner, codes, count)
        for effect in range(q):
            cells.append((group, extended + slot * q + effect, effects + at * q + effect))
        parts.append(tuple(range(rows, rows + q)))
        place.append(rows + np.tile(np.arange(q), count))
        level.append(levels + np.repeat(np.arange(count), q))
        extended, effects = extended + (int(slot.max()) + 1) * q, effects + count * q
        levels, rows = levels + count, rows + q
    group, column, number = (np.concatenate(parts) for parts in zip(*cells))
    order = np.lexsort((number, group))
    cells_of = (group[order], column[order], number[order])
    return CrossedSpec(a, np.concatenate(place), np.concatenate(level), levels, tuple(parts), *cells_of)


def _slots(inner: IntArray, codes: IntArray, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """The group, level and slot of each group-by-level cell of one factor, sorted by group."""
    group, level = np.divmod(np.sort(pd.unique(inner * count + codes)), count)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return group, level, np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))


def slot_columns(grouping: Grouping, columns: tuple[tuple[int, ...], ...], effects: FloatArray) -> FloatArray:
    """The extra columns, (slots of all factors, n): each outer factor's effects over the rows of each slot."""
    inner = grouping.inner_of_row()
    found = []
    for codes, labels, own in zip(grouping.outer_codes, grouping.outer_labels, columns):
        group, level, slot = _slots(inner, codes, len(labels))
        slot = slot[np.searchsorted(group * len(labels) + level, inner * len(labels) + codes)]
        out = np.zeros(((int(slot.max()) + 1) * len(own), len(slot)))
        for effect, column in enumerate(own):
            out[slot * len(own) + effect, np.arange(len(slot))] = effects[column]
        found.append(out)
    return np.concatenate(found)
