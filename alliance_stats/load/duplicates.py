"""Several rows of one patient and session: refused, dropped or merged, as the user says, and always counted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.load.cells import is_plain_number
from alliance_stats.load.problems import ERROR, NOTE, WARNING, Problems
from alliance_stats.tables.arrays import BoolArray, runs
from alliance_stats.tables.flow import Steps, counted
from alliance_stats.tables.schema import DATE, PATIENT, SESSION, THERAPIST

KEYS = [PATIENT, SESSION]


def without_duplicates(table: pd.DataFrame, how: str, problems: Problems, steps: Steps) -> pd.DataFrame:
    """One row per patient and session, by `how` (``error``: as it is, the duplicates noted as an error)."""
    known = (table[PATIENT].notna() & table[SESSION].notna()).to_numpy(dtype=bool)
    head, onward = runs(table[PATIENT], table[SESSION].to_numpy())
    if onward and known.all() and table.loc[head, PATIENT].is_unique:
        return table
    later = table.duplicated(KEYS, keep="first").to_numpy() & known
    if not later.any():
        return table
    if how == "error":
        _refuse(table, later, problems)
        return table
    if how == "merge":
        kept = _merged(table, known, problems).loc[~later]
        words = "the rows merged"
        text = f"{int(later.sum())} duplicate patient-session row(s) were merged into another."
        problems.add(NOTE, "duplicate merged", text, remedy="", table=table, bad=later)
    else:
        dropped = table.duplicated(KEYS, keep="first" if how == "first" else "last").to_numpy() & known
        kept = table.loc[~dropped]
        words = f"the {how} kept"
        _tell_dropped(table, kept, dropped, how, problems)
    steps.append(counted(f"one row per patient and session ({words})", kept))
    return kept


def _tell_dropped(table: pd.DataFrame, kept: pd.DataFrame, dropped: BoolArray, how: str, problems: Problems) -> None:
    """How many rows were dropped, how many of them held something else, and how many held what the kept row lacks."""
    others = [name for name in table.columns if name not in KEYS]
    gone = table.loc[dropped]
    beside = gone[KEYS].merge(kept, on=KEYS, how="left")
    there, held = gone[others].reset_index(drop=True), beside[others]
    fills = (there.notna() & held.isna()).any(axis=1)
    differs = ((there != held) & there.notna() & held.notna()).any(axis=1)
    text = f"{int(dropped.sum())} duplicate patient-session row(s) were dropped (the {how} of each was kept)"
    if not (differs | fills).any():
        problems.add(NOTE, "duplicate dropped", f"{text}.", remedy="", table=table, bad=dropped)
        return
    text += f"; {int(differs.sum())} held other values, {int(fills.sum())} held a value where the kept row is empty."
    remedy = "duplicates='merge' fills empty cells from the other row and refuses rows that disagree."
    problems.add(WARNING, "duplicate dropped", text, remedy=remedy, table=table, bad=dropped)


def _merged(table: pd.DataFrame, known: BoolArray, problems: Problems) -> pd.DataFrame:
    """`table` with the cells of duplicates filled from one another; two different values are an error."""
    rows = table.duplicated(KEYS, keep=False).to_numpy() & known
    part = table.loc[rows]
    groups = part.groupby(KEYS, sort=False)
    replaced = {}
    for name in part.columns.difference(KEYS, sort=False):
        disagree = np.zeros(len(table), dtype=bool)
        disagree[rows] = (groups[name].transform("nunique") > 1).to_numpy()
        problem = f"{int(disagree.sum())} duplicate patient-session rows hold different values of {name!r}."
        remedy = "Correct the file; only rows that do not disagree can be merged."
        problems.add(ERROR, "duplicate", problem, remedy=remedy, table=table, bad=disagree, column=str(name))
        column = table[name].copy()
        column[rows] = groups[name].transform("first").to_numpy()
        replaced[name] = column
    return table.assign(**replaced)


def _refuse(table: pd.DataFrame, later: BoolArray, problems: Problems) -> None:
    """The error, with the remedy that fits: one row too many, a row for each rater, or phases that count from 1."""
    n = int(later.sum())
    whole = table.duplicated(keep="first").to_numpy()[later].all()
    problem = f"Duplicate patient-session rows: {n}{', with the same content' if whole else ''}."
    remedy = "Keep one row per patient and session: correct the file, or say duplicates='merge', 'first' or 'last'."
    apart = None if whole else _tells_apart(table, later)
    if apart is not None:
        column, words = apart
        raters = (
            f"If {column!r} says who rated, read the file once with only={{{column!r}: {words[0]!r}}}, once with "
            f"{words[1]!r}, and join them with merge_ratings."
        )
        phases = (
            f"If {column!r} says in which phase, and sessions are counted from 1 in each, number them through in the "
            "file, or leave session= out and number them by date=."
        )
        later_days = DATE in table and not table.duplicated([*KEYS, DATE]).to_numpy()[later].any()
        remedy = phases if later_days else f"{raters} {phases}"
    problems.add(ERROR, "duplicate", problem, remedy=remedy, table=table, bad=later)


def _tells_apart(table: pd.DataFrame, later: BoolArray) -> tuple[str, list[str]] | None:
    """A column of two to four words, each once per patient and session, such as the rater; and the words."""
    for name in table.columns:
        if name in (*KEYS, THERAPIST, DATE) or is_plain_number(table[name]):
            continue
        words = sorted({str(cell) for cell in table[name].dropna()})
        if 2 <= len(words) <= 4 and not table.duplicated([*KEYS, name]).to_numpy()[later].any():
            return str(name), words
    return None
