"""``fit_mixed``: a formula and a table in, a fitted model out.

The engine knows nothing of therapy but one name: where the data have a column ``patient``, the flow counts patients.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.mixed.design.build import build_design
from alliance_stats.mixed.design.design import Design
from alliance_stats.mixed.design.formula import parse
from alliance_stats.mixed.engine.fitted import diagnose
from alliance_stats.mixed.engine.model import Model, build_model
from alliance_stats.mixed.engine.optimiser import Optimum
from alliance_stats.mixed.engine.strata import minimised
from alliance_stats.mixed.result import MixedFit
from alliance_stats.tables.flow import Steps, record, with_step
from alliance_stats.tables.schema import PATIENT, DataError, require_choice


def fit_mixed(
    formula: str,
    data: pd.DataFrame,
    *,
    reml: bool = True,
    correlation: str | None = None,
    time: str | None = None,
    weights: str | None = None,
    variance_by: str | None = None,
    drop_aliased: bool = False,
) -> MixedFit:
    """Fit a linear mixed model.

    Bates, Maechler, Bolker & Walker (2015), J Stat Softw 67(1); serial correlation as Pinheiro & Bates (2000), ch. 5.

    Parameters
    ----------
    formula : str
        In lme4's syntax: ``"y ~ x1 * x2 + C(arm) + (1 + time | patient) + (1 | therapist)"``; ``||``, ``0 +`` and
        ``(1 | clinic/therapist/patient)`` as there. At most four grouping factors, nested or crossed, with at most four
        random effects each. Terms hold columns, numbers, operators, comparisons and the transforms ``I C center scale
        standardize poly bs cs cc cr log log2 log10 log1p exp expm1 sqrt abs sin cos``, nothing else: a formula may come
        from a study file, and can run no code. ``I(x^2)`` is the square, as in R; text is a factor, and text that looks
        like numbers is refused.
    data : DataFrame
        Any index, any row order. Rows that miss a value the model needs are left out and counted.
    reml : bool
        Restricted maximum likelihood (the default), or maximum likelihood.
    correlation : {None, "ar1", "car1"}
        Residuals independent; correlated rho^(difference of session numbers) within the inner grouping factor (gaps
        honoured); or phi^(difference of times) with continuous time, phi > 0.
    time : str, optional
        The column that orders the rows of a group; needed with a correlation. Dates count in days.
    weights : str, optional
        A column of prior weights: the residual variance of a row is sigma^2 / weight.
    variance_by : str, optional
        A column whose levels (arms, raters) have a residual variance each, as nlme's ``varIdent``. ``variances`` lists
        them all; ``residual_variance`` is that of the first level, and ``icc`` averages them over the rows used.
    drop_aliased : bool
        Leave out fixed terms that are combinations of others (named in ``diagnostics``) instead of raising.

    Returns
    -------
    MixedFit

    Raises
    ------
    DataError
        If the data cannot carry the model: see :func:`alliance_stats.mixed.design.build.build_design`.
    ValueError
        For a formula that cannot be read, or arguments that do not fit together.

    Examples
    --------
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> fit = fit_mixed("y ~ 1 + (1 | g)", data)
    >>> fit.variances()[["group", "variance"]].round(4)
          group  variance
    0         g    2.7407
    1  residual    1.4167
    """
    require_choice(correlation, (None, "ar1", "car1"), name="correlation")
    if not isinstance(formula, str):
        raise TypeError(f"formula must be text such as 'y ~ x + (1 | patient)', not {type(formula).__name__}.")
    if not isinstance(reml, bool | np.bool_):
        raise ValueError(f"reml={reml!r} must be True (REML) or False (maximum likelihood).")
    if correlation is not None and time is None:
        raise ValueError(f"correlation={correlation!r} needs time=: the column that orders the rows of a group.")
    if correlation is None and time is not None:
        raise ValueError(f"time={time!r} is used by a serial correlation only: add correlation='ar1' or leave it out.")
    design = build_design(
        parse(formula), data, time=time, weights=weights, variance_by=variance_by, drop_aliased=drop_aliased
    )
    model = build_model(design, correlation=correlation, reml=bool(reml))
    model, optimum = _minimised(model)
    return MixedFit(model, optimum, diagnose(model, optimum) | {"flow": _flow(data, design)})


def _minimised(model: Model) -> tuple[Model, Optimum]:
    problem: Exception | None = None
    try:
        found, optimum = minimised(model)
        if optimum.deviance.sigma2 > model.design.rounding**2:
            return found, optimum
    except np.linalg.LinAlgError as error:
        problem = error
    raise DataError(
        f"The model {model.design.formula.text!r} leaves no residual: fixed terms and groups make the outcome exactly.",
        remedy="Check that the outcome is not computed from them, and that rows of one group differ.",
    ) from problem


def _flow(data: pd.DataFrame, design: Design) -> Steps:
    """Who was kept before, and the rows this model used of them."""
    used = None
    if (data.columns == PATIENT).sum() == 1:
        inner = design.inner_factor == PATIENT
        used = design.grouping.n_inner if inner else data[PATIENT].iloc[design.kept].nunique()
    lost = {f"no {name}": n for name, n in design.missing.items()}
    if sum(lost.values()) > design.n_dropped:  # some rows miss several values: the counts are not of rows
        lost = {f"no {' or '.join(design.missing)}": design.n_dropped}
    steps = record(data)
    return with_step(steps, "used by the mixed model", patients=used, sessions=design.n, lost=lost)
