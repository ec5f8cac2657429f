"""From items to scores: by the instrument's own rule, with every decision on record.

Nothing is flipped, filled or clipped on suspicion. What looks wrong raises :class:`DataError` (answers outside the
declared range) or is put as a question in ``attrs["notes"]`` and on the log (items that seem reversed already).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats import patterns
from alliance_stats.instruments import Instrument, as_instrument
from alliance_stats.schema import (
    PATIENT,
    SESSION,
    DataError,
    check_sessions,
    plain,
    require_choice,
    require_columns,
)

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_LOG = logging.getLogger("alliance_stats")
_SAID: set[str] = set()
MIN_ROWS_FOR_QUESTION = 20
QUESTION_BELOW = -0.1


class _Scale(NamedTuple):
    name: str
    columns: list[int]
    max_missing: int


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

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with one column per item.
    instrument : str, Path or Instrument
        A name in ``INSTRUMENTS``, the path of a TOML file, or an instrument.
    items : str, list or dict
        Where the items stand: a pattern such as ``"wai_{item}"``, the column names in the order of the item numbers,
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
        True, or the item numbers, where the file holds reversed items turned round already.
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

    Notes
    -----
    A missing answer counts as the mean of the answered items of the same scale (person-mean imputation), as long as
    no more than the allowed number are missing; with more, the score is missing. An item that correlates negatively
    with the rest of its scale (r below -0.1, 20 or more complete rows) is put as a question.

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
    columns = item_columns(sessions, key, items)
    table = check_sessions(sessions, columns)
    values = np.column_stack([table[column].to_numpy() for column in columns])
    n_out = _out_of_range(table, values, columns, key, out_of_range)
    made = _scores(values, key, into, subscales=subscales, score=score, max_missing=max_missing, done=already_reversed)
    if n_out is not None:
        made.columns[f"{into}_n_out_of_range"] = n_out
    _require_new(table, list(made.columns), into)
    notes = [*key.caveats(), *made.questions]
    for note in notes:
        _say_once(note)
    result = table.assign(**made.columns)
    record = {"instrument": key.name, "items": columns, **made.record}
    result.attrs = {
        **sessions.attrs,
        "scored": {**sessions.attrs.get("scored", {}), into: record},
        "notes": list(dict.fromkeys([*sessions.attrs.get("notes", []), *notes])),
    }
    return result


def item_columns(
    sessions: pd.DataFrame, instrument: Instrument, items: str | Sequence[str] | Mapping[Any, str]
) -> list[str]:
    """The column of each item, in the order of the instrument's items.

    Raises
    ------
    DataError
        If an item has no column, or a column has no item.
    """
    if isinstance(items, str):
        found = patterns.numbered(sessions.columns, items)
    elif isinstance(items, Mapping):
        found = {int(number): column for number, column in items.items()}
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
    require_columns(sessions, columns, table_name="sessions")
    return columns


class _Made(NamedTuple):
    columns: dict[str, Any]
    questions: list[str]
    record: dict[str, Any]


def _scores(
    values: FloatArray,
    key: Instrument,
    into: str,
    *,
    subscales: bool,
    score: str | None,
    max_missing: int | None,
    done: bool | Sequence[int],
) -> _Made:
    """Every new column from the answers (rows x items), and what to ask about them."""
    how = key.score if score is None else score
    require_choice(how, ("sum", "mean", "mean_of_subscales"), name="score")
    if how == "mean_of_subscales" and not key.subscales:
        raise ValueError(f"score='mean_of_subscales' needs subscales; {key.name} has none.")
    allowed = key.max_missing if max_missing is None else max_missing
    if not 0 <= allowed < len(key.items):
        raise ValueError(f"max_missing={allowed} must lie in 0 to {len(key.items) - 1}.")
    turned = _turned_already(key, done)
    reverse = [key.items.index(item) for item in key.reversed if item not in turned]
    straight = _straight(values)
    keyed = values.copy(order="F")
    keyed[:, reverse] = key.low + key.high - keyed[:, reverse]
    answered = ~np.isnan(keyed)
    scales = _scales(key, allowed, own=max_missing is None)
    filled = _filled(keyed, answered, key, scales)
    parts = {scale.name: _score(filled, answered, scale, how) * key.factor for scale in scales}
    if how == "mean_of_subscales":
        total = np.mean([parts[scale.name] for scale in scales], axis=0)
        total[(~answered).sum(axis=1) > allowed] = np.nan
    else:
        total = _score(filled, answered, _Scale("", list(range(len(key.items))), allowed), how) * key.factor
    columns: dict[str, Any] = {into: total}
    if subscales:
        columns |= {f"{into}_{name}": part for name, part in parts.items()}
    columns[f"{into}_n_items"] = answered.sum(axis=1)
    columns[f"{into}_straight"] = straight
    record = {
        "score": how,
        "range": [float(end) for end in _total_range(key, how)],
        "answers": [float(key.low), float(key.high)],
        "reversed": [int(item) for item in key.reversed if item not in turned],
        "already_reversed": sorted(int(item) for item in turned),
        "max_missing": int(allowed),
        "missing_rule": key.missing,
        "higher_is": key.higher_is,
        "rows": len(total),
        "rows_scored": int(np.count_nonzero(~np.isnan(total))),
        "rows_prorated": int(np.count_nonzero(~np.isnan(total) & ~answered.all(axis=1))),
    }
    return _Made(columns, _questions(keyed, answered, key, turned, into), record)


def _total_range(key: Instrument, how: str) -> tuple[float, float]:
    n = len(key.items) if how == "sum" else 1
    return key.low * n * key.factor, key.high * n * key.factor


def _turned_already(key: Instrument, done: bool | Sequence[int]) -> set[int]:
    if done is True:
        return set(key.reversed)
    turned = set() if done is False else set(done)
    unknown = sorted(turned - set(key.reversed))
    if unknown:
        raise ValueError(f"already_reversed names item {unknown[0]}; {key.name} reverses {list(key.reversed)}.")
    return turned


def _scales(key: Instrument, allowed: int, *, own: bool) -> list[_Scale]:
    """The subscales with the number of missing answers allowed in each: the published one, or the same share."""
    found = []
    for name, items in key.subscales.items():
        share = allowed * len(items) // len(key.items)
        limit = key.max_missing_subscale if own and key.max_missing_subscale is not None else share
        found.append(_Scale(name, [key.items.index(item) for item in items], min(limit, len(items) - 1)))
    return found


def _filled(keyed: FloatArray, answered: Any, key: Instrument, scales: list[_Scale]) -> FloatArray:
    """Answers after reversal, missing ones filled where the instrument fills them one by one (OQ-45)."""
    if key.missing != "subscale_mean_rounded" or answered.all():
        return keyed
    filled = keyed.copy(order="F")
    for scale in scales or [_Scale("", list(range(len(key.items))), 0)]:
        columns = scale.columns
        n = answered[:, columns].sum(axis=1)
        total = np.where(answered[:, columns], keyed[:, columns], 0.0).sum(axis=1)
        mean = np.floor(total / np.where(n > 0, n, 1) + 0.5)  # halves upwards, as by hand
        mean[n == 0] = np.nan
        for column in columns:
            filled[:, column] = np.where(answered[:, column], keyed[:, column], mean)
    return filled


def _score(filled: FloatArray, answered: Any, scale: _Scale, how: str) -> FloatArray:
    """Sum or mean over a scale's items; missing answers as the mean of the present ones, NaN with too many missing."""
    present = np.zeros(len(filled))
    given = np.zeros(len(filled), dtype=np.int64)
    total = np.zeros(len(filled))
    for column in scale.columns:
        value = filled[:, column]
        there = ~np.isnan(value)
        total += np.where(there, value, 0.0)
        present += there
        given += answered[:, column]
    n = len(scale.columns)
    mean = total / np.where(present > 0, present, np.nan)
    result = np.where(present == n, total, mean * n) if how == "sum" else mean  # a complete sum stays exact
    result[n - given > scale.max_missing] = np.nan
    return result


