"""Type III F tests: each term beside all others, whatever the coding of the factors (Yates; SAS type III).

A term's hypothesis is written over cell means: equal weights over the levels of the other factors, differences over the
levels of its own, covariates of other terms at zero. That is what sum-to-zero contrasts would test, so the result does
not depend on the reference level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.inference import Inference, estimable_part, inference, joint_table
from alliance_stats.mixed.design.columns import INTERCEPT, ColumnPlan
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import DataError


def anova(fit: Fitted, *, df: str | Inference = "satterthwaite") -> pd.DataFrame:
    """F tests of the terms of the fixed part (type III), as ``lmerTest::anova(type = 3)``.

    With a covariate in an interaction the main effect of the factor is tested where the covariate is zero: centre it if
    zero means nothing.

    Parameters
    ----------
    fit : MixedFit
    df : str
        ``"satterthwaite"``, ``"kenward-roger"``, ``"robust"`` or ``"normal"``: see :func:`inference`.

    Returns
    -------
    DataFrame
        One row per term: ``term, df1, df2, statistic, p_value, estimable``. Where cells of the design are empty and a
        part of the hypothesis cannot be estimated, the rest is tested, with fewer `df1`, and ``estimable`` is False
        (as ``emmeans::joint_tests``).

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcdef"), 2), "arm": np.repeat(list("xyz"), 4),
    ...                      "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> anova(fit_mixed("y ~ arm + (1 | g)", data)).round(3)
      term  df1  df2  statistic  p_value  estimable
    0  arm    2  9.0       5.16    0.032       True
    """
    chosen = inference(fit, df)
    tables = []
    for term, rows in type_three(fit).items():
        kept, whole = estimable_part(fit.design, rows)
        tables.append(joint_table(chosen, kept).assign(term=term, estimable=whole))
    columns = ["term", "df1", "df2", "statistic", "p_value", "estimable"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class _Column:
    """A column of the fixed part as a product: the coded factors (their values at each level), and the numbers."""

    codes: dict[str, FloatArray]
    numbers: tuple[str, ...]
    which: tuple[int, ...]


def type_three(fit: Fitted) -> dict[str, FloatArray]:
    """The contrasts of each term's type III hypothesis, over all columns of the formula (those left out included).

    A factor coded in full within a term (as in ``0 + arm``, or ``arm:time`` without ``time``) takes up what the
    missing lower term would hold, so the hypothesis holds it too.
    """
    plan = fit.design.fixed
    columns, parts = _columns(plan)
    sizes = {factor: len(values) for column in columns for factor, values in column.codes.items()}
    out: dict[str, FloatArray] = {}
    for term, positions in plan.terms:
        if term == INTERCEPT or not positions:
            continue
        numbers = columns[positions[0]].numbers
        related = [j for j, column in enumerate(columns) if column.numbers == numbers]
        factors = list(dict.fromkeys(factor for j in related for factor in columns[j].codes))
        cells = list(product(*(range(sizes[factor]) for factor in factors)))
        rows = []
        for which in dict.fromkeys(columns[j].which for j in positions):
            means = np.zeros((len(cells), len(columns)))
            for row, cell in enumerate(cells):
                level = dict(zip(factors, cell))
                for j in related:
                    if columns[j].which == which:
                        means[row, j] = np.prod([codes[level[factor]] for factor, codes in columns[j].codes.items()])
            rows += [_weights(factors, sizes, own) @ means for own in parts[term]]
        out[term] = np.vstack(rows)
    return out


def _weights(factors: list[str], sizes: dict[str, int], own: frozenset[str]) -> FloatArray:
    """Differences over the levels of the factors in `own`, equal weights over those of the others, by cell."""
    weights: FloatArray = np.ones((1, 1))
    for factor in factors:
        size = sizes[factor]
        difference = np.hstack([-np.ones((size - 1, 1)), np.eye(size - 1)])
        weights = np.kron(weights, difference if factor in own else np.full((1, size), 1 / size))
    return weights


def _columns(plan: ColumnPlan) -> tuple[list[_Column], dict[str, list[frozenset[str]]]]:
    """Every column as a product, and for every term the sets of factors whose differences it holds.

    formulaic lays out the columns of a term as the product of the columns of its factors, the first varying fastest.
    """
    if plan.spec is None:
        plain = [_Column({}, () if name == INTERCEPT else tuple(sorted(name.split(":"))), ()) for name in plan.names]
        return plain, {term: [frozenset()] for term, _ in plan.terms}
    codings = {str(factor.expr): state for factor, state in plan.spec.factor_contrasts.items()}
    columns: list[_Column] = []
    parts: dict[str, list[frozenset[str]]] = {}
    for structure, (term, _) in zip(plan.spec.structure, plan.terms, strict=True):
        at = len(columns)
        for scoped in structure.scoped_terms:
            factors = [(str(f.factor.expr), f.reduced) for f in scoped.factors]
            rest = structure.columns[len(columns) - at :]
            tables = [_table(codings, expr, reduced, k, rest) for k, (expr, reduced) in enumerate(factors)]
            numbers = tuple(sorted(expr for expr, _ in factors if expr not in codings))
            for chosen in product(*(range(table.shape[1]) for table in reversed(tables))):
                picked = list(zip(factors, tables, reversed(chosen)))
                codes = {expr: table[:, k] for (expr, _), table, k in picked if expr in codings}
                which = sorted((expr, k) for (expr, _), _, k in picked if expr not in codings)
                columns.append(_Column(codes, numbers, tuple(k for _, k in which)))
            always = {expr for expr, reduced in factors if expr in codings and reduced}
            full = [expr for expr, reduced in factors if expr in codings and not reduced]
            subsets = chain.from_iterable(combinations(full, size) for size in range(len(full) + 1))
            parts.setdefault(term, []).extend(frozenset(always | set(subset)) for subset in subsets)
        if len(columns) - at != len(structure.columns):
            raise DataError(
                f"The columns of the term {term!r} cannot be told apart.",
                remedy="Rename levels that hold ':' or brackets.",
            )
    return columns, parts


def _table(codings: dict[str, Any], factor: str, reduced: bool, place: int, names: Sequence[str]) -> FloatArray:
    """The coding of a factor (levels by columns), or for a number one row with as many columns as it has."""
    if factor in codings:
        return np.asarray(codings[factor].get_coding_matrix(reduced_rank=reduced, sparse=False), dtype=np.float64)
    pieces = {name[place] for name in map(_at_colons, names) if len(name) > place and name[place].startswith(factor)}
    return np.ones((1, max(len(pieces), 1)))


def _at_colons(name: str) -> list[str]:
    """Split at the colons outside brackets."""
    parts, depth = [""], 0
    for character in name:
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
