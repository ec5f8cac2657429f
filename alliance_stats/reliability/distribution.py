"""How often each score was given."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import check_sessions

_BARS = 40
_MOST_BARS = 100


def score_distribution(sessions: pd.DataFrame, *, score: str) -> pd.DataFrame:
    """How often each score was given: one bar per possible value, or about 40 bars where the values have no grid.

    Returns
    -------
    DataFrame
        ``low, high, value, n, share``: the bar's edges, the one value it shows (missing where it groups
        several), the number of ratings and their share of all ratings.
    """
    values = check_sessions(sessions, [score])[score].dropna().to_numpy()
    if len(values) == 0:
        columns = {"low": [], "high": [], "value": [], "n": np.array([], dtype=np.int64), "share": []}
        return pd.DataFrame(columns)
    distinct = np.unique(np.round(values, 9))  # means of items are equal only to rounding
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
    place = (distinct - distinct[0]) / step
    if place[-1] <= _MOST_BARS and np.allclose(place, np.round(place), atol=1e-3):
        n = np.bincount(np.round((values - distinct[0]) / step).astype(np.int64))
        middle = distinct[0] + step * np.arange(len(n))
        low, high = middle - step / 2, middle + step / 2
    else:
        width = _round_width((distinct[-1] - distinct[0]) / _BARS)
        place = np.floor(values / width + 0.5).astype(np.int64)  # bars are centred on round numbers
        n = np.bincount(place - place.min())
        low = (np.arange(len(n)) + place.min() - 0.5) * width
        high, middle = low + width, np.full(len(n), np.nan)
    table = {"low": low, "high": high, "value": middle, "n": n.astype(np.int64), "share": n / len(values)}
    return pd.DataFrame(table)


def _round_width(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9)))
