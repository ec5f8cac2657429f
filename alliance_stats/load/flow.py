"""Who was kept and why: patients and sessions after each step, carried in ``attrs["flow"]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.schema import PATIENT, require_columns

FLOW_COLUMNS = ("step", "patients", "sessions", "patients_lost", "sessions_lost")


@dataclass
class Flow:
    """The steps so far, as plain dicts (they travel in ``DataFrame.attrs``)."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: str, table: pd.DataFrame) -> None:
        """Count the patients and rows of `table` after a step."""
        self.steps.append({"step": step, "patients": int(table[PATIENT].nunique()), "sessions": len(table)})


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
    steps = Flow(list(sessions.attrs.get("flow", [])))
    if not steps.steps:
        steps.add("at the start", sessions)
    steps.add(because, kept)
    kept.attrs = {**sessions.attrs, "flow": steps.steps}
    return kept


def flow(sessions: pd.DataFrame) -> pd.DataFrame:
    """The flow diagram as a table: one row per step, with patients and sessions kept and lost.

    Returns
    -------
    DataFrame
        ``step, patients, sessions, patients_lost, sessions_lost``; without a record, one row about the table as it is.
    """
    steps = sessions.attrs.get("flow")
    if not steps:
        record = Flow()
        record.add("at the start", sessions)
        steps = record.steps
    table = pd.DataFrame(steps)
    lost = -table[["patients", "sessions"]].diff().fillna(0).astype("int64")
    return table.assign(patients_lost=lost["patients"], sessions_lost=lost["sessions"])[list(FLOW_COLUMNS)]
