"""compare: which pairs of fits have no likelihood-ratio test."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.answers import compare as module
from alliance_stats.mixed.answers.compare import compare
from alliance_stats.mixed.fit import fit_mixed


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(11)
    table = pd.DataFrame({"g": np.repeat(np.arange(15), 8), "t": np.tile(np.arange(8), 15)})
    y = random.normal(size=15)[table["g"]] + random.normal(size=120)
    return table.assign(y=y, x=random.normal(size=120), w=random.uniform(1, 2, 120), late=table["t"] ** 2)


def test_weights_must_agree(data):
    plain, weighted = fit_mixed("y ~ t + (1 | g)", data), fit_mixed("y ~ t + x + (1 | g)", data, weights="w")
    for smaller in (plain, fit_mixed("y ~ t + (1 | g)", data.assign(w=2 * data["w"]), weights="w")):
        with pytest.raises(ValueError, match="different weights"):
            compare(smaller, weighted)
    assert compare(fit_mixed("y ~ t + (1 | g)", data, weights="w"), weighted)["df"].iloc[1] == 1


def test_the_time_of_a_serial_correlation_must_agree(data):
    options = {"correlation": "ar1"}
    smaller = fit_mixed("y ~ t + (1 | g)", data, time="t", **options)
    with pytest.raises(ValueError, match="different times or groups"):
        compare(smaller, fit_mixed("y ~ t + x + (1 | g)", data, time="late", **options))
    shifted = fit_mixed("y ~ t + x + (1 | g)", data.assign(when=data["t"] + 5), time="when", **options)
    assert compare(smaller, shifted)["df"].iloc[1] == 1  # only gaps count


def test_a_larger_model_with_a_lower_likelihood_has_no_p_value(data, monkeypatch):
    smaller, larger = fit_mixed("y ~ t + (1 | g)", data), fit_mixed("y ~ t + x + (1 | g)", data)
    monkeypatch.setattr(module, "LOWER", -1e6)  # any difference counts as lower
    with pytest.raises(ValueError, match="ended too early"):
        compare(smaller, larger)


def test_equal_names_of_other_columns_are_compared_by_maximum_likelihood(data):
    """Restricted likelihoods of other columns cannot be compared, even where these span the same space."""
    smaller = fit_mixed("y ~ t + (1 | g)", data)
    larger = fit_mixed("y ~ t + (1 + t | g)", data.assign(t=10 * data["t"]))
    table = compare(smaller, larger)
    assert table["criterion"].tolist() == ["ML", "ML"]
    assert table["converged"].all()
    with pytest.raises(ValueError, match="not nested"):
        compare(smaller, fit_mixed("y ~ t + (1 + t | g)", data.assign(t=data["late"])))
