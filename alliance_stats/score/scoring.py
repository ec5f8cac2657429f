"""``score_items``: from item columns to scores, with every decision on record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.catalogue import as_instrument
from alliance_stats.instruments.instrument import Instrument
from alliance_stats.score.questions import coded_one_lower, questions, straight_throughout, turned_in_part
from alliance_stats.score.totals import Plan, Scores, all_whole, plan_scoring, score_rows
from alliance_stats.tables import naming
from alliance_stats.tables.arrays import Array, FloatArray, IntArray
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    DataError,
    check_sessions,
    plain,
    require_choice,
    require_columns,
)

_LOG = logging.getLogger("alliance_stats")
_SAID: set[str] = set()


def score_items(
    sessions: pd.DataFrame,
    instrument: str | Path | Instrument,
    *,
    items: str | Sequence[str] | Mapping[Any, str],
    into: str,
    subscales: bool = True,
    score: str | None = None,
    max_missing: int | None = None,
    answers: Sequence[float] | None = None,
    already_reversed: bool | Sequence[int] = False,
    out_of_range: str = "error",
) -> pd.DataFrame:
    """Total and subscale scores of a questionnaire, one per row.

    A missing answer counts as the mean of the answered items of the same scale (person-mean imputation), as long as
    no more than the allowed number are missing; with more, the score is missing. An item that correlates negatively
    with the rest of its scale (r below -0.1, 20 or more complete rows) is put as a question.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with one column per item.
    instrument : str, Path or Instrument
        A name in ``INSTRUMENTS``, the path of a TOML file, or an instrument.
    items : str, list or dict
        The item columns: a pattern such as ``"wai_{item}"``, the column names in the order of the item numbers,
        or a dict from item number to column name.
    into : str
        Name of the total, and the beginning of every other new name.
    subscales : bool
        Also score the subscales.
    score : {"sum", "mean", "mean_of_subscales"}, optional
        Instead of the instrument's own way.
    max_missing : int, optional
        Missing answers allowed in the total, instead of the instrument's own number. In a subscale the same share of
        its items is allowed, rounded down.
    answers : (low, high), optional
        The range of an answer in this study where it differs from the published one.
    already_reversed : bool or list of int
        True, or the item numbers, where the file holds reversed items already reversed.
    out_of_range : {"error", "missing"}
        What an answer outside the range does: raise, or count as missing (counted in ``<into>_n_out_of_range``).

    Returns
    -------
    DataFrame
        SESSIONS with new columns ``<into>``, ``<into>_<subscale>``, ``<into>_n_items`` (answers used) and
        ``<into>_straight`` (True where three or more items were answered, all with the same answer as given, before
        reversal; at the end of a scale without reversed items that may simply be a ceiling). ``attrs["scored"]``
        records how each score was made, ``attrs["notes"]`` what to look at.

    Raises
    ------
    DataError
        For an unknown instrument, a missing or surplus item column, text, an answer outside the range, or an answer
        that is not a whole number where the instrument has whole answers.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": ["a", "a"], "session": [1, 2],
    ...                      **{f"arm{i}": v for i, v in enumerate([(6, 7), (5, 7), (2, 1), (6, 7), (6, 7)], 1)}})
    >>> score_items(rows, "ARM-5", items="arm{item}", into="alliance")[["alliance", "alliance_n_items"]]
       alliance  alliance_n_items
    0       5.8                 5
    1       7.0                 5
    """
    require_choice(out_of_range, ("error", "missing"), name="out_of_range")
    key = as_instrument(instrument)
    if answers is not None and tuple(answers) != (key.low, key.high):
        key = key.with_range(*answers)
    plan = plan_scoring(key, score=score, max_missing=max_missing, already_reversed=already_reversed)
    columns = item_columns(sessions, key, items)
    table = check_sessions(sessions, [column for column in columns if sessions[column].dtype != np.float64])
    answered, n_out_of_range = _answers(table, columns, key, out_of_range, sessions)
    scores = score_rows(answered, plan)
    new: dict[str, Array] = {into: scores.total}
    if subscales:
        new |= {f"{into}_{name}": scores.parts[name] for name in key.subscales}
    new |= {f"{into}_n_items": scores.n_items, f"{into}_straight": scores.straight}
    if out_of_range == "missing":
        new[f"{into}_n_out_of_range"] = n_out_of_range
    _require_new(table, list(new), into)
    notes = [
        *key.caveats(),
        *questions(scores, plan, into),
        *turned_in_part(answered, table[PATIENT], plan, into),
        *straight_throughout(scores, key, into),
        *coded_one_lower(table, columns, n_out_of_range, key, into),
    ]
    for note in notes:
        _say_once(note)
    result = table.assign(**{name: pd.Series(values, index=table.index, copy=False) for name, values in new.items()})
    record = {"instrument": key.name, "items": columns, **_record(plan, scores)}
    result.attrs = {
        **sessions.attrs,
        "scored": {**sessions.attrs.get("scored", {}), into: record},
        "notes": list(dict.fromkeys([*sessions.attrs.get("notes", []), *notes])),
    }
    return result


def item_columns(
    sessions: pd.DataFrame, instrument: Instrument, items: str | Sequence[str] | Mapping[Any, str]
) -> list[str]:
    """The column of each item, in the order of the instrument's items; each column must belong to one."""
    if isinstance(items, str):
        found = naming.numbered(sessions.columns, items)
    elif isinstance(items, Mapping):
        found = {int(number): column for number, column in items.items()}
        if len(found) < len(items):
            raise DataError("items names an item number twice.", remedy="Name one column for each item number.")
    else:
        if len(items) != len(instrument.items):
            raise DataError(
                f"items names {len(items)} columns; {instrument.name} has {len(instrument.items)} items.",
                remedy="Name one column per item, in the order of the item numbers.",
            )
        found = dict(zip(instrument.items, items))
    missing = [item for item in instrument.items if item not in found]
    if missing:
        raise DataError(
            f"No column was found for item {missing[0]} of {instrument.name} ({len(missing)} of "
            f"{len(instrument.items)} items are without one; items={items!r}).",
            remedy="Correct items=, a pattern such as 'wai_{item}', or name the columns one by one.",
        )
    surplus = [item for item in found if item not in instrument.items]
    if surplus:
        raise DataError(
            f"{found[surplus[0]]!r} would be item {surplus[0]}, which {instrument.name} does not have.",
            remedy="Is it another version of the instrument? Otherwise name the item columns one by one.",
        )
    columns = [found[item] for item in instrument.items]
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise DataError(f"items names the column {twice[0]!r} twice.", remedy="Name each item column once.")
    require_columns(sessions, columns, table_name="sessions")
    return columns


