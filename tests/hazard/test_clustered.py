"""The clustered covariance against its definition, and the jackknife against leaving clusters out for real."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.hazard.binary import fit_binary, require_full_rank, row_terms
from alliance_stats.hazard.clustered import information_by, jackknife, sandwich, sum_by
from alliance_stats.hazard.cox import fit_cox, without_each
from alliance_stats.hazard.risk_sets import risk_sets


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
        found = sandwich(fit.covariance, scores, group, adjust=adjust)
        np.testing.assert_allclose(found.covariance, expected * factor, rtol=1e-12)
        assert found.n_clusters == 9


def one_step(y, design, group):
    fit = fit_binary(y, design)
    own = information_by(design, row_terms(fit.linear, y, "logit")[2], group, int(group.max()) + 1)
    scores = sum_by(design * fit.residual[:, None], group, int(group.max()) + 1)
    return fit, jackknife(fit.covariance, -scores, own.sum(axis=0) - own)


def test_jackknife_is_near_leaving_each_cluster_out():
    y, design, group = problem(n=2000)
    fit, found = one_step(y, design, group)
    moved = np.stack([fit_binary(y[group != g], design[group != g]).coefficients for g in range(9)]) - fit.coefficients
    exact = 8 / 9 * moved.T @ moved
    # Each refit is replaced by one Newton step: 2 % of the variances in this problem.
    np.testing.assert_allclose(found.covariance, exact, atol=0.02 * np.diag(exact).max())


def test_a_term_of_one_cluster_has_no_jackknife_error():
    y, design, group = problem(n=900)
    own = np.column_stack([design, (group == 3) * np.random.default_rng(2).normal(size=900)])
    error = np.diag(one_step(y, own, group)[1].covariance)
    assert np.isnan(error[3])
    assert np.isfinite(error[:3]).all()


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_cox_jackknife_is_near_leaving_each_cluster_out(ties):
    y, design, group = problem(n=2000)
    start, stop = np.zeros(2000), np.random.default_rng(3).integers(1, 9, 2000).astype(float)
    x = design[:, 1:]
    fit = fit_cox(x, risk_sets(start, stop, y), ties=ties)
    found = jackknife(fit.covariance, *without_each(fit.coefficients, x, (start, stop, y, None), group, ties=ties))
    moved = []
    for g in range(9):
        keep = group != g
        moved.append(fit_cox(x[keep], risk_sets(start[keep], stop[keep], y[keep]), ties=ties).coefficients)
    exact = 8 / 9 * (moved - fit.coefficients).T @ (moved - fit.coefficients)
    np.testing.assert_allclose(found.covariance, exact, atol=0.02 * np.diag(exact).max())


def test_one_cluster_and_unknown_adjustment():
    y, design, group = problem()
    fit = fit_binary(y, design)
    scores = design * fit.residual[:, None]
    with pytest.raises(ValueError, match="at least two clusters"):
        sandwich(fit.covariance, scores, np.zeros_like(group), adjust="groups")
    with pytest.raises(ValueError, match=r"adjust='group'.*'groups'"):
        sandwich(fit.covariance, scores, group, adjust="group")


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


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_the_jackknife_is_cr3_of_clubsandwich(link):
    folder = Path(__file__).parents[1] / "reference" / "hazard"
    ref = json.loads((folder / "strata.json").read_text())[f"cr3_{link}"]
    data = pd.read_csv(folder / "sessions.csv", keep_default_na=False)
    fit = fit_dropout("rupture_open + repaired_before + x + group + session", data, link=link, cluster="therapist")
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance) * 15 / 14), ref, rtol=1e-6)
