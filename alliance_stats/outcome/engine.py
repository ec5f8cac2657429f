"""What the outcome steps share: the mixed model over session numbers, and column names in formulas."""

from __future__ import annotations

import pandas as pd

from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.mixed.result import MixedFit
from alliance_stats.tables.schema import SESSION, DataError

BOTH_WAYS = (
    "Where worse symptoms also lower the later alliance, patients with ruptures do worse without any effect of "
    "ruptures; fit_dynamics estimates both directions."
)


def fit_nested(
    formula: str, data: pd.DataFrame, *, correlation: str | None = None, drop_aliased: bool = False
) -> MixedFit:
    """`fit_mixed` with session numbers as the time of the serial correlation."""
    time = SESSION if correlation else None
    return fit_mixed(formula, data, correlation=correlation, time=time, drop_aliased=drop_aliased)


def quoted(name: str) -> str:
    """A column name as a formula reads it.

    >>> quoted("phq9"), quoted("PHQ 9")
    ('phq9', '`PHQ 9`')
    """
    if "`" in name:
        raise DataError(f"Column {name!r} has a backtick in its name.", remedy="Rename the column.", column=name)
    return name if name.isidentifier() else f"`{name}`"
