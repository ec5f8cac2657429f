"""Two raters in two files: joined by patient and session, with a record of what did not match."""

from __future__ import annotations

from typing import Any

import pandas as pd

from alliance_stats.load.cells import is_plain_number
from alliance_stats.load.layout import ROLES
from alliance_stats.tables.flow import FLOW, record, with_step
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, check_sessions


def merge_ratings(first: pd.DataFrame, second: pd.DataFrame, *, suffix: str = "_therapist") -> pd.DataFrame:
    """Two SESSIONS tables as one, such as patient-rated and therapist-rated forms.

    Parameters
    ----------
    first, second : DataFrame
        SESSIONS of the same study. Sessions of either are kept (an outer join).
    suffix : str
        Added to the columns of `second` whose names `first` has too; the therapist, the date, attendance and columns
        of text that say the same in both are joined into one. Numbers are never joined: two raters who happen to
        agree are still two.

    Returns
    -------
    DataFrame
        SESSIONS. ``attrs["merge"]`` counts ``matched``, ``only_first`` and ``only_second`` sessions, lists the
        patients of only one table, and holds the report of the second file; :func:`unmatched_ratings` is the table of
        what did not match. ``attrs["flow"]`` has one step more, which may add sessions.

    Raises
    ------
    DataError
        If the ids of the tables are of different kinds (7 and ``"007"``), or no session matches.

    Examples
    --------
    >>> a = pd.DataFrame({"patient": [1, 1], "session": [1, 2], "alliance": [5.0, 4]})
    >>> b = pd.DataFrame({"patient": [1, 2], "session": [1, 1], "alliance": [4.0, 6]})
    >>> merged = merge_ratings(a, b)
    >>> merged
       patient  session  alliance  alliance_therapist
    0        1        1       5.0                 4.0
    1        1        2       4.0                 NaN
    2        2        1       NaN                 6.0
    >>> merged.attrs["merge"]["matched"]
    1
    """
    left, right = check_sessions(first), check_sessions(second)
    _same_kind(left, right)
    keys = [PATIENT, SESSION]
    both = [str(name) for name in right if name in left.columns and name not in keys]
    joined = left.merge(right, on=keys, how="outer", suffixes=("", "__second"), indicator="__side")
    matched = joined["__side"] == "both"
    if not matched.any():
        raise DataError(
            "No session is in both tables.",
            remedy="Are the ids written the same way, and do the session numbers count the same?",
        )
    renamed: dict[str, str] = {}
    for name in both:
        other = joined.pop(f"{name}__second")
        if (name in ROLES or not is_plain_number(right[name])) and _agree(joined.loc[matched, name], other[matched]):
            joined[name] = joined[name].where(joined[name].notna(), other)
            continue
        renamed[name] = f"{name}{suffix}"
        if renamed[name] in joined.columns:
            raise DataError(f"There is a column {renamed[name]!r} already.", remedy="Choose another suffix=.")
        joined[renamed[name]] = other
    side = joined.pop("__side")
    result = check_sessions(joined)
    attrs: dict[str, Any] = {
        **{str(name): value for name, value in first.attrs.items()},
        **_scored(first, second, renamed),
        FLOW: with_step(
            record(first),
            "joined with the ratings of the second table",
            patients=result[PATIENT].nunique(),
            sessions=len(result),
        ),
        "merge": {
            "matched": int(matched.sum()),
            "only_first": int((side == "left_only").sum()),
            "only_second": int((side == "right_only").sum()),
            "patients_only_first": sorted(set(left[PATIENT]) - set(right[PATIENT])),
            "patients_only_second": sorted(set(right[PATIENT]) - set(left[PATIENT])),
            **({"second_report": second.attrs["report"]} if "report" in second.attrs else {}),
        },
    }
    result.attrs = attrs  # type: ignore[assignment]
    return result


def _agree(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns say the same wherever both say something, and do so at least once."""
    there = (one.notna() & other.notna()).to_numpy(dtype=bool)
    return bool(there.any()) and bool((one[there] == other[there]).all())


def _scored(first: pd.DataFrame, second: pd.DataFrame, renamed: dict[str, str]) -> dict[str, Any]:
    """How the scores of both tables were made, those of the second under their new names; and both tables' notes."""
    scored = dict(first.attrs.get("scored", {}))
    for into, how in second.attrs.get("scored", {}).items():
        scored[renamed.get(into, into)] = how
    notes = list(dict.fromkeys([*first.attrs.get("notes", []), *second.attrs.get("notes", [])]))
    return ({"scored": scored} if scored else {}) | ({"notes": notes} if notes else {})


def unmatched_ratings(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The sessions of one table that the other lacks: ``patient, session, only_in`` (``first`` or ``second``)."""
    left, right = check_sessions(first), check_sessions(second)
    _same_kind(left, right)
    keys = [PATIENT, SESSION]
    joined = left[keys].merge(right[keys], on=keys, how="outer", indicator="only_in")
    alone = joined.loc[joined["only_in"] != "both"]
    names = alone["only_in"].astype(str).map({"left_only": "first", "right_only": "second"})
    return alone.assign(only_in=names).reset_index(drop=True)


def _same_kind(left: pd.DataFrame, right: pd.DataFrame) -> None:
    numbers = [pd.api.types.is_numeric_dtype(table[PATIENT].dtype) for table in (left, right)]
    if numbers[0] != numbers[1]:
        example = right if numbers[0] else left
        raise DataError(
            "The patients are numbers in one table and text in the other.",
            remedy="Write the ids the same way in both files (leading zeros make an id text).",
            patient=example[PATIENT].iloc[0],
        )
