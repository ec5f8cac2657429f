"""Estimates over multiple imputations, and how they move if the missing forms were better or worse than imputed.

Rubin (1987), Multiple imputation for nonresponse in surveys, ch. 3; degrees of freedom by Barnard & Rubin (1999,
Biometrika 86, 948-955); the delta adjustment as in Carpenter & Kenward (2013), Multiple imputation and its application,
ch. 10, and van Buuren (2018), Flexible imputation of missing data, sections 2.3 and 3.8. No imputations are made here:
they must know the levels of the data (R's ``mice`` with ``2l.pan``, ``jomo``, Blimp).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import DataError, numeric
from alliance_stats.tables.terms import Fit, terms_table, tidy


def pool(fits: Sequence[Fit], *, level: float = 0.95) -> pd.DataFrame:
    """One table of coefficients from the same model fitted to several imputations.

    Parameters
    ----------
    fits : sequence
        Two fitted models or more, of the same terms; of any kind that ``tidy`` takes.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        TERMS, with ``within`` and ``between`` (the variances within and between imputations),
        ``fraction_missing`` (Rubin's fraction of missing information) and ``n_imputations``.

    Raises
    ------
    ValueError
        For fewer than two fits, or fits of different terms.

    Notes
    -----
    With m imputations, U the mean of the squared errors, B the variance of the estimates: T = U + (1 + 1/m) B,
    lambda = (1 + 1/m) B / T, and df = 1 / (1 / v_m + 1 / v_obs) with v_m = (m - 1) / lambda^2 and
    v_obs = (v + 1) / (v + 3) v (1 - lambda), v the mean df of the fits (as ``mice::pool`` with ``dfcom = v``).

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, None, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> filled = [data.fillna(3), data.fillna(4)]
    >>> pool([fit_mixed("y ~ 1 + (1 | g)", data) for data in filled])[["term", "estimate", "df"]].round(3)
            term  estimate     df
    0  Intercept     3.792  1.986
    """
    if len(fits) < 2:
        raise ValueError(f"pool takes two fits or more, one for each imputation; here are {len(fits)}.")
    tables = [tidy(fit).set_index("term") for fit in fits]
    names = list(tables[0].index)
    for place, table in enumerate(tables):
        if set(table.index) != set(names):
            raise ValueError(
                f"The fits have different terms: {names} in the first, {list(table.index)} in fit {place + 1}."
            )
    estimate = np.array([table.loc[names, "estimate"] for table in tables], dtype=np.float64)
    squared = np.array([table.loc[names, "std_error"] for table in tables], dtype=np.float64) ** 2
    complete = np.mean([table.loc[names, "df"] for table in tables], axis=0)
    m = len(fits)
    within, between = squared.mean(axis=0), estimate.var(axis=0, ddof=1)
    added = (1 + 1 / m) * between
    total = within + added
    share = added / total
    with np.errstate(divide="ignore", invalid="ignore"):
        by_imputations = (m - 1) / share**2
        finite = (complete + 1) / (complete + 3) * complete * (1 - share)
        observed = np.where(np.isinf(complete), np.inf, finite)
        df = 1 / (1 / by_imputations + 1 / observed)
        ratio = added / within
        fraction = (ratio + np.where(np.isinf(df), 0.0, 2 / (df + 3))) / (ratio + 1)
    table = terms_table(names, estimate.mean(axis=0), np.sqrt(total), df, level=level)
    return table.assign(within=within, between=between, fraction_missing=fraction, n_imputations=m)


def delta_adjusted(
    imputed: Sequence[pd.DataFrame],
    observed: pd.DataFrame,
    fit: Callable[[pd.DataFrame], Fit],
    *,
    column: str,
    deltas: Sequence[float],
    where: pd.Series | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Pooled coefficients if the missing values were higher or lower than imputed.

    Every value of `column` that was missing is shifted by each delta in turn, the model refitted and pooled. Forms
    left out because a patient felt worse are not missing at random; the table shows how much worse they would have to
    be for a conclusion to change.

    Parameters
    ----------
    imputed : sequence of DataFrame
        The imputations, with the rows of `observed` (found by the index).
    observed : DataFrame
        The data with the missing values.
    fit : function
        Of a data frame, returning a fitted model.
    column : str
        The imputed score.
    deltas : sequence of float
        Shifts in points of the score; 0 gives :func:`pool` of the imputations as they are.
    where : Series of bool, optional
        Which of the missing values are shifted, such as those of one arm; all by default.
    level : float

    Returns
    -------
    DataFrame
        The table of :func:`pool` for each delta, with the columns ``delta`` and ``n_shifted`` in front.

    Raises
    ------
    DataError
        If an imputation has other rows than `observed`, still misses values, or changed observed ones.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, None, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> table = delta_adjusted([data.fillna(3), data.fillna(4)], data, lambda d: fit_mixed("y ~ 1 + (1 | g)", d),
    ...                        column="y", deltas=[0, -2])
    >>> table[["delta", "n_shifted", "term", "estimate"]].round(3)
       delta  n_shifted       term  estimate
    0    0.0          1  Intercept     3.792
    1   -2.0          1  Intercept     3.625
    """
    missing = observed[column].isna()
    for place, data in enumerate(imputed):
        _check_imputation(data, observed, column, missing, place + 1)
    moved = missing if where is None else missing & where.reindex(observed.index).fillna(False).astype(bool)
    tables = []
    for delta in deltas:
        shifted = [
            data.assign(**{column: data[column].where(~moved.reindex(data.index), data[column] + delta)})
            for data in imputed
        ]
        table = pool([fit(data) for data in shifted], level=level)
        table.insert(0, "delta", float(delta))
        table.insert(1, "n_shifted", int(moved.sum()))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _check_imputation(data: pd.DataFrame, observed: pd.DataFrame, column: str, missing: pd.Series, number: int) -> None:
    if not observed.index.is_unique or len(data) != len(observed) or not data.index.isin(observed.index).all():
        raise DataError(
            f"Imputation {number} has other rows than the observed data ({len(data)} and {len(observed)}), or the "
            "index is not unique.",
            remedy="Give every row one index label, and keep it in the imputations.",
        )
    values = pd.Series(numeric(data, column), index=data.index).reindex(observed.index)
    if values.isna().any():
        first = values.index[values.isna()][0]
        raise DataError(
            f"Imputation {number} still misses values.", row=first, column=column, remedy="Impute them all."
        )
    changed = ~missing & ((values - observed[column]).abs() > 1e-9 * observed[column].abs().max())
    if changed.any():
        first = changed.index[changed][0]
        raise DataError(
            f"Imputation {number} changed {int(changed.sum())} observed value(s).",
            row=first,
            column=column,
            value=values[first],
            remedy="Check that it is an imputation of these data, with the same index.",
        )
