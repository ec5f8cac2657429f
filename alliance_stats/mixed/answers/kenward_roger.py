"""Kenward-Roger: a covariance of the fixed effects corrected for small samples, and degrees of freedom with it.

In the notation of Kenward & Roger (1997), over variance parameters s with asymptotic covariance W:

    Phi = (X'V^-1X)^-1,  P_k = -X'V^-1 V_k V^-1 X,  Q_kl = X'V^-1 V_k V^-1 V_l V^-1 X,  R_kl = X'V^-1 V_kl V^-1 X
    Phi_A = Phi + 2 Phi { sum_kl W_kl (Q_kl - P_k Phi P_l - R_kl / 4) } Phi

with V_k, V_kl the derivatives of V and W the inverse of the expected information of the restricted likelihood.
Variances and covariances enter linearly, so R is zero except with a serial correlation, which ``pbkrtest`` does not
offer. As in Halekoh & Hojsgaard (2014, ``pbkrtest``), every covariance counts as a parameter, on a boundary
or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular

from alliance_stats.mixed.answers.marginal import check_size, marginal_blocks
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.terms import f_test

_ZERO = 1e-10  # Where a factor of the moments counts as zero


@dataclass(frozen=True)
class KenwardRoger:
    """What the method adds to a fit, in the user's units: Phi_A, Phi, P_k, W and the coefficients."""

    covariance: FloatArray
    unadjusted: FloatArray
    changes: FloatArray
    weight: FloatArray
    beta: FloatArray
    method: str = "Kenward-Roger"

    def df(self, rows: Any) -> FloatArray:
        """Degrees of freedom of each row of `rows` (contrasts of the coefficients)."""
        return np.array([self._moments(row[None, :])[0] for row in np.atleast_2d(np.asarray(rows, dtype=np.float64))])

    def test(self, rows: Any) -> pd.DataFrame:
        """F test that every row of `rows` times the coefficients is zero: ``df1, df2, statistic, p_value``."""
        rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        df2, scale = self._moments(rows)
        value = rows @ self.beta
        statistic = scale * float(value @ np.linalg.solve(rows @ self.covariance @ rows.T, value)) / len(rows)
        return f_test(len(rows), df2, statistic)

    def _moments(self, rows: FloatArray) -> tuple[float, float]:
        """Denominator df and the factor of F, by matching two moments (Kenward & Roger 1997, section 3)."""
        q = len(rows)
        theta = rows.T @ np.linalg.solve(rows @ self.unadjusted @ rows.T, rows)
        turned = np.einsum("ab,bc,kcd,de->kae", theta, self.unadjusted, self.changes, self.unadjusted)
        trace = np.einsum("kaa->k", turned)
        a1 = float(trace @ self.weight @ trace)
        a2 = float(np.einsum("kl,kab,lba->", self.weight, turned, turned))
        if a2 <= 0:
            return np.inf, 1.0
        b = (a1 + 6 * a2) / (2 * q)
        g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
        c1, c2, c3 = (part / (3 * q + 2 * (1 - g)) for part in (g, q - g, q + 2 - g))
        # With exactly 2 df E* and V* are infinite and their ratio is 0/0. As in pbkrtest both factors then count as 1.
        left, below = 1 - a2 / q, 1 - c2 * b
        ratio = 1.0 if max(abs(left), abs(below)) < _ZERO else left / below
        above = 0.0 if abs(1 + c1 * b) < _ZERO else 1 + c1 * b
        rho = ratio**2 * above / (1 - c3 * b) / q
        df = 4 + (q + 2) / (q * rho - 1)
        scale = 1.0 if abs(df - 2) < 0.01 else df * left / (df - 2)
        return float(df), float(scale)


def kenward_roger(fit: Fitted) -> KenwardRoger:
    """Covariance and degrees of freedom of Kenward & Roger (1997) for a fit by REML.

    Fits without serial correlation agree with ``pbkrtest::vcovAdj`` and ``lmerTest(ddf = "Kenward-Roger")``.

    Returns
    -------
    KenwardRoger
        ``covariance``, ``df(rows)``, ``test(rows)``.

    Raises
    ------
    ValueError
        For a fit by maximum likelihood, and where a block of dependent rows is too large.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> kenward_roger(fit_mixed("y ~ 1 + (1 | g)", data)).df([[1.0]]).round(6).tolist()
    [3.0]
    """
    if not fit.reml:
        raise ValueError(
            "Kenward-Roger is defined for REML fits; this one is by maximum likelihood. Fit with reml=True."
        )
    if fit.design.strata is not None:
        raise ValueError("Kenward-Roger knows one residual variance; this fit has several. Use Satterthwaite.")
    check_size(fit, method="Kenward-Roger")
    p = fit.design.p
    count = len(fit.model.parameters) + 1
    information, change = np.zeros((p, p)), np.zeros((count, p, p))
    pair, bend = np.zeros((count, count, p, p)), np.zeros((count, count, p, p))
    trace = np.zeros((count, count))
    for block in marginal_blocks(fit, derivatives=True):
        root: FloatArray = np.asarray(np.linalg.cholesky(block.covariance), dtype=np.float64)
        white = solve_triangular(root, block.x, lower=True, check_finite=False)
        turned = [_both_sides(root, part) for part in block.changes]
        seen = [part @ white for part in turned]
        information += white.T @ white
        for k in range(count):
            change[k] -= white.T @ seen[k]
            for j in range(k + 1):
                trace[k, j] += float(np.sum(turned[k] * turned[j]))
                pair[k, j] += seen[k].T @ seen[j]
        for (k, j), part in block.bends.items():
            bend[max(k, j), min(k, j)] += white.T @ _both_sides(root, part) @ white
    for k in range(count):
        for j in range(k):
            trace[j, k], pair[j, k], bend[j, k] = trace[k, j], pair[k, j].T, bend[k, j]
    phi = np.linalg.inv(information)
    turned_change = np.einsum("ab,kbc->kac", phi, change)
    expected = trace - 2 * np.einsum("ab,klba->kl", phi, pair) + np.einsum("kab,lba->kl", turned_change, turned_change)
    weight = 2 * _inverse(expected)
    middle = np.einsum("kl,klab->ab", weight, pair - bend / 4)
    middle -= np.einsum("kl,kab,bc,lcd->ad", weight, change, phi, change)
    adjusted = phi + 2 * phi @ ((middle + middle.T) / 2) @ phi
    back = fit.design.x_map * fit.design.y_scale
    forth = np.linalg.inv(back)
    return KenwardRoger(
        covariance=back @ adjusted @ back.T,
        unadjusted=back @ phi @ back.T,
        changes=np.einsum("ba,kbc,cd->kad", forth, change, forth),
        weight=weight,
        beta=fit.coefficients.to_numpy(),
    )


def _both_sides(root: FloatArray, part: FloatArray) -> FloatArray:
    """L^-1 A L^-T."""
    half = solve_triangular(root, part, lower=True, check_finite=False)
    return np.asarray(solve_triangular(root, half.T, lower=True, check_finite=False))


def _inverse(matrix: FloatArray) -> FloatArray:
    """The inverse, parameters scaled to unit diagonal first."""
    scale = 1 / np.sqrt(np.diag(matrix))
    return np.asarray(np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale))
