"""The three outcome models against R (lm, lme4, lmerTest), every covariate rebuilt there from the raw tables.

`tests/reference/outcome/outcome.R` wrote the values; versions stand inside.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome

FOLDER = Path(__file__).parents[1] / "reference" / "outcome"
R = json.loads((FOLDER / "outcome.json").read_text(encoding="utf-8"))
NAMES = {
    "(Intercept)": "Intercept",
    "phq9": "phq9",
    "first": "phq9_first",
    "within": "alliance_within",
    "between": "alliance_between",
    "open": "rupture_open",
    "repaired": "repaired_before",
    "openb": "rupture_open_between",
    "repairedb": "repaired_before_between",
    "session": "session",
    "time": "sessions_since_first",
    "phq9_pre": "phq9_pre",
    "n_rated": "n_rated",
}


def named(term):
    parts = [NAMES.get(part, part.replace("pattern", "pattern_")) for part in term.split(":")]
    return ":".join(parts)


def compare(fit, reference, *, rtol=1e-6, df_rtol=1e-3):
    table = fit.tidy().set_index("term")
    terms = [named(term) for term in reference["term"]]
    assert set(terms) == set(table.index)
    found = table.loc[terms]
    np.testing.assert_allclose(found["estimate"], reference["estimate"], rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(found["std_error"], reference["std_error"], rtol=rtol)
    np.testing.assert_allclose(found["df"], reference["df"], rtol=df_rtol)


@pytest.fixture(scope="module")
def tables():
    events = pd.read_csv(FOLDER / "events.csv").astype({"repaired_at": "Int64"})
    events.attrs["prospective"] = True
    return pd.read_csv(FOLDER / "sessions.csv"), events, pd.read_csv(FOLDER / "patients.csv")


def test_outcome_by_least_squares(tables):
    fit = fit_outcome(tables[2].drop(columns="therapist"), post="phq9_post", pre="phq9_pre")
    compare(fit, R["linear"], rtol=1e-9, df_rtol=1e-12)
    np.testing.assert_allclose(fit.tidy()["p_value"].sort_values(), sorted(R["linear"]["p_value"]), rtol=1e-8)


def test_outcome_with_therapists(tables):
    fit = fit_outcome(tables[2], post="phq9_post", pre="phq9_pre")
    compare(fit, R["mixed"], rtol=1e-5, df_rtol=1e-3)
    assert fit.glance()["log_likelihood"][0] == pytest.approx(R["mixed"]["log_likelihood"], abs=1e-6)
    assert fit.diagnostics["rows"] == R["mixed"]["n"]


def test_effect_sizes(tables):
    patients = tables[2].drop(columns="therapist")
    only = patients[patients["pattern"].isin(["repaired", "unrepaired"])]
    fit = fit_outcome(only, post="phq9_post", pre="phq9_pre", reference="unrepaired", exposure=None)
    assert fit.diagnostics["rows"] == R["n_only"]
    row = fit.effects().iloc[0]
    assert row["contrast"] == "repaired - unrepaired"
    np.testing.assert_allclose(row[["r", "r_low", "r_high"]].astype(float), R["partial_r"], rtol=1e-9)
    raw = fit_outcome(only, post="phq9_post", pre=None, reference="unrepaired", exposure=None).effects().iloc[0]
    assert raw["d"] == pytest.approx(R["hedges_g"], rel=1e-9)
    groups = [own["phq9_post"] for _, own in only.groupby("pattern")]
    assert fit.post_sd == pytest.approx(
        np.sqrt(sum((len(own) - 1) * own.var() for own in groups) / (R["n_only"] - 2)), rel=1e-12
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [("next_session", {}), ("next_intercept", {"slope": False, "therapist": None, "split_states": False})],
)
def test_next_session(tables, name, options):
    fit = fit_next_session(tables[0], tables[1], symptom="phq9", alliance="alliance", centre="patient", **options)
    compare(fit.fit, R[name], rtol=2e-5)
    assert fit.glance()["log_likelihood"][0] >= R[name]["log_likelihood"] - 1e-6
    assert fit.glance()["log_likelihood"][0] == pytest.approx(R[name]["log_likelihood"], abs=1e-5)
    assert fit.diagnostics["rows"] == R[name]["n"]


def test_growth(tables):
    fit = fit_growth(tables[0], tables[2], measure="phq9")
    compare(fit, R["growth"], rtol=2e-5)
    assert fit.glance()["log_likelihood"][0] >= R["growth"]["log_likelihood"] - 1e-6
    assert fit.diagnostics["rows"] == R["growth"]["n"]
