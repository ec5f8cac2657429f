"""The hazard models against R (survival, lme4, sandwich), frozen beside the script that wrote the values."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.hazard.binary import fit_binary
from alliance_stats.hazard.clustered import sandwich
from alliance_stats.hazard.cox import fit_cox
from alliance_stats.hazard.cox_answers import score_residuals
from alliance_stats.hazard.frailty import fit_frailty
from alliance_stats.hazard.incidence import state_occupation
from alliance_stats.hazard.quadrature import fit_mixed_binary
from alliance_stats.hazard.risk_sets import risk_sets

FOLDER = Path(__file__).parents[1] / "reference" / "hazard"
R = json.loads((FOLDER / "reference.json").read_text())
DATA = pd.read_csv(FOLDER / "sessions.csv", keep_default_na=False)
EVENT = (DATA["ending"] == "dropout").to_numpy(dtype=float)
THERAPIST = pd.factorize(DATA["therapist"], sort=True)[0]
DISCRETE = np.column_stack(
    [np.ones(len(DATA)), DATA[["rupture_open", "repaired_before", "x", "group", "session"]].to_numpy(dtype=float)]
)
COX = DATA[["rupture_open", "repaired_before", "x", "group"]].to_numpy(dtype=float)


def clock(name):
    return ("start", "stop") if name == "session" else ("day_start", "day_stop")


def sets_of(name, stratum=None):
    start, stop = clock(name)
    return risk_sets(DATA[start].to_numpy(), DATA[stop].to_numpy(), EVENT, stratum)


def errors(covariance):
    return np.sqrt(np.diag(covariance))


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_discrete_hazard_is_that_of_glm(link):
    fit, ref = fit_binary(EVENT, DISCRETE, link=link), R[link]
    np.testing.assert_allclose(fit.coefficients, ref["estimate"], rtol=1e-7)
    np.testing.assert_allclose(errors(fit.covariance), ref["std_error"], rtol=1e-6)
    np.testing.assert_allclose(fit.log_likelihood, ref["log_likelihood"], rtol=1e-10)
    scores = DISCRETE * fit.residual[:, None]
    for adjust, key in {"groups": "groups", "groups and terms": "both", "none": "none"}.items():
        clustered = sandwich(fit.covariance, scores, THERAPIST, adjust=adjust)
        np.testing.assert_allclose(errors(clustered.covariance), ref[f"clustered_{key}"], rtol=1e-6)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_random_intercept_is_that_of_glmer_with_25_nodes(link):
    fit, ref = fit_mixed_binary(EVENT, DISCRETE, THERAPIST, link=link), R[f"mixed_{link}"]
    np.testing.assert_allclose(fit.coefficients, ref["estimate"], rtol=1e-3)
    np.testing.assert_allclose(errors(fit.covariance), ref["std_error"], rtol=1e-3)
    np.testing.assert_allclose(fit.sd, ref["sd"], rtol=1e-3)
    np.testing.assert_allclose(fit.effects, ref["effects"], atol=1e-3)
    # Not below what lme4 reached.
    assert fit.log_likelihood > ref["log_likelihood"] - 1e-6
    np.testing.assert_allclose(fit.log_likelihood, ref["log_likelihood"], atol=1e-5)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("name", ["session", "day"])
def test_cox_is_that_of_survival(name, ties):
    ref, sets = R[f"cox_{name}_{ties}"], sets_of(name)
    fit = fit_cox(COX, sets, ties=ties)
    np.testing.assert_allclose(fit.coefficients, ref["estimate"], rtol=1e-7)
    np.testing.assert_allclose(errors(fit.covariance), ref["std_error"], rtol=1e-7)
    np.testing.assert_allclose(fit.log_likelihood, ref["log_likelihood"], rtol=1e-10)
    np.testing.assert_allclose(fit.null_log_likelihood, ref["null_log_likelihood"], rtol=1e-10)
    scores = score_residuals(fit.coefficients, COX, sets, ties=ties)
    np.testing.assert_allclose(scores[:200], ref["score"], atol=1e-7)
    clustered = sandwich(fit.covariance, scores, THERAPIST, adjust="none")
    np.testing.assert_allclose(errors(clustered.covariance), ref["clustered_none"], rtol=1e-6)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("name", ["session", "day"])
def test_stratified_cox_is_that_of_survival(name, ties):
    ref = R[f"cox_{name}_{ties}"]
    fit = fit_cox(COX[:, :3], sets_of(name, DATA["group"].to_numpy()), ties=ties)
    np.testing.assert_allclose(fit.coefficients, ref["strata_estimate"], rtol=1e-6)
    np.testing.assert_allclose(errors(fit.covariance), ref["strata_std_error"], rtol=1e-6)


@pytest.mark.parametrize("name", ["session", "day"])
def test_gamma_frailty_is_that_of_survival(name):
    ref = R[f"gamma_{name}"]
    fit = fit_frailty(COX, sets_of(name), THERAPIST)
    np.testing.assert_allclose(fit.variance, ref["variance"], rtol=1e-3)
    np.testing.assert_allclose(fit.coefficients, ref["estimate"], rtol=1e-3)
    np.testing.assert_allclose(errors(fit.covariance), ref["std_error"], rtol=1e-3)
    np.testing.assert_allclose(fit.log_likelihood, ref["log_likelihood"], atol=1e-4)
    np.testing.assert_allclose(fit.effects, ref["effects"], atol=1e-3)


@pytest.mark.parametrize("name", ["session", "day"])
def test_lognormal_frailty_is_that_of_survival(name):
    ref = R[f"gaussian_{name}"]
    fit = fit_frailty(COX, sets_of(name), THERAPIST, distribution="lognormal")
    np.testing.assert_allclose(fit.variance, ref["variance"], rtol=1e-3)
    np.testing.assert_allclose(fit.coefficients, ref["estimate"], rtol=1e-3)
    np.testing.assert_allclose(errors(fit.covariance), ref["std_error"], rtol=1e-3)
    np.testing.assert_allclose(fit.effects, ref["effects"], atol=1e-3)


@pytest.mark.parametrize(
    ("key", "name", "unit"),
    [
        ("incidence", "session", "patient"),
        ("incidence_day", "day", "patient"),
        ("incidence_clustered", "day", "therapist"),
    ],
)
def test_cumulative_incidence_is_that_of_survfit(key, name, unit):
    ref, (start, stop) = R[key], clock(name)
    target = DATA["ending"].map({"": -1, "completed": 1, "dropout": 2, "transferred": 3}).to_numpy()
    cluster = pd.factorize(DATA[unit])[0]
    origin = np.zeros(len(DATA), dtype=int)
    found = state_occupation(
        DATA[start].to_numpy(), DATA[stop].to_numpy(), origin, target, cluster, n_states=4, initial=[1, 0, 0, 0]
    )
    rows = np.isin(ref["time"], found.time)
    np.testing.assert_array_equal(np.asarray(ref["time"])[rows], found.time)
    np.testing.assert_allclose(found.probability, np.asarray(ref["probability"])[rows], atol=1e-8)
    np.testing.assert_allclose(found.std_error, np.asarray(ref["std_error"])[rows], atol=1e-8)


def test_state_occupation_is_that_of_survfit():
    ref, states = R["multistate"], R["multistate"]["states"]
    now = np.where(DATA["rupture_open"] == 1, "open", np.where(DATA["repaired_before"] == 1, "repaired", "none"))
    following = pd.Series(now).groupby(DATA["patient"]).shift(-1)
    moved = following.notna().to_numpy() & (following.to_numpy() != now)
    target = np.where(DATA["ending"] != "", DATA["ending"], np.where(moved, following, "")).astype(object)
    number = {name: code for code, name in enumerate(states)} | {"": -1}
    found = state_occupation(
        DATA["day_start"].to_numpy(),
        DATA["day_stop"].to_numpy(),
        np.array([number[name] for name in now]),
        np.array([number[name] for name in target]),
        pd.factorize(DATA["patient"])[0],
        n_states=len(states),
    )
    rows = np.isin(ref["time"], found.time)
    np.testing.assert_allclose(found.probability, np.asarray(ref["probability"])[rows], atol=1e-8)
    np.testing.assert_allclose(found.std_error, np.asarray(ref["std_error"])[rows], atol=1e-8)


def test_lognormal_ml_is_the_maximum_of_the_laplace_likelihood():
    """The definition: partial likelihood times normal densities, integrated over the effects by Laplace's method."""
    some = DATA[DATA["patient"] % 4 == 0]
    event, x = (some["ending"] == "dropout").to_numpy(dtype=float), some[["rupture_open", "x"]].to_numpy(dtype=float)
    start, stop = some["start"].to_numpy(), some["stop"].to_numpy()
    member = some["therapist"].to_numpy() % 5
    sets = risk_sets(start, stop, event)
    fit = fit_frailty(x, sets, member, distribution="lognormal", method="ml", ties="breslow")
    assert fit.variance > 0.01
    wide = np.column_stack([x, np.eye(5)[member]])

    def laplace(variance):
        penalty = np.r_[np.zeros(2), np.full(5, 1 / variance)]
        value = np.r_[fit.coefficients, fit.effects]
        for _ in range(20):
            risk = np.exp(wide @ value)
            score, hessian, partial = -penalty * value, np.diag(penalty), 0.0
            for time in np.unique(stop[event > 0]):
                here, at_risk = (stop == time) & (event > 0), (start < time) & (time <= stop)
                share = risk * at_risk / (risk * at_risk).sum()
                mean = share @ wide
                score += wide[here].sum(axis=0) - here.sum() * mean
                hessian += here.sum() * ((wide * share[:, None]).T @ wide - np.outer(mean, mean))
                partial += (wide @ value)[here].sum() - here.sum() * np.log((risk * at_risk).sum())
            step = np.linalg.solve(hessian, score)
            value = value + step
            if np.abs(step).max() < 1e-10:
                break
        effect = value[2:]
        determinant = np.linalg.slogdet(hessian[2:, 2:])[1]
        return partial - (effect @ effect / variance + 5 * np.log(variance) + determinant) / 2

    top = laplace(fit.variance)
    np.testing.assert_allclose(fit.log_likelihood, top, rtol=1e-9)
    assert max(laplace(fit.variance * 0.98), laplace(fit.variance * 1.02)) < top
