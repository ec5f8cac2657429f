"""Correlation of two measures within patients: against pingouin, and at its edges."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.reliability.levels import level_correlations, repeated_correlation
from alliance_stats.tables.schema import DataError


def two_measures(seed, patients=25):
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 12, patients)
    patient = np.repeat(np.arange(patients), length)
    x = rng.normal(0, 1, len(patient)) + patient
    y = 0.4 * (x - patient) - 0.5 * patient + rng.normal(0, 1, len(patient))
    y[rng.random(len(y)) < 0.1] = np.nan
    session = np.concatenate([np.arange(1, n + 1) for n in length])
    return pd.DataFrame({"patient": patient, "session": session, "x": x, "y": y})


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # pingouin with the newest pandas
@pytest.mark.filterwarnings("ignore:The inplace keyword:PendingDeprecationWarning")
@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_that_of_pingouin(seed):
    import pingouin

    sessions = two_measures(seed)
    ours = repeated_correlation(sessions.sample(frac=1, random_state=1), "x", "y").iloc[0]
    complete = sessions.dropna()
    complete = complete[complete.groupby("patient")["x"].transform("size") > 1]  # one row says nothing within
    theirs = pingouin.rm_corr(complete, x="x", y="y", subject="patient").iloc[0]
    assert ours["r"] == pytest.approx(theirs["r"], rel=1e-10)
    assert ours["df"] == theirs["dof"]
    assert ours["p_value"] == pytest.approx(theirs["pval"], rel=1e-8)
    assert [round(ours["ci_low"], 2), round(ours["ci_high"], 2)] == list(theirs["CI95"])
    assert ours["r"] == level_correlations(sessions, ["x", "y"])["r_within"].iloc[0]
    wide = repeated_correlation(sessions, "x", "y", level=0.99).iloc[0]
    assert wide["ci_low"] < ours["ci_low"] < ours["r"] < ours["ci_high"] < wide["ci_high"]


def test_two_patients_and_few_rows():
    rows = pd.DataFrame({"patient": [1, 1, 2, 2], "session": [1, 2, 1, 2], "x": [1.0, 2, 1, 2], "y": [1.0, 3, 2, 5]})
    found = repeated_correlation(rows, "x", "y").iloc[0]
    assert found["df"] == 1
    assert 0 < found["p_value"] < 1
    assert np.isnan(found["ci_low"])
    with pytest.raises(DataError, match="two patients"):
        repeated_correlation(rows[rows["patient"] == 1], "x", "y")
    with pytest.raises(ValueError, match="level=95"):
        repeated_correlation(rows, "x", "y", level=95)
