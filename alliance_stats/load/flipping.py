"""A score reversed within its range, such as a symptom score for which higher is worse."""

from __future__ import annotations

import pandas as pd

from alliance_stats.tables.schema import DataError, numeric, refuse, require_columns


def flip(sessions: pd.DataFrame, *, column: str, into: str, low: float, high: float) -> pd.DataFrame:
    """SESSIONS with a score reversed within its range: ``into = low + high - column``.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    column : str
        The score.
    into : str
        The name of the reversed score, which must be new.
    low, high : float
        The range that the score can take. Never guessed from the data.

    Raises
    ------
    DataError
        If the column is missing, holds text or a value outside the range, or `into` is there already.
    ValueError
        If `low` is not below `high`.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": 1, "session": [1, 2], "phq9": [20, 5]})
    >>> flip(sessions, column="phq9", into="wellbeing", low=0, high=27)["wellbeing"].tolist()
    [7.0, 22.0]
    """
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        raise ValueError(f"low={low!r} must be a number below high={high!r}.")
    require_columns(sessions, [column], table_name="sessions")
    if into in sessions:
        raise DataError(f"The table has a column {into!r} already.", remedy="Choose another into=.")
    values = numeric(sessions, column)
    outside = (values < low) | (values > high)
    problem = f"{column!r} holds {int(outside.sum())} value(s) outside {low:g} to {high:g}."
    refuse(
        sessions,
        outside,
        problem,
        remedy="Correct the cell, or the ends of the scale, low= and high=.",
        column=column,
        row=False,
    )
    return sessions.assign(**{into: low + high - values})
