"""Model columns from a one-sided formula: by formulaic, with a short cut for plain numeric columns.

Most models of this field name numeric columns only (``session + alliance_within``); their columns are taken as they
are, which spares formulaic's fixed cost of some milliseconds a formula and its copies of large data.
"""

from __future__ import annotations

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
