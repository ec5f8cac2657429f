"""The clustered covariance against its definition, and the jackknife against leaving clusters out for real."""

import numpy as np
import pytest

from alliance_stats.hazard.binary import fit_binary, row_terms
from alliance_stats.hazard.clustered import clustered_covariance, information_by
from alliance_stats.hazard.rank import require_full_rank


def problem(seed=1, n=400, groups=9):
    random = np.random.default_rng(seed)
    design = np.column_stack([np.ones(n), random.normal(size=(n, 2))])
    group = random.integers(groups, size=n)
    y = (random.random(n) < 1 / (1 + np.exp(1 - design[:, 1]))).astype(float)
    return y, design, group


def test_definition():
    y, design, group = problem()
    fit = fit_binary(y, design)
    scores = design * fit.residual[:, None]
    meat = sum(np.outer(u, u) for u in (scores[group == g].sum(axis=0) for g in range(9)))
    expected = fit.covariance @ meat @ fit.covariance
    for adjust, factor in {"none": 1, "groups": 9 / 8, "groups and terms": 9 / 8 * 399 / 397}.items():
        found = clustered_covariance(fit.covariance, scores, group, adjust=adjust)
        np.testing.assert_allclose(found.covariance, expected * factor, rtol=1e-12)
        assert found.n_clusters == 9


def test_jackknife_is_near_leaving_each_cluster_out():
    y, design, group = problem(n=2000)
    fit = fit_binary(y, design)
    weight = row_terms(fit.linear, y, "logit")[2]
    blocks = information_by(design, weight, group, 9)
    scores = design * fit.residual[:, None]
    found = clustered_covariance(fit.covariance, scores, group, adjust="jackknife", information=blocks).covariance
    moved = np.stack([fit_binary(y[group != g], design[group != g]).coefficients for g in range(9)]) - fit.coefficients
    exact = 8 / 9 * moved.T @ moved
    # One Newton step stands for each refit: 2 % of the variances in this problem.
    np.testing.assert_allclose(found, exact, atol=0.02 * np.diag(exact).max())


def test_one_cluster_and_unknown_adjustment():
    y, design, group = problem()
    fit = fit_binary(y, design)
    scores = design * fit.residual[:, None]
    with pytest.raises(ValueError, match="at least two clusters"):
        clustered_covariance(fit.covariance, scores, np.zeros_like(group))
    with pytest.raises(ValueError, match=r"adjust='group'.*'groups'"):
        clustered_covariance(fit.covariance, scores, group, adjust="group")
    with pytest.raises(ValueError, match="discrete models only"):
        clustered_covariance(fit.covariance, scores, group, adjust="jackknife")


def test_rank_is_judged_on_all_rows_where_some_do_not_tell():
    random = np.random.default_rng(2)
    n = 50_000
    rare = np.zeros(n)
    rare[[3, 11, 27]] = 1  # no multiple of ten: every tenth row does not show it
    design = np.column_stack([np.ones(n), random.normal(size=n), rare, 2020 + random.integers(0, 3, n)])
    require_full_rank(design, list("abcd"), intercept=True)
    with pytest.raises(ValueError, match="'e' is determined"):
        require_full_rank(np.column_stack([design, design[:, 1] - 3 * design[:, 3]]), list("abcde"), intercept=True)
    with pytest.raises(ValueError, match="'b' does not vary"):
        require_full_rank(np.ones((n, 2)), list("ab"), intercept=True)
