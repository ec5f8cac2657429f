"""Likelihood-ratio tests of nested mixed models, with the null distribution that a boundary demands.

A variance tested against zero lies on the boundary of its range, so the statistic is not chi-squared (Self & Liang
1987, J Am Stat Assoc 82, 605-610). With one new variance it is an even mixture of chi-squared distributions with d - 1
and d degrees of freedom, d counting its covariances too (Stram & Lee 1994, Biometrics 50, 1171-1177). With several new
variances the weights depend on the design; the same mixture then bounds the p value from above, and the parametric
bootstrap gives it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from alliance_stats.mixed.answers.effects import simulate_outcomes
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.progress import bar, run_pieces, streams
from alliance_stats.tables.schema import Seed

LOWER = 1e-5  # By how much of deviance a larger model may be worse than a smaller one: what searches leave


def compare(
    smaller: Fitted,
    larger: Fitted,
    *,
    draws: int = 0,
    seed: Seed | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Likelihood-ratio test of two nested models of the same rows.

    Parameters
    ----------
    smaller, larger : MixedFit
        The smaller one must be a special case of the larger. Where their fixed parts differ both are refitted by ML.
    draws : int
        Outcomes simulated under the smaller model for a parametric-bootstrap p value; 0 for none.
    seed : int or Generator
        Needed with `draws`.
    n_jobs : int, optional
        Workers for the draws, as joblib's; the result is the same for any number.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    DataFrame
        One row per model: ``model, n_parameters, log_likelihood, aic, bic, statistic, df, p_value, null, criterion,
        converged`` (the test in the row of the larger), and with `draws` ``p_bootstrap`` and ``draws`` (those that
        converged).

    Raises
    ------
    ValueError
        If the fits differ in rows, outcome, weights or the time of their serial correlation, if they are not nested, or
        if the larger has a lower likelihood than the smaller.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> y = [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "t": [0, 1, 2] * 4, "y": y})
    >>> table = compare(fit_mixed("y ~ 1 + (1 | g)", data), fit_mixed("y ~ t + (1 | g)", data))
    >>> table[["model", "statistic", "p_value", "null", "criterion"]].round(4)
                 model  statistic  p_value     null criterion
    0  y ~ 1 + (1 | g)        NaN      NaN                 ML
    1  y ~ t + (1 | g)     9.7902   0.0018  chi2(1)        ML
    """
    for fit in (smaller, larger):
        if not isinstance(fit, Fitted):
            raise TypeError(f"compare takes two fits of fit_mixed, not {type(fit).__name__}.")
    smaller, larger, new = _comparable(smaller, larger)
    d = len(new) + larger.design.p - smaller.design.p
    if d <= 0:
        raise ValueError(
            f"{larger.formula!r} has no parameter more than {smaller.formula!r}: there is nothing to test."
        )
    statistic = 2 * (larger.log_likelihood - smaller.log_likelihood)
    if statistic < -LOWER:
        raise ValueError(
            f"{larger.formula!r} has a lower log-likelihood ({larger.log_likelihood:.4f}) than its special case "
            f"{smaller.formula!r} ({smaller.log_likelihood:.4f}), so one of the searches ended too early. See "
            "diagnostics['converged'] of both, and rescale or leave out terms with hardly any variance."
        )
    statistic = max(statistic, 0.0)
    on_boundary = sum(_starts_at_boundary(name, larger.correlation) for name in new)
    p_value, null = _reference(statistic, d, on_boundary)
    table = pd.DataFrame([_row(fit) for fit in (smaller, larger)]).assign(
        statistic=[np.nan, statistic],
        df=[np.nan, float(d)],
        p_value=[np.nan, p_value],
        null=["", null],
        criterion="REML" if larger.reml else "ML",
        converged=[fit.optimum.converged for fit in (smaller, larger)],
    )
    if not draws:
        return table
    if seed is None:
        raise ValueError("A bootstrap draws at random: give seed=.")
    with bar("Bootstrap", draws, show=progress):
        simulated = bootstrap_statistics(smaller, larger, draws=draws, seed=seed, n_jobs=n_jobs)
    p_bootstrap = (1 + int(np.sum(simulated >= statistic - 1e-9))) / (1 + len(simulated))
    return table.assign(p_bootstrap=[np.nan, p_bootstrap], draws=[0, len(simulated)])


def _comparable(smaller: Fitted, larger: Fitted) -> tuple[Fitted, Fitted, set[tuple[str, frozenset[str]]]]:
    """Both models by one criterion, and the variance parameters of the larger alone; raises where not nested."""
    _check_same_rows(smaller, larger)
    if smaller.n_parameters > larger.n_parameters:
        raise ValueError(
            f"{smaller.formula!r} has more parameters than {larger.formula!r}: give the smaller model first."
        )
    _check_nested_columns(smaller, larger)
    fixed_differ = not _same_columns(smaller, larger)  # a restricted likelihood depends on the columns themselves
    if fixed_differ or smaller.reml != larger.reml:
        smaller, larger = smaller.with_criterion(reml=False), larger.with_criterion(reml=False)
    new = _new_parameters(smaller, larger)
    _check_same_times(smaller, larger)
    return smaller, larger, new


def _row(fit: Fitted) -> dict[str, object]:
    names = ("n_parameters", "log_likelihood", "aic", "bic")
    return {"model": fit.formula, **{name: getattr(fit, name) for name in names}}


