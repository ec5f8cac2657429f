"""Estimated marginal means, their contrasts, and slopes at stated values (Searle, Speed & Milliken 1980; emmeans).

A reference grid crosses the levels of the factors with stated values of the covariates (by default their means over the
rows used). A marginal mean averages the model's predictions over the grid with equal weights for every level of the
factors it is not about; a slope is the derivative of the same average with respect to one covariate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.inference import (
    Inference,
    contrast_table,
    estimable_part,
    estimable_rows,
    inference,
    joint_table,
)
from alliance_stats.mixed.design.columns import columns_of
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import DataError, require_choice

_ADJUSTMENTS = ("none", "bonferroni", "holm")


@dataclass(frozen=True)
class MarginalEffects:
    """Marginal means or slopes: a table, and contrasts of its rows.

    ``cells`` says what each row is about (a column for each factor or covariate named in ``by``); ``rows`` (cells,
    columns) is each as a combination of the columns of the formula, those left out as aliased included.
    """

    fit: Fitted
    cells: pd.DataFrame
    rows: FloatArray
    df: str | Inference = "satterthwaite"

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """One row per cell: the cell, then ``estimate, std_error, df, statistic, p_value, ci_low, ci_high, estimable``.

        Where cells of the design are empty some means cannot be estimated: they depend on which columns were left out
        as aliased. They are NaN, and ``estimable`` is False.
        """
        return pd.concat([self.cells, self._table(self.rows, self._labels(), level).drop(columns="term")], axis=1)

    def _table(self, rows: FloatArray, names: list[str], level: float) -> pd.DataFrame:
        known = estimable_rows(self.fit.design, rows)
        table = contrast_table(self.fit, known, names, level=level, df=self.df)
        return table.assign(estimable=pd.Series(np.isfinite(known).all(axis=1)))

    def contrasts(
        self, how: str = "pairwise", *, reference: object = None, adjust: str = "none", level: float = 0.95
    ) -> pd.DataFrame:
        """Differences between the cells: TERMS, and ``estimable``.

        Parameters
        ----------
        how : {"pairwise", "reference"}
            Every pair (later minus earlier), or every cell minus `reference`.
        reference : label, optional
            The cell as ``term`` of other contrasts names it; by default the first.
        adjust : {"none", "bonferroni", "holm"}
            Adjustment of the p values for their number; intervals stay those of single contrasts.
        """
        require_choice(how, ("pairwise", "reference"), name="how")
        require_choice(adjust, _ADJUSTMENTS, name="adjust")
        labels = self._labels()
        if len(labels) < 2:
            raise ValueError("There is one cell only, so nothing to contrast: name a factor in by=.")
        if how == "pairwise":
            pairs = [(high, low) for low, high in combinations(range(len(labels)), 2)]
        else:
            if reference is not None:
                require_choice(str(reference), labels, name="reference")
            base = 0 if reference is None else labels.index(str(reference))
            pairs = [(k, base) for k in range(len(labels)) if k != base]
        rows = np.array([self.rows[high] - self.rows[low] for high, low in pairs])
        names = [f"{labels[high]} - {labels[low]}" for high, low in pairs]
        table = self._table(rows, names, level)
        return table.assign(p_value=_adjusted(table["p_value"].to_numpy(), adjust))

    def test(self) -> pd.DataFrame:
        """F test that all cells are equal, as far as that can be estimated: see :func:`anova`."""
        kept, whole = estimable_part(self.fit.design, self.rows[1:] - self.rows[0])
        return joint_table(inference(self.fit, self.df), kept).assign(estimable=whole)

    def _labels(self) -> list[str]:
        if not len(self.cells.columns):
            return ["overall"] * len(self.rows)
        return [", ".join(str(value) for value in cell) for cell in self.cells.itertuples(index=False)]


def marginal_means(
    fit: Fitted,
    by: str | Sequence[str] = (),
    *,
    at: Mapping[str, object] | None = None,
    df: str | Inference = "satterthwaite",
) -> MarginalEffects:
    """Estimated marginal means at the population level.

    Parameters
    ----------
    fit : Fitted
    by : str or list of str
        The factors (or covariates with values in `at`) to give one mean for each combination of; none for the overall
        mean.
    at : dict, optional
        Variable to its value, or list of values. Covariates not named take their mean over the rows used, factors
        at all their levels with equal weights.
    df : str
        As in :func:`alliance_stats.mixed.answers.inference.inference`.

    Returns
    -------
    MarginalEffects
        ``.tidy()``, ``.contrasts()``, ``.test()``.

    Raises
    ------
    ValueError
        For a variable that is not in the fixed part.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcdef"), 2), "arm": np.repeat(list("xyz"), 4),
    ...                      "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> means = marginal_means(fit_mixed("y ~ arm + (1 | g)", data), "arm")
    >>> means.tidy()[["arm", "estimate", "df"]].round(2)
      arm  estimate   df
    0   x      2.25  9.0
    1   y      5.50  9.0
    2   z      3.50  9.0
    >>> means.contrasts("reference")[["term", "estimate"]].round(2)
        term  estimate
    0  y - x      3.25
    1  z - x      1.25
    """
    cells, grids = _grids(fit, by, at or {})
    rows = np.array([_design_rows(fit, grid).mean(axis=0) for grid in grids])
    return MarginalEffects(fit, cells, rows, df)


def marginal_slopes(
    fit: Fitted,
    variable: str,
    by: str | Sequence[str] = (),
    *,
    at: Mapping[str, object] | None = None,
    df: str | Inference = "satterthwaite",
) -> MarginalEffects:
    """Slopes of a covariate, at every combination of `by`.

    Parameters
    ----------
    fit : Fitted
    variable : str
        A numeric variable of the fixed part; it may be in `by` and `at` too, for slopes of a curve at stated values.
    by, at, df
        As in :func:`marginal_means`.

    Returns
    -------
    MarginalEffects
        The slopes are differences over four points, exact for polynomials up to the fourth degree. The step begins at a
        tenth of the covariate's standard deviation and shrinks until the slope no longer changes.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> y = [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "t": [0, 1, 2] * 4, "y": y})
    >>> marginal_slopes(fit_mixed("y ~ t + (1 | g)", data), "t").tidy()["estimate"].round(3).tolist()
    [1.0]
    """
    typical = fit.design.variables
    require_choice(variable, list(typical), name="variable")
    if isinstance(typical[variable], tuple):
        raise ValueError(f"{variable!r} is a factor: it has no slope. Use marginal_means and its contrasts.")
    cells, grids = _grids(fit, by, at or {})
    rows = [_slope(fit, grid, variable) for grid in grids]
    return MarginalEffects(fit, cells, np.array(rows), df)


def _grids(fit: Fitted, by: str | Sequence[str], at: Mapping[str, object]) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """The cells asked about, and for each the grid of rows that are averaged."""
    names = [by] if isinstance(by, str) else list(by)
    typical = fit.design.variables
    values: dict[str, list[object]] = {}
    for name in (*names, *at):
        require_choice(name, list(typical), name="by" if name in names else "at")
    for name, usual in typical.items():
        given = at.get(name, list(usual) if isinstance(usual, tuple) else usual)
        values[name] = list(given) if isinstance(given, list | tuple | np.ndarray | pd.Series) else [given]
        if isinstance(usual, tuple):
            for value in values[name]:
                require_choice(value, list(usual), name=f"at[{name!r}]")
    others = [name for name in typical if name not in names]
    cells, grids = [], []
    for cell in product(*(values[name] for name in names)):
        rest = list(product(*(values[name] for name in others)))
        grid = pd.DataFrame(rest, columns=others) if others else pd.DataFrame(index=range(1))
        cells.append(cell)
        for name, value in zip(names, cell):
            grid[name] = pd.Series([value] * len(grid), index=grid.index)
        grids.append(grid)
    return pd.DataFrame(cells, columns=names, index=range(len(cells))), grids


def _design_rows(fit: Fitted, grid: pd.DataFrame) -> FloatArray:
    """The fixed design at the rows of a grid, all columns of the formula."""
    return np.column_stack(columns_of(fit.design.fixed, grid))


def _slope(fit: Fitted, grid: pd.DataFrame, variable: str) -> FloatArray:
    """The derivative of the fixed design by a covariate, averaged over a grid."""
    step = 0.1 * fit.design.spreads[variable]
    best: FloatArray | None = None
    last: FloatArray | None = None
    smallest = np.inf
    for _ in range(20):
        try:
            with np.errstate(invalid="ignore", divide="ignore"):
                sides = [
                    _design_rows(fit, grid.assign(**{variable: grid[variable].astype(float) + k * step})).mean(axis=0)
                    for k in (-2, -1, 1, 2)
                ]
        except DataError:  # beyond the range of a logarithm or root
            step /= 4
            continue
        slope: FloatArray = (sides[0] - 8 * sides[1] + 8 * sides[2] - sides[3]) / (12 * step)
        change = np.inf if last is None else float(np.abs(slope - last).max() / max(np.abs(slope).max(), 1e-300))
        if best is None or change < smallest:
            best, smallest = slope, change
        if change < 1e-8:
            break
        last, step = slope, step / 4
    if best is None:
        raise DataError(
            f"The fixed part has no slope in {variable!r} at the values asked for.", remedy="Ask for others with at=."
        )
    return best


def _adjusted(p_values: FloatArray, adjust: str) -> FloatArray:
    """Adjusted p values; tests that could not be made are not counted."""
    known = np.isfinite(p_values)
    if adjust == "none" or not known.any():
        return p_values
    from statsmodels.stats.multitest import multipletests

    out = p_values.copy()
    out[known] = multipletests(p_values[known], method=adjust)[1]
    return out
