"""Firth's penalised likelihood against R (brglm2) and against a plain maximiser of its definition."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2

from alliance_stats.hazard.firth import Binary, Cox, fit_firth
from alliance_stats.hazard.risk_sets import risk_sets

FOLDER = Path(__file__).parents[1] / "reference" / "hazard"
R = json.loads((FOLDER / "strata.json").read_text())
DATA = pd.read_csv(FOLDER / "sessions.csv", keep_default_na=False)
FEW = DATA[DATA["patient"].isin(DATA["patient"].unique()[:40])]
EVENT = (FEW["ending"] == "dropout").to_numpy(dtype=float)
TERMS = FEW[["rupture_open", "repaired_before", "x"]].to_numpy(dtype=float)
DESIGN = np.column_stack([np.ones(len(FEW)), TERMS])


def binary(beta, link):
    """The definition, row by row."""
    eta = DESIGN @ beta
    mu = 1 / (1 + np.exp(-eta)) if link == "logit" else 1 - np.exp(-np.exp(eta))
    slope = mu * (1 - mu) if link == "logit" else np.exp(eta - np.exp(eta))
    information = (DESIGN * (slope**2 / (mu * (1 - mu)))[:, None]).T @ DESIGN
    return (EVENT * np.log(mu) + (1 - EVENT) * np.log(1 - mu)).sum() + np.linalg.slogdet(information)[1] / 2


def cox(beta, ties, design=TERMS, event=EVENT):
    """The definition, event by event: tied events leave the risk set one after the other (Efron) or not (Breslow)."""
    risk, start, stop = np.exp(design @ beta), FEW["start"].to_numpy(), FEW["stop"].to_numpy()
    value, information = 0.0, np.zeros((len(beta), len(beta)))
    for time in np.unique(stop[event > 0]):
        here, at_risk = (stop == time) & (event > 0), (start < time) & (time <= stop)
        value += (design @ beta)[here].sum()
        for gone in range(here.sum()):
            weight = risk * at_risk - (gone / here.sum() if ties == "efron" else 0) * risk * here
            share = weight / weight.sum()
            value -= np.log(weight.sum())
            centred = design - share @ design
            information += (centred * share[:, None]).T @ centred
    return value + np.linalg.slogdet(information)[1] / 2


def sets():
    return risk_sets(FEW["start"].to_numpy(), FEW["stop"].to_numpy(), EVENT)


def test_logit_is_that_of_brglm2():
    fit = fit_firth(Binary(EVENT, DESIGN, "logit"), 4)
    np.testing.assert_allclose(fit.coefficients, R["firth_logit"]["estimate"], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), R["firth_logit"]["std_error"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["logit", "cloglog", "efron", "breslow"])
def test_estimate_limits_and_test_are_those_of_the_definition(kind):
    if kind in ("logit", "cloglog"):
        fit = fit_firth(Binary(EVENT, DESIGN, kind), 4)
        target, place = (lambda beta: -binary(beta, kind)), 1
    else:
        fit = fit_firth(Cox(TERMS - TERMS.mean(axis=0), sets(), kind), 3)
        target, place = (lambda beta: -cox(beta, kind)), 0
    found = minimize(target, fit.coefficients + 0.05, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(fit.coefficients, found.x, atol=2e-5)
    np.testing.assert_allclose(fit.log_likelihood, -found.fun, rtol=1e-9)

    def profile(value):
        others = np.delete(fit.coefficients, place)
        free = minimize(lambda rest: target(np.insert(rest, place, value)), others, method="BFGS")
        return -free.fun

    fall = chi2.ppf(0.95, 1) / 2
    for end in (limit[place] for limit in fit.limits(0.95)):
        np.testing.assert_allclose(fit.log_likelihood - profile(end), fall, rtol=1e-5)
    np.testing.assert_allclose(fit.statistic[place] ** 2 / 2, fit.log_likelihood - profile(0.0), atol=1e-6)


def test_separation_has_an_estimate():
    """Two by two: 0 of 10 against 3 of 10. Firth's logit adds one half to each cell."""
    y, x = np.r_[np.zeros(10), np.ones(3), np.zeros(7)], np.repeat([0.0, 1.0], 10)
    fit = fit_firth(Binary(y, np.column_stack([np.ones(20), x]), "logit"), 2)
    np.testing.assert_allclose(fit.coefficients, [np.log(0.5 / 10.5), np.log(3.5 / 7.5) - np.log(0.5 / 10.5)])
    low, high = fit.limits(0.95)
    assert low[1] < fit.coefficients[1] < high[1]
    assert np.isfinite([low, high]).all()
