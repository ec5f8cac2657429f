"""Sudden gains and losses between neighbouring sessions (Tang & DeRubeis 1999), ratings missing or not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.criterion import critical_t, sudden_parts
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.schema import PATIENT, check_sessions


def sudden_loss(
    sessions: pd.DataFrame,
    *,
    score: str,
    cutoff: float | None,
    percent: float | None = 25.0,
    alpha: float | None = 0.05,
    higher_is_better: bool = True,
    first_session: int = 1,
    include_first: bool = False,
) -> pd.DataFrame:
    """Sudden losses: worsening between neighbouring sessions n and n + 1 that is large, relative and lasting.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`.
    score : str
        Any session-by-session measure.
    cutoff : float or None
        Criterion 1: the score changes by at least this many points, usually the reliable change index. None: off.
    percent : float or None
        Criterion 2: the change is at least this many percent of the earlier score. None: off.
    alpha : float or None
        Criterion 3: the mean of the ratings at n-2, n-1, n differs from the mean at n+1, n+2, n+3 by more than the
        two-sided critical value of t times the pooled SD; degrees of freedom are the ratings present less 2, at least
        two on each side (4.303, 3.182, 2.776 at alpha .05 with four, five, six ratings). None: off.
    higher_is_better : bool
        True for alliance, False for symptoms: the direction in which the score worsens.
    first_session : int
        Sessions numbered below it are left out. With 0, a rating before the first session counts as before.
    include_first : bool
        Only matters without criterion 3, which needs two ratings before: also judge the first interval of the study.

    Returns
    -------
    DataFrame
        One row per sudden loss: ``patient``, ``session`` (n), ``session_after`` (n + 1), ``before``, ``after``,
        ``change``, ``percent``, ``n_before``, ``n_after``, ``mean_before``, ``mean_after``, ``pooled_sd``,
        ``critical_t``.

    Notes
    -----
    The same gains as ``suddengains::identify_sg`` (R). Its ``identify_sl`` applies criterion 2 in a form that every
    worsening meets: ``percent=None`` gives its losses.

    Examples
    --------
    >>> scores = [6.0, 6.1, 5.9, 4.0, 4.2, 4.1]
    >>> sessions = pd.DataFrame({"patient": "a", "session": range(1, 7), "alliance": scores})
    >>> sudden_loss(sessions, score="alliance", cutoff=1.0)[["patient", "session", "session_after", "change"]]
      patient  session  session_after  change
    0       a        3              4    -1.9
    """
    return _sudden(sessions, score, cutoff, percent, alpha, higher_is_better, first_session, include_first)


def sudden_gain(
    sessions: pd.DataFrame,
    *,
    score: str,
    cutoff: float | None,
    percent: float | None = 25.0,
    alpha: float | None = 0.05,
    higher_is_better: bool = True,
    first_session: int = 1,
    include_first: bool = False,
) -> pd.DataFrame:
    """Sudden gains: improvement between neighbouring sessions; everything as in :func:`sudden_loss`.

    Examples
    --------
    >>> scores = [30, 28, 29, 14, 12, 13.0]
    >>> sessions = pd.DataFrame({"patient": "a", "session": range(1, 7), "bdi": scores})
    >>> found = sudden_gain(sessions, score="bdi", cutoff=7, higher_is_better=False)
    >>> found[["session", "change", "critical_t"]].round(3)
       session  change  critical_t
    0        3   -15.0       2.776
    """
    return _sudden(sessions, score, cutoff, percent, alpha, not higher_is_better, first_session, include_first)


def _sudden(
    sessions: pd.DataFrame,
    score: str,
    cutoff: float | None,
    percent: float | None,
    alpha: float | None,
    falls: bool,
    first_session: int,
    include_first: bool,
) -> pd.DataFrame:
    """The sudden falls of the score, or its sudden rises."""
    if cutoff is None and percent is None and alpha is None:
        raise ValueError("At least one of cutoff, percent and alpha must be given.")
    for name, value, top in (("cutoff", cutoff, np.inf), ("percent", percent, np.inf), ("alpha", alpha, 1.0)):
        if value is not None and not 0 < value < top:
            raise ValueError(f"{name}={value!r} must be positive{' and below 1' if top == 1.0 else ''}, or None.")
    table = check_sessions(sessions, [score])
    table = table.loc[table["session"] >= first_session].reset_index(drop=True)
    columns = ("before", "after", "change", "percent", "n_before", "n_after", "mean_before", "mean_after", "pooled_sd")
    if table.empty:
        return pd.DataFrame({PATIENT: [], "session": [], **{name: [] for name in (*columns, "critical_t")}})
    series, roll = read_series(table, score)
    signed = series if falls else series.with_scores(-series.score)
    previous = np.r_[series.score[:1], series.score[:-1]]
    fall = (previous - series.score) * (1.0 if falls else -1.0)
    held = series.neighbours(0) & (fall > series.tolerance)
    if cutoff is not None:
        held &= fall >= cutoff - series.tolerance
    if percent is not None:
        held &= fall >= percent / 100.0 * np.abs(previous) - series.tolerance
    parts = sudden_parts(signed, np.arange(len(signed.score)))
    df = np.where(parts.enough, parts.n_before + parts.n_after - 2.0, 0.0).astype(np.int64)
    critical = critical_t(alpha)[df] if alpha is not None else np.full(len(df), np.nan)
    if alpha is not None:
        held &= parts.enough
        separated = parts.mean_before - parts.mean_after > np.where(parts.enough, critical, 0.0) * parts.pooled_sd
        held &= separated
    elif not include_first:
        held &= series.session > first_session + 1
    at = np.flatnonzero(held)
    sign = 1.0 if falls else -1.0
    with np.errstate(divide="ignore"):
        relative = 100.0 * np.abs(fall[at]) / np.abs(previous[at])
    return pd.DataFrame(
        {
            PATIENT: roll.ids.iloc[roll.rated[series.owner[at]]].array,
            "session": series.session[at] - 1,
            "session_after": series.session[at],
            "before": previous[at],
            "after": series.score[at],
            "change": series.score[at] - previous[at],
            "percent": relative,
            "n_before": parts.n_before[at].astype(np.int64),
            "n_after": parts.n_after[at].astype(np.int64),
            "mean_before": sign * parts.mean_before[at],
            "mean_after": sign * parts.mean_after[at],
            "pooled_sd": parts.pooled_sd[at],
            "critical_t": critical[at],
        }
    )
