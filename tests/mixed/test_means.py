"""Slopes of transformed covariates, whatever their unit."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.answers.means import marginal_slopes
from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.schema import DataError


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(3)
    dose = np.exp(random.uniform(-6, 1, 120))
    group = np.repeat(np.arange(12), 10)
    return pd.DataFrame({"g": group, "dose": dose, "y": 2 + 0.7 * np.log(dose) + random.normal(size=120)})


def test_slope_of_a_logarithm_near_zero(data):
    fit = fit_mixed("y ~ log(dose) + (1 | g)", data)
    b = fit.coefficients["log(dose)"]
    for at in (0.005, 0.0005, 2.0):
        found = marginal_slopes(fit, "dose", at={"dose": at}).tidy().iloc[0]
        assert found["estimate"] == pytest.approx(b / at, rel=1e-7)
        assert np.isfinite(found["df"])
    with pytest.raises(DataError, match="no slope in 'dose'"):
        marginal_slopes(fit, "dose", at={"dose": -5.0})


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9, 8.64e13])
def test_slopes_scale_with_the_unit_of_the_covariate(data, unit):
    fit = fit_mixed("y ~ dose + I(dose^2) + (1 | g)", data.assign(dose=data["dose"] * unit))
    b, c = fit.coefficients[["dose", "I(dose ** 2)"]]
    for at in (0.0, 0.3, 3.0):
        found = marginal_slopes(fit, "dose", at={"dose": at * unit}).tidy().iloc[0]
        assert found["estimate"] == pytest.approx(b + 2 * c * at * unit, rel=1e-7)
        assert found["std_error"] > 0


def test_slope_of_a_year_is_that_of_the_line(data):
    fit = fit_mixed("y ~ year + (1 | g)", data.assign(year=2020 + data["dose"] / 50))
    assert marginal_slopes(fit, "year").tidy()["estimate"].iloc[0] == pytest.approx(fit.coefficients["year"], rel=1e-8)
