"""Sandwich covariance with independent clusters, and the small-sample factor that goes with it.

Engines differ in that factor: R's ``survival::coxph(cluster=)`` uses none, R's ``sandwich::vcovCL`` for a glm and Stata
use G / (G - 1), statsmodels multiplies this by (n - 1) / (n - p). It is an argument here and stands in the result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import require_choice

ADJUSTMENTS = ("groups", "groups and terms", "none", "jackknife")


class Clustered(NamedTuple):
    """A clustered covariance.

    Attributes
    ----------
    covariance : (p, p) array
    n_clusters : int
    factor : float
        What the raw sandwich was multiplied by.
    description : str
        The factor in symbols.
    """

    covariance: FloatArray
    n_clusters: int
    factor: float
    description: str


def sum_by(values: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """The sum of each column of `values` (n, p) within each group 0 .. n_groups - 1."""
    total = np.zeros((n_groups, values.shape[1]))
    # In blocks, so that the rows of a block are still in the processor's cache when the next column is read.
    for begin in range(0, len(values), 32768):
        rows = slice(begin, begin + 32768)
        for j in range(values.shape[1]):
            total[:, j] += np.bincount(group[rows], values[rows, j], n_groups)
    return total


def clustered_covariance(
    bread: FloatArray,
    scores: FloatArray,
    cluster: IntArray,
    *,
    adjust: str = "groups",
    information: FloatArray | None = None,
) -> Clustered:
    """``bread (sum over clusters of u u') bread``, with u the cluster's score, times a small-sample factor.

    Parameters
    ----------
    bread : (p, p) array
        Inverse information.
    scores : (n, p) array
        Each row's contribution to the score.
    cluster : (n,) int array
        The cluster of each row, numbered 0, 1, ...
    adjust : {"groups", "groups and terms", "none", "jackknife"}
        G / (G - 1); the same times (n - 1) / (n - p); 1; or leaving out one cluster at a time in one step (CR3, Bell &
        McCaffrey 2002), which does not understate the errors when clusters are few.
    information : (G, p, p) array, optional
        Each cluster's information, for the jackknife.

    Raises
    ------
    ValueError
        With fewer than two clusters: their spread cannot be seen.
    """
    require_choice(adjust, ADJUSTMENTS, name="adjust")
    n_rows, n_terms = scores.shape
    n_clusters = int(cluster.max()) + 1
    if n_clusters < 2:
        raise ValueError("Clustered standard errors need at least two clusters; there is one. Leave cluster= out.")
    total = sum_by(scores, cluster, n_clusters)
    if adjust == "jackknife":
        if information is None:
            raise ValueError("adjust='jackknife' needs each cluster's information: for discrete models only.")
        covariance = _jackknife(total, information)
        return Clustered(covariance, n_clusters, (n_clusters - 1) / n_clusters, "leave-one-cluster-out jackknife (CR3)")
    factor, description = 1.0, "1 (none)"
    if adjust != "none":
        factor, description = n_clusters / (n_clusters - 1), "G/(G-1)"
    if adjust == "groups and terms":
        factor, description = factor * (n_rows - 1) / (n_rows - n_terms), "G/(G-1) x (n-1)/(n-p)"
    covariance = bread @ (total.T @ total) @ bread * factor
    return Clustered((covariance + covariance.T) / 2, n_clusters, factor, description)


def information_by(design: FloatArray, weight: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """``sum of w x x'`` within each group: (groups, p, p)."""
    p = design.shape[1]
    result = np.empty((n_groups, p, p))
    for i in range(p):
        weighted = design[:, i] * weight
        for j in range(i, p):
            result[:, i, j] = result[:, j, i] = np.bincount(group, weighted * design[:, j], n_groups)
    return result


def _jackknife(total: FloatArray, information: FloatArray) -> FloatArray:
    """(G - 1) / G times the sum over clusters of (b without it - b)(b without it - b)', each b by one Newton step."""
    n_clusters = len(total)
    without = information.sum(axis=0) - information
    try:
        moved = np.linalg.solve(without, total[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError as error:
        raise ValueError("Without one of the clusters a term cannot be estimated: no jackknife.") from error
    covariance = (n_clusters - 1) / n_clusters * moved.T @ moved
    return np.asarray((covariance + covariance.T) / 2)