def bootstrap_statistics(
    smaller: Fitted, larger: Fitted, *, draws: int, seed: Seed, n_jobs: int | None = None
) -> FloatArray:
    """Likelihood-ratio statistics of outcomes simulated under the smaller model; those of fits that converged."""
    drawn = run_pieces(partial(_drawn_statistic, smaller, larger), streams(seed, draws), n_jobs=n_jobs)
    return np.array([statistic for statistic in drawn if statistic is not None])


def _drawn_statistic(smaller: Fitted, larger: Fitted, stream: np.random.Generator) -> float | None:
    y = next(simulate_outcomes(smaller, draws=1, seed=stream))
    other = np.empty_like(y)
    other[larger.design.by_data] = y[smaller.design.by_data]
    small, large = smaller.refit(y), larger.refit(other)
    if not (small.optimum.converged and large.optimum.converged):
        return None
    return max(2 * (large.log_likelihood - small.log_likelihood), 0.0)


def _reference(statistic: float, d: int, on_boundary: int) -> tuple[float, str]:
    """P value and name of the null distribution."""
    if not on_boundary:
        return float(chdtrc(d, statistic)), f"chi2({d})"
    upper = float(chdtrc(d - 1, statistic)) if d > 1 else float(statistic <= 0)
    name = f"chi2({d - 1}):chi2({d})"
    p_value = (upper + float(chdtrc(d, statistic))) / 2
    return p_value, name if on_boundary == 1 else f"at most {name}"


def _starts_at_boundary(name: tuple[str, frozenset[str]], correlation: str | None) -> bool:
    group, terms = name
    if group == "residual":
        return correlation == "car1" and terms == {"rho"}  # phi > 0; the rho of AR(1) may be negative
    return len(terms) == 1


def _parameters(fit: Fitted) -> set[tuple[str, frozenset[str]]]:
    strata = fit.design.strata
    ratios = {("residual", frozenset({f"variance[{label}]"})) for label in (strata.labels[1:] if strata else ())}
    return ratios | {
        (parameter.group, frozenset({parameter.term, parameter.term_2} - {""})) for parameter in fit.model.parameters
    }


def _new_parameters(smaller: Fitted, larger: Fitted) -> set[tuple[str, frozenset[str]]]:
    less, more = _parameters(smaller), _parameters(larger)
    if not less <= more:
        group, terms = sorted(less - more, key=str)[0]
        raise ValueError(
            f"The models are not nested: {smaller.formula!r} has the variance parameter "
            f"({' and '.join(sorted(terms))} | {group}), which {larger.formula!r} lacks."
        )
    if smaller.correlation is not None and smaller.correlation != larger.correlation:
        raise ValueError(
            f"The models are not nested: correlation={smaller.correlation!r} and {larger.correlation!r}. Compare AIC."
        )
    return more - less


def _check_same_rows(smaller: Fitted, larger: Fitted) -> None:
    one, two = smaller.design, larger.design
    first, second = one.by_data, two.by_data
    if not np.array_equal(one.kept[first], two.kept[second]):
        raise ValueError(
            f"The models use different rows ({one.n} and {two.n}): drop the rows that miss a predictor of the larger "
            "model before fitting both."
        )
    y, other = one.user_outcome()[first], two.user_outcome()[second]
    if not np.allclose(y, other, rtol=1e-9, atol=1e-9 * one.y_scale):
        raise ValueError("The models have different outcomes.")
    prior = [design.strata.prior if design.strata else design.weights for design in (one, two)]
    weights = [np.ones(one.n) if own is None else own[order] for own, order in zip(prior, (first, second))]
    if not np.allclose(weights[0], weights[1], rtol=1e-9):
        raise ValueError("The models have different weights: fit both with the same weights=.")


def _check_same_times(smaller: Fitted, larger: Fitted) -> None:
    one, two = smaller.design, larger.design
    if one.time is None or two.time is None:
        return
    first, second = one.by_data, two.by_data
    apart = (one.time[first] - one.time.min()) - (two.time[second] - two.time.min())
    if one.inner_factor != two.inner_factor or np.abs(apart).max() > 1e-9 * max(float(np.ptp(one.time)), 1e-300):
        raise ValueError(
            "The serial correlations of the models run over different times or groups: fit both with the same "
            "time= and inner grouping factor."
        )


def _same_columns(smaller: Fitted, larger: Fitted) -> bool:
    """Whether both models have the same fixed columns."""
    if set(smaller.terms) != set(larger.terms):
        return False
    place = [larger.terms.index(name) for name in smaller.terms]
    one, two = smaller.design, larger.design
    first, second = one.by_data, two.by_data
    return bool(np.allclose(one.user_x()[first], two.user_x()[second][:, place], rtol=1e-9, atol=1e-12))


def _check_nested_columns(smaller: Fitted, larger: Fitted) -> None:
    """Every fixed column of the smaller model must be a combination of the larger one's."""
    few, many = (fit.design.x[:, fit.design.by_data] for fit in (smaller, larger))
    solution = np.linalg.lstsq(many @ many.T, many @ few.T, rcond=None)[0]
    left = few - solution.T @ many
    share = np.sqrt(np.mean(left**2, axis=1) / np.maximum(np.mean(few**2, axis=1), 1e-300))
    if (share > 1e-6).any():
        name = smaller.terms[int(np.argmax(share))]
        raise ValueError(
            f"The models are not nested: {larger.formula!r} cannot make the fixed term {name!r}. Compare AIC."
        )
