"""Calibration, discrimination, proportional hazards, residuals: by hand."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.dropout.fit import fit_dropout

FORMULA = "rupture_open + repaired_before + x"


def test_calibration_adds_up(data):
    fit = fit_dropout(FORMULA, data)
    for by in ("session", "risk"):
        table = als.dropout.check_calibration(fit, by=by)
        total = table[table["group"] == "all"].iloc[0]
        np.testing.assert_allclose(total["expected"], total["observed"], rtol=1e-9)
        parts = table[table["group"] != "all"]
        assert parts["observed"].sum() == total["observed"]
        np.testing.assert_allclose(table.attrs["slope"], 1, atol=1e-6)
    cox = als.dropout.check_calibration(fit_dropout(FORMULA, data, model="cox", ties="breslow"))
    np.testing.assert_allclose(cox["expected"], cox["observed"], rtol=1e-9)


def test_calibration_of_predictions_too_extreme(data):
    fit = fit_dropout(FORMULA, data[data["patient"] % 2 == 0])
    rest = data[data["patient"] % 2 == 1]
    table = als.dropout.check_calibration(fit, rest)
    assert table.iloc[-1]["n"] == len(rest)
    assert table.attrs["slope"] != 1


def test_discrimination_by_hand():
    rows = pd.DataFrame(
        {
            "patient": range(5),
            "session": 1,
            "start": 1,
            "stop": 2,
            "ending": ["dropout", "", "", "dropout", ""],
            "x": [3.0, 1.0, 3.0, 0.0, -2.0],
        }
    )
    fit = fit_dropout("x", rows)
    # pairs won: 3 > 1, 3 > -2, 0 > -2, half of 3 = 3; of 6
    assert fit.coefficients[1] > 0
    np.testing.assert_allclose(als.dropout.check_discrimination(fit)["auc"], 3.5 / 6)


def test_discrete_proportionality_finds_a_changing_effect():
    random = np.random.default_rng(1)
    n = 6000
    rows = pd.DataFrame({"patient": range(n), "session": random.integers(1, 9, n), "x": random.normal(size=n)})
    rows = rows.assign(start=rows["session"], stop=rows["session"] + 1, z=random.normal(size=n))
    linear = -2 + rows["z"] * 0.5 + rows["x"] * (rows["session"] - 4.5) * 0.3
    rows["ending"] = np.where(random.random(n) < 1 / (1 + np.exp(-linear)), "dropout", "")
    for model in ("discrete", "cox"):
        found = als.dropout.check_proportionality(fit_dropout("x + z", rows, model=model)).set_index("term")
        assert found.loc["x", "p_value"] < 1e-6
        assert found.loc["z", "p_value"] > 0.01
        assert found.loc["GLOBAL", "df"] == 2


def test_discrete_residuals(data):
    fit = fit_dropout(FORMULA, data, link="cloglog")
    np.testing.assert_allclose(fit.residuals("score").sum(), 0, atol=1e-6)
    np.testing.assert_allclose((fit.residuals("deviance") ** 2).sum(), -2 * fit.log_likelihood)
    with pytest.raises(ValueError, match="Cox"):
        fit.residuals("schoenfeld")