def _straight(values: FloatArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Rows with three or more answers that are all the same, as answered."""
    lowest, highest = values[:, 0].copy(), values[:, 0].copy()
    n = np.zeros(len(values), dtype=np.int64)
    for column in values.T:
        np.fmin(lowest, column, out=lowest)
        np.fmax(highest, column, out=highest)
        n += ~np.isnan(column)
    straight: np.ndarray[Any, np.dtype[np.bool_]] = (lowest == highest) & (n >= 3)
    return straight


def _out_of_range(table: pd.DataFrame, values: FloatArray, columns: list[str], key: Instrument, what: str) -> Any:
    """Raise at the first impossible answer, or set impossible answers to missing in place and count them per row."""
    count = np.zeros(len(values), dtype=np.int64)
    first: tuple[int, int, str] | None = None
    for position in range(len(columns)):
        column = values[:, position]
        outside = (column < key.low) | (column > key.high)
        problem = f"outside {key.low:g} to {key.high:g}, the answers of {key.name}"
        if what == "error" and key.whole and not outside.any():
            outside = np.floor(column) != np.where(np.isnan(column), np.floor(column), column)
            outside &= ~np.isnan(column)
            problem = f"not a whole number, as the answers of {key.name} are"
        if not outside.any():
            continue
        row = int(np.flatnonzero(outside)[0])
        if first is None or row < first[0]:
            first = (row, position, problem)
        count += outside
        if what == "missing":
            column[outside] = np.nan
    if what == "missing":
        return count
    if first is not None:
        row, position, problem = first
        name = columns[position]
        found = values[row, position]
        raise DataError(
            f"{name!r} holds an answer {problem}.",
            remedy="Correct it; declare a code for missing (missing_codes= when reading) or the study's own range "
            "(answers=); or count such answers as missing with out_of_range='missing'.",
            row=row,
            patient=table[PATIENT].iloc[row],
            session=plain(table[SESSION].iloc[row]),
            column=name,
            value=int(found) if found == np.floor(found) else float(found),
        )
    return None


def _questions(keyed: FloatArray, answered: Any, key: Instrument, turned: set[int], into: str) -> list[str]:
    """Items that run against the rest of the scale after reversal, each as a question."""
    complete = answered.all(axis=1)
    n = int(complete.sum())
    if n < MIN_ROWS_FOR_QUESTION or keyed.shape[1] < 3:
        return []
    correlation = item_rest_correlations(keyed if n == len(keyed) else keyed[complete])
    against = {item: r for item, r in zip(key.items, correlation) if r < QUESTION_BELOW}
    asked = []
    keyed_reversed = [item for item in against if item in key.reversed and item not in turned]
    if keyed_reversed:
        shown = ", ".join(f"{item} (r = {against[item]:.2f})" for item in keyed_reversed)
        asked.append(
            f"{into}: after reversal, item {shown} runs against the rest of {key.name}. Does the file hold reversed "
            f"items turned round already? If so: already_reversed={keyed_reversed}. Nothing was changed."
        )
    others = [item for item in against if item not in keyed_reversed]
    if others:
        shown = ", ".join(f"{item} (r = {against[item]:.2f})" for item in others)
        asked.append(
            f"{into}: item {shown} runs against the rest of {key.name}. Is it keyed the other way round in this "
            "study, or in another column? Nothing was changed."
        )
    return asked


def item_rest_correlations(values: FloatArray) -> FloatArray:
    """Correlation of each column with the sum of the other columns; NaN for a constant column.

    >>> item_rest_correlations(np.array([[1.0, 1, 3], [2, 2, 2], [3, 3, 1]])).round(6).tolist()
    [nan, nan, -1.0]
    """
    centred = values - values.mean(axis=0)
    covariance = centred.T @ centred
    own = np.diag(covariance)
    with_all = covariance.sum(axis=1)
    rest = covariance.sum() - 2 * with_all + own
    scale = np.sqrt(np.clip(own * rest, 0, None))
    tiny = scale <= 1e-12 * max(float(own.max(initial=0.0)), 1e-300)
    return np.where(tiny, np.nan, (with_all - own) / np.where(tiny, 1.0, scale))


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
