"""Regression for a binary outcome, logit or complementary log-log: the discrete-time hazard model.

On person-period rows the likelihood of a discrete-time survival model is that of a binary regression (Brown 1975;
Allison 1982), with the logit link for sessions as such and the complementary log-log for a proportional-hazards process
seen at sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import require_choice

LINKS = ("logit", "cloglog")
MAX_ITERATIONS = 60
_SMALL_GAIN = {"logit": 1e-8, "cloglog": 1e-12}
"""A step that promises less gain in log-likelihood is the last (Newton converges quadratically, scoring does not)."""
_BLOCK = 16384
_LARGE = 40_000


class BinaryFit(NamedTuple):
    """A fitted binary regression."""

    coefficients: FloatArray  # (p,)
    covariance: FloatArray  # (p, p): inverse *expected* information, as R's ``glm``
    log_likelihood: float
    # (n,): derivative of each row's log-likelihood in its linear predictor; ``residual[:, None] * X`` are the scores
    residual: FloatArray
    linear: FloatArray  # (n,): the linear predictor
    converged: bool
    iterations: int  # Passes over all rows


def mean(linear: FloatArray, link: str) -> FloatArray:
    """The hazard at a linear predictor."""
    if link == "logit":
        return np.asarray(expit(linear), dtype=np.float64)
    return np.asarray(-np.expm1(-np.exp(np.minimum(linear, 500.0))), dtype=np.float64)


def row_terms(linear: FloatArray, y: FloatArray, link: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log-likelihood of each row, its derivative in the linear predictor, and minus its expected second one."""
    if link == "logit":
        # With o = exp(-eta): log L = (y - 1) eta - log(1 + o), w = o / (1 + o)^2; faster than scipy's expit.
        odds_against = np.exp(-np.clip(linear, -700.0, 700.0))
        against = 1.0 + odds_against
        hazard = 1.0 / against
        return (y - 1.0) * linear - np.log(against), y - hazard, hazard * (odds_against / against)
    # exp(300) squared is still a number; the likelihood is decided long before.
    rate = np.exp(np.clip(linear, -700.0, 300.0))
    hazard = np.maximum(-np.expm1(-rate), 1e-300)
    score = rate * (y - hazard) / hazard
    return np.where(y > 0, np.log(hazard), -rate), score, rate * rate * np.exp(-rate) / hazard


def fit_binary(
    y: FloatArray,
    design: FloatArray,
    *,
    link: str = "logit",
    names: Sequence[str] | None = None,
    weights: FloatArray | None = None,
    start: FloatArray | None = None,
    offset: FloatArray | None = None,
    check: bool = True,
) -> BinaryFit:
    """Maximum likelihood by Fisher scoring with step halving (Newton's method for the logit link).

    `y` (n,) is 0 or 1; `design` (n, p) has its own column of ones if there is to be an intercept; `names` of its
    columns are for messages; `weights` (n,) say how often each row counts; without `start` (p,) the search begins, with
    many rows, at the fit of every k-th row; `offset` (n,) is added to the linear predictor. Raises ``ValueError`` for
    no events, only events, or an aliased column, and ``Separated`` for an infinite estimate.
    """
    require_choice(link, LINKS, name="link")
    names = [f"x{j}" for j in range(design.shape[1])] if names is None else names
    rows = _Rows(y, np.asfortranarray(design, dtype=np.float64), link, weights, offset)
    if check:
        rows.require_both()
        require_full_rank(design, names, intercept=True)
    beta = _first_guess(rows) if start is None else start.copy()
    value, score, information = rows.at(beta)
    step = np.zeros_like(beta)
    converged, iterations = False, 1
    while iterations < MAX_ITERATIONS:
        step = solve_information(information, score)
        gain = float(score @ step)
        if gain < _SMALL_GAIN[link]:
            beta = beta + step
            converged = True
            break
        trial = beta + step
        new = rows.at(trial)
        halvings = 0
        while not new[0] >= value - 1e-10 * abs(value) and halvings < 30:
            step = step / 2
            trial = beta + step
            new = rows.at(trial)
            halvings += 1
        beta, (value, score, information) = trial, new
        iterations += 1
    if check:
        _require_overlap(rows, beta, step, names, converged)
    linear = rows.design @ beta if offset is None else rows.design @ beta + offset
    residual = row_terms(linear, y, link)[1]
    covariance = solve_information(information, np.eye(len(beta)))
    return BinaryFit(beta, (covariance + covariance.T) / 2, value, residual, linear, converged, iterations)


