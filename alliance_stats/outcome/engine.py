"""The mixed model of the outcome steps, with its one numerical refusal put into words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.mixed.result import MixedFit
from alliance_stats.tables.schema import SESSION, DataError


def fit_nested(
    formula: str, data: pd.DataFrame, *, correlation: str | None = None, drop_aliased: bool = False
) -> MixedFit:
    """`fit_mixed` over session numbers; ``DataError`` where the terms leave no residual to estimate."""
    time = SESSION if correlation else None
    try:
        return fit_mixed(formula, data, correlation=correlation, time=time, drop_aliased=drop_aliased)
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"The model {formula!r} leaves no residual: there is nothing to estimate.",
            remedy="Check that the outcome is not computed from the covariates.",
        ) from error
