"""Type III F tests: each term beside all others, whatever the coding of the factors (Yates; SAS type III).

A term's hypothesis is written over cell means: equal weights over the levels of the other factors, differences over the
levels of its own, covariates of other terms at zero. That is what sum-to-zero contrasts would test, so the result does
not depend on the reference level.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.inference import Inference, inference
from alliance_stats.mixed.design.columns import INTERCEPT
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray


def anova(fit: Fitted, *, df: str | Inference = "satterthwaite") -> pd.DataFrame:
    """F tests of the terms of the fixed part (type III).

    Parameters
    ----------
    fit : MixedFit
    df : str
        ``"satterthwaite"``, ``"kenward-roger"``, ``"robust"`` or ``"normal"``: see :func:`inference`.

    Returns
    -------
    DataFrame
        One row per term: ``term, df1, df2, statistic, p_value``.

    Notes
    -----
    As ``lmerTest::anova(type = 3)``. With a covariate in an interaction the main effect of the factor is tested where
    the covariate is zero: centre it if zero means nothing.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcdef"), 2), "arm": np.repeat(list("xyz"), 4),
    ...                      "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> anova(fit_mixed("y ~ arm + (1 | g)", data)).round(3)
      term  df1  df2  statistic  p_value
    0  arm    2  9.0       5.16    0.032
    """
    chosen = inference(fit, df)
    tables = []
    for term, rows in type_three(fit).items():
        table = chosen.test(rows)
        table.insert(0, "term", term)
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=["term", "df1", "df2", "statistic", "p_value"])
    return pd.concat(tables, ignore_index=True)


def type_three(fit: Fitted) -> dict[str, FloatArray]:
    """The contrast matrix of each term's type III hypothesis; terms left out as aliased have none."""
    design = fit.design
    codings = _codings(design.fixed.spec)
    pieces = [_split(name, codings) for name in design.names]
    out: dict[str, FloatArray] = {}
    for term, positions in design.fixed.terms:
        names = [design.fixed.names[position] for position in positions]
        columns = [design.names.index(name) for name in names if name in design.names]
        if term == INTERCEPT or not columns:
            continue
        own, numbers = pieces[columns[0]]
        related = [j for j, (_, others) in enumerate(pieces) if others == numbers]
        factors = list(dict.fromkeys(factor for j in related for factor in pieces[j][0]))
        sizes = [len(codings[factor]) for factor in factors]
        cells = list(product(*(range(size) for size in sizes)))
        means = np.zeros((len(cells), design.p))
        for row, cell in enumerate(cells):
            level = dict(zip(factors, cell))
            for j in related:
                codes = [codings[factor].iloc[level[factor]][label] for factor, label in pieces[j][0].items()]
                means[row, j] = np.prod(codes)
        weights: FloatArray = np.ones((1, 1))
        for factor, size in zip(factors, sizes):
            difference = np.hstack([-np.ones((size - 1, 1)), np.eye(size - 1)])
            weights = np.kron(weights, difference if factor in own else np.full((1, size), 1 / size))
        out[term] = _independent(weights @ means)
    return out


def _codings(spec: Any) -> dict[str, pd.DataFrame]:
    """For every coded factor the value of each of its columns (by the label in brackets) at each level."""
    if spec is None:
        return {}
    found = {}
    for factor, state in spec.factor_contrasts.items():
        reduced = state.get_coding_matrix(reduced_rank=True, sparse=False)
        full = state.get_coding_matrix(reduced_rank=False, sparse=False)
        both = pd.concat([full.set_axis([str(name) for name in full], axis=1), _prefixed(reduced)], axis=1)
        found[str(factor.expr)] = both
    return found


def _prefixed(reduced: pd.DataFrame) -> pd.DataFrame:
    """Reduced columns by the labels formulaic gives them: ``T.b`` by treatment, ``S.b`` by sums, and so on."""
    return pd.concat([reduced.set_axis([f"{kind}.{name}" for name in reduced], axis=1) for kind in "TSHDP"], axis=1)


def _split(name: str, codings: dict[str, pd.DataFrame]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The coded factors (with the label of their column) and the numeric factors that a column is the product of."""
    coded: dict[str, str] = {}
    numbers = []
    for piece in _at_colons(name):
        factor, bracket, label = piece.removesuffix("]").rpartition("[")
        if bracket and factor in codings and label in codings[factor]:
            coded[factor] = label
        elif piece != INTERCEPT:
            numbers.append(piece)
    return coded, tuple(sorted(numbers))


def _at_colons(name: str) -> list[str]:
    """Split at the colons that stand outside brackets."""
    parts, depth = [""], 0
    for character in name:
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _independent(rows: FloatArray) -> FloatArray:
    """A maximal set of independent rows (empty cells make some of them estimable no longer)."""
    kept: list[FloatArray] = []
    for row in rows:
        trial = np.array([*kept, row])
        if np.linalg.matrix_rank(trial) == len(trial):
            kept.append(row)
    return np.array(kept)
