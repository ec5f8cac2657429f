"""How reliable coders are, per measure: agreement, kappa, AC1, Krippendorff's alpha, intraclass correlation."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.coding.sessions import code_sessions
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, Seed, generator, require_columns, require_whole
from alliance_stats.tables.shares import check_level, percentiles, resampled, spearman_brown

NONE = "none"
COUNTS = ("n_markers", "significance", "resolution")


class Measure(NamedTuple):
    """One measure: values (sessions, coders), NaN where not coded; categories as 0, 1, ... or numbers; the patients."""

    values: Any
    is_number: bool
    owner: Any
    n_patients: int


def coder_reliability(
    codes: pd.DataFrame,
    *,
    seed: Seed,
    measures: Iterable[str] | None = None,
    absent: float = 1.0,
    target: float = 0.8,
    draws: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """The reliability of coded sessions, per measure.

    Parameters
    ----------
    codes : DataFrame
        CODES, or the rows of :func:`code_sessions`.
    seed, draws
        For the bootstrap, which draws patients.
    measures : iterable of str, optional
        Columns of :func:`code_sessions`; default: ``rupture``, ``type``, ``n_markers``, ``n_<type>``, ``significance``,
        ``resolution`` and ``strategy_<group>``, as far as they vary.
    absent : float
        ``significance`` where a coder saw no rupture: the lowest rating.
    target : float
        The reliability that the mean of several coders should reach.
    level : float
        Coverage of the percentile intervals.

    Returns
    -------
    DataFrame
        One row per ``measure`` and ``coefficient``: ``estimate``, ``ci_low``, ``ci_high``, ``n_sessions`` (with two
        coders or more), ``n_coders``. The coefficients are

        ``agreement``
            Share of pairs of coders of one session who say the same.
        ``kappa``
            Cohen's (1960), the mean over pairs of coders (Light, 1971); for numbers weighted by squared distance.
        ``AC1``
            Gwet (2008), which keeps its meaning where ruptures are rare; categories only.
        ``alpha``
            Krippendorff (2011), nominal for categories and interval for numbers; sessions may have different coders.
        ``ICC(2,1)``, ``ICC(2,k)``
            Shrout & Fleiss (1979), absolute agreement of one coder and of the mean of all, from the sessions coded
            by all coders; numbers only.
        ``coders needed``
            How many coders the mean needs to reach `target` (Spearman-Brown), from ICC(2,1), for categories from alpha.

    Raises
    ------
    DataError
        If fewer than two sessions have two coders.
    """
    check_level(level)
    require_whole(draws, name="draws", low=1)
    if not 0 < target < 1:
        raise ValueError(f"target={target!r} must lie between 0 and 1.")
    rated = codes if "rupture" in codes else code_sessions(codes)
    require_columns(rated, [PATIENT, SESSION, "coder", "rupture"], table_name="codes")
    names = _default(rated) if measures is None else list(measures)
    require_columns(rated, names, table_name="codes")
    rng = generator(seed)
    rows: list[dict[str, Any]] = []
    for name in names:
        measure = _measure(rated, name, absent)
        if measure is None:
            continue
        weights = resampled(rng, measure.n_patients, draws)
        counts = {"n_sessions": len(measure.values), "n_coders": measure.values.shape[1]}
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without variation has no coefficient
            coefficients = _coefficients(measure, weights, target)
        for coefficient, (estimate, boot) in coefficients.items():
            low, high = percentiles(np.where(np.isfinite(boot), boot, np.nan), level)
            row = {"measure": name, "coefficient": coefficient, "estimate": float(estimate)}
            rows.append(row | {"ci_low": low, "ci_high": high} | counts)
    if not rows:
        raise DataError(
            "Fewer than two sessions were coded by two coders, or no measure varies.",
            remedy="Reliability needs sessions that several coders coded.",
        )
    return pd.DataFrame(rows)


def coder_drift(
    codes: pd.DataFrame, *, measure: str = "rupture", parts: int = 3, order: str = SESSION, absent: float = 1.0
) -> pd.DataFrame:
    """Whether coders drift apart: alpha and the share coded with a rupture in successive parts of the coding.

    Parameters
    ----------
    codes : DataFrame
        CODES, or the rows of :func:`code_sessions`.
    measure : str
        As in :func:`coder_reliability`.
    parts : int
        How many parts, equally many sessions each.
    order : str
        What puts sessions in order: ``session``, or a column such as the date of coding.

    Returns
    -------
    DataFrame
        One row per part: ``part``, ``first`` and ``last`` (of `order`), ``n_sessions``, ``alpha``, ``agreement``, and
        ``mean_<coder>`` for each coder, whose separation shows drift of level.
    """
    require_whole(parts, name="parts", low=1)
    rated = codes if "rupture" in codes else code_sessions(codes)
    require_columns(rated, [PATIENT, SESSION, "coder", measure, order], table_name="codes")
    several = rated.groupby([PATIENT, SESSION])["coder"].transform("nunique") > 1
    both = rated.loc[several].sort_values([order, PATIENT, SESSION], kind="stable")
    number = both.groupby([PATIENT, SESSION], sort=False).ngroup()
    n = int(number.max()) + 1 if len(number) else 0
    if n < parts:
        raise DataError(f"{n} session(s) have two coders, for {parts} parts.", remedy="Use fewer parts.")
    rows = []
    for part in range(parts):
        own = both.loc[number * parts // n == part]
        found = _measure(own, measure, absent)
        at = np.nan if found is None else float(_alpha(found, np.ones((1, found.n_patients)))[0])
        same = np.nan if found is None else float(_agreement(found, np.ones((1, found.n_patients)))[0])
        level = measure if pd.api.types.is_numeric_dtype(own[measure]) else "rupture"
        means = {f"mean_{coder}": float(of[level].mean()) for coder, of in own.groupby("coder")}
        row = {"part": part + 1, "first": own[order].iloc[0], "last": own[order].iloc[-1]}
        n_sessions = len(own[[PATIENT, SESSION]].drop_duplicates())
        rows.append(row | {"n_sessions": n_sessions, "alpha": at, "agreement": same} | means)
    return pd.DataFrame(rows)


def _default(rated: pd.DataFrame) -> list[str]:
    counts = [name for name in rated if str(name).startswith("n_") and name not in ("n_markers", "n_coders")]
    strategies = [name for name in rated if str(name).startswith("strategy_")]
    wanted = ["rupture", "type", "n_markers", *counts, "significance", "resolution", *strategies]
    return [str(name) for name in wanted if name in rated]


def _measure(rated: pd.DataFrame, name: str, absent: float) -> Measure | None:
    """Sessions x coders, of the sessions with two coders or more; None where nothing varies."""
    column = rated[name]
    if name == "significance":
        column = column.where(column.notna() | (rated["rupture"] == 1), absent)
    is_number = pd.api.types.is_numeric_dtype(column) and (name in COUNTS or name.startswith("n_"))
    if not pd.api.types.is_numeric_dtype(column):
        words = column.astype(object).where(column.notna(), NONE)
        column = pd.Series(pd.factorize(words, sort=True)[0].astype(np.float64), index=rated.index)
    wide = column.groupby([rated[PATIENT], rated[SESSION], rated["coder"]]).first().unstack("coder")  # noqa: PD010
    wide = wide.loc[wide.notna().sum(axis=1) > 1]
    values = wide.to_numpy(np.float64)
    if len(values) < 2 or np.nanmin(values) == np.nanmax(values):
        return None
    owner, patients = pd.factorize(wide.index.get_level_values(0))
    return Measure(values, is_number, owner, len(patients))


def _coefficients(measure: Measure, weights: Any, target: float) -> dict[str, tuple[float, Any]]:
    one = np.ones((1, measure.n_patients))
    kinds: dict[str, Any] = {"agreement": _agreement, "kappa": _kappa, "alpha": _alpha}
    if not measure.is_number:
        kinds = {"agreement": _agreement, "kappa": _kappa, "AC1": _ac1, "alpha": _alpha}
    found = {name: (how(measure, one)[0], how(measure, weights)) for name, how in kinds.items()}
    if measure.is_number and (~np.isnan(measure.values).any(axis=1)).sum() > 1:
        found["ICC(2,1)"] = (_icc(measure, one)[0], _icc(measure, weights))
        k = measure.values.shape[1]
        found["ICC(2,k)"] = tuple(spearman_brown(np.asarray(value), k) for value in found["ICC(2,1)"])
    single, boot = (np.asarray(value) for value in found.get("ICC(2,1)", found["alpha"]))
    found["coders needed"] = (float(_needed(single, target)), _needed(boot, target))
    return found


def _needed(single: Any, target: float) -> Any:
    """Coders whose mean reaches `target`; missing where one coder has no reliability."""
    exact = target * (1 - single) / (single * (1 - target))
    return np.where((single > 0) & (single < 1), np.ceil(exact - 1e-9).clip(1), np.where(single >= 1, 1.0, np.nan))


def _by_patient(measure: Measure, of_session: Any) -> Any:
    """Sums over each patient's sessions of an array (sessions, ...)."""
    sums = np.zeros((measure.n_patients, *of_session.shape[1:]))
    np.add.at(sums, measure.owner, of_session)
    return sums


