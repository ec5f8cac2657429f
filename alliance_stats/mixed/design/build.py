"""From a parsed formula and a table to a design."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.columns import (
    INTERCEPT,
    ColumnPlan,
    back_map,
    plan_columns,
    scaled,
    suspects,
    without_aliased,
)
from alliance_stats.mixed.design.design import Block, Design
from alliance_stats.mixed.design.formula import MixedFormula, RandomTerm, require_variables
from alliance_stats.mixed.design.grouping import Grouping, factor_of, group_rows, is_nested
from alliance_stats.mixed.design.rows import (
    check_times,
    complete_rows,
    outcome_of,
    spreads_of,
    strata_of,
    time_of,
    typical_values,
    weights_of,
)
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import DataError, plain

MAX_EFFECTS, MAX_FACTORS = 4, 4


def build_design(
    parsed: MixedFormula,
    data: pd.DataFrame,
    *,
    time: str | None = None,
    weights: str | None = None,
    variance_by: str | None = None,
    drop_aliased: bool = False,
) -> Design:
    """Read the columns the model needs, leave out incomplete rows, group, centre and scale.

    Raises ``DataError`` for an unknown column, no complete rows, a constant outcome, an aliased fixed term, a factor
    with one level, or as many random effects as rows.
    """
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"data must be a pandas DataFrame, not {type(data).__name__}.")
    variables = require_variables(parsed, data.columns, tuple(name for name in (time, weights, variance_by) if name))
    table, kept, missing = complete_rows(data, variables)
    factors, above, grouping, when = _group(parsed, table, time)
    order = grouping.order
    fixed, columns = plan_columns(parsed.fixed, table)
    blocks, effect_columns = _blocks(table, factors)

    def sort(column: FloatArray) -> FloatArray:
        return column if order is None else column[order]

    effect_names = tuple(effect_columns)
    names = fixed.names
    aliased: tuple[str, ...] = ()
    weights_of_aliased = np.empty((len(names), 0))
    x, x_centre, x_scale = scaled([sort(c) for c in columns], names, [INTERCEPT in names] * len(names))
    doubtful = suspects(x, x_scale, names)
    if doubtful:
        names, columns, aliased, weights_of_aliased = without_aliased(names, columns, doubtful, drop_aliased)
        x, x_centre, x_scale = scaled([sort(c) for c in columns], names, [INTERCEPT in names] * len(names))
    intercept = names.index(INTERCEPT) if INTERCEPT in names else None
    used = [sort(column) for column in effect_columns.values()]
    effects, e_centre, e_scale = scaled(used, effect_names, _centred(blocks, effect_names))
    outcome = sort(outcome_of(parsed.outcome, table))
    y, y_centre, y_scale = scaled([outcome], (parsed.outcome,), [intercept is not None])
    if y_scale[0] == 0 or (intercept is not None and y[0][0] == y[0][-1] and np.ptp(y[0]) == 0):
        raise DataError(
            f"The outcome {parsed.outcome!r} has the same value in every row.",
            remedy="Check the column: there is nothing to model.",
        )
    prior = None if weights is None else sort(weights_of(table, weights))
    strata = None if variance_by is None else strata_of(table, variance_by, order, prior)
    design = Design(
        formula=parsed,
        fixed=fixed,
        names=names,
        x=x,
        y=y[0],
        effects=effects,
        effect_names=effect_names,
        x_map=back_map(x_centre, x_scale, intercept),
        effect_map=back_map(e_centre, e_scale, effect_names.index(INTERCEPT) if INTERCEPT in effect_names else None),
        y_centre=float(y_centre[0]),
        y_scale=float(y_scale[0]),
        blocks=blocks,
        grouping=grouping,
        inner_factor=next(iter(factors)),
        outer_factors=tuple(factors)[1:],
        above=above,
        kept=kept if order is None else kept[order],
        index=data.index,
        n_dropped=len(data) - len(table),
        missing=missing,
        aliased=aliased,
        alias_weights=weights_of_aliased,
        time=None if when is None else sort(when),
        weights=prior if strata is None else strata.weights,
        strata=strata,
        variables=typical_values(fixed, table),
        spreads=spreads_of(fixed, table),
    )
    _check_size(design)
    _check_residual(design)
    return design


def _group(
    parsed: MixedFormula, table: pd.DataFrame, time: str | None
) -> tuple[dict[str, list[RandomTerm]], dict[str, tuple[str, ...]], Grouping, FloatArray | None]:
    """The terms of each factor, the inner factor first; which factors hold which; the rows grouped by all."""
    factors: dict[str, list[RandomTerm]] = {}
    for term in parsed.random:
        factors.setdefault(term.factor, []).append(term)
    if len(factors) > MAX_FACTORS:
        raise ValueError(
            f"The formula has {len(factors)} grouping factors ({', '.join(factors)}); at most {MAX_FACTORS} are "
            "supported. Keep those with the largest variance, or enter a factor with few levels as a fixed effect."
        )
    levels = {name: factor_of(table, terms[0].group) for name, terms in factors.items()}
    for name, found in levels.items():
        if len(found.labels) < 2:
            only = plain(found.labels[0])
            raise DataError(
                f"The grouping factor {name!r} has one level ({only!r}): its variance cannot be estimated.",
                remedy=f"Remove the random term of {name!r}, or add data of other levels.",
            )
    names = sorted(factors, key=lambda name: (-len(levels[name].labels), list(factors).index(name)))
    above: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(names):
        above[name] = tuple(other for other in names[place + 1 :] if is_nested(levels[name], levels[other]))
        for other in above[name]:
            if len(levels[name].labels) == len(levels[other].labels):
                raise DataError(
                    f"Each level of {name!r} has its own level of {other!r}: their variances cannot be told apart.",
                    remedy="Keep the random terms of one of them.",
                )
    when = None if time is None else time_of(table, time)
    if when is not None and time is not None:
        check_times(table, names[0], levels[names[0]], time, when)
    grouping = group_rows(levels[names[0]], [levels[name] for name in names[1:]], time=when)
    return {name: factors[name] for name in names}, above, grouping, when


def _blocks(
    table: pd.DataFrame, factors: dict[str, list[RandomTerm]]
) -> tuple[tuple[Block, ...], dict[str, FloatArray]]:
    """The random-effect blocks, and the distinct columns they use (the intercept first)."""
    planned: list[tuple[RandomTerm, ColumnPlan]] = []
    columns: dict[str, FloatArray] = {}
    for term in (term for terms in factors.values() for term in terms):
        plan, made = plan_columns(term.lhs, table)
        if not plan.names:
            raise ValueError(f"The random term ({term.lhs} | {term.factor}) has no effect.")
        planned.append((term, plan))
        columns.update(zip(plan.names, made))
    names = sorted(columns, key=lambda name: name != INTERCEPT)
    blocks: list[Block] = []
    rows = 0  # of T, taken by the outer factors before
    for number, factor in enumerate(factors):
        used = [name for term, plan in planned if term.factor == factor for name in plan.names]
        if len(used) > MAX_EFFECTS:
            raise ValueError(
                f"{factor!r} has {len(used)} random effects ({', '.join(used)}); at most {MAX_EFFECTS} are "
                "supported. Leave out the least needed."
            )
        if len(set(used)) < len(used):
            raise ValueError(f"A random effect of {factor!r} is in two blocks: {', '.join(used)}.")
        used.sort(key=names.index)
        for plan in (plan for term, plan in planned if term.factor == factor):
            chosen = tuple(names.index(name) for name in plan.names)
            places = tuple(rows + used.index(name) for name in plan.names) if number else chosen
            blocks.append(Block(factor, number > 0, plan.names, chosen, places, plan))
        rows += len(used) if number else 0
    return tuple(blocks), {name: columns[name] for name in names}


def _centred(blocks: tuple[Block, ...], names: tuple[str, ...]) -> list[bool]:
    """Which effect columns may be centred: those that are beside the intercept in every block that has them."""
    return [all(INTERCEPT in block.names for block in blocks if name in block.names) for name in names]


def _check_residual(design: Design) -> None:
    """Refuse an outcome that the fixed part makes exactly: no residual is left to estimate."""
    if not design.p:
        return
    gram, cross, size = design.x @ design.x.T, design.x @ design.y, float(design.y @ design.y)
    beta = np.linalg.lstsq(gram, cross, rcond=None)[0]
    if size - float(beta @ cross) > 1e-9 * size:
        return
    left = design.y - beta @ design.x
    left -= np.linalg.lstsq(gram, design.x @ left, rcond=None)[0] @ design.x
    if float(np.abs(left).max()) <= design.rounding:
        raise DataError(
            f"The outcome {design.formula.outcome!r} is an exact function of the fixed part "
            f"({', '.join(name for name in design.names if name != INTERCEPT)}): no residual is left.",
            remedy="Check that neither is computed from the other.",
        )


def _check_size(design: Design) -> None:
    n, p = design.n, design.p
    if n <= p:
        raise DataError(
            f"{n} complete row(s) cannot carry {p} fixed coefficients.", remedy="Use fewer terms or more data."
        )
    sizes = [design.grouping.n_inner, *(len(labels) for labels in design.grouping.outer_labels)]
    for factor, levels in zip((design.inner_factor, *design.outer_factors), sizes):
        q = sum(len(block.names) for block in design.blocks if block.factor == factor)
        if q and levels * q >= n and design.time is None:
            raise DataError(
                f"{levels} levels of {factor!r} with {q} random effect(s) each are as many effects as rows ({n}): they "
                "cannot be told from the residual.",
                remedy="Leave out random effects, or check that the grouping factor is not one level per row.",
            )
    for position, name in enumerate(design.effect_names):
        if not np.any(design.effects[position]):
            raise DataError(f"The random effect {name!r} does not vary.", remedy="Leave it out.")
