"""Predicted courses: by hand, and against Aalen-Johansen."""

import numpy as np
import pytest

import alliance_stats as als
from alliance_stats.dropout.competing import fit_endings
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.tables.schema import DataError

FORMULA = "rupture_open + repaired_before + x"


def test_discrete_by_hand(data):
    fit = fit_dropout(FORMULA, data)
    path = als.dropout.predict_paths(fit, {"p": als.dropout.rupture_path(6, onset=3, x=0.0)})
    b = dict(zip(fit.terms, fit.coefficients, strict=True))
    hazard = 1 / (1 + np.exp(-(b["Intercept"] + b["rupture_open"] * np.array([0, 0, 1, 1, 1]))))
    np.testing.assert_allclose(path["hazard"], hazard)
    np.testing.assert_allclose(path["survival"], np.cumprod(1 - hazard))
    np.testing.assert_allclose(path["incidence"], 1 - path["survival"])
    error = np.sqrt(fit.covariance[0, 0])
    low = path["hazard_low"].iloc[0]
    scale = np.log(-np.log1p(-hazard[0]))
    slope = hazard[0] * (1 - hazard[0]) / ((1 - hazard[0]) * -np.log1p(-hazard[0]))
    np.testing.assert_allclose(low, 1 - np.exp(-np.exp(scale - 1.959963985 * error * slope)), rtol=1e-6)


@pytest.mark.parametrize("model", ["discrete", "cox"])
def test_endings_add_up(data, model):
    fits = fit_endings(FORMULA, data, model=model)
    path = als.dropout.predict_paths(fits, {"p": als.dropout.rupture_path(20, onset=3, repaired_at=6, x=0.0)})
    left = path.groupby("stop")["incidence"].sum() + path.groupby("stop")["survival"].first()
    np.testing.assert_allclose(left, 1, atol=1e-12)
    for name in ("hazard", "incidence", "survival"):
        assert (path[f"{name}_low"] <= path[name] + 1e-12).all()
        assert (path[name] <= path[f"{name}_high"] + 1e-12).all()


def test_a_model_without_covariates_is_aalen_johansen(data):
    fits = fit_endings("1", data[data["start"] < 15], baseline="dummies")
    path = als.dropout.predict_paths(fits, {"all": als.dropout.rupture_path(15)})
    observed = als.cumulative_incidence(data[data["start"] < 15])
    for ending in ("dropout", "completed", "transferred"):
        own = path[path["ending"] == ending].set_index("stop")["incidence"]
        other = observed[observed["state"] == ending].set_index("time")["estimate"]
        np.testing.assert_allclose(own.reindex(other.index), other, rtol=1e-6, atol=1e-9)


def test_paths_that_make_no_sense(data):
    fit = fit_dropout(FORMULA, data)
    with pytest.raises(ValueError, match="cannot be repaired"):
        als.dropout.rupture_path(9, onset=4, repaired_at=4)
    with pytest.raises(ValueError, match="every row must start"):
        als.dropout.predict_paths(fit, {"gap": als.dropout.rupture_path(6, x=0.0).drop(index=2)})
    with pytest.raises(DataError, match="no column 'x'"):
        als.dropout.predict_paths(fit, {"p": als.dropout.rupture_path(6)})