def _counts(measure: Measure) -> Any:
    """How many coders chose each category in each session, (sessions, categories)."""
    levels = np.unique(measure.values[~np.isnan(measure.values)])
    return (measure.values[:, :, None] == levels).sum(axis=1).astype(np.float64)


def _agreement(measure: Measure, weights: Any) -> Any:
    counts = _counts(measure)
    m = counts.sum(axis=1)
    agreed = (counts * (counts - 1)).sum(axis=1) / (m * (m - 1))
    return weights @ _by_patient(measure, agreed) / (weights @ _by_patient(measure, np.ones(len(m))))


def _ac1(measure: Measure, weights: Any) -> Any:
    counts = _counts(measure)
    n = weights @ _by_patient(measure, np.ones(len(counts)))
    share = weights @ _by_patient(measure, counts / counts.sum(axis=1, keepdims=True)) / n[:, None]
    by_chance = (share * (1 - share)).sum(axis=1) / (counts.shape[1] - 1)
    return (_agreement(measure, weights) - by_chance) / (1 - by_chance)


def _alpha(measure: Measure, weights: Any) -> Any:
    """One minus observed over expected disagreement, from sums over sessions."""
    there = ~np.isnan(measure.values)
    m = there.sum(axis=1).astype(np.float64)
    total = weights @ _by_patient(measure, m)
    if measure.is_number:
        value = np.where(there, measure.values, 0.0)
        first, second = value.sum(axis=1), (value**2).sum(axis=1)
        observed = weights @ _by_patient(measure, 2 * (m * second - first**2) / (m - 1)) / total
        sums = [weights @ _by_patient(measure, part) for part in (first, second)]
        expected = 2 * (total * sums[1] - sums[0] ** 2) / (total * (total - 1))
    else:
        counts = _counts(measure)
        observed = weights @ _by_patient(measure, (m**2 - (counts**2).sum(axis=1)) / (m - 1)) / total
        categories = weights @ _by_patient(measure, counts)
        expected = (total**2 - (categories**2).sum(axis=1)) / (total * (total - 1))
    return 1 - observed / expected


