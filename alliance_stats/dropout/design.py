"""From the right-hand side of a formula to a design matrix, and back for new rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import Array
from alliance_stats.tables.formulas import model_matrix, one_sided, variables_of
from alliance_stats.tables.schema import SESSION, DataError, suggest

BASELINES = {
    None: None,
    "linear": "{clock}",
    "log": "np.log(stop)",
    "spline": "cr({clock}, df=4, constraints='center')",
    "dummies": "C({clock})",
}
"""How the hazard may change with the session: the term each choice adds to the formula."""
SINCE = "since"
"""The clock of intervals that run from the onset of a rupture; that of all others is the session."""


def clock_of(intervals: pd.DataFrame) -> str:
    """The column that says how far each row is on the clock of the hazard."""
    return SINCE if SINCE in intervals else SESSION


@dataclass(frozen=True)
class HazardDesign:
    """A design matrix and the rows it was made from."""

    matrix: Array  # (n, p)
    names: list[str]
    rows: Array  # (n,): positions of the rows used in the table given
    dropped: dict[str, int]  # Rows left out, by the first column that lacks a value
    variables: list[str]  # The columns the formula uses
    spec: Any
    intercept: bool

    def columns_by_term(self) -> list[list[int]]:
        """The columns of each term of the formula, without the intercept."""
        shift = 0 if self.intercept else 1
        slices = [range(part.start - shift, part.stop - shift) for part in self.spec.term_slices.values()]
        return [[j for j in part if j >= 0 and self.names[j] != "Intercept"] for part in slices]

    def of(self, table: pd.DataFrame) -> Array:
        """The design matrix of new rows (NaN where a value is missing)."""
        missing = [name for name in self.variables if name not in table]
        if missing:
            raise DataError(f"The new rows have no column {missing[0]!r}.", remedy=suggest(missing[0], table.columns))
        complete = table[self.variables].notna().all(axis=1).to_numpy()
        matrix = np.full((len(table), len(self.names)), np.nan)
        if complete.any():
            used = table.loc[complete, self.variables]
            found = np.asarray(model_matrix(self.spec, used, columns=tuple(self.variables), output="numpy"))
            matrix[complete] = found if self.intercept else found[:, 1:]
        return matrix


def build_design(
    formula: str, table: pd.DataFrame, *, baseline: str | None, intercept: bool, needed: list[str]
) -> HazardDesign:
    """The design matrix of a formula's right-hand side, without the rows that lack a value of it or of `needed`.

    Raises
    ------
    ValueError
        For a left-hand side, a term in the notation of random effects, or an unknown column.
    """
    text = formula.strip()
    if text.startswith("~"):
        text = text[1:]
    if "~" in text:
        raise ValueError(f"formula={formula!r} must be the right-hand side only; name the event with ending=.")
    if "|" in text:
        raise ValueError("Write a therapist intercept as random='therapist', not as (1 | therapist).")
    term = BASELINES[baseline]
    text = text if term is None else f"{text} + {term.format(clock=clock_of(table))}"
    parsed = one_sided(f"1 + {text}")
    variables = list(variables_of(f"1 + {text}"))
    for name in [*variables, *needed]:
        if name not in table:
            raise DataError(f"intervals has no column {name!r}.", remedy=suggest(name, table.columns))
    keep = np.ones(len(table), dtype=bool)
    dropped: dict[str, int] = {}
    for name in [*variables, *needed]:
        missing = table[name].isna().to_numpy() & keep
        if missing.any():
            dropped[name] = int(missing.sum())
            keep &= ~missing
    if not keep.any():
        raise DataError(
            "No row has a value in every column the model needs.",
            remedy=f"Most rows lack {max(dropped, key=lambda name: dropped[name])!r}; see carry= in dropout_intervals.",
        )
    used = table.loc[:, variables] if keep.all() else table.loc[keep, variables]
    model = model_matrix(parsed, used, columns=tuple(variables), output="numpy")
    # column by column in memory: the sums over rows that follow take half the time
    matrix, names = np.asfortranarray(model, dtype=np.float64), [str(name) for name in model.model_spec.column_names]
    if not intercept:
        if names[:1] != ["Intercept"]:
            raise ValueError("A Cox model has no intercept to leave out: write the formula without '- 1' or '0 +'.")
        matrix, names = matrix[:, 1:], names[1:]
        if not names:
            raise ValueError("A Cox model needs at least one term besides the baseline.")
    return HazardDesign(matrix, names, np.flatnonzero(keep), dropped, variables, model.model_spec, intercept)


def sessions_without_choice(event: Array, session: Array) -> dict[int, float]:
    """Sessions in which no row, or every row, is an event: their own dummy would be infinite.

    Returns
    -------
    dict of int to float
        The hazard there, 0 or 1.
    """
    rates = pd.DataFrame({SESSION: session, "event": event}).groupby(SESSION)["event"].mean()
    decided = rates[rates.isin((0.0, 1.0))]
    return dict(zip(decided.index.astype(int).tolist(), decided.tolist(), strict=True))
