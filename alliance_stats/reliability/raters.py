"""Agreement between raters: intraclass correlations with their form named, levels apart, truth and bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.reliability.levels import level_correlations
from alliance_stats.tables.schema import PATIENT, DataError, check_sessions, numeric, require_columns
from alliance_stats.tables.shares import check_level, spearman_brown

if TYPE_CHECKING:
    from alliance_stats.mixed.result import MixedFit


def rater_icc(ratings: pd.DataFrame, *, subject: str, rater: str, score: str, level: float = 0.95) -> pd.DataFrame:
    """Every intraclass correlation, named, with its interval.

    Parameters
    ----------
    ratings : DataFrame
        One row per subject and rater.
    subject, rater, score : str
        Its columns.
    level : float
        Coverage of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        ``form`` (Shrout & Fleiss 1979), ``name`` (McGraw & Wong 1996), ``meaning``, ``estimate, ci_low, ci_high,
        n_subjects, n_raters, n_incomplete`` (subjects left out because a rating is missing).

    Raises
    ------
    DataError
        For two ratings of one subject by one rater, or fewer than two complete subjects or raters.

    Examples
    --------
    >>> table = pd.DataFrame({"tape": [1, 1, 2, 2, 3, 3, 4, 4], "coder": ["a", "b"] * 4,
    ...                       "depth": [2.0, 3, 4, 4, 1, 2, 5, 4]})
    >>> rater_icc(table, subject="tape", rater="coder", score="depth")[["form", "estimate"]].round(3).head(3)
           form  estimate
    0  ICC(1,1)     0.820
    1  ICC(2,1)     0.816
    2  ICC(3,1)     0.784
    """
    check_level(level)
    require_columns(ratings, [subject, rater, score], table_name="ratings")
    twice = ratings.duplicated([subject, rater])
    if twice.any():
        first = ratings.loc[twice].iloc[0]
        raise DataError(
            f"Duplicate ratings of one subject by one rater: {int(twice.sum())}. First: subject "
            f"{first[subject]!r}, rater {first[rater]!r}.",
            remedy="Keep one rating per subject and rater.",
        )
    rows, columns = pd.factorize(ratings[subject])[0], pd.factorize(ratings[rater])[0]
    known = (rows >= 0) & (columns >= 0)
    wide = np.full((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1), np.nan)
    wide[rows[known], columns[known]] = numeric(ratings, score)[known]
    complete = ~np.isnan(wide).any(axis=1)
    x = wide[complete]
    n, k = x.shape
    if n < 2 or k < 2:
        raise DataError(
            f"{n} subject(s) have a rating by every one of {k} rater(s).",
            remedy="Two or more complete subjects and raters are needed.",
        )
    table = pd.DataFrame(_icc_rows(x, level), columns=["form", "name", "meaning", "estimate", "ci_low", "ci_high"])
    return table.assign(n_subjects=n, n_raters=k, n_incomplete=int((~complete).sum()))


def _icc_rows(x: Any, level: float) -> list[tuple[Any, ...]]:
    from scipy.special import fdtri

    n, k = x.shape
    grand = x.mean()
    ms_rows = k * np.sum((x.mean(axis=1) - grand) ** 2) / (n - 1)
    ms_columns = n * np.sum((x.mean(axis=0) - grand) ** 2) / (k - 1)
    ms_within = np.sum((x - x.mean(axis=1, keepdims=True)) ** 2) / (n * (k - 1))
    rest = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + grand
    ms_error = np.sum(rest**2) / ((n - 1) * (k - 1))
    upper = 1 - (1 - level) / 2

    def one_way(error: float, df: int) -> tuple[float, float, float]:
        ratio = ms_rows / error if error > 0 else np.inf
        low, high = ratio / fdtri(n - 1, df, upper), ratio * fdtri(df, n - 1, upper)
        return _single(ratio, k), _single(low, k), _single(high, k)

    one, one_low, one_high = one_way(ms_within, n * (k - 1))
    three, three_low, three_high = one_way(ms_error, (n - 1) * (k - 1))
    two = (ms_rows - ms_error) / (ms_rows + (k - 1) * ms_error + k * (ms_columns - ms_error) / n)
    if two < 1 and ms_error > 0:
        a = k * two / (n * (1 - two))
        b = 1 + k * two * (n - 1) / (n * (1 - two))
        parts = (a * ms_columns) ** 2 / (k - 1) + (b * ms_error) ** 2 / ((n - 1) * (k - 1))
        df = (a * ms_columns + b * ms_error) ** 2 / parts
        f_low, f_high = fdtri(n - 1, df, upper), fdtri(df, n - 1, upper)
        spread = k * ms_columns + (k * n - k - n) * ms_error
        two_low = n * (ms_rows - f_low * ms_error) / (f_low * spread + n * ms_rows)
        two_high = n * (f_high * ms_rows - ms_error) / (spread + n * f_high * ms_rows)
    else:
        two_low = two_high = float(two)
    single = [
        ("ICC(1,1)", "ICC(1)", "one rater of many, each subject its own raters", one, one_low, one_high),
        ("ICC(2,1)", "ICC(A,1)", "one rater, absolute agreement, raters random", two, two_low, two_high),
        ("ICC(3,1)", "ICC(C,1)", "one rater, consistency, these raters only", three, three_low, three_high),
    ]
    average = [
        (
            form.replace(",1)", ",k)"),
            name.replace("(1)", "(k)").replace(",1)", ",k)"),
            meaning.replace("one rater", f"mean of {k} raters"),
            *(float(spearman_brown(value, k)) for value in values),
        )
        for form, name, meaning, *values in single
    ]
    return [*single, *average]


def _single(ratio: float, k: int) -> float:
    return float((ratio - 1) / (ratio + k - 1)) if np.isfinite(ratio) else 1.0


def rater_agreement(sessions: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """How two raters of the same sessions agree: levels apart, and the difference between them.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with two rated columns on the same scale, such as ``alliance`` and ``alliance_therapist``.
    first, second : str
        The columns.

    Returns
    -------
    DataFrame
        One row: ``first, second, n_rows, n_patients, n_incomplete, r_total, r_within`` (do they rise and fall
        together?), ``r_between`` (do they put patients in the same order?), ``bias`` (mean of second minus first),
        ``sd_difference``, ``limit_low, limit_high`` (95 % limits of agreement over all rows, Bland & Altman 1986).
    """
    table = check_sessions(sessions, [first, second])
    found = level_correlations(table, [first, second])
    difference = (table[second] - table[first]).dropna()
    sd = float(difference.std(ddof=1))
    bias = float(difference.mean())
    columns = ["first", "second", "n_rows", "n_patients", "n_incomplete", "r_total", "r_within", "r_between"]
    return found[columns].assign(bias=bias, sd_difference=sd, limit_low=bias - 1.96 * sd, limit_high=bias + 1.96 * sd)


def truth_and_bias(
    sessions: pd.DataFrame, *, judgment: str, truth: str, group: str = PATIENT, random_slope: bool = True
) -> MixedFit:
    """Truth-and-bias model of one rater's judgments of another's ratings (West & Kenny 2011), session by session.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    judgment, truth : str
        Columns on the same scale, such as the therapist's and the patient's rating.
    group : str
        The grouping column.
    random_slope : bool
        Whether the truth force varies between groups.

    Returns
    -------
    MixedFit
        Of ``gap ~ truth_within``, where ``gap`` is the judgment minus the group's mean truth and ``truth_within`` the
        truth minus it. The intercept is the directional bias (how much the judge rates above the truth), the slope
        the truth force (how far the judge follows the truth from session to session; 1 is full).
    """
    from alliance_stats.mixed.fit import fit_mixed  # the engine loads scipy

    table = check_sessions(sessions, [judgment, truth])
    require_columns(table, [group], table_name="sessions")
    both = table.dropna(subset=[judgment, truth, group])
    if both.empty:
        raise DataError("No session has both ratings.", remedy="Check judgment= and truth=.")
    level = both.groupby(group)[truth].transform("mean")
    data = pd.DataFrame(
        {
            group: both[group].to_numpy(),
            "gap": (both[judgment] - level).to_numpy(),
            "truth_within": (both[truth] - level).to_numpy(),
        }
    )
    random = "1 + truth_within" if random_slope else "1"
    return fit_mixed(f"gap ~ truth_within + ({random} | {group})", data)
