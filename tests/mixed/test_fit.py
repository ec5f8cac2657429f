"""fit_mixed: what it refuses, in words and with a place."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.schema import DataError


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(7)
    table = pd.DataFrame({"g": np.repeat(np.arange(12), 10), "session": np.tile(np.arange(1, 11), 12)})
    return table.assign(y=random.normal(size=120) + 0.1 * table["session"], x=random.normal(size=120))


@pytest.mark.parametrize("reml", ["ML", "REML", 1, None])
def test_reml_is_a_truth_value(data, reml):
    with pytest.raises(ValueError, match="must be True"):
        fit_mixed("y ~ x + (1 | g)", data, reml=reml)


def test_time_without_a_correlation_is_not_ignored(data):
    with pytest.raises(ValueError, match="add correlation="):
        fit_mixed("y ~ x + (1 | g)", data, time="session")


@pytest.mark.parametrize("name", ["residual", "fixed", "Intercept"])
def test_names_that_tables_use_are_refused_for_groups(data, name):
    with pytest.raises(DataError, match=f"'{name}' has its own meaning"):
        fit_mixed(f"y ~ x + (1 | {name})", data.assign(**{name: data["g"]}))


def test_a_column_named_intercept_is_refused_as_a_predictor(data):
    with pytest.raises(DataError, match="'Intercept' has its own meaning"):
        fit_mixed("y ~ Intercept + (1 | g)", data.assign(Intercept=1.0))


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_an_outcome_made_of_the_predictors_is_refused(data, scale):
    made = data.assign(y=scale * (3 - 2 * data["session"] + 0.1 * data["x"]) + 1e3)
    with pytest.raises(DataError, match=r"'y' is an exact function of the fixed part \(session, x\)"):
        fit_mixed("y ~ session + x + (1 | g)", made)
    noisy = made.assign(y=made["y"] + scale * 1e-6 * np.random.default_rng(1).normal(size=len(made)))
    assert fit_mixed("y ~ session + x + (1 | g)", noisy).coefficients["x"] == pytest.approx(0.1 * scale, rel=1e-4)


def test_an_outcome_made_of_the_groups_is_refused(data):
    with pytest.raises(DataError, match="leaves no residual"):
        fit_mixed("y ~ 1 + (1 | g)", data.assign(y=data["g"] * 1.5))


def test_same_times_name_patient_and_row(data):
    table = data.rename(columns={"g": "patient"})
    table.loc[57, "session"] = 3
    with pytest.raises(DataError, match="the same 'session': 1, first of 5") as error:
        fit_mixed("y ~ x + (1 | patient)", table, correlation="ar1", time="session")
    assert (error.value.patient, error.value.row, error.value.value) == (5, 57, 3)


def test_powers_of_session_are_those_of_r(data):
    """session^2 in R's I() is the square; as Python's exclusive or it gave another model without a word."""
    power = fit_mixed("y ~ I(session^2) + (1 | g)", data)
    column = fit_mixed("y ~ square + (1 | g)", data.assign(square=data["session"] ** 2.0))
    assert power.coefficients.tolist() == pytest.approx(column.coefficients.tolist())


@pytest.mark.parametrize(
    ("formula", "change", "words"),
    [
        ("y ~ one + (1 | g)", {"one": "a"}, "'one' has one level only"),
        (
            "y ~ log(zero) + (1 | g)",
            {"zero": lambda t: t["session"] - 1},
            r"not a finite number in 12 row.s.. First at row 0",
        ),
        (
            "when ~ x + (1 | g)",
            {"when": lambda t: pd.Timestamp("2024-01-01") + pd.to_timedelta(t["session"], "D")},
            "dates",
        ),
        ("y ~ z + (1 | g)", {"z": lambda t: t["x"] * 1j}, "'z' must hold numbers"),
        ("y ~ . + (1 | g)", {}, "all other columns"),
    ],
)
def test_data_that_cannot_be_a_predictor(data, formula, change, words):
    with pytest.raises(DataError, match=words) as error:
        fit_mixed(formula, data.assign(**change))
    assert "\x1b" not in str(error.value)


def test_tests_of_dependent_contrasts(data):
    """A repeated or empty contrast adds nothing to a joint test, by every method."""
    fit = fit_mixed("y ~ session + x + (1 | g)", data)
    row = np.eye(3)[[1]]
    for method in ("satterthwaite", "kenward-roger", "robust", "normal"):
        once, twice = fit.test(row, df=method), fit.test(np.vstack([row, 2 * row, 0 * row]), df=method)
        pd.testing.assert_frame_equal(once, twice)
    assert fit.test(0 * row)["df1"].tolist() == [0]


def test_refit_takes_one_finite_number_a_row(data):
    fit = fit_mixed("y ~ x + (1 | g)", data)
    for y in (np.ones(3), np.full(120, np.nan)):
        with pytest.raises(ValueError, match="120 finite numbers"):
            fit.refit(y)
    with pytest.raises(TypeError, match="must be text"):
        fit_mixed(None, data)
