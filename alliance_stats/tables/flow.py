"""Who was kept and why: the record that travels in ``DataFrame.attrs["flow"]`` from the file to every model.

A record is a plain list of plain dicts, one per step: ``step`` (in words), ``patients`` and ``sessions`` left after it,
``lost`` where reasons are known (in words: count), ``unit`` where the step counts something other than sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import BoolArray, changes
from alliance_stats.tables.schema import PATIENT

FLOW = "flow"
Steps = list[dict[str, Any]]


def flow(of: Any) -> pd.DataFrame:
    """The flow of who was kept as a table: one row per step, with patients and sessions kept and lost.

    Parameters
    ----------
    of : DataFrame or fit
        SESSIONS, or any table made from them; or a fitted model, whose last step is the rows it used
        (``fit.diagnostics["flow"]``).

    Returns
    -------
    DataFrame
        ``step, patients, sessions, patients_lost, sessions_lost``; without a record, one row about the table as it is.
        Where reasons are recorded also ``why`` (with counts), and where a step counts something other than sessions
        also ``unit``; across a change of unit no loss is counted in ``sessions_lost``. Counts that cannot be told are
        missing.
    """
    steps = record(of) if isinstance(of, pd.DataFrame) else of.diagnostics[FLOW]
    units = [one.get("unit", "sessions") for one in steps]
    lost = {
        name: [0, *(_lost(before[name], after[name]) for before, after in pairwise(steps))]
        for name in ("patients", "sessions")
    }
    lost["sessions"] = [0 if i and units[i] != units[i - 1] else n for i, n in enumerate(lost["sessions"])]
    columns: dict[str, Any] = {"step": [one["step"] for one in steps]}
    columns |= {name: _counts([one[name] for one in steps]) for name in ("patients", "sessions")}
    columns |= {f"{name}_lost": _counts(values) for name, values in lost.items()}
    table = pd.DataFrame(columns)
    if any(why(one) for one in steps):
        table = table.assign(why=[why(one) for one in steps])
    return table.assign(unit=units) if len(set(units)) > 1 else table


def record(table: pd.DataFrame) -> Steps:
    """The record of `table`, or one that begins with the table as it is."""
    steps = table.attrs.get(FLOW)
    if steps:
        return [dict(one) for one in steps]
    once = (table.columns == PATIENT).sum() == 1
    return [_step("at the start", count_patients(table) if once else None, len(table))]


def count_patients(table: pd.DataFrame) -> int:
    """How many patients a table has."""
    return int(table[PATIENT][changes(table[PATIENT])].nunique())


def with_step(
    steps: Steps,
    words: str,
    *,
    patients: int | None,
    sessions: int | None,
    lost: Mapping[str, int] | None = None,
    unit: str | None = None,
) -> Steps:
    """A new record with one step more, such as ``"used by the growth model"``; None where a count cannot be told.

    `lost` says how many were lost for each reason, counted under the first that holds; `unit` what `sessions` counts,
    where it is something else, such as ``"intervals"``.
    """
    more = {"lost": {str(reason): int(n) for reason, n in lost.items() if n}} if lost else {}
    return [*steps, _step(words, patients, sessions) | more | ({"unit": unit} if unit else {})]


def rows_left(reasons: Mapping[str, Any]) -> tuple[BoolArray, dict[str, int]]:
    """The rows for which no reason holds, each (n,) booleans, and the rows lost, counted under the first that does.

    >>> rows_left({"no phq9": [True, False, False], "no form": [True, True, False]})
    (array([False, False,  True]), {'no phq9': 1, 'no form': 1})
    """
    masks = {name: pd.Series(bad).to_numpy(dtype=bool, na_value=False) for name, bad in reasons.items()}
    left: BoolArray = ~np.zeros_like(next(iter(masks.values())))
    lost: dict[str, int] = {}
    for reason, bad in masks.items():
        if (left & bad).any():
            lost[reason] = int((left & bad).sum())
        left = left & ~bad
    return left, lost


def counted(words: str, table: pd.DataFrame) -> dict[str, Any]:
    """A step whose counts are the patients and rows of `table`."""
    return _step(words, count_patients(table), len(table))


def carried(table: pd.DataFrame) -> dict[str, Any]:
    """The record of `table` as an entry of another table's ``attrs``; nothing where there is none."""
    return {FLOW: table.attrs[FLOW]} if table.attrs.get(FLOW) else {}


def in_words(steps: Steps) -> str:
    """The record in one sentence; steps in between that changed nothing are passed over.

    >>> steps = with_step([], "in the file", patients=3, sessions=20)
    >>> steps = with_step(steps, "used by the model", patients=2, sessions=15, lost={"no phq9": 5})
    >>> in_words(steps)
    'Kept, in the file: 3 patients, 20 sessions; used by the model: 2 patients, 15 sessions, left out: no phq9 (5).'
    """
    told = [
        one
        for before, one in zip([None, *steps], steps)
        if before is None or one is steps[-1] or counts(one) != counts(before)
    ]
    sentences = [f"{one['step']}: {counts(one)}{', left out: ' * bool(why(one))}{why(one)}" for one in told]
    return f"Kept, {'; '.join(sentences)}."


def counts(step: Mapping[str, Any]) -> str:
    """Patients and sessions after a step, in words."""
    found = [(step["patients"], "patients"), (step["sessions"], step.get("unit", "sessions"))]
    return ", ".join(f"{n:,} {name.removesuffix('s') if n == 1 else name}" for n, name in found if n is not None)


def why(step: Mapping[str, Any]) -> str:
    """Why rows were lost at a step, in words; empty where no reasons are recorded."""
    return "; ".join(f"{reason} ({n:,})" for reason, n in step.get("lost", {}).items())


def _step(words: str, patients: int | None, sessions: int | None) -> dict[str, Any]:
    return {
        "step": words,
        "patients": None if patients is None else int(patients),
        "sessions": None if sessions is None else int(sessions),
    }


def _lost(before: int | None, after: int | None) -> int | None:
    """How many fewer; a step that adds some (ratings of a second file) loses none."""
    return None if before is None or after is None else max(before - after, 0)


def _counts(values: list[int | None]) -> pd.Series:
    return pd.Series(values, dtype="Int64" if None in values else "int64")
