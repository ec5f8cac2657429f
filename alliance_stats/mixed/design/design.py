"""The design of a mixed model: rows used, groups, centred and scaled columns, and the way back to the user's units.

Columns are centred and scaled before anything is computed: with a calendar year as time the uncentred model costs lme4
itself 2 to 14 units of deviance. Every estimate is mapped back exactly:

* fixed part ``X_user M_x = X`` gives ``beta_user = M_x beta``;
* random effects ``A_user M_a = A`` give ``D_user = M_a D M_a'``. A slope is centred only where it is in one block
  with its intercept: elsewhere (``||``, ``0 + time``) moving the origin of time would be another model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.columns import INTERCEPT, ColumnPlan, plan_columns
from alliance_stats.mixed.design.formula import MixedFormula, RandomTerm, require_variables
from alliance_stats.mixed.design.grouping import Factor, Grouping, factor_of, group_rows, is_nested
from alliance_stats.mixed.design.scaling import back_map, scaled, suspects, without_aliased
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.formulas import holds_dates, variables_of
from alliance_stats.tables.schema import PATIENT, DataError, numeric, plain

MAX_EFFECTS = 4


@dataclass(frozen=True)
class Block:
    """One correlated block of random effects.

    Attributes
    ----------
    factor : str
        The grouping factor.
    outer : bool
        Whether it is the outer factor.
    names : tuple of str
        The effects.
    columns : tuple of int
        Their positions in ``Design.effects``.
    plan : ColumnPlan
    """

    factor: str
    outer: bool
    names: tuple[str, ...]
    columns: tuple[int, ...]
    plan: ColumnPlan


@dataclass(frozen=True)
class Design:
    """Everything the numbers are computed from; arrays are in the order of ``grouping.order``.

    Attributes
    ----------
    x : (p, n) array
        Fixed columns, centred and scaled: ``x = (x_user - x_centre) / x_scale``.
    y : (n,) array
        Outcome, centred and scaled likewise.
    effects : (a, n) array
        The distinct random-effect columns of both factors, centred and scaled.
    effect_names : tuple of str
    x_map : (p, p) array
        M_x.
    effect_map : (a, a) array
        M_a.
    blocks : tuple of Block
    grouping : Grouping
    inner_factor, outer_factor : str, str or None
    kept : (n,) int array
        The row of the data that each row used comes from, in the order used.
    n_dropped : int
        Rows left out for missing values.
    missing : dict
        How many missing values each variable had.
    aliased : tuple of str
        Fixed terms left out as combinations of others.
    alias_weights : (p, aliased) array
        Those combinations: each column left out is X times its column here.
    time : (n,) array or None
        Time of the serial correlation.
    weights : (n,) array or None
        Prior weights: the residual variance of a row is sigma^2 / weight.
    variables : dict
        For every data column of the fixed part its mean over the rows used, or its levels in the order of their coding.
    spreads : dict
        The standard deviation of every numeric one (1 where it is constant).
    """

    formula: MixedFormula
    fixed: ColumnPlan
    names: tuple[str, ...]
    x: FloatArray
    y: FloatArray
    effects: FloatArray
    effect_names: tuple[str, ...]
    x_map: FloatArray
    effect_map: FloatArray
    y_centre: float
    y_scale: float
    blocks: tuple[Block, ...]
    grouping: Grouping
    inner_factor: str
    outer_factor: str | None
    kept: IntArray
    index: pd.Index
    n_dropped: int
    missing: dict[str, int]
    aliased: tuple[str, ...] = ()
    alias_weights: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    time: FloatArray | None = None
    weights: FloatArray | None = None
    variables: dict[str, float | tuple[object, ...]] = field(default_factory=dict)
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


def build_design(
    parsed: MixedFormula,
    data: pd.DataFrame,
    *,
    time: str | None = None,
    weights: str | None = None,
    drop_aliased: bool = False,
) -> Design:
    """Read the columns the model needs, leave out incomplete rows, group, centre and scale.

    Raises
    ------
    DataError
        For an unknown column, no complete rows, a constant outcome, an aliased fixed term, a factor with one level,
        or as many random effects as rows.
    """
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"data must be a pandas DataFrame, not {type(data).__name__}.")
    variables = require_variables(parsed, data.columns, tuple(name for name in (time, weights) if name is not None))
    table, kept, missing = _complete_rows(data, variables)
    inner_terms, outer_terms, grouping, when = _group(parsed, table, time)
    order = grouping.order
    fixed, columns = plan_columns(parsed.fixed, table)
    outcome = _one_column(parsed.outcome, table)
    ready = dict(zip(fixed.names, columns)) if fixed.spec is None else {}
    blocks, effect_columns = _blocks(table, inner_terms, outer_terms, ready)

    def sort(column: FloatArray) -> FloatArray:
        return column if order is None else column[order]

    effect_names = tuple(effect_columns)
    centred_effects = _centred(blocks, effect_names)
    names = fixed.names
    aliased: tuple[str, ...] = ()
    weights_of_aliased = np.empty((len(names), 0))
    x, x_centre, x_scale = scaled([sort(c) for c in columns], names, [INTERCEPT in names] * len(names))
    doubtful = suspects(x, x_scale, names)
    if doubtful:
        names, columns, aliased, weights_of_aliased = without_aliased(names, columns, doubtful, drop_aliased)
        x, x_centre, x_scale = scaled([sort(c) for c in columns], names, [INTERCEPT in names] * len(names))
    intercept = names.index(INTERCEPT) if INTERCEPT in names else None
    typical = {name: float(value) for name, value in zip(names, x_centre)} if intercept is not None and ready else {}
    if names[: len(effect_names)] == effect_names and all(centred_effects) and intercept is not None:
        first = slice(len(effect_names))  # the same columns once, as in y ~ t + x + (1 + t | g)
        effects, e_centre, e_scale = x[first], x_centre[first], x_scale[first]
    else:
        same = {name: (x[j], float(x_centre[j]), float(x_scale[j])) for j, name in enumerate(names)} if typical else {}
        effects, e_centre, e_scale = scaled(
            [sort(effect_columns[name]) for name in effect_names], effect_names, centred_effects, done=same
        )
    y, y_centre, y_scale = scaled([sort(outcome)], (parsed.outcome,), [intercept is not None])
    if y_scale[0] == 0 or (intercept is not None and y[0][0] == y[0][-1] and np.ptp(y[0]) == 0):
        raise DataError(
            f"The outcome {parsed.outcome!r} has the same value in every row.",
            remedy="Check the column: there is nothing to model.",
        )
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
        inner_factor=inner_terms[0].factor,
        outer_factor=outer_terms[0].factor if outer_terms else None,
        kept=kept if order is None else kept[order],
        index=data.index,
        n_dropped=len(data) - len(table),
        missing=missing,
        aliased=aliased,
        alias_weights=weights_of_aliased,
        time=None if when is None else sort(when),
        weights=None if weights is None else sort(_weights(table, weights)),
        variables=_typical(fixed, table, typical),
        spreads=_spreads(fixed, table),
    )
    _check_size(design)
    _check_residual(design)
    return design


def _complete_rows(data: pd.DataFrame, variables: tuple[str, ...]) -> tuple[pd.DataFrame, IntArray, dict[str, int]]:
    """The needed columns of the rows that miss none of them, and how many values each column missed."""
    if not data.columns.is_unique:
        for name in variables:
            if int((data.columns == name).sum()) > 1:
                raise DataError(f"The data have several columns named {name!r}.", remedy="Rename or drop all but one.")
    bad: Any = None
    missing: dict[str, int] = {}
    for name in variables:
        holes = _holes(data[name])
        if holes is not None:
            missing[name] = int(holes.sum())
            bad = holes if bad is None else bad | holes
    kept = np.arange(len(data)) if bad is None else np.flatnonzero(~bad)
    table = data if bad is None else data.loc[:, list(variables)].iloc[kept]
    if not len(table):
        holes_text = ", ".join(f"{name!r} misses {count}" for name, count in missing.items())
        raise DataError(
            f"No row is complete ({holes_text or 'the data have no rows'}).",
            remedy="Check the columns the formula names; every row used must have all of them.",
        )
    return table, kept, missing


def _holes(column: pd.Series) -> Any:
    """Where a column has no value; None if it has one everywhere."""
    if isinstance(column.dtype, np.dtype):
        if column.dtype.kind in "iub":
            return None
        if column.dtype.kind == "f" and not np.isnan(column.to_numpy().sum()):
            return None
    holes = column.isna().to_numpy()
    return holes if holes.any() else None


def _group(
    parsed: MixedFormula, table: pd.DataFrame, time: str | None
) -> tuple[list[RandomTerm], list[RandomTerm], Grouping, FloatArray | None]:
    """Which factor is the inner one, and the rows grouped by both."""
    factors: dict[str, list[RandomTerm]] = {}
    for term in parsed.random:
        factors.setdefault(term.factor, []).append(term)
    if len(factors) > 2:
        raise ValueError(
            f"The formula has {len(factors)} grouping factors ({', '.join(factors)}); this engine holds two, nested or "
            "crossed. Keep the two with the largest variance, or enter a factor with few levels as a fixed effect."
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
    if len(names) == 2:
        first, second = (levels[name] for name in names)
        if len(first.labels) == len(second.labels) and is_nested(first, second):
            raise DataError(
                f"Each level of {names[0]!r} has its own level of {names[1]!r}: their variances cannot be told apart.",
                remedy="Keep the random terms of one of them.",
            )
    when = None if time is None else _time(table, time)
    if when is not None and time is not None:
        _check_times(table, names[0], levels[names[0]], time, when)
    outer = levels[names[1]] if len(names) == 2 else None
    grouping = group_rows(levels[names[0]], outer, time=when)
    return factors[names[0]], factors[names[1]] if outer is not None else [], grouping, when


def _check_times(table: pd.DataFrame, factor: str, groups: Factor, time: str, when: FloatArray) -> None:
    """Two rows of one group at one time have no serial correlation."""
    twice = pd.DataFrame({"group": groups.codes, "time": when}).duplicated().to_numpy()
    if twice.any():
        first = int(np.flatnonzero(twice)[0])
        label = groups.labels[groups.codes[first]]
        raise DataError(
            f"Rows of one {factor!r} have the same {time!r}: {int(twice.sum())}, first of {plain(label)!r}. Their "
            "serial correlation is not defined.",
            row=table.index[first],
            patient=label if factor == PATIENT else None,
            column=time,
            value=table[time].iloc[first],
            remedy=f"Keep one row per {factor} and {time}, or fit without correlation=.",
        )


def _time(table: pd.DataFrame, name: str) -> FloatArray:
    """The time column as numbers; dates count in days."""
    column = table[name]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return np.asarray((column - column.min()) / pd.Timedelta(days=1), dtype=np.float64)
    return numeric(table, name)


def _blocks(
    table: pd.DataFrame, inner: list[RandomTerm], outer: list[RandomTerm], ready: dict[str, FloatArray]
) -> tuple[tuple[Block, ...], dict[str, FloatArray]]:
    """The random-effect blocks, and the distinct columns they use (the intercept first)."""
    planned: list[tuple[RandomTerm, bool, ColumnPlan]] = []
    columns: dict[str, FloatArray] = {}
    for term in (*inner, *outer):
        plan, made = plan_columns(term.lhs, table, ready=ready)
        if not plan.names:
            raise ValueError(f"The random term ({term.lhs} | {term.factor}) has no effect.")
        planned.append((term, term in outer, plan))
        columns.update(zip(plan.names, made))
    names = sorted(columns, key=lambda name: name != INTERCEPT)
    for terms, kind in ((inner, False), (outer, True)):
        used = [name for _, is_outer, plan in planned if is_outer is kind for name in plan.names]
        if len(used) > MAX_EFFECTS:
            raise ValueError(
                f"{terms[0].factor!r} has {len(used)} random effects ({', '.join(used)}); at most {MAX_EFFECTS} are "
                "supported. Leave out the least needed."
            )
        if len(set(used)) < len(used):
            raise ValueError(f"A random effect of {terms[0].factor!r} is in two blocks: {', '.join(used)}.")
    blocks = tuple(
        Block(term.factor, is_outer, plan.names, tuple(names.index(name) for name in plan.names), plan)
        for term, is_outer, plan in planned
    )
    return blocks, {name: columns[name] for name in names}


def _centred(blocks: tuple[Block, ...], names: tuple[str, ...]) -> list[bool]:
    """Which effect columns may be centred: those that are beside the intercept in every block that has them."""
    return [all(INTERCEPT in block.names for block in blocks if name in block.names) for name in names]


def _typical(fixed: ColumnPlan, table: pd.DataFrame, means: dict[str, float]) -> dict[str, float | tuple[object, ...]]:
    """The mean of each numeric variable of the fixed part, the levels of each categorical one in coding order."""
    levels: dict[str, tuple[object, ...]] = {}
    if fixed.spec is not None:
        for expression, (kind, state) in fixed.spec.encoder_state.items():
            names = variables_of(expression)
            if kind.value == "categorical" and len(names) == 1:
                levels[names[0]] = tuple(state["categories"])
    typical: dict[str, float | tuple[object, ...]] = {}
    for name in variables_of(fixed.side):
        column = table[name]
        if name in levels:
            typical[name] = levels[name]
        elif pd.api.types.is_numeric_dtype(column.dtype):
            typical[name] = means[name] if name in means else float(numeric(table, name).mean())
        else:
            typical[name] = tuple(column.drop_duplicates().sort_values())
    return typical


def _spreads(fixed: ColumnPlan, table: pd.DataFrame) -> dict[str, float]:
    names = [name for name in variables_of(fixed.side) if pd.api.types.is_numeric_dtype(table[name].dtype)]
    return {name: float(numeric(table, name).std()) or 1.0 for name in names}


def _one_column(side: str, table: pd.DataFrame) -> FloatArray:
    if side in table.columns:
        if holds_dates(table[side]):
            raise DataError(f"The outcome {side!r} holds dates.", remedy="Compute a number first, such as days.")
        return numeric(table, side)
    plan, columns = plan_columns(f"0 + {side}", table)
    if len(columns) != 1:
        raise DataError(
            f"The outcome {side!r} has {len(columns)} columns ({', '.join(plan.names)}).",
            remedy="The outcome must be one numeric column, or a transform of one.",
        )
    return columns[0]


def _weights(table: pd.DataFrame, name: str) -> FloatArray:
    values = numeric(table, name)
    if (values <= 0).any():
        first = int(np.flatnonzero(values <= 0)[0])
        raise DataError(
            "Weights must be positive.",
            row=table.index[first],
            column=name,
            value=values[first],
            remedy="Leave out rows without weight.",
        )
    return values


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
    for outer in (False, True):
        q = sum(len(block.names) for block in design.blocks if block.outer is outer)
        levels = design.grouping.n_outer if outer else design.grouping.n_inner
        factor = design.outer_factor if outer else design.inner_factor
        if q and levels * q >= n and design.time is None:
            raise DataError(
                f"{levels} levels of {factor!r} with {q} random effect(s) each are as many effects as rows ({n}): they "
                "cannot be told from the residual.",
                remedy="Leave out random effects, or check that the grouping factor is not one level per row.",
            )
    for position, name in enumerate(design.effect_names):
        if not np.any(design.effects[position]):
            raise DataError(f"The random effect {name!r} does not vary.", remedy="Leave it out.")
