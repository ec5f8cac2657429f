"""Covariance of estimates whose rows are independent between clusters (therapists) but not within them.

The plain sandwich is too small when clusters are few, most of all for what varies between clusters only. The cluster
jackknife is made for few clusters; docs/dropout.md compares their coverage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.schema import require_choice

ADJUSTMENTS = ("jackknife", "groups", "groups and terms", "none")

_NO_INFORMATION = 1e-8  # The share of a direction's information that must be left without a cluster


class Clustered(NamedTuple):
    """A clustered covariance."""

    # (p, p): jackknife: NaN for a coefficient that cannot be estimated without one of the clusters
    covariance: FloatArray
    n_clusters: int
    description: str  # How it was made


def sum_by(values: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """The sum of each column of `values` (n, p) within each group 0 .. n_groups - 1."""
    return np.stack([np.bincount(group, column, n_groups) for column in values.T], axis=1).astype(np.float64)


def information_by(design: FloatArray, weight: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """``sum of w x x'`` within each group: (groups, p, p)."""
    p = design.shape[1]
    result = np.empty((n_groups, p, p))
    for i in range(p):
        weighted = design[:, i] * weight
        for j in range(i, p):
            result[:, i, j] = result[:, j, i] = np.bincount(group, weighted * design[:, j], n_groups)
    return result


def sandwich(bread: FloatArray, scores: FloatArray, cluster: IntArray, *, adjust: str) -> Clustered:
    """``bread (sum over clusters of u u') bread``, with u the cluster's score, times a small-sample factor.

    `bread` (p, p) is the inverse information, `scores` (n, p) each row's contribution to the score, `cluster` (n,)
    numbers the clusters 0, 1, ... The factor `adjust` is ``"groups"``, G / (G - 1) (R's ``vcovCL`` for a glm, Stata);
    ``"groups and terms"``, the same times (n - 1) / (n - p) (statsmodels); or ``"none"`` (R's ``coxph(cluster=)``).
    Raises ``ValueError`` with fewer than two clusters: their spread cannot be seen.
    """
    require_choice(adjust, ADJUSTMENTS[1:], name="adjust")
    n_rows, n_terms = scores.shape
    n_clusters = require_clusters(cluster)
    total = sum_by(scores, cluster, n_clusters)
    factor, description = 1.0, "factor 1 (none)"
    if adjust != "none":
        factor, description = n_clusters / (n_clusters - 1), "factor G/(G-1)"
    if adjust == "groups and terms":
        factor, description = factor * (n_rows - 1) / (n_rows - n_terms), "factor G/(G-1) x (n-1)/(n-p)"
    covariance = bread @ (total.T @ total) @ bread * factor
    return Clustered((covariance + covariance.T) / 2, n_clusters, f"sandwich, {description}")


def jackknife(bread: FloatArray, score: FloatArray, information: FloatArray) -> Clustered:
    """(G - 1) / G times the sum over clusters of (b without it - b)(b without it - b)', each b by one Newton step.

    For a binary regression this is CR3 (Bell & McCaffrey 2002; R's ``clubSandwich``) times (G - 1) / G. `bread` is that
    of all rows; `score` (G, p) and `information` (G, p, p) are at the estimate from all rows, without each cluster in
    turn.
    """
    n_clusters = len(score)
    # With bread = L L' the information left is diag(left) in the directions L Q, as a share of that of all rows.
    lower = np.linalg.cholesky(bread)
    left, vector = np.linalg.eigh(lower.T @ information @ lower)
    direction = lower @ vector
    lost = left < _NO_INFORMATION
    step = np.einsum("gji,gj->gi", direction, score) * ~lost / np.where(lost, 1.0, left)
    moved = np.einsum("gji,gi->gj", direction, step)
    size = np.abs(direction) / np.sqrt(np.diag(bread))[:, None]
    covariance = (n_clusters - 1) / n_clusters * moved.T @ moved
    covariance = forget(covariance, (size * lost[:, None, :] > 1e-6).any(axis=(0, 2)))
    return Clustered(covariance, n_clusters, "leave-one-out jackknife, CR3")


def require_clusters(cluster: IntArray) -> int:
    """The number of clusters; ``ValueError`` for fewer than two."""
    n_clusters = int(cluster.max()) + 1
    if n_clusters < 2:
        raise ValueError("Clustered standard errors need at least two clusters; there is one. Leave cluster= out.")
    return n_clusters


def forget(covariance: FloatArray, unknown: BoolArray) -> FloatArray:
    """The covariance with NaN in the rows and columns of coefficients whose errors are not known."""
    result = np.asarray((covariance + covariance.T) / 2)
    result[unknown] = np.nan
    result[:, unknown] = np.nan
    return result
