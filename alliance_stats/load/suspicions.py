"""What a reader should look at although the data can be used: ids, courses and columns that look like mistakes."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import distinct_cells, extremes
from alliance_stats.load.layout import Layout
from alliance_stats.load.problems import NOTE, WARNING, Problems
from alliance_stats.tables.arrays import Array, BoolArray, FloatArray, IntArray, runs
from alliance_stats.tables.schema import DATE, PATIENT, SESSION, THERAPIST

MIN_ROWS, MIN_VALUES = 10, 3
"""Two columns are only called copies with this many values, and this many different ones."""

MIN_CELLS, MIN_CHANGES = 12, 6
"""Two patients are only called copies with this many answers, and this many changes from session to session."""


def look_at(table: pd.DataFrame, measures: list[str], layout: Layout, problems: Problems) -> None:
    """Every check of this module that needs no sorted table; `table` has the file row in its index."""
    patient, ids = distinct_cells(table[PATIENT])  # a missing patient is -1
    order = np.arange(len(table))
    if not (runs(table[PATIENT], table[SESSION].to_numpy())[1] and (np.diff(patient) >= 0).all()):
        order = np.lexsort((table[SESSION].to_numpy(dtype=np.float64, na_value=np.nan), patient))
    order = order[patient[order] >= 0]
    _ids_alike(ids, problems)
    if THERAPIST in table and layout.therapist is not None:
        _therapist_changes(table, patient, order, problems)
        there = table[THERAPIST].notna()
        if there.any() and not there.all():
            problem = f"{int((~there).sum())} row(s) have no therapist; models with therapists leave them out."
            remedy = "Fill it in where it is known."
            problems.add(NOTE, "no therapist", problem, remedy=remedy, table=table, bad=~there, column=THERAPIST)
    if DATE in table and layout.date is not None and (layout.session is not None or layout.wide is not None):
        _dates_against_sessions(table, patient, order, problems)
    for name in measures:
        values = table[name].to_numpy(dtype=np.float64)
        low, high = extremes(values[:1000])
        if low < high:
            continue
        low, high = extremes(values)
        remedy = "Is it the right column?"
        if low > high:
            problems.add(WARNING, "empty measure", f"{name!r} has no value.", remedy=remedy, column=name)
        elif low == high and len(values) > 1:
            problems.add(WARNING, "constant", f"{name!r} is {low:g} throughout.", remedy=remedy, column=name)
    sizes = np.bincount(patient + 1)[1:]
    if len(sizes) == 1:
        problems.add(WARNING, "one patient", "The file has one patient.", remedy="Is it the right patient column?")
    elif len(sizes) and sizes.max() == 1:
        problem = "Every patient has one session."
        problems.add(WARNING, "one session each", problem, remedy="Is it a wide file (wide=), or the wrong column?")


def copies(sessions: pd.DataFrame, first: Array, measures: list[str], problems: Problems) -> None:
    """Columns, and patients, that hold the same answers throughout.

    `sessions` is SESSIONS, sorted, and `first` the row at which each patient begins.
    """
    columns = {name: sessions[name].to_numpy() for name in measures}
    for names in _equal(columns, rows=1000):
        for same in _equal({name: columns[name] for name in names}, rows=len(sessions)):
            found = columns[same[0]][~np.isnan(columns[same[0]])]
            if len(found) >= MIN_ROWS and len(np.unique(found[:1000])) >= MIN_VALUES:
                shown = ", ".join(map(repr, same[:5])) + (", ..." if len(same) > 5 else "")
                problem = f"{len(same)} columns hold the same value in every row: {shown}."
                remedy = "Was one column copied into the other? Or was one answer given to all items?"
                problems.add(WARNING, "copied column", problem, remedy=remedy, column=same[1])
    _copied_patients(sessions[PATIENT], first, list(columns.values()), problems)


def _equal(columns: dict[str, FloatArray], *, rows: int) -> list[list[str]]:
    """The names of columns that are equal in their first `rows`, where there are two or more."""
    groups = defaultdict(list)
    for name, values in columns.items():
        groups[values[:rows].tobytes()].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _copied_patients(patients: pd.Series, first: Array, columns: list[FloatArray], problems: Problems) -> None:
    """Patients whose answers are the same in every session, and vary enough for this to be no coincidence."""
    if not columns:
        return
    last = np.append(first[1:], len(patients)) - 1
    # One number from the length and the bits of the first and last answers: the same answers give the same number.
    mark = (last - first).astype(np.uint64)
    for ends in (column[at] for column in columns for at in (first, last)):
        mark = (mark ^ (mark >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15) + ends.view(np.uint64)
    alike = pd.Series(mark).duplicated(keep=False).to_numpy()
    groups = defaultdict(list)
    for start, end in zip(first[alike].tolist(), (last[alike] + 1).tolist()):
        block = np.array([column[start:end] for column in columns])
        changes = np.count_nonzero(np.abs(np.diff(block, axis=1)) > 0)
        if np.count_nonzero(~np.isnan(block)) >= MIN_CELLS and changes >= MIN_CHANGES:
            groups[block.tobytes()].append(start)
    for starts in groups.values():
        if len(starts) > 1:
            shown = ", ".join(repr(str(patients.iloc[start])) for start in starts[:5])
            problem = f"{len(starts)} patients have the same answers in every session: {shown}."
            problems.add(WARNING, "copied patient", problem, remedy="Was one patient entered twice, or copied?")


_BETWEEN = re.compile(r"[\s\-_./]")
_LEADING_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def _ids_alike(ids: list[Any], problems: Problems) -> None:
    """Ids of text that differ in capitals, blanks, dashes or leading zeros alone."""
    if not all(isinstance(one, str) for one in ids):
        return
    together = "\0".join(ids).casefold()  # all at once is quicker than id by id
    plain = _LEADING_ZEROS.sub("", _BETWEEN.sub("", together)).split("\0")
    if len({*plain}) < len(ids):
        found = pd.Series(plain)
        twice = found[found.duplicated()]
        pair = [one for one, what in zip(ids, plain) if what == twice.iloc[0]]
        problem = (
            f"{len(twice)} patient id(s) differ from another only in capitals, blanks, dashes or leading zeros, "
            f"such as {pair[0]!r} and {pair[1]!r}; kept apart."
        )
        problems.add(WARNING, "ids alike", problem, remedy="Write the same id the same way.", column=PATIENT)


def _therapist_changes(table: pd.DataFrame, patient: IntArray, order: IntArray, problems: Problems) -> None:
    therapist, _ = distinct_cells(table[THERAPIST])
    order = order[therapist[order] >= 0]
    if not len(order):
        problems.add(WARNING, "empty therapist", "No row has a therapist.", remedy="Is it the right column?")
        return
    owner, therapist = patient[order], therapist[order]
    changed = (owner[1:] == owner[:-1]) & (therapist[1:] != therapist[:-1])
    if not changed.any():
        return
    bad = np.zeros(len(table), dtype=bool)
    bad[order[1:][changed]] = True
    n = len(np.unique(patient[bad]))
    problem = f"{n} patient{' changes' if n == 1 else 's change'} therapist; kept as it is."
    problems.add(
        NOTE, "therapist changes", problem, remedy="A transfer, or a mistake?", table=table, bad=bad, column=THERAPIST
    )


def _dates_against_sessions(table: pd.DataFrame, patient: IntArray, order: IntArray, problems: Problems) -> None:
    """Dates out of order with the sessions: the fewest of a patient's dates without which the others never run back."""
    order = order[(table[DATE].notna() & table[SESSION].notna()).to_numpy(dtype=bool)[order]]
    day, owner = table[DATE].to_numpy()[order], patient[order]
    back = (owner[1:] == owner[:-1]) & (day[1:] < day[:-1])
    bad = np.zeros(len(table), dtype=bool)
    for one in np.unique(owner[1:][back]):
        start, end = np.searchsorted(owner, [one, one + 1])
        bad[order[start:end][_out_of_order(day[start:end].astype("datetime64[D]").astype(np.float64))]] = True
    problem = f"{int(bad.sum())} date(s) do not fit the order of the patient's sessions."
    remedy = "Check date and session."
    problems.add(WARNING, "dates run back", problem, remedy=remedy, table=table, bad=bad, column=DATE)


def _out_of_order(days: FloatArray) -> BoolArray:
    """The fewest days without which the others never fall; of two choices, the days farther from the median.

    >>> _out_of_order(np.array([1.0, 2, 90, 3, 4])).tolist()
    [False, False, True, False, False]
    """
    distance = np.abs(days - np.median(days))
    worth = 1 - distance / (1 + distance.sum())  # the sum of what is taken off stays below one
    best, before = np.zeros(len(days)), np.full(len(days), -1)
    for i in range(len(days)):
        earlier = np.where(days[:i] <= days[i], best[:i], 0.0)
        if earlier.any():
            before[i] = earlier.argmax()
        best[i] = worth[i] + earlier.max(initial=0.0)
    out = np.ones(len(days), dtype=bool)
    i = int(best.argmax())
    while i >= 0:
        out[i] = False
        i = int(before[i])
    return out
