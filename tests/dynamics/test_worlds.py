"""Bias, coverage and size over simulated studies with known truth, both directions (slow)."""

import numpy as np
import pytest

from alliance_stats.dynamics.fitting import fit_series
from alliance_stats.dynamics.panels import Panel
from alliance_stats.tables.terms import t_quantile

STUDIES = 400
BETWEEN = np.array([[0.42, -0.9], [-0.9, 18.0]])
SLOPES = np.array([[0.0003, -0.001], [-0.001, 0.0225]])
SD = np.array([0.27, 2.5])  # of the shocks: alliance in points of 1 to 5, symptoms in points of a PHQ-9
ESTIMATED = (np.nan, np.nan)

# effect of alliance on later symptoms, feedback of symptoms on later alliance; then what is changed
WORLDS = {
    "no effects, 8 sessions": {"effect": 0.0, "feedback": 0.0, "times": 8},
    "no effects, 16 sessions": {"effect": 0.0, "feedback": 0.0, "times": 16},
    "one way, 8 sessions": {"feedback": 0.0, "times": 8},
    "one way, 16 sessions": {"feedback": 0.0, "times": 16},
    "feedback -.03, 8 sessions": {"feedback": -0.03, "times": 8},
    "feedback -.03, 16 sessions": {"feedback": -0.03, "times": 16},
    "feedback -.06, 8 sessions": {"times": 8},
    "feedback -.06, 16 sessions": {"times": 16},
    "no trends": {"times": 8, "slopes": False},
    "unequal lengths and gaps": {"times": 16, "unequal": True},
    "40 patients, no trends": {"n": 40, "times": 12, "slopes": False},
    "40 patients": {"n": 40, "times": 12},
    "dropout by the last symptom": {"times": 16, "dropout": True},
    "known error": {"times": 12, "noise": 0.8, "error": "known"},
}
DESCRIBED = {  # reported, not required: what breaks the model, and errors estimated, where half of the fits and more
    # end at an error variance of zero and Wald intervals, which take it as known, cover 40 % (profile ones cover)
    "error estimated, no trends, 16 sessions": {"times": 16, "noise": 0.8, "error": "estimated", "slopes": False},
    "error estimated, no trends, 30 sessions": {"times": 30, "noise": 0.8, "error": "estimated", "slopes": False},
    "error estimated, 16 sessions": {"times": 16, "noise": 0.8, "error": "estimated"},
    "error ignored": {"times": 12, "noise": 0.8},
    "ceiling on a fifth of the alliance": {"times": 12, "ceiling": 0.8},
    "ceiling on a twentieth of the alliance": {"times": 12, "ceiling": 0.95},
}


def study(
    random, *, effect=-1.5, feedback=-0.06, times, n=200, noise=0.0, slopes=True, unequal=False, dropout=False,
    ceiling=None, error=None,
):  # fmt: skip
    """Values (n, times, 2) and the error variances that were added."""
    lagged = np.array([[0.3, feedback], [effect, 0.3]])
    b, s = (random.multivariate_normal([0, 0], matrix, n) for matrix in (BETWEEN, SLOPES))
    w = np.zeros((n, 2))
    y = np.empty((n, times, 2))
    for t in range(-20, times):
        w = w @ lagged.T + random.standard_normal((n, 2)) * SD
        if t >= 0:
            y[:, t] = [4.1, 15.5] + b + (np.array([0.01, -0.25]) + s * slopes) * t + w
    variance = (SD * noise) ** 2
    y += random.standard_normal(y.shape) * np.sqrt(variance)
    if ceiling is not None:
        top = np.quantile(y[:, :, 0], ceiling)
        y[:, :, 0] = np.minimum(y[:, :, 0], top)
    stays = np.full(n, times)
    if unequal:
        stays = random.integers(3, times + 1, n)
        y[random.random((n, times)) < 0.12] = np.nan
        y[random.random(y.shape) < 0.04] = np.nan
    if dropout:
        for t in range(1, times):
            hazard = 1 / (1 + np.exp(3.0 - 0.12 * (y[:, t - 1, 1] - 14)))
            stays = np.where((stays == times) & (random.random(n) < hazard), t, stays)
    y[np.arange(times) >= stays[:, None]] = np.nan
    return y[~np.isnan(y).all(axis=(1, 2))], variance


def run(world, studies=STUDIES, seed=1):
    """Estimates (studies, 2) of the two cross effects, their standard errors, and the truth."""
    options = dict(world)
    truth = np.array([options.get("feedback", -0.06), options.get("effect", -1.5)])
    found = []
    for at in range(studies):
        random = np.random.default_rng([seed, at])
        y, variance = study(random, **options)
        shared = np.zeros((y.shape[1], 2, 4))
        for j in range(2):
            shared[:, j, j], shared[:, j, 2 + j] = 1, np.arange(y.shape[1])
        error = {"known": variance, "estimated": ESTIMATED}.get(options.get("error"))
        fit = fit_series(Panel(y, shared), slopes=options.get("slopes", True), error=error)
        estimate, covariance = fit.delta(lambda groups, _: groups[0].lagged[[0, 1], [1, 0]])
        found.append([estimate, np.sqrt(np.diag(covariance)), [fit.optimum.converged, bool(fit.optimum.boundary)]])
    estimates, errors, flags = np.moveaxis(np.array(found, dtype=float), 1, 0)
    return estimates, errors, flags, truth


def report(world, studies=STUDIES, seed=1):
    """Of each direction: mean and median estimate, Monte Carlo error, coverage; converged and boundary shares."""
    estimates, errors, flags, truth = run(world, studies, seed)
    covered = (np.abs(estimates - truth) <= t_quantile(0.95, np.inf) * errors).mean(axis=0)
    return {
        "truth": truth,
        "mean": estimates.mean(axis=0),
        "median": np.median(estimates, axis=0),
        "mc_error": estimates.std(axis=0) / np.sqrt(studies),
        "covered": covered,
        "converged": flags[:, 0].mean(),
        "boundary": flags[:, 1].mean(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_bias_and_coverage(name):
    found = report(WORLDS[name])
    assert found["converged"] > 0.99
    allowed = np.maximum(0.03 * np.abs(found["truth"]), 2.5 * found["mc_error"])
    assert (np.abs(found["mean"] - found["truth"]) <= allowed).all(), found
    # In eight sessions two thirds of the fits find no variance of slopes, and the intervals are then too wide.
    assert ((found["covered"] >= 0.92) & (found["covered"] <= 0.99)).all(), found


def test_one_small_world_runs():
    found = report(WORLDS["no trends"], studies=12)
    assert found["converged"] == 1
    assert (np.abs(found["mean"] - found["truth"]) < 5 * found["mc_error"]).all()
