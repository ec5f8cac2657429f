"""Who was kept and why: patients and sessions after each step, carried in ``attrs["flow"]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import n_distinct
from alliance_stats.tables.flow import FLOW, record, why
from alliance_stats.tables.schema import PATIENT, require_columns

FLOW_COLUMNS = ("step", "patients", "sessions", "patients_lost", "sessions_lost")


@dataclass
class Flow:
    """The steps so far, as plain dicts (they travel in ``DataFrame.attrs``)."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: str, table: pd.DataFrame) -> None:
        """Count the patients and rows of `table` after a step."""
        self.steps.append({"step": step, "patients": n_distinct(table[PATIENT]), "sessions": len(table)})


def keep(sessions: pd.DataFrame, where: Any, *, because: str) -> pd.DataFrame:
    """The rows for which `where` holds, the loss recorded under its reason.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    where : Series, array or list of bool
        One value per row; missing counts as False.
    because : str
        What is kept, in words, such as ``"four or more rated sessions"``.

    Returns
    -------
    DataFrame
        A new frame whose ``attrs["flow"]`` has one step more.

    Raises
    ------
    ValueError
        If `where` has another length or index than `sessions`, or `because` is empty.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1]})
    >>> flow(keep(rows, rows["patient"] == 1, because="patient 1"))
              step  patients  sessions  patients_lost  sessions_lost
    0  at the start         2         3              0              0
    1     patient 1         1         2              1              1
    """
    require_columns(sessions, [PATIENT], table_name="sessions")
    if not because.strip():
        raise ValueError("because= must say in words what is kept.")
    if isinstance(where, pd.Series) and not where.index.equals(sessions.index):
        raise ValueError("where has another index than sessions.")
    mask = pd.array(np.asarray(where, dtype=object), dtype="boolean").fillna(False).to_numpy(dtype=bool)
    if len(mask) != len(sessions):
        raise ValueError(f"where has {len(mask)} values for {len(sessions)} rows.")
    kept = sessions.loc[mask].copy()
    steps = Flow(record(sessions, patients=sessions[PATIENT].nunique()))
    steps.add(because, kept)
    kept.attrs = {**sessions.attrs, FLOW: steps.steps}
    return kept


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
    if isinstance(of, pd.DataFrame):
        steps = record(of, patients=of[PATIENT].nunique() if PATIENT in of else None)
    else:
        steps = of.diagnostics[FLOW]
    units = [one.get("unit", "sessions") for one in steps]
    lost = {
        name: [0, *(_lost(before[name], after[name]) for before, after in pairwise(steps))]
        for name in ("patients", "sessions")
    }
    lost["sessions"] = [0 if i and units[i] != units[i - 1] else n for i, n in enumerate(lost["sessions"])]
    columns: dict[str, Any] = {"step": [one["step"] for one in steps]}
    columns |= {name: _counts([one[name] for one in steps]) for name in ("patients", "sessions")}
    columns |= {f"{name}_lost": _counts(values) for name, values in lost.items()}
    table = pd.DataFrame(columns)[list(FLOW_COLUMNS)]
    if any(why(one) for one in steps):
        table = table.assign(why=[why(one) for one in steps])
    return table.assign(unit=units) if len(set(units)) > 1 else table


def _lost(before: int | None, after: int | None) -> int | None:
    """How many fewer; a step that adds some (ratings of a second file) loses none."""
    return None if before is None or after is None else max(before - after, 0)


def _counts(values: list[int | None]) -> pd.Series:
    return pd.Series(values, dtype="Int64" if None in values else "int64")
