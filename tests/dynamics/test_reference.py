"""Four models against lavaan (tests/reference/dynamics/lavaan.R)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.dynamics.fitting import fit_series
from alliance_stats.dynamics.panels import Panel

HERE = Path(__file__).parents[1] / "reference" / "dynamics"
REFERENCE = json.loads((HERE / "lavaan.json").read_text(encoding="utf-8"))
CASES = {
    "free": ("six_waves.csv", "free", {}),
    "linear": ("six_waves.csv", "linear", {}),
    "slopes": ("seven_waves_slopes.csv", "linear", {"slopes": True}),
    "error": ("eight_waves_error.csv", "linear", {"error": [np.nan, np.nan]}),
}


def named(groups, _):
    """What lavaan.R labels, in its order of names."""
    one = groups[0]
    return np.array(
        [*one.lagged.reshape(-1), one.shock[0, 0], one.shock[1, 1], one.shock[0, 1], *one.error]
        + [one.start[0, 0], one.start[1, 1], one.start[0, 1]]
        + [one.between[i, j] for i in range(len(one.between)) for j in range(i + 1)]
    )


@pytest.mark.parametrize("name", CASES)
def test_likelihood_estimates_and_standard_errors_are_those_of_lavaan(name):
    file, means, options = CASES[name]
    wide = pd.read_csv(HERE / file).to_numpy()
    waves = wide.shape[1] // 2
    y = np.stack([wide[:, :waves], wide[:, waves:]], axis=2)
    if means == "free":
        shared = np.eye(2 * waves).reshape(waves, 2, 2 * waves)
    else:
        shared = np.zeros((waves, 2, 4))
        for j in range(2):
            shared[:, j, j], shared[:, j, 2 + j] = 1, np.arange(waves)
    fit = fit_series(Panel(y, shared), **options)
    estimate, covariance = fit.delta(named)
    size = len(fit.groups[0].between)
    labels = ["paa", "pas", "psa", "pss", "qa", "qs", "qas", "ea", "es", "va", "vs", "vas"]
    labels += [f"d{i + 1}{j + 1}" for i in range(size) for j in range(i + 1)]
    theirs = REFERENCE[name]
    assert fit.optimum.converged
    assert fit.log_likelihood > theirs["log_likelihood"] - 1e-4
    for label, ours, error in zip(labels, estimate, np.sqrt(np.diag(covariance)), strict=True):
        if label in theirs["estimates"] and error > 0:
            assert ours == pytest.approx(theirs["estimates"][label], abs=0.02 * error), label
            reported = theirs["std_errors"].get(label)
            if reported is not None:
                assert error == pytest.approx(reported, rel=0.02), label
