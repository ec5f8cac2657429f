"""Change beyond measurement error: SEM, reliable change, and clinically significant change."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import DataError, numeric, require_choice, require_columns
from alliance_stats.tables.shares import check_level, normal_quantile

METHODS = ("jacobson_truax", "gulliksen_lord_novick", "edwards_nunnally")
CATEGORIES = ("recovered", "improved", "unchanged", "deteriorated")


def standard_error_of_measurement(sd: float, reliability: float) -> float:
    """The standard error of one score: ``sd * sqrt(1 - reliability)``, in points.

    >>> standard_error_of_measurement(10, 0.91)
    3.0
    """
    _check_reliability(reliability)
    _check_sd(sd)
    return round(float(sd * np.sqrt(1 - reliability)), 12)


def reliable_change_points(sd: float, reliability: float, *, level: float = 0.95) -> float:
    """The change between two scores that measurement error exceeds in ``1 - level`` of cases, in points.

    ``z * sd * sqrt(2) * sqrt(1 - reliability)`` with z = 1.96 at level .95 (Jacobson & Truax 1991).

    >>> round(reliable_change_points(10, 0.91), 4)
    8.3154
    """
    check_level(level)
    return normal_quantile(level) * float(np.sqrt(2)) * standard_error_of_measurement(sd, reliability)


def clinical_cutoffs(
    *, mean_clinical: float, sd_clinical: float, mean_functional: float, sd_functional: float
) -> dict[str, float]:
    """The cut-offs a, b and c of Jacobson & Truax (1991) between a clinical and a functional population.

    ``a``: two SD from the clinical mean towards the functional; ``b``: two SD from the functional mean towards the
    clinical; ``c``: where both are equally likely, weighted by the SDs.

    >>> clinical_cutoffs(mean_clinical=20, sd_clinical=4, mean_functional=8, sd_functional=4)
    {'a': 12.0, 'b': 16.0, 'c': 14.0}
    """
    _check_sd(sd_clinical)
    _check_sd(sd_functional)
    towards = 1.0 if mean_functional > mean_clinical else -1.0
    c = (sd_functional * mean_clinical + sd_clinical * mean_functional) / (sd_clinical + sd_functional)
    return {
        "a": float(mean_clinical + towards * 2 * sd_clinical),
        "b": float(mean_functional - towards * 2 * sd_functional),
        "c": float(c),
    }


def clinical_change(
    patients: pd.DataFrame,
    *,
    pre: str,
    post: str,
    reliability: float,
    higher_is: str,
    cutoff: float | None = None,
    method: str = "jacobson_truax",
    sd: float | None = None,
    mean: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Reliable and clinically significant change of every patient.

    With r the reliability and s the SD: Jacobson & Truax (1991) ``(post - pre) / (s sqrt(2 (1 - r)))``; Gulliksen,
    Lord & Novick (Hsu 1989) ``(post - m - r (pre - m)) / (s sqrt(1 - r^2))``; Edwards & Nunnally (Speer 1992)
    ``(post - m - r (pre - m)) / (s sqrt(1 - r))``. Speer rounds the critical value to 2; here it is that of `level`.

    Parameters
    ----------
    patients : DataFrame
        One row per patient with the scores before and after.
    pre, post : str
        Their columns.
    reliability : float
        Of the score, in [0, 1).
    higher_is : {"better", "worse"}
        What a higher score means.
    cutoff : float, optional
        Between the clinical and the functional range; needed for ``recovered``. A score at the cut-off still counts as
        clinical.
    method : {"jacobson_truax", "gulliksen_lord_novick", "edwards_nunnally"}
        How measurement error enters; the last two allow for regression to the mean.
    sd, mean : float, optional
        Of the pre scores in the reference population; default: of the patients with both scores.
    level : float
        Of reliable change, in (0, 1).

    Returns
    -------
    DataFrame
        A new frame with ``change`` (post minus pre), ``rci`` (change, or what is left of it after regression to the
        mean, in standard errors), ``reliable`` (``improved``, ``deteriorated``, ``none``) and ``clinical_change``
        (``recovered``: improved and over the cut-off; ``improved``; ``unchanged``; ``deteriorated``); missing where a
        score is missing. ``attrs["clinical_change"]`` holds the settings and counts.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": [1, 2, 3], "pre": [20.0, 18, 15], "post": [6.0, 17, 24]})
    >>> clinical_change(rows, pre="pre", post="post", reliability=0.84, higher_is="worse", cutoff=10, sd=5, mean=17)[
    ...     ["change", "rci", "clinical_change"]].round(3)
       change    rci clinical_change
    0   -14.0 -4.950       recovered
    1    -1.0 -0.354       unchanged
    2     9.0  3.182    deteriorated
    """
    require_columns(patients, [pre, post], table_name="patients")
    require_choice(method, METHODS, name="method")
    require_choice(higher_is, ("better", "worse"), name="higher_is")
    _check_reliability(reliability)
    check_level(level)
    before, after = numeric(patients, pre), numeric(patients, post)
    both = ~np.isnan(before) & ~np.isnan(after)
    if sd is None:
        if both.sum() < 2:
            raise DataError("Fewer than two patients have both scores.", remedy="Give sd= of the pre scores.")
        sd = float(before[both].std(ddof=1))
    if mean is None:
        mean = float(before[both].mean()) if both.any() else float("nan")
    _check_sd(sd)
    rci = _index(before, after, method, reliability, sd, mean)
    direction = 1.0 if higher_is == "better" else -1.0
    crossed = np.zeros(len(rci), dtype=bool)
    if cutoff is not None:
        crossed = ((before - cutoff) * direction <= 0) & ((after - cutoff) * direction > 0)
    moved = rci * direction / normal_quantile(level)  # missing where a score is
    better, worse = moved > 1, moved < -1
    reliable = np.where(better, "improved", np.where(worse, "deteriorated", "none")).astype(object)
    category = np.where(better & crossed, "recovered", np.where(reliable == "none", "unchanged", reliable))
    reliable[~both] = category[~both] = None
    result = patients.assign(change=after - before, rci=rci, reliable=reliable, clinical_change=category)
    settings = {"method": method, "reliability": reliability, "sd": sd, "mean": mean, "cutoff": cutoff, "level": level}
    counts = {"n": int(both.sum()), "n_missing": int((~both).sum())}
    counts |= {name: int((category[both] == name).sum()) for name in CATEGORIES}
    result.attrs = {**patients.attrs, "clinical_change": settings | counts}
    return result


def _index(
    before: FloatArray, after: FloatArray, method: str, reliability: float, sd: float, mean: float
) -> FloatArray:
    """Change, or what is left of it after regression to the mean, in standard errors."""
    expected = before if method == "jacobson_truax" else mean + reliability * (before - mean)
    share = {
        "jacobson_truax": 2 * (1 - reliability),
        "gulliksen_lord_novick": 1 - reliability**2,
        "edwards_nunnally": 1 - reliability,
    }[method]
    return np.asarray((after - expected) / (sd * np.sqrt(share)))


def _check_reliability(reliability: float) -> None:
    if not 0 <= reliability < 1:
        raise ValueError(f"reliability={reliability!r} must lie in 0 to 1 (below 1).")


def _check_sd(sd: float) -> None:
    if not sd > 0:
        raise ValueError(f"sd={sd!r} must be positive.")