def _kappa(measure: Measure, weights: Any) -> Any:
    """The mean over pairs of coders with sessions in common."""
    levels = np.unique(measure.values[~np.isnan(measure.values)])
    found = []
    for a, b in combinations(range(measure.values.shape[1]), 2):
        pair = measure.values[:, [a, b]]
        both = ~np.isnan(pair).any(axis=1)
        if both.sum() < 2:
            continue
        x, y = np.where(both[:, None], pair, 0.0).T
        if measure.is_number:
            parts = np.column_stack([both, x, y, x**2, y**2, (x - y) ** 2])
            n, sx, sy, sxx, syy, sd = (weights @ _by_patient(measure, parts)).T
            away, expected = sd, sxx + syy - 2 * sx * sy / n
        else:
            chose = [(pair[:, [k]] == levels).astype(np.float64) for k in (0, 1)]
            n = weights @ _by_patient(measure, both.astype(np.float64))
            sums = [weights @ _by_patient(measure, np.where(both[:, None], one, 0.0)) for one in chose]
            away = n - weights @ _by_patient(measure, (both & (x == y)).astype(np.float64))
            expected = n - (sums[0] * sums[1]).sum(axis=1) / n
        found.append(np.where(expected > 0, 1 - away / expected, np.nan))
    return np.mean(found, axis=0) if found else np.full(len(weights), np.nan)


def _icc(measure: Measure, weights: Any) -> Any:
    """ICC(2,1) from sums of squares over the sessions that all coders coded."""
    complete = ~np.isnan(measure.values).any(axis=1)
    x = np.where(complete[:, None], measure.values, 0.0)
    k = x.shape[1]
    parts = np.column_stack([complete, x.sum(axis=1) ** 2, (x**2).sum(axis=1), x])
    sums = weights @ _by_patient(measure, parts)
    n, of_rows, squares, columns = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3:]
    grand = columns.sum(axis=1) ** 2 / (n * k)
    rows_ss, columns_ss = of_rows / k - grand, (columns**2).sum(axis=1) / n - grand
    error_ss = squares - grand - rows_ss - columns_ss
    ms_rows, ms_columns = rows_ss / (n - 1), columns_ss / (k - 1)
    ms_error = error_ss / ((n - 1) * (k - 1))
    return (ms_rows - ms_error) / (ms_rows + (k - 1) * ms_error + k * (ms_columns - ms_error) / n)
