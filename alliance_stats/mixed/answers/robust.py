"""Cluster-robust covariance of the fixed effects at the top level, corrected for few clusters (CR2).

Bell & McCaffrey (2002); Pustejovsky & Tipton (2018, J Bus Econ Stat 36, 672-683), whose notation this follows: with the
model's V as working covariance, M = (X'V^-1X)^-1 and residuals e_j of cluster j,

    V_CR = M { sum_j X_j'V_j^-1 A_j e_j e_j' A_j' V_j^-1 X_j } M,
    A_j  = D_j' (D_j (V_j - X_j M X_j') D_j')^(-1/2) D_j,   D_j'D_j = V_j   (CR2; the identity for CR0).

The test of a coefficient refers to t with Satterthwaite df under the working model; a joint test to Hotelling's T^2
(their AHT test, "HTZ" in R's ``clubSandwich``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular

from alliance_stats.mixed.answers.marginal import check_size, marginal_blocks
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import require_choice
from alliance_stats.tables.terms import f_test


@dataclass(frozen=True)
class ClusterRobust:
    """A cluster-robust covariance with its degrees of freedom, in the user's units; clusters are of the top level."""

    covariance: FloatArray
    cluster: str
    n_clusters: int
    kind: str
    beta: FloatArray
    model_covariance: FloatArray
    _scores: list[FloatArray] = field(repr=False)
    _own: list[FloatArray] = field(repr=False)

    @property
    def method(self) -> str:
        """How tests are made, in words."""
        return f"cluster-robust {self.kind} by {self.cluster}, Satterthwaite"

    def df(self, rows: Any) -> FloatArray:
        """Satterthwaite degrees of freedom of each row of `rows` (contrasts of the coefficients)."""
        return np.array([self._df(row) for row in np.atleast_2d(np.asarray(rows, dtype=np.float64))])

    def test(self, rows: Any) -> pd.DataFrame:
        """F test that every row of `rows` times the coefficients is zero: ``df1, df2, statistic, p_value``."""
        rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        q = len(rows)
        value = rows @ self.beta
        wald = float(value @ np.linalg.solve(rows @ self.covariance @ rows.T, value))
        expected = sum(rows @ own @ rows.T for own in self._expected())
        values, vectors = np.linalg.eigh(expected)
        turned = (vectors / np.sqrt(values)).T @ rows
        eta = q * (q + 1) / self._spread(turned)
        df2 = eta - q + 1
        return f_test(q, df2, wald * df2 / (eta * q))

    def _df(self, row: FloatArray) -> float:
        own = np.array([row @ part @ row for part in self._own])
        reach = np.array([row @ part for part in self._scores])
        between = -reach @ self.model_covariance @ reach.T
        between[np.diag_indices(len(own))] += own
        return float(np.trace(between) ** 2 / np.sum(between**2))

    def _expected(self) -> list[FloatArray]:
        return [own - score @ self.model_covariance @ score.T for own, score in zip(self._own, self._scores)]

    def _spread(self, turned: FloatArray) -> float:
        """Sum of the variances of the elements of the covariance estimate, scaled to have mean I."""
        reach = np.array([turned @ part for part in self._scores])
        own = np.array([turned @ part @ turned.T for part in self._own])
        between = -np.einsum("isa,ab,jtb->ijst", reach, self.model_covariance, reach, optimize=True)
        clusters = np.arange(len(own))
        between[clusters, clusters] += own
        diagonal = np.einsum("ijss->ijs", between)
        first = float(np.sum(diagonal.sum(axis=2) ** 2))
        return first + float(np.einsum("ijst,ijts->", between, between))


def cluster_robust(fit: Fitted, *, kind: str = "CR2") -> ClusterRobust:
    """Cluster-robust covariance of the fixed effects, clustered by the model's top level.

    Agrees with ``clubSandwich::vcovCR``, ``coef_test(test = "Satterthwaite")`` and ``Wald_test(test = "HTZ")``.

    Parameters
    ----------
    fit : MixedFit
        Its top level (therapists, or patients where there are none) gives the independent clusters.
    kind : {"CR2", "CR1", "CR0"}
        Bias-reduced (the default); scaled by J/(J - 1); uncorrected.

    Returns
    -------
    ClusterRobust
        ``covariance``, ``df(rows)``, ``test(rows)``.

    Raises
    ------
    ValueError
        For crossed factors, which leave no independent clusters.

    Examples
    --------
    >>> from alliance_stats import fit_mixed
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> robust = cluster_robust(fit_mixed("y ~ 1 + (1 | g)", data))
    >>> robust.n_clusters, robust.df([[1.0]]).round(6).tolist()
    (4, [3.0])
    """
    require_choice(kind, ("CR2", "CR1", "CR0"), name="kind")
    design = fit.design
    if design.grouping.crossed:
        raise ValueError(
            f"{' and '.join(map(repr, design.factors))} are crossed, so no level has independent clusters. "
            "Use Satterthwaite or Kenward-Roger, or keep the patients who stayed with one therapist."
        )
    check_size(fit, method="The cluster-robust covariance")
    model_covariance = fit.optimum.deviance.unscaled * fit.optimum.deviance.sigma2
    blocks = [
        _cluster(block.x, block.residual, block.covariance, model_covariance, kind) for block in marginal_blocks(fit)
    ]
    count = len(blocks)
    factor = count / (count - 1) if kind == "CR1" else 1.0
    back = design.x_map * design.y_scale
    forth = np.linalg.inv(back)
    meat = factor * sum(np.outer(score, score) for score, _, _ in blocks)
    return ClusterRobust(
        covariance=back @ meat @ back.T,
        cluster=str(design.top_factor),
        n_clusters=count,
        kind=kind,
        beta=fit.coefficients.to_numpy(),
        model_covariance=back @ model_covariance @ back.T,
        _scores=[np.sqrt(factor) * back @ reach @ forth for _, reach, _ in blocks],
        _own=[factor * back @ own @ back.T for _, _, own in blocks],
    )


def _cluster(
    x: FloatArray, residual: FloatArray, covariance: FloatArray, model_covariance: FloatArray, kind: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """With G = M X'V^-1 A of one cluster: G e, G X and G V G'."""
    root = np.linalg.cholesky(covariance)
    white = solve_triangular(root, x, lower=True, check_finite=False)
    lever = solve_triangular(root, white @ model_covariance, lower=True, trans="T", check_finite=False).T
    if kind == "CR2":
        left = covariance - x @ model_covariance @ x.T
        values, vectors = np.linalg.eigh(root.T @ left @ root)
        good = values > 1e-10 * max(values[-1], 1e-300)
        half = (vectors[:, good] / np.sqrt(values[good])) @ vectors[:, good].T
        lever = lever @ (root @ half @ root.T).T
    return lever @ residual, lever @ x, lever @ covariance @ lever.T
