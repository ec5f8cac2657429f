"""Profile-likelihood intervals for standard deviations, correlations, the serial correlation and fixed effects.

The interval of a parameter holds the values v with d(v) - d_min <= chi2_1(level), where d(v) is the deviance minimised
over everything else at the value v (Bates et al. 2015, section 5.1, as ``lme4::confint(method = "profile")``). The
equation is solved itself, by bracketing and Brent's method, without a spline. An end that the profile never
reaches is the end of the parameter's range: 0 for a standard deviation, -1 or 1 for a correlation.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import chdtri

from alliance_stats.mixed.answers.profiled import FixedProfile, VarianceProfile, targets
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.schema import require_choice
from alliance_stats.tables.shares import check_level


def profile_intervals(
    fit: Fitted, *, level: float = 0.95, which: str = "variances", criterion: str | None = None
) -> pd.DataFrame:
    """Profile-likelihood intervals.

    Parameters
    ----------
    fit : MixedFit
    level : float
    which : {"variances", "fixed", "all"}
    criterion : {None, "reml", "ml"}
        The likelihood profiled for variance parameters: the one the fit used (None), or the other. ``lme4::confint``
        always uses ML. Fixed effects are always profiled by ML, as a restricted likelihood has none.

    Returns
    -------
    DataFrame
        One row per parameter: ``kind`` (``sd``, ``correlation``, ``rho``, ``sigma``, ``fixed``), ``group, term, term_2,
        estimate, ci_low, ci_high``. ``estimate`` is that of the likelihood profiled.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> table = profile_intervals(fit_mixed("y ~ 1 + (1 | g)", data))
    >>> table[["kind", "estimate", "ci_low", "ci_high"]].round(2)
        kind  estimate  ci_low  ci_high
    0     sd      1.66    0.45     5.25
    1  sigma      1.19    0.78     2.14
    """
    check_level(level)
    require_choice(which, ("variances", "fixed", "all"), name="which")
    require_choice(criterion, (None, "reml", "ml"), name="criterion")
    if fit.design.strata is not None:
        raise ValueError(
            "A profile knows one residual variance; this fit has one for each stratum. Use tidy for fixed "
            "effects, and the bootstrap of icc for variances."
        )
    cut = float(chdtri(1, 1 - level))
    rows: list[dict[str, object]] = []
    if which != "fixed":
        profiled = fit if criterion is None else fit.with_criterion(reml=criterion == "reml")
        for target in targets(profiled):
            low, high = _interval(VarianceProfile(profiled, target), cut)
            rows.append({**target.words(profiled), "estimate": target.estimate, "ci_low": low, "ci_high": high})
    if which != "variances":
        by_ml = fit.with_criterion(reml=False)
        for j, name in enumerate(by_ml.terms):
            profile = FixedProfile(by_ml, j)
            low, high = _interval(profile, cut)
            words = {"kind": "fixed", "group": "fixed", "term": name, "term_2": ""}
            rows.append({**words, "estimate": profile.estimate, "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows)


def _interval(profile: VarianceProfile | FixedProfile, cut: float) -> tuple[float, float]:
    """Both ends: the values where the square root of the profile meets that of `cut`."""

    def height(value: float) -> float:
        return float(np.sqrt(max(profile(value), 0.0)) - np.sqrt(cut))

    ends = []
    for side, bound in ((-1.0, profile.low), (1.0, profile.high)):
        inside, outside, step = profile.estimate, profile.estimate, profile.reach
        last = bound - side * 1e-6 if profile.open_range else bound
        profile.free = profile.start
        found = bound
        while outside != last:
            outside = max(inside - step, last) if side < 0 else min(inside + step, last)
            if height(outside) > 0:
                left, right = sorted((inside, outside))
                found = float(brentq(height, left, right, xtol=1e-7 * max(profile.reach, 1e-12), rtol=1e-10))
                break
            inside, step = outside, step * 1.6
        ends.append(found)
    return ends[0], ends[1]
