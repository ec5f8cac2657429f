"""Serial correlation and unequal residual variances against nlme, and against the likelihood written out in R.

nlme prints its estimates to a few digits of its own optimum; ``dense.R`` maximises the same likelihood from its
definition and polishes by Newton steps. Estimates are compared with the latter, deviances with both.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared_data import real_data

from alliance_stats.mixed.answers.compare import compare
from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.profile import profile_intervals
from alliance_stats.mixed.answers.r_squared import icc
from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.schema import DataError

REFERENCE = Path(__file__).parents[1] / "reference" / "mixed"
MODELS = {spec["name"]: spec for spec in json.loads((REFERENCE / "nlme_models.json").read_text())["models"]}
SERIAL = [name for name, spec in MODELS.items() if not spec["residual_by"]]
STRATA = [name for name, spec in MODELS.items() if spec["residual_by"]]
CACHE = {}


def read(name):
    if name.startswith("shared:"):
        path = real_data(name.removeprefix("shared:"))
        return pd.read_csv(path)
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def fit_of(name):
    if name not in CACHE:
        spec = MODELS[name]
        CACHE[name] = fit_mixed(
            spec["formula"], read(spec["data"]), reml=spec["reml"], correlation=spec["correlation"], time=spec["time"]
        )
    return CACHE[name]


@pytest.mark.parametrize("name", SERIAL)
def test_deviance_is_never_above(name):
    fit, spec = fit_of(name), MODELS[name]
    ours = -2 * fit.log_likelihood
    assert fit.design.n == spec["n"]
    assert abs(ours - spec["deviance"]) <= 1e-6
    if spec["nlme"]["deviance"] is not None:
        assert ours <= spec["nlme"]["deviance"] + 1e-6
    assert fit.diagnostics["converged"]


@pytest.mark.parametrize("name", SERIAL)
def test_estimates(name):
    fit, spec = fit_of(name), MODELS[name]
    error = np.array(spec["std_error"])
    estimate = np.array(spec["estimate"])
    assert list(fit.terms) == spec["terms"]
    assert (np.abs(fit.coefficients.to_numpy() - estimate) <= 1e-6 * np.maximum(np.abs(estimate), error)).all()
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), error, rtol=2e-6)
    assert fit.rho == pytest.approx(spec["rho"], rel=1e-4)
    assert fit.residual_variance == pytest.approx(spec["sigma"] ** 2, rel=1e-4)
    for block, cov in zip(fit.design.blocks, fit.covariances):
        reference = np.atleast_2d(spec["covariance"][block.factor])
        scale = np.sqrt(np.outer(np.diag(reference), np.diag(reference)))
        assert np.abs(cov - reference).max() <= np.max(1e-4 * scale) + 1e-8


@pytest.mark.parametrize("name", SERIAL)
def test_satterthwaite_by_the_written_out_likelihood(name):
    """No R package has these df; dense.R has them by their definition."""
    np.testing.assert_allclose(fit_of(name).degrees_of_freedom(), MODELS[name]["df"], rtol=1e-3)


@pytest.mark.parametrize("name", SERIAL)
def test_nlme_says_the_same(name):
    spec = MODELS[name]
    if spec["nlme"]["deviance"] is None or spec["nlme"]["deviance"] > spec["deviance"] + 1e-5:
        pytest.skip("nlme cannot fit it, or stops above the optimum")
    fit = fit_of(name)
    np.testing.assert_allclose(fit.coefficients, spec["nlme"]["estimate"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), spec["nlme"]["std_error"], rtol=1e-3)
    assert fit.rho == pytest.approx(spec["nlme"]["rho"], rel=1e-3)


def test_where_nlme_stops_early():
    """Shown, not assumed: with a therapist variance of zero lme() stops above the optimum, or gives up."""
    spec = MODELS["ar1_therapist_slopes"]
    assert spec["nlme"]["deviance"] > spec["deviance"] + 1e-5
    assert any("convergence" in words for words in spec["nlme"]["says"])


def fit_strata(name):
    spec = MODELS[name]
    options = {"correlation": spec["correlation"], "time": spec["time"]} if spec["correlation"] else {}
    data = read(spec["data"])
    return fit_mixed(spec["formula"], data, reml=spec["reml"], variance_by=spec["residual_by"], **options), data


@pytest.mark.parametrize("name", STRATA)
def test_residual_variances_by_stratum_as_var_ident(name):
    """Estimates, their errors and Satterthwaite df, in which the ratio of the variances counts as estimated."""
    spec = MODELS[name]
    fit, _ = fit_strata(name)
    assert -2 * fit.log_likelihood == pytest.approx(spec["deviance"], abs=1e-6)
    np.testing.assert_allclose(fit.coefficients, spec["estimate"], rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), spec["std_error"], rtol=1e-5)
    np.testing.assert_allclose(fit.degrees_of_freedom(), spec["df"], rtol=1e-3)
    residual = fit.variances().query("group == 'residual' and term != 'rho'").set_index("term")["sd"]
    assert residual.to_dict() == pytest.approx(spec["residual_sd"], rel=1e-4)
    assert fit.n_parameters == fit.design.p + len(fit.model.parameters) + 2


def test_what_several_residual_variances_mean_elsewhere():
    fit, data = fit_strata("strata")
    plain = fit_mixed(MODELS["strata"]["formula"], data)
    table = compare(plain, fit)
    assert table["df"][1] == 1
    assert table["null"][1] == "chi2(1)"
    assert table["statistic"][1] == pytest.approx(2 * (fit.log_likelihood - plain.log_likelihood))
    ratio = fit.variances().query("group == 'residual'")["variance"].to_numpy()
    new = data.drop_duplicates("arm").sort_values("arm")
    errors = [fit.predict(new, interval=kind)["std_error"].to_numpy() ** 2 for kind in ("prediction", "confidence")]
    random = errors[0] - errors[1] - ratio
    z = np.column_stack([np.ones(2), new["session"]])
    np.testing.assert_allclose(random, np.einsum("ni,ij,nj->n", z, fit.covariances[0], z), rtol=1e-8)
    shares = icc(fit).set_index("group")["variance"]
    assert shares["residual"] == pytest.approx((data["arm"].map(dict(zip("AB", ratio)))).mean())
    again = fit.refit(fit.design.user_outcome())
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-7)
    for refused in (kenward_roger, profile_intervals):
        with pytest.raises(ValueError, match="one residual variance"):
            refused(fit)
    with pytest.raises(DataError, match="two strata"):
        fit_mixed(MODELS["strata"]["formula"], data, variance_by="x")
    with pytest.raises(DataError, match="no residual variance for"):
        fit_mixed("y ~ session + (1 | patient)", data, variance_by="arm").predict(
            new.assign(arm=["A", "C"]), interval="prediction"
        )


@pytest.mark.parametrize("name", STRATA)
def test_unequal_residual_variances_by_weights(name):
    """varIdent: at the residual SDs that R found, prior weights give the same likelihood and estimates."""
    spec = MODELS[name]
    data = read(spec["data"])
    sds = spec["residual_sd"]
    base = next(iter(sds))
    data["weight"] = data[spec["residual_by"]].map({level: (sds[base] / sd) ** 2 for level, sd in sds.items()})
    fit = fit_mixed(
        spec["formula"],
        data,
        reml=spec["reml"],
        weights="weight",
        correlation=spec["correlation"] or None,
        time=spec["time"] or None,
    )
    assert -2 * fit.log_likelihood == pytest.approx(spec["deviance"], abs=1e-6)
    assert spec["deviance"] == pytest.approx(spec["nlme"]["deviance"], abs=1e-6)
    np.testing.assert_allclose(fit.coefficients, spec["estimate"], rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), spec["std_error"], rtol=1e-5)
    assert np.sqrt(fit.residual_variance) == pytest.approx(sds[base], rel=1e-5)
