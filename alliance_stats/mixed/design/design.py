"""The design of a mixed model: rows used, groups, centred and scaled columns, and the way back to the user's units.

Columns are centred and scaled before anything is computed: with a calendar year as time the uncentred model costs lme4
itself 2 to 14 units of deviance. Every estimate is mapped back exactly:

* fixed part ``X_user M_x = X`` gives ``beta_user = M_x beta``;
* random effects ``A_user M_a = A`` give ``D_user = M_a D M_a'``. A slope is centred only where it is in one block
  with its intercept: elsewhere (``||``, ``0 + time``) moving the origin of time would be another model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.columns import ColumnPlan
from alliance_stats.mixed.design.formula import MixedFormula
from alliance_stats.mixed.design.grouping import Grouping
from alliance_stats.tables.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Block:
    """One correlated block of random effects."""

    factor: str  # The grouping factor
    outer: bool  # Whether it is an outer factor
    names: tuple[str, ...]  # The effects
    columns: tuple[int, ...]  # Their positions in ``Design.effects``
    places: tuple[int, ...]  # Their rows in D (the columns themselves), or in T over the effects of all outer factors
    plan: ColumnPlan


@dataclass(frozen=True)
class Strata:
    """Strata of the rows with a residual variance each."""

    column: str
    labels: tuple[Any, ...]  # The strata, in order; the first is the one that sigma^2 belongs to
    codes: IntArray  # (n,): the stratum of each row, in the order used
    prior: FloatArray  # (n,): prior weights
    ratios: FloatArray  # (strata,): the residual variance of each stratum over that of the first

    @property
    def weights(self) -> FloatArray:
        """The weight of each row: its residual variance is sigma^2 / weight."""
        return np.asarray(self.prior / self.ratios[self.codes])

    def at(self, logs: FloatArray) -> Strata:
        """The same strata at other log ratios."""
        return replace(self, ratios=np.exp(logs))


@dataclass(frozen=True)
class Design:
    """Everything the numbers are computed from; arrays are in the order of ``grouping.order``."""

    formula: MixedFormula
    fixed: ColumnPlan
    names: tuple[str, ...]
    x: FloatArray  # (p, n): fixed columns, centred and scaled: ``x = (x_user - x_centre) / x_scale``
    y: FloatArray  # (n,): outcome, centred and scaled likewise
    effects: FloatArray  # (a, n): the distinct random-effect columns of all factors, centred and scaled
    effect_names: tuple[str, ...]
    x_map: FloatArray  # (p, p): M_x
    effect_map: FloatArray  # (a, a): M_a
    y_centre: float
    y_scale: float
    blocks: tuple[Block, ...]
    grouping: Grouping
    inner_factor: str
    outer_factors: tuple[str, ...]
    # For every factor those whose levels hold its levels whole: ``{"patient": ("therapist", "clinic"), ...}``
    above: dict[str, tuple[str, ...]]
    kept: IntArray  # (n,): the row of the data that each row used comes from, in the order used
    index: pd.Index
    n_dropped: int  # Rows left out for missing values
    missing: dict[str, int]  # How many missing values each variable had
    aliased: tuple[str, ...] = ()  # Fixed terms left out as combinations of others
    # (p, aliased): those combinations: each column left out is X times its column here
    alias_weights: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    time: FloatArray | None = None  # (n,) or None: time of the serial correlation
    # (n,) or None: prior weights (over the ratio of its stratum): the residual variance of a row is sigma^2 / weight
    weights: FloatArray | None = None
    strata: Strata | None = None  # Strata with a residual variance each
    # For every data column of the fixed part its mean over the rows used, or its levels in the order of their coding
    variables: dict[str, float | tuple[object, ...]] = field(default_factory=dict)
    # The standard deviation of every numeric one (1 where it is constant)
    spreads: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())

    @property
    def n(self) -> int:
        """Rows used."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Fixed coefficients."""
        return len(self.x)

    @property
    def outer_columns(self) -> tuple[tuple[int, ...], ...]:
        """The effect columns of each outer factor, in the order of their rows in T."""
        found = []
        for factor in self.outer_factors:
            pairs = [pair for b in self.blocks if b.factor == factor for pair in zip(b.places, b.columns)]
            found.append(tuple(column for _, column in sorted(pairs)))
        return tuple(found)

    @property
    def factors(self) -> tuple[str, ...]:
        """The grouping factors, the inner one first."""
        return (self.inner_factor, *self.outer_factors)

    @property
    def top_factor(self) -> str | None:
        """The factor that holds all others whole; None where there is none."""
        others = {name: [other for other in self.factors if other != name] for name in self.factors}
        return next((name for name in self.factors if all(name in self.above[one] for one in others[name])), None)

    def included(self, level: str) -> tuple[str, ...]:
        """The factors whose effects a prediction at a level has: that one and those that hold it; all, at the inner."""
        return self.factors if level == self.inner_factor else (level, *self.above.get(level, ()))

    @cached_property
    def by_data(self) -> IntArray:
        """The places, in the order used, of the rows in the order of the data."""
        return np.argsort(self.kept, kind="stable")

    @property
    def rounding(self) -> float:
        """What rounding may leave of an outcome in internal units."""
        return 1e-13 * max(1.0, abs(self.y_centre) / self.y_scale)

    def user_outcome(self) -> FloatArray:
        """The outcome in the user's units, in the order used."""
        return self.y * self.y_scale + self.y_centre

    def user_x(self) -> FloatArray:
        """The (n, p) fixed design in the user's units."""
        return np.asarray(np.linalg.solve(self.x_map.T, self.x).T)

    def user_effects(self) -> FloatArray:
        """The (n, a) random-effect columns in the user's units."""
        return np.asarray(np.linalg.solve(self.effect_map.T, self.effects).T)
