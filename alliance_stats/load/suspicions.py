"""What a reader should look at although the data can be used: ids, courses and columns that look like mistakes."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import pandas as pd

from alliance_stats.load.cells import extremes
from alliance_stats.load.layout import Layout
from alliance_stats.load.problems import NOTE, WARNING, Problems
from alliance_stats.tables.arrays import Array, BoolArray, FloatArray
from alliance_stats.tables.schema import DATE, PATIENT, SESSION, THERAPIST

MIN_ROWS, MIN_VALUES = 10, 3
"""Two columns are only called copies with this many values, and this many different ones."""

MIN_CELLS, MIN_CHANGES = 12, 6
"""Two patients are only called copies with this many answers, and this many changes from session to session."""


def look_at(table: pd.DataFrame, measures: list[str], layout: Layout, problems: Problems) -> None:
    """Every check of this module that needs no sorted table; `table` has the file row in its index."""
    _ids_alike(table[PATIENT], problems)
    if THERAPIST in table and layout.therapist is not None:
        _therapist_changes(table, problems)
    if DATE in table and layout.date is not None and (layout.session is not None or layout.wide is not None):
        _dates_against_sessions(table, problems)
    for name in measures:
        values = table[name].to_numpy(dtype=np.float64)
        low, high = extremes(values)
        remedy = "Is it the right column?"
        if low > high:
            problems.add(WARNING, "empty measure", f"{name!r} has no value.", remedy=remedy, column=name)
        elif low == high and len(values) > 1:
            problems.add(WARNING, "constant", f"{name!r} is {low:g} throughout.", remedy=remedy, column=name)
    sizes = np.bincount(pd.factorize(table[PATIENT])[0] + 1)[1:]  # a missing patient is counted apart
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
    _copied_patients(sessions[PATIENT].to_numpy(), first, list(columns.values()), problems)


def _equal(columns: dict[str, FloatArray], *, rows: int) -> list[list[str]]:
    """The names of columns that are equal in their first `rows`, where there are two or more."""
    groups = defaultdict(list)
    for name, values in columns.items():
        groups[values[:rows].tobytes()].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _copied_patients(patients: Array, first: Array, columns: list[FloatArray], problems: Problems) -> None:
    """Patients whose answers are the same in every session, and vary enough for this to be no coincidence."""
    if not columns:
        return
    last = np.append(first[1:], len(patients)) - 1
    ends = [column[at] for column in columns for at in (first, last)]
    alike = pd.DataFrame(np.column_stack([last - first, *ends])).duplicated(keep=False).to_numpy()
    groups = defaultdict(list)
    for start, end in zip(first[alike].tolist(), (last[alike] + 1).tolist()):
        block = np.array([column[start:end] for column in columns])
        changes = np.count_nonzero(np.abs(np.diff(block, axis=1)) > 0)
        if np.count_nonzero(~np.isnan(block)) >= MIN_CELLS and changes >= MIN_CHANGES:
            groups[block.tobytes()].append(start)
    for starts in groups.values():
        if len(starts) > 1:
            shown = ", ".join(repr(str(patients[start])) for start in starts[:5])
            problem = f"{len(starts)} patients have the same answers in every session: {shown}."
            problems.add(WARNING, "copied patient", problem, remedy="Was one patient entered twice, or copied?")


_BETWEEN = re.compile(r"[\s\-_./]")
_LEADING_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def _ids_alike(ids: pd.Series, problems: Problems) -> None:
    """Ids of text that differ in capitals, blanks, dashes or leading zeros alone."""
    if pd.api.types.is_numeric_dtype(ids.dtype):
        return
    text = pd.Series(ids.dropna().unique()).astype(str)
    plain = text.str.casefold().map(lambda one: _LEADING_ZEROS.sub("", _BETWEEN.sub("", one)))
    twice = plain[plain.duplicated()]
    if len(twice):
        pair = text[plain == twice.iloc[0]].tolist()
        problem = (
            f"{len(twice)} patient id(s) differ from another only in capitals, blanks, dashes or leading zeros, "
            f"such as {pair[0]!r} and {pair[1]!r}; kept apart."
        )
        problems.add(WARNING, "ids alike", problem, remedy="Write the same id the same way.", column=PATIENT)


def _therapist_changes(table: pd.DataFrame, problems: Problems) -> None:
    rated = table[[PATIENT, SESSION, THERAPIST]].dropna(subset=[PATIENT, THERAPIST])
    if rated.empty:
        problems.add(WARNING, "empty therapist", "No row has a therapist.", remedy="Is it the right column?")
        return
    codes = pd.factorize(rated[PATIENT])[0]
    order = np.lexsort((rated[SESSION].to_numpy(dtype=np.float64, na_value=np.nan), codes))
    therapist = pd.factorize(rated[THERAPIST])[0][order]
    changed = (codes[order][1:] == codes[order][:-1]) & (therapist[1:] != therapist[:-1])
    if not changed.any():
        return
    bad = np.zeros(len(rated), dtype=bool)
    bad[order[1:][changed]] = True
    n = len(np.unique(codes[bad]))
    problem = f"{n} patient{' changes' if n == 1 else 's change'} therapist; kept as it is."
    problems.add(
        NOTE, "therapist changes", problem, remedy="A transfer, or a mistake?", table=rated, bad=bad, column=THERAPIST
    )


def _dates_against_sessions(table: pd.DataFrame, problems: Problems) -> None:
    """Dates out of order with the sessions: the fewest of a patient's dates without which the others never run back."""
    dated = table[[PATIENT, SESSION, DATE]].dropna()
    codes = pd.factorize(dated[PATIENT])[0]
    order = np.lexsort((dated[SESSION].to_numpy(dtype=np.float64), codes))
    day, owner = dated[DATE].to_numpy()[order], codes[order]
    back = (owner[1:] == owner[:-1]) & (day[1:] < day[:-1])
    bad = np.zeros(len(dated), dtype=bool)
    for patient in np.unique(owner[1:][back]):
        start, end = np.searchsorted(owner, [patient, patient + 1])
        bad[order[start:end][_out_of_order(day[start:end].astype("datetime64[D]").astype(np.float64))]] = True
    problem = f"{int(bad.sum())} date(s) do not fit the order of the patient's sessions."
    remedy = "Check date and session."
    problems.add(WARNING, "dates run back", problem, remedy=remedy, table=dated, bad=bad, column=DATE)


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