class _Rows(NamedTuple):
    """The rows of a binary regression."""

    y: FloatArray
    design: FloatArray
    link: str
    weights: FloatArray | None
    offset: FloatArray | None

    def part(self, rows: slice) -> _Rows:
        """Some of the rows."""
        weights, offset = (None if own is None else own[rows] for own in (self.weights, self.offset))
        return _Rows(self.y[rows], self.design[rows], self.link, weights, offset)

    def at(self, beta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Log-likelihood, score and expected information, in blocks that fit the processor's cache."""
        n_rows, n_terms = self.design.shape
        value, score, information = 0.0, np.zeros(n_terms), np.zeros((n_terms, n_terms))
        for begin in range(0, n_rows, _BLOCK):
            y, block, link, weights, offset = self.part(slice(begin, begin + _BLOCK))
            linear = block @ beta
            if offset is not None:
                linear += offset
            term, residual, curvature = row_terms(linear, y, link)
            if weights is not None:
                term, residual, curvature = term * weights, residual * weights, curvature * weights
            value += float(term.sum())
            score += residual @ block
            weighted = block * np.sqrt(curvature)[:, None]
            information += weighted.T @ weighted
        return value, score, information

    def require_both(self) -> None:
        """Raise ``ValueError`` unless there are events and others."""
        n, weights = len(self.y), np.ones(len(self.y)) if self.weights is None else self.weights
        events, total = float((self.y * weights).sum()), float(weights.sum())
        if events == 0:
            raise ValueError(f"There is no event in the {n} rows used: a hazard of zero has no model.")
        if events == total:
            raise ValueError(f"Every one of the {n} rows used is an event: a hazard of one has no model.")


def solve_information(information: FloatArray, right: FloatArray) -> FloatArray:
    """``information^-1 right`` by Cholesky on the scaled matrix; with a growing ridge where it is singular."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / np.outer(scale, scale)
    for ridge in (0.0, 1e-12, 1e-9, 1e-6, 1e-3):
        try:
            factor = cho_factor(scaled + ridge * np.eye(len(scale)))
        except np.linalg.LinAlgError:
            continue
        shaped = scale if right.ndim == 1 else scale[:, None]
        return np.asarray(cho_solve(factor, right / shaped) / shaped, dtype=np.float64)
    raise ValueError("The information matrix is not finite; rescale the covariates.")


def _first_guess(rows: _Rows) -> FloatArray:
    """Zeros; with many rows the fit of every tenth, which leaves two passes over all of them."""
    zero = np.zeros(rows.design.shape[1])
    y, design, link, weights, offset = rows.part(slice(None, None, 10))
    if len(rows.y) < _LARGE or y.sum() < 20 * len(zero):
        return zero
    part = fit_binary(y, design, link=link, weights=weights, offset=offset, check=False)
    usable = part.converged and bool(np.isfinite(part.coefficients).all())
    return part.coefficients if usable and np.abs(part.linear).max() < 15 else zero


def _require_overlap(rows: _Rows, beta: FloatArray, step: FloatArray, names: Sequence[str], converged: bool) -> None:
    """Raise `Separated` where some combination of terms is never higher for a non-event than for an event."""
    y, design, link, weights, _ = rows
    linear = design @ beta
    # Where no fitted hazard comes within about 1e-6 of 0 or 1 the likelihood has a maximum.
    if converged and linear.min() > -14 and linear.max() < (14 if link == "logit" else 2.6):
        return
    used = np.ones(len(y), dtype=bool) if weights is None else weights > 0
    # Where the likelihood has no maximum (Albert & Anderson 1984), Newton's last steps point where it keeps rising.
    direction = step / max(float(np.abs(step).max()), 1e-300)
    for candidate in (direction, beta):
        moved = design[used] @ candidate
        signed = np.where(y[used] > 0, moved, -moved)
        size = float(np.abs(moved).max())
        if size > 0 and signed.min() >= -1e-4 * size:
            spread = design[used].std(axis=0)
            culprits = leading_terms(candidate, spread, names) or list(names[:1])
            named = ", ".join(repr(name) for name in culprits)
            raise Separated(
                f"The estimate is infinite: {named} separate(s) the rows with an event from those without. "
                "Merge rare levels, use a smoother baseline, leave the term out, or ask for penalty='firth'.",
                culprits,
            )


ALIASED = 1e-9  # A column is aliased if the earlier ones leave less than this share of its (centred) sum of squares


class Separated(ValueError):
    """The estimate is infinite: `terms` split events from non-events without overlap (Albert & Anderson 1984)."""

    def __init__(self, message: str, terms: Sequence[str]) -> None:
        self.terms = list(terms)
        super().__init__(message)


def require_full_rank(design: FloatArray, names: Sequence[str], *, intercept: bool) -> None:
    """Raise ``ValueError`` naming the first column that the earlier ones (and the intercept) determine."""
    n_rows, p = design.shape
    if not n_rows or not p:
        return
    middle = design.mean(axis=0)  # dates and years keep their digits
    moved = design - middle
    total, gram = moved.sum(axis=0), moved.T @ moved
    centred = gram - np.outer(total, total) / n_rows
    size = n_rows * (np.abs(middle) + np.sqrt(np.diag(gram) / n_rows)) ** 2
    suspects = [j for j in range(p) if centred[j, j] <= 1e-12 * size[j]]
    constant = [j for j in suspects if (design[:, j] == design[0, j]).all()]
    allowed = [j for j in constant if design[0, j] != 0][:1] if intercept else []
    bad = [j for j in constant if j not in allowed]
    if bad:
        raise ValueError(f"The term {names[bad[0]]!r} does not vary in the rows used. Leave it out.")
    varying = [j for j in range(p) if j not in constant]
    if not varying:
        return
    if intercept and not allowed:  # a model without an intercept: columns that add up to one are no alias
        centred = gram + np.outer(total, middle) + np.outer(middle, total) + n_rows * np.outer(middle, middle)
    gram = centred[np.ix_(varying, varying)]
    scale = np.sqrt(np.diag(gram))
    gram /= np.outer(scale, scale)
    lower = np.zeros_like(gram)
    for j in range(len(varying)):
        left = gram[j, j] - lower[j, :j] @ lower[j, :j]
        if left < ALIASED:
            raise ValueError(f"The term {names[varying[j]]!r} is determined by the terms before it. Leave it out.")
        lower[j, j] = np.sqrt(left)
        lower[j + 1 :, j] = (gram[j + 1 :, j] - lower[j + 1 :, :j] @ lower[j, :j]) / lower[j, j]


def leading_terms(direction: FloatArray, spread: FloatArray, names: Sequence[str]) -> list[str]:
    """The terms that carry a direction, by their share of it over the spread of the data."""
    share = np.abs(direction) * spread
    return [names[j] for j in np.argsort(-share, kind="stable") if share[j] > 0.2 * share.max()][:5]
