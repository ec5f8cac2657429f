"""What is read off a hazard fit, against R."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.dropout.checks import check_discrimination, check_proportionality
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.paths import predict_paths, rupture_path

FOLDER = Path(__file__).parents[1] / "reference" / "hazard"
R = json.loads((FOLDER / "reference.json").read_text())
STRATA = json.loads((FOLDER / "strata.json").read_text())
DATA = pd.read_csv(FOLDER / "sessions.csv", keep_default_na=False)
FORMULA = "rupture_open + repaired_before + x + group"
DAYS = DATA.assign(start=DATA["day_start"], stop=DATA["day_stop"])


@pytest.fixture(params=[(name, ties) for name in ("session", "day") for ties in ("efron", "breslow")], ids="-".join)
def pair(request):
    name, ties = request.param
    data = DATA if name == "session" else DAYS
    return fit_dropout(FORMULA, data, model="cox", ties=ties), R[f"cox_{name}_{ties}"]


def test_residuals_are_those_of_survival(pair):
    fit, ref = pair
    np.testing.assert_allclose(fit.residuals("martingale")[:200], ref["martingale"], atol=1e-8)
    np.testing.assert_allclose(fit.residuals("score").to_numpy()[:200], ref["score"], atol=1e-7)
    found = fit.residuals("schoenfeld").sort_values("time", kind="stable")[fit.terms].to_numpy()[:100]
    np.testing.assert_allclose(found, ref["schoenfeld"], atol=1e-7)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("clock", ["session", "day"])
@pytest.mark.parametrize("strata", [None, "group"])
def test_proportionality_and_concordance_are_those_of_survival(clock, ties, strata):
    data, ref = DATA if clock == "session" else DAYS, STRATA[f"{clock}_{ties}"]
    formula = FORMULA if strata is None else FORMULA.removesuffix(" + group")
    fit = fit_dropout(formula, data, model="cox", ties=ties, strata=strata)
    for transform, expected in ref["whole" if strata is None else "strata"].items():
        found = check_proportionality(fit, transform=transform)
        np.testing.assert_allclose(found["statistic"], expected, rtol=1e-5)
        assert found["term"].tolist() == [*fit.terms, "GLOBAL"]
        assert found["df"].tolist() == [*[1] * len(fit.terms), len(fit.terms)]
    if strata is not None:
        np.testing.assert_allclose(check_discrimination(fit)["auc"].iloc[-1], ref["concordance"], rtol=1e-10)


def test_concordance_is_that_of_survival(pair):
    fit, ref = pair
    overall = check_discrimination(fit).iloc[-1]
    assert overall["time"] == "all"
    np.testing.assert_allclose(overall["auc"], ref["concordance"], rtol=1e-10)


def test_a_path_is_survfit_with_newdata_and_id():
    fit = fit_dropout(FORMULA, DATA, model="cox")
    found = predict_paths(fit, {"open": rupture_path(16, onset=4, x=0.2, group=1)})
    ref = R["path"]
    # 1e-7: as far as R's Newton iterations agree with themselves across machines.
    np.testing.assert_allclose(found["survival"], ref["survival"], rtol=1e-7)
    np.testing.assert_allclose(found["hazard"].cumsum(), ref["cumulative_hazard"], rtol=1e-7)
    # R's standard error lets the path's *current* covariates hold from the start; ours follows the path. They agree
    # up to session 4, where the covariates first change; from there the next test takes over.
    np.testing.assert_allclose(error_of_hazard(found)[:3], ref["std_error_cumhaz"][:3], rtol=1e-5)


def error_of_hazard(path):
    """The standard error of the cumulative hazard that the limits of survival imply."""
    hazard = -np.log(path["survival"])
    return (np.log(-np.log(path["survival_low"])) - np.log(hazard)) / 1.959963984540054 * hazard


def test_the_error_of_a_changing_path_is_that_of_its_definition():
    """Var = sum r(t)^2 var(dH0(t)) + g'Vg, with g the numerical derivative of the estimate in the coefficients."""
    fit = fit_dropout(FORMULA, DATA, model="cox", ties="breslow")
    path = rupture_path(16, onset=4, repaired_at=7, x=0.2, group=1)
    rows = path[fit.terms].to_numpy(dtype=float)
    event = (DATA["ending"] == "dropout").to_numpy()
    design = DATA[fit.terms].to_numpy(dtype=float)

    def jumps(beta):
        risk = np.exp(design @ beta)
        sums = np.array([risk[DATA["stop"] == t].sum() for t in path["stop"]])
        return np.array([event[DATA["stop"] == t].sum() for t in path["stop"]]) / sums, sums

    def cumulative(beta):
        return np.cumsum(np.exp(rows @ beta) * jumps(beta)[0])

    beta, h = fit.coefficients, 1e-6
    slope = np.stack([(cumulative(beta + h * e) - cumulative(beta - h * e)) / (2 * h) for e in np.eye(4)], axis=1)
    base, sums = jumps(beta)
    own = np.cumsum(np.exp(rows @ beta) ** 2 * base / sums)
    expected = np.sqrt(own + np.einsum("ti,ij,tj->t", slope, fit.covariance, slope))
    found = predict_paths(fit, {"path": path})
    np.testing.assert_allclose(-np.log(found["survival"]), cumulative(beta), rtol=1e-10)
    np.testing.assert_allclose(error_of_hazard(found), expected, rtol=1e-5)
