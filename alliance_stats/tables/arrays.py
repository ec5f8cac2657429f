"""The array types that annotations name, and where a column changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]  # An array of any kind: ids, text, dates

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


def changes(column: pd.Series) -> BoolArray:
    """Whether each cell differs from the one before it; True for the first.

    The rows of a patient mostly lie together: then one id per run is compared, sorted and counted, not one per row.
    """
    differs = pd.Series(column.array[1:] != column.array[:-1])
    return np.concatenate([np.ones(min(len(column), 1), dtype=bool), differs.to_numpy(dtype=bool, na_value=True)])
