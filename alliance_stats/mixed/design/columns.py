"""Model columns from a one-sided formula: by formulaic, with a short cut for plain numeric columns.

Most models of this field name numeric columns only (``session + alliance_within``); their columns are taken as they
are, which spares formulaic's fixed cost of some milliseconds a formula and its copies of large data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.formula import INTERCEPT
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.formulas import model_matrix, one_sided, variables_of
from alliance_stats.tables.schema import DataError, numeric, refuse


@dataclass(frozen=True)
class ColumnPlan:
    """How the columns of a one-sided formula are made, so that new data give the same columns."""

    side: str  # The formula
    names: tuple[str, ...]  # The column names as formulaic writes them; the intercept is ``Intercept``
    terms: tuple[tuple[str, tuple[int, ...]], ...]  # Each term and the positions of its columns
    spec: Any = None  # formulaic's; None where every factor is a plain numeric column

    @property
    def intercept(self) -> int | None:
        """The position of the intercept, if there is one."""
        return self.names.index(INTERCEPT) if INTERCEPT in self.names else None


def plan_columns(side: str, data: pd.DataFrame) -> tuple[ColumnPlan, list[FloatArray]]:
    """The columns of the one-sided formula `side` over the rows of `data`, and the plan to repeat them.

    `data` has no missing values. Returns the plan and one (n,) array for each name; the intercept is a column of ones.
    Raises ``DataError`` if a column is not finite everywhere, or the formula has no columns.
    """
    formula = one_sided(side)
    if all(_plain_number(data, factor) for term in formula for factor in term.factors):
        names = tuple(INTERCEPT if str(term) == "1" else str(term) for term in formula)
        terms = tuple((name, (position,)) for position, name in enumerate(names))
        plan = ColumnPlan(side, names, terms)
    else:
        spec = model_matrix(formula, data, columns=variables_of(side)).model_spec
        terms = tuple(
            (INTERCEPT if str(term) == "1" else str(term), tuple(positions))
            for term, positions in spec.term_indices.items()
        )
        for term, positions in terms:
            if not positions:
                raise DataError(
                    f"The term {term!r} has one level only, so there is nothing to compare.", remedy="Leave it out."
                )
        plan = ColumnPlan(side, tuple(spec.column_names), terms, spec)
    return plan, columns_of(plan, data)


def columns_of(plan: ColumnPlan, data: pd.DataFrame) -> list[FloatArray]:
    """The columns of a plan over other rows."""
    if plan.spec is None:
        columns = [_product(term, data) for term in one_sided(plan.side)]
    else:
        matrix = model_matrix(plan.spec, data, columns=variables_of(plan.side))
        columns = [matrix[name].to_numpy(dtype=np.float64) for name in plan.names]
    for name, column in zip(plan.names, columns):
        bad = ~np.isfinite(column)
        problem = f"The model column {name!r} is not a finite number in {int(bad.sum())} row(s)."
        refuse(data, bad, problem, remedy="Correct the values, or choose a transform that is defined for them.")
    return columns


def _plain_number(data: pd.DataFrame, factor: Any) -> bool:
    kind = factor.eval_method.value
    if kind == "literal":
        return str(factor.expr) == "1"
    if kind != "lookup" or factor.expr not in data:
        return False
    dtype = data[factor.expr].dtype
    return bool(pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype))


def _product(term: Any, data: pd.DataFrame) -> FloatArray:
    names = [factor.expr for factor in term.factors if factor.eval_method.value == "lookup"]
    if not names:
        return np.broadcast_to(1.0, len(data))
    column = numeric(data, names[0])
    for name in names[1:]:
        column = column * numeric(data, name)
    return column


__all__ = ["INTERCEPT", "ColumnPlan", "columns_of", "plan_columns"]


ALIAS_TOLERANCE = 1e-7
"""A column is aliased where less than this share of its norm is left beside the columns before it (as R's ``lm``)."""


def scaled(
    columns: list[FloatArray], names: tuple[str, ...], centred: list[bool]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The columns as rows of one array, centred (where allowed) and scaled to unit mean square."""
    n = len(columns[0]) if columns else 0
    out = np.empty((len(columns), n))
    centre, scale = np.zeros(len(columns)), np.ones(len(columns))
    for position, (name, column) in enumerate(zip(names, columns)):
        if name == INTERCEPT:
            out[position] = 1.0
            continue
        if centred[position]:
            centre[position] = column.mean()
        moved = np.subtract(column, centre[position], out=out[position])
        root = math.sqrt(float(moved @ moved) / n)
        # A column that is constant up to rounding has no scale.
        scale[position] = root if root > 1e-15 * abs(centre[position]) else 0.0
        moved *= 1 / root if scale[position] > 0 else 0.0
    return out, centre, scale


def back_map(centre: FloatArray, scale: FloatArray, intercept: int | None) -> FloatArray:
    """M with ``columns_user M = columns``: a column over its scale, less its centre times the intercept."""
    safe = np.where(scale > 0, scale, 1.0)
    back = np.diag(1 / safe)
    if intercept is not None:
        others = np.arange(len(scale)) != intercept
        back[intercept, others] = -centre[others] / safe[others]
    return back


def without_aliased(
    names: tuple[str, ...], columns: list[FloatArray], doubtful: set[int], drop: bool
) -> tuple[tuple[str, ...], list[FloatArray], tuple[str, ...], FloatArray]:
    """Find fixed columns that are combinations of those before them; drop or refuse them.

    Returns names and columns of those kept, the names of those left out, and (kept, aliased) each column left out as a
    combination of those kept.
    """
    kept: list[int] = []
    aliased: list[int] = []
    for position in range(len(columns)):
        if position in doubtful and _is_aliased(columns, kept, position):
            partners = _partners(columns, names, kept, position)
            if not drop:
                raise DataError(
                    f"The fixed term {names[position]!r} is a combination of {partners or 'nothing (it is zero)'}: the "
                    "design is rank-deficient.",
                    remedy="Remove the term, or fit with drop_aliased=True.",
                )
            aliased.append(position)
        else:
            kept.append(position)
    if not aliased:
        return names, columns, (), np.empty((len(names), 0))
    basis = np.column_stack([columns[k] for k in kept])
    size = np.linalg.norm(basis, axis=0)
    weights = np.linalg.lstsq(basis / size, np.column_stack([columns[k] for k in aliased]), rcond=None)[0]
    weights[np.abs(weights) < 1e-9 * max(float(np.abs(weights).max()), 1e-300)] = 0.0
    chosen = tuple(names[k] for k in aliased)
    return tuple(names[k] for k in kept), [columns[k] for k in kept], chosen, weights / size[:, None]


def suspects(x: FloatArray, scale: FloatArray, names: tuple[str, ...]) -> set[int]:
    """Columns whose pivot in the Cholesky factor of the correlations is small: worth a look on the rows."""
    first = int(names[:1] == (INTERCEPT,))  # beside it the others are centred, so that it takes nothing from them
    gram = x[first:] @ x[first:].T / max(x.shape[1], 1)
    found = set(np.flatnonzero(scale == 0).tolist())
    for position in range(len(gram)):
        pivot = gram[position, position]
        if pivot < 1e-8:
            found.add(position + first)
        else:
            gram = gram - np.outer(gram[:, position], gram[position]) / pivot
    return found


def _is_aliased(columns: list[FloatArray], kept: list[int], position: int) -> bool:
    column = columns[position]
    norm = float(np.linalg.norm(column))
    if not kept or norm == 0:
        return norm == 0
    basis = np.linalg.qr(np.column_stack([columns[k] for k in kept]))[0]
    left = column - basis @ (basis.T @ column)
    left -= basis @ (basis.T @ left)
    about_mean = float(np.linalg.norm(column - column.mean())) or norm
    return float(np.linalg.norm(left)) < max(ALIAS_TOLERANCE * about_mean, 1e-13 * norm)


def _partners(columns: list[FloatArray], names: tuple[str, ...], kept: list[int], position: int) -> str:
    if not kept:
        return ""
    basis = np.column_stack([columns[k] for k in kept])
    size = np.linalg.norm(basis, axis=0)
    weight = np.linalg.lstsq(basis / size, columns[position], rcond=None)[0]
    large = np.abs(weight) > 1e-6 * max(np.abs(weight).max(), 1e-300)
    return ", ".join(repr(names[k]) for k, use in zip(kept, large) if use and np.abs(weight).max() > 0)
