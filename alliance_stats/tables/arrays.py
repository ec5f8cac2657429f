"""The array types that annotations name, and rows in the order of patients and sessions."""

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


def runs(patient: pd.Series, session: IntArray) -> tuple[BoolArray, bool]:
    """Where a run of rows of one patient begins, and whether in every run session numbers rise."""
    head = changes(patient)
    return head, bool((head[1:] | (session[1:] > session[:-1])).all())


def sorted_rows(patient: pd.Series, session: IntArray) -> tuple[IntArray | None, IntArray, IntArray]:
    """The order that sorts by patient and session (None: already sorted), where each patient begins, repeated rows."""
    head, onward = runs(patient, session)
    first, none = np.flatnonzero(head), np.zeros(0, dtype=np.int64)
    ids = patient.array[head]
    if onward and _rises(ids):
        return None, first, none
    codes, distinct = pd.factorize(pd.Index(ids), sort=True)
    if onward and len(distinct) == len(ids):  # whole runs change places
        place = np.argsort(codes)
        lengths = np.diff(first, append=len(patient))[place]
        start = np.cumsum(lengths) - lengths
        return np.arange(len(patient)) + np.repeat(first[place] - start, lengths), start, none
    codes = codes[np.cumsum(head) - 1]
    order = np.lexsort((session, codes))
    same, step = np.diff(codes[order]), np.diff(session[order])
    return order, np.flatnonzero(np.r_[True, same != 0]), order[np.flatnonzero((same == 0) & (step == 0)) + 1]


def _rises(ids: Any) -> bool:
    """Whether each id is larger than the one before it; False where ids have no order of their own."""
    if isinstance(ids.dtype, pd.CategoricalDtype):
        return False
    return bool(np.asarray(ids[1:] > ids[:-1], dtype=bool).all())
