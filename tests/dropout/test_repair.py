"""The effect of repair: by hand, and what is refused."""

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

import alliance_stats as als
from alliance_stats.dropout.fit import fit_dropout

FORMULA = "rupture_open + repaired_before + x"


def test_by_hand(data):
    fit = fit_dropout("rupture_open + repaired_before", data)
    found = als.dropout.repair_effect(fit, by=10, after=2, draws=20, seed=1).set_index("quantity")
    b = dict(zip(fit.terms, fit.coefficients, strict=True))

    def hazard(opened, repaired):
        return 1 / (1 + np.exp(-(b["Intercept"] + b["rupture_open"] * opened + b["repaired_before"] * repaired)))

    opened = data[(data["rupture_open"] == 1) & (data["start"] < 10)].sort_values("start").drop_duplicates("patient")
    risks = []
    for row in opened.itertuples():
        never = repaired = 1.0
        for step in range(10 - row.start):
            never *= 1 - hazard(1, row.repaired_before)
            repaired *= 1 - (hazard(1, row.repaired_before) if step < 2 else hazard(0, 1))
        risks.append((1 - repaired, 1 - never))
    expected = np.mean(risks, axis=0)
    np.testing.assert_allclose(found.loc[["risk_repaired", "risk_unrepaired"], "estimate"], expected, rtol=1e-10)
    np.testing.assert_allclose(found.loc["difference", "estimate"], expected[0] - expected[1], rtol=1e-9)
    assert found["n_patients"].iloc[0] == len(opened)


@pytest.mark.parametrize("options", [{"cluster": "therapist"}, {"model": "cox"}], ids=str)
def test_same_seed_same_answer_and_repair_helps_here(data, options):
    fit = fit_dropout(FORMULA, data, **options)
    found = als.dropout.repair_effect(fit, draws=60, seed=3)
    assert_frame_equal(found, als.dropout.repair_effect(fit, draws=60, seed=3, n_jobs=2), check_exact=True)
    row = found.set_index("quantity").loc["difference"]
    assert row["ci_low"] < row["estimate"] < row["ci_high"] < 0


def test_a_model_without_repair_is_refused(data):
    with pytest.raises(ValueError, match="Repair plays no part"):
        als.dropout.repair_effect(fit_dropout("x", data), draws=5)
    with pytest.raises(ValueError, match="without random="):
        als.dropout.repair_effect(fit_dropout(FORMULA, data, random="therapist", nodes=5), draws=5)