def _answers(
    table: pd.DataFrame, columns: list[str], key: Instrument, out_of_range: str, as_given: pd.DataFrame
) -> tuple[list[FloatArray], IntArray]:
    """The answers to each item, impossible ones missing, and how many these were in each row.

    `as_given` has the row labels that errors speak of.
    """
    values = [table[column].to_numpy() for column in columns]
    low, high = (end.reduce([end.reduce(item) for item in values]) for end in (np.fmin, np.fmax))
    if np.isinf([low, high]).any():
        check_sessions(as_given, columns)  # raises, naming the place
    if low < key.low or high > key.high or (key.whole and not all_whole(values)):
        return values, _out_of_range(table, values, columns, key, out_of_range)
    return values, np.zeros(len(table), dtype=np.int64)


def _record(plan: Plan, scores: Scores) -> dict[str, Any]:
    """How the score was made, in plain values that travel in ``attrs``."""
    key, scored = plan.key, ~np.isnan(scores.total)
    return {
        "score": plan.how,
        "range": [float(end) for end in plan.total_range],
        "subscale_ranges": {scale.name: [float(end) for end in plan.range_of(scale.columns)] for scale in plan.scales},
        "answers": [float(key.low), float(key.high)],
        "reversed": [int(item) for item in key.reversed if item not in plan.turned],
        "already_reversed": sorted(int(item) for item in plan.turned),
        "max_missing": int(plan.allowed),
        "missing_rule": key.missing,
        "higher_is": key.higher_is,
        "rows": len(scored),
        "rows_scored": int(np.count_nonzero(scored)),
        "rows_prorated": int(np.count_nonzero(scored & (scores.n_items < len(key.items)))),
    }


def _out_of_range(
    table: pd.DataFrame, values: list[FloatArray], columns: list[str], key: Instrument, what: str
) -> IntArray:
    """Raise at the first impossible answer, or set impossible answers to missing in the list; the count per row."""
    count = np.zeros(len(table), dtype=np.int64)
    first: tuple[int, int, str] | None = None
    for position in range(len(columns)):
        column = values[position]
        problem = f"outside {key.low:g} to {key.high:g}, the answers of {key.name}"
        if np.fmin.reduce(column) < key.low or np.fmax.reduce(column) > key.high:
            outside = (column < key.low) | (column > key.high)
        elif what == "error" and key.whole and np.fmax.reduce(column - np.floor(column)) > 0:
            outside = column > np.floor(column)
            problem = f"not a whole number, as the answers of {key.name} are"
        else:
            continue
        row = int(np.flatnonzero(outside)[0])
        if first is None or row < first[0]:
            first = (row, position, problem)
        if what == "missing":
            count += outside
            values[position] = np.where(outside, np.nan, column)
    if what == "error" and first is not None:
        row, position, problem = first
        found = values[position][row]
        raise DataError(
            f"{columns[position]!r} holds an answer {problem}.",
            remedy="Correct it; declare a code for missing (missing_codes= when reading) or the study's own range "
            "(answers=); or count such answers as missing with out_of_range='missing'."
            + (f" {_ONE_LOWER}" if found == key.low - 1 else ""),
            patient=table[PATIENT].iloc[row],
            session=plain(table[SESSION].iloc[row]),
            column=columns[position],
            value=int(found) if found == np.floor(found) else float(found),
        )
    return count


_ONE_LOWER = "Are the answers, of some rows at least, coded one lower than the instrument's?"


def _require_new(table: pd.DataFrame, names: list[str], into: str) -> None:
    """Scores may replace earlier scores of the same name, never a column of the file."""
    if into in table.attrs.get("scored", {}):
        return
    taken = [name for name in names if name in table.columns]
    if taken:
        raise DataError(
            f"The table has a column {taken[0]!r} already.",
            remedy="Choose another into=, or rename the column of the file.",
        )


def _say_once(note: str) -> None:
    """Put a note on the log (standard error unless configured otherwise), once per process."""
    if note not in _SAID:
        _SAID.add(note)
        _LOG.warning(note)
