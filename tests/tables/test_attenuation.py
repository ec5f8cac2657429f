"""The attenuation of rule-based rupture states: by hand, in both models, and against what a wrong state does."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.attenuation import expected_attenuation


def test_by_hand():
    """Without covariates: mean P where the rule says 1 minus mean P where it says 0."""
    data = pd.DataFrame({"patient": [1, 1, 1, 2, 2], "session": [1, 2, 3, 1, 2]})
    states = data.assign(rupture_open=[0.1, 0.7, 0.3, 0.0, 0.9])
    marks = np.array([0, 1, 1, 0, 1])
    design = np.column_stack([np.ones(5), marks])
    terms = ["Intercept", "rupture_open"]
    assert expected_attenuation(data, design, terms, states) == pytest.approx({"rupture_open": 1.9 / 3 - 0.05})
    weight = [1, 1, 0, 1, 1]
    found = expected_attenuation(data, design, terms, states, weight=weight)
    assert found == pytest.approx({"rupture_open": 0.8 - 0.05})
    lagged = expected_attenuation(data, design, terms, states, lag=1)
    assert lagged == pytest.approx({"rupture_open": (0.1 + 0.7 + 0.0) / 3 - 0.0})
    with pytest.raises(TypeError, match="events have no probabilities"):
        expected_attenuation(data, design, terms, pd.DataFrame({"patient": [1], "onset": [1], "repaired_at": [2]}))


@pytest.fixture(scope="module")
def world():
    """True states, a rule that errs in 1 of 10 sessions, and the probability that it leaves."""
    rng = np.random.default_rng(5)
    n, sessions = 300, 10
    table = pd.DataFrame({"patient": np.repeat(range(n), sessions), "session": np.tile(range(1, sessions + 1), n)})
    share = rng.beta(1, 4, n)[table["patient"]]  # patients differ in how often a rupture is open
    state = rng.random(len(table)) < share
    seen = np.where(rng.random(len(table)) < 0.1, ~state, state).astype(float)
    chance = np.where(seen == 1, 0.9 * share, 0.1 * share) / np.where(seen == 1, 0.8 * share + 0.1, 0.9 - 0.8 * share)
    return table, state.astype(float), seen, chance


def states_of(table, values):
    states = table.assign(rupture_open=values)
    states.attrs = {"prospective": True, "rule": "by hand"}
    return states


def test_the_rule_s_coefficient_falls_short_by_it(world):
    table, state, seen, chance = world
    rng = np.random.default_rng(6)
    before = np.roll(state, 1) * (table["session"] > 1)
    level = rng.normal(0, 2, 300)[table["patient"]]
    phq = 10 + level + 3.0 * before + rng.normal(0, 1, len(table))
    sessions = table.assign(phq9=phq, alliance=rng.normal(5, 1, len(table)))
    names = {"symptom": "phq9", "alliance": "alliance"}
    truth = states_of(table, chance)
    fit = als.fit_next_session(sessions, states_of(table, seen), states=truth, **names)
    attenuation = fit.diagnostics["attenuation"]
    assert list(attenuation) == ["rupture_open"]
    estimate = fit.tidy().set_index("term").loc["rupture_open"]
    assert estimate["estimate"] == pytest.approx(3.0 * attenuation["rupture_open"], abs=3 * estimate["std_error"])
    assert 0.3 < attenuation["rupture_open"] < 0.75
    assert "attenuation" in fit.summary()
    assert "share of an effect of ruptures" in fit.summary()
    right = als.fit_next_session(sessions, truth, **names).tidy().set_index("term").loc["rupture_open"]
    assert right["ci_low"] < 3.0 < right["ci_high"], "the probability in place of the mark is unbiased"
    assert "attenuation" not in als.fit_next_session(sessions, truth, **names).summary()


def test_calibration_turns_the_coefficients_by_the_regression_of_whole_course_on_so_far():
    """By hand: with B the coefficients of P(whole course) on all terms, beta = B(states)^-1 b(states).

    B has the weights of the model, and a rupture that ended short of the level before counts as open.
    """
    world = {"rupture_rate": 0.08, "rupture_depth": 3.0, "rupture_length": 3.0, "rupture_effect": 2.0}
    study = als.simulate_study(n_patients=120, n_therapists=6, seed=8, n_sessions=10, max_sessions=16, **world)
    latent = als.detect_latent(study.sessions, score="alliance")
    names = {"symptom": "phq9", "alliance": "alliance"}
    plain = als.fit_next_session(study.sessions, latent.states(), **names)
    fit = als.fit_next_session(study.sessions, latent, **names)
    terms, states = list(plain.fit.terms), ["rupture_open", "repaired_before"]
    data = plain.data
    x = np.column_stack([np.ones(len(data)) if name == "Intercept" else data[name] for name in terms]).astype(float)
    whole = latent.states("smoothed").set_index(["patient", "session"])
    whole = whole.assign(rupture_open=np.minimum(whole["rupture_open"] + whole["short"], 1))[states]
    whole = whole.loc[list(zip(data["patient"], data["session"], strict=True))].to_numpy()
    b = plain.fit.coefficients.to_numpy()
    weight = np.linalg.inv(covariance_of(plain))
    turn = np.linalg.solve(x.T @ weight @ x, x.T @ weight @ whole)
    place = [terms.index(name) for name in states]
    beta = np.linalg.solve(turn[place], b[place])
    same = plain.fit.log_likelihood - np.log(np.linalg.det(turn[place]))  # REML counts the units of the columns
    assert fit.fit.log_likelihood == pytest.approx(same, abs=1e-4), "the same model, turned"
    found = fit.fit.coefficients
    np.testing.assert_allclose(found[states], beta, rtol=1e-3)
    rest = [name for name in terms if name not in states]
    by_hand = (b - turn @ beta)[[terms.index(name) for name in rest]]
    np.testing.assert_allclose(found[rest], by_hand, rtol=1e-2, atol=1e-3)
    assert fit.diagnostics["calibrated"]
    assert "regression calibration" in fit.summary()
    assert not plain.diagnostics["calibrated"]


def covariance_of(fit):
    """V of the rows, written out: lines of patients, therapists, residual."""
    data, parts = fit.data, fit.variances()
    parts = parts.assign(pair=parts["term_2"].fillna("").ne(""))
    value = parts.set_index(["group", "term", "pair"])["variance"]
    line = np.column_stack([np.ones(len(data)), data["session"]])
    both = value["patient", "Intercept", True]
    own = np.array([[value["patient", "Intercept", False], both], [both, value["patient", "session", False]]])
    same = {name: data[name].to_numpy()[:, None] == data[name].to_numpy() for name in ("patient", "therapist")}
    between = value["therapist", "Intercept", False] * same["therapist"]
    return same["patient"] * (line @ own @ line.T) + between + parts["variance"].iloc[-1] * np.eye(len(data))


@pytest.mark.parametrize("model", ["discrete", "cox"])
def test_the_hazard(world, model):
    table, state, seen, chance = world
    rng = np.random.default_rng(7)
    ends = rng.random(len(table)) < np.where(state == 1, 0.06, 0.03)
    first = table.assign(ends=ends)[ends].groupby("patient")["session"].min().reindex(range(300), fill_value=99)
    kept = table["session"].to_numpy() <= first[table["patient"]].to_numpy()
    sessions = table[kept].reset_index(drop=True)
    endings = pd.DataFrame({"patient": range(300), "ending": np.where(first < 99, "dropout", "completed")})
    intervals = als.dropout_intervals(sessions, states_of(sessions, seen[kept]), endings=endings, lag=1)
    fit = als.fit_dropout("rupture_open", intervals, model=model, states=states_of(sessions, chance[kept]))
    found = fit.diagnostics["attenuation"]["rupture_open"]
    data = fit.data
    hazard = fit.predict()
    weight = hazard if model == "cox" else hazard * (1 - hazard)
    marked = data["rupture_open"].to_numpy() == 1
    p = chance[kept][: len(sessions)]
    own = pd.DataFrame(sessions.assign(p=p)).set_index(["patient", "session"])["p"]
    p = own.loc[list(zip(data["patient"], data["session"], strict=True))].to_numpy()
    if model == "discrete":
        expected = np.average(p[marked], weights=weight[marked]) - np.average(p[~marked], weights=weight[~marked])
        assert found == pytest.approx(expected)
    assert 0.2 < found < 0.8
    assert "attenuation" in fit.summary()
