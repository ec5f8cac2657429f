"""What each patient or therapist adds to the estimates of a fitted specification, for flipping signs by whole ones.

Sign-flipping score test: Hemerik, Goeman & Finos (2020). Its standardisation: De Santis, Goeman, Hemerik & Finos 2022.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.result import HazardFit
from alliance_stats.hazard.binary import fit_binary, mean
from alliance_stats.mixed.result import MixedFit
from alliance_stats.multiverse.fit import AnyFit
from alliance_stats.outcome.next_session_fit import STATES
from alliance_stats.outcome.patterns_fit import CONTRASTS, OutcomeFit, contrast_weights
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import PATIENT, SESSION, THERAPIST


class Score(NamedTuple):
    """The effective score of one term in one specification, taken apart by unit.

    With a the weights that make the estimate of the outcome, e the residuals of the model without the term (both
    whitened) and Q an orthonormal basis of all p columns.
    """

    term: str
    parts: FloatArray  # (units,): a_g' e_g, what each unit adds to the estimate
    span: FloatArray  # (p, units): Q_g' a_g
    own: FloatArray  # (units,): a_g' a_g / |a|

    def flipped(self, signs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Estimates and z under each row of `signs` (draws, units)."""
        estimate = signs @ self.parts
        length = float(self.own.sum()) ** 2  # |a|^2
        # De Santis et al. (2022): |a|^2 - |H W a|^2, H the projection on the columns other than a
        left = length - (np.square(signs @ self.span.T).sum(axis=1) - np.square(signs @ self.own))
        scale = np.sqrt(np.square(self.parts).sum() * np.maximum(left, 1e-9 * length) / length)
        return estimate, estimate / scale


def scores_of(fit: AnyFit, unit_of: pd.Series, n_units: int) -> list[Score]:
    """The scores of all terms in question, `unit_of` (by patient id) saying whose residuals are flipped together."""
    unit = unit_of.loc[fit.data[PATIENT]].to_numpy()
    if isinstance(fit, HazardFit):
        terms = [name for name in STATES if name in fit.terms]
        return [_score(name, *_hazard(fit, name), unit, n_units) for name in terms]
    names = list(fit.fit.terms)
    data = fit.data
    x = np.column_stack([np.ones(len(data)) if name == "Intercept" else data[name.strip("`")] for name in names])
    y = data[fit.post if isinstance(fit, OutcomeFit) else fit.outcome].to_numpy(dtype=np.float64)
    x, y = _whitened(fit.fit, data, x.astype(np.float64), y)
    result = []
    for term, contrast in _contrasts(fit, names).items():
        weights = x @ np.linalg.solve(x.T @ x, contrast)  # the estimate is weights' y
        basis = np.linalg.qr(x)[0]
        unexplained = y - basis @ (basis.T @ y) + weights * (weights @ y) / (weights @ weights)
        result.append(_score(term, weights, unexplained, basis, unit, n_units))
    return result


def _contrasts(fit: Any, names: list[str]) -> dict[str, FloatArray]:
    """What is estimated, as contrasts of the coefficients."""
    if not isinstance(fit, OutcomeFit):
        return {name: np.eye(len(names))[names.index(name)] for name in STATES if name in names}
    present = set(fit.diagnostics["patterns"])
    return {
        f"{first} - {second}": contrast_weights(names, first, second)
        for first, second in CONTRASTS
        if {first, second} <= present
    }


def _hazard(fit: HazardFit, term: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, residuals and basis of a discrete hazard, from the model without the term."""
    x, column = fit.design.matrix, fit.terms.index(term)
    smaller = fit_binary(fit.event, np.delete(x, column, axis=1), link=fit.link)
    hazard = mean(smaller.linear, fit.link)
    root = np.sqrt(hazard * (1 - hazard))
    wide = x * root[:, None]
    weights = wide @ np.linalg.solve(wide.T @ wide, np.eye(x.shape[1])[column])
    return weights, (fit.event - hazard) / root, np.linalg.qr(wide)[0]


def _score(
    term: str, weights: FloatArray, residual: FloatArray, basis: FloatArray, unit: IntArray, n_units: int
) -> Score:
    def by_unit(values: FloatArray) -> FloatArray:
        return np.bincount(unit, weights=values, minlength=n_units).astype(np.float64)

    span = np.array([by_unit(column * weights) for column in basis.T])
    own = by_unit(weights**2) / np.linalg.norm(weights)
    return Score(term, by_unit(weights * residual), span, own)


def _whitened(model: Any, data: pd.DataFrame, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows multiplied by V^-1/2 of their patient (or therapist, where patients are the rows), V as estimated.

    The weights decide how precise the estimate is, not whether the test is valid: random effects of therapists are left
    out where patients have several rows, since signs are flipped by whole therapists anyway.
    """
    if not isinstance(model, MixedFit):
        return x, y
    variances = model.variances()
    residual = float(variances.loc[variances["group"] == "residual", "variance"].iloc[0])
    group = PATIENT if (variances["group"] == PATIENT).any() else THERAPIST
    own = variances[variances["group"] == group]
    names = list(own.loc[own["term_2"].fillna("") == "", "term"])
    spread = np.zeros((len(names), len(names)))
    for row in own.to_dict("records"):
        i, j = names.index(row["term"]), names.index(row["term_2"] or row["term"])
        spread[i, j] = spread[j, i] = row["variance"]
    z = np.column_stack([data[SESSION] if name == SESSION else np.ones(len(data)) for name in names]).astype(np.float64)
    both = np.column_stack([x, y])
    codes = pd.factorize(data[group])[0]
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes[codes >= 0])
    first = (codes < 0).sum() + np.cumsum(sizes) - sizes
    for size in np.unique(sizes):  # groups of one size side by side
        rows = order[first[sizes == size][:, None] + np.arange(size)]
        covariance = z[rows] @ spread @ z[rows].transpose(0, 2, 1) + residual * np.eye(size)
        both[rows] = np.linalg.solve(np.linalg.cholesky(covariance), both[rows])
    return both[:, :-1], both[:, -1]
