"""`fit_dynamics`: what goes in, what comes out, and what is refused."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats import DataError


@pytest.fixture(scope="module")
def study():
    return als.simulate_study(n_patients=120, n_therapists=8, symptom_feedback=-0.05, bounded=False, seed=3)


@pytest.fixture(scope="module")
def sessions(study):
    odd = study.sessions["patient"].str[-1].isin(list("13579"))
    return study.sessions.assign(arm=np.where(odd, "A", "B"), age=study.sessions["patient"].str[1:].astype(int) % 7)


@pytest.fixture(scope="module")
def fit(sessions):
    return als.fit_dynamics(sessions, alliance="alliance", symptom="phq9", trend="random")


def test_terms_are_named_by_what_moves_what(fit):
    table = als.tidy(fit)
    assert list(fit.tidy())[:2] == ["outcome", "term"]
    rows = table.set_index(["outcome", "term"])["estimate"]
    assert rows["phq9", "alliance_lag"] < -0.5
    assert rows["alliance", "phq9_lag"] < -0.02
    pd.testing.assert_frame_equal(table, als.tidy(fit, level=0.95))


def test_row_order_index_and_ids_change_nothing(sessions, fit):
    shuffled = sessions.sample(frac=1, random_state=1).set_index(np.arange(len(sessions)) + 7)
    renamed = shuffled.assign(patient=shuffled["patient"].str[1:].astype(int))
    before = renamed.copy()
    again = als.fit_dynamics(renamed, alliance="alliance", symptom="phq9", trend="random")
    np.testing.assert_allclose(again.tidy()["estimate"], fit.tidy()["estimate"], atol=1e-6)
    pd.testing.assert_frame_equal(renamed, before)


def test_other_units_and_session_numbers_from_another_first(sessions, fit):
    moved = sessions.assign(session=sessions["session"] + 4, phq9=10 * sessions["phq9"] + 3)
    again = als.fit_dynamics(moved, alliance="alliance", symptom="phq9", trend="random").tidy()
    np.testing.assert_allclose(again["estimate"], fit.tidy()["estimate"] * [1, 0.1, 10, 1], atol=2e-4)
    np.testing.assert_allclose(again["std_error"], fit.tidy()["std_error"] * [1, 0.1, 10, 1], rtol=1e-3)


def test_tables_agree_with_each_other(fit):
    lagged = fit.tidy()["estimate"].to_numpy().reshape(2, 2)
    response = fit.response(sessions=40)
    by_step = [part["estimate"].to_numpy().reshape(2, 2) for _, part in response.groupby("session")]
    np.testing.assert_allclose(by_step[2], lagged @ lagged @ by_step[0], atol=1e-10)
    total = sum(by_step[1:]) @ np.linalg.inv(by_step[0])
    np.testing.assert_allclose(fit.long_run()["estimate"].to_numpy().reshape(2, 2), total, atol=1e-8)
    variances = als.variances(fit).query("term_2 == ''").set_index(["group", "term"])["variance"]
    explained = 1 - variances["shock", "phq9"] / variances["within", "phq9"]
    assert fit.r_squared().set_index("outcome").loc["phq9", "r_squared"] == pytest.approx(explained)
    standardised = fit.standardised()["estimate"].to_numpy().reshape(2, 2)
    ratio = np.sqrt(variances["within", "alliance"] / variances["within", "phq9"])
    assert standardised[1, 0] == pytest.approx(lagged[1, 0] * ratio)


def test_every_model_is_read_alike(fit):
    assert als.glance(fit)["converged"].item()
    assert "alliance_lag" in fit.summary()
    assert "<table>" in fit._repr_html_()
    assert als.flow(fit)["patients"].iloc[-1] == fit.diagnostics["patients"] == len(fit.predict()) / 2


def test_predictions_cover_the_scores_that_came(sessions):
    last = sessions.groupby("patient")["session"].transform("max") == sessions["session"]
    fit = als.fit_dynamics(sessions.loc[~last], alliance="alliance", symptom="phq9", trend="random")
    seen = fit.predict().merge(sessions.loc[last], on=["patient", "session"])
    score = np.where(seen["outcome"] == "phq9", seen["phq9"], seen["alliance"])
    inside = (score > seen["ci_low"]) & (score < seen["ci_high"])
    assert inside[~np.isnan(score)].mean() > 0.88
    free = als.fit_dynamics(sessions[sessions["session"] <= 6], alliance="alliance", symptom="phq9", means="free")
    ahead = free.predict()
    assert ahead.loc[ahead["session"] == 7, "prediction"].isna().all()
    assert ahead.loc[ahead["session"] < 7, "prediction"].notna().all()


def test_what_is_drawn_from_a_fit_has_its_coefficients(fit):
    drawn = fit.simulate(seed=4)
    assert drawn["phq9"].isna().sum() == fit.data["phq9"].isna().sum()
    again = als.fit_dynamics(drawn, alliance="alliance", symptom="phq9", trend="random").tidy()
    assert (np.abs(again["estimate"] - fit.tidy()["estimate"]) < 4 * fit.tidy()["std_error"]).all()
    pd.testing.assert_frame_equal(drawn, fit.simulate(seed=4))


def test_groups_inputs_covariates_and_therapists(sessions):
    events = als.detect_ruptures(sessions, score="alliance", rule="running_mean_2pooled")
    marked = als.mark_ruptures(sessions, events)
    options = {"alliance": "alliance", "symptom": "phq9", "start": "stationary"}
    fit = als.fit_dynamics(
        marked, **options, by="arm", covariates=["age", "arm"], inputs=["rupture_open"], therapist="therapist"
    )
    table = fit.tidy()
    assert table["term"].tolist()[-6:] == ["rupture_open_lag"] * 2 + ["age"] * 2 + ["arm_B"] * 2
    assert (table["df"] == 7).all()
    assert set(table["group"]) == {"A", "B", "all"}
    assert fit.test_groups()["df"].item() == 4
    assert not any("probabilities" in note for note in fit.diagnostics["notes"])
    unsure = marked.assign(rupture_open=0.8 * marked["rupture_open"])
    notes = als.fit_dynamics(unsure, **options, inputs=["rupture_open"]).diagnostics["notes"]
    assert any("enter as they are" in note for note in notes)
    events.attrs["prospective"] = False
    with pytest.raises(ValueError, match="looks ahead"):
        als.fit_dynamics(als.mark_ruptures(sessions, events), **options, inputs=["rupture_open"])
    with pytest.raises(ValueError, match="do not say"):
        als.fit_dynamics(_forget(marked.copy()), **options, inputs=["rupture_open"])


def _forget(table):
    table.attrs = {}
    return table


def test_comparison_with_a_smaller_model(fit):
    smaller = fit.without("phq9", "alliance_lag")
    assert "phq9" in smaller.tidy()["outcome"].tolist()
    found = fit.compare(smaller)
    wald = fit.tidy()["statistic"][2] ** 2
    assert found["statistic"].item() == pytest.approx(wald, rel=0.3)
    with pytest.raises(ValueError, match="smaller"):
        smaller.compare(fit)


def test_a_ceiling_is_said(sessions, fit):
    top = sessions["alliance"].quantile(0.88)
    cut = sessions.assign(alliance=sessions["alliance"].clip(upper=top))
    found = als.fit_dynamics(cut, alliance="alliance", symptom="phq9").diagnostics
    assert found["at_bound"] == {"alliance": pytest.approx(0.12, abs=0.005)}
    assert "12% of the scores of alliance are the highest one" in found["notes"][-1]
    assert fit.diagnostics["at_bound"] == {}


def test_error_variances_known_and_estimated(sessions):
    known = als.fit_dynamics(sessions, alliance="alliance", symptom="phq9", error={"alliance": 0.03})
    table = als.variances(known).set_index(["group", "term", "term_2"])["variance"]
    assert table["error", "alliance", ""] == pytest.approx(0.03)
    assert table["error", "phq9", ""] == 0
    free = als.fit_dynamics(sessions, alliance="alliance", symptom="phq9", error="estimated")
    assert set(free.diagnostics["within_reliability"]) == {"alliance", "phq9"}
    for refused in ({"alliance": -1}, {"alliance": "unknown"}, {"allience": 0.1}):
        with pytest.raises(ValueError, match="error"):
            als.fit_dynamics(sessions, alliance="alliance", symptom="phq9", error=refused)


def test_an_error_variance_of_zero_is_said_and_tests_do_not_take_it_as_known():
    options = {"n_patients": 60, "n_therapists": 4, "n_sessions": 6, "sessions_sd": 1, "bounded": False}
    study = als.simulate_study(**options, reliability=1.0, seed=4)
    fit = als.fit_dynamics(
        study.sessions, alliance="alliance", symptom="phq9", start="stationary", error={"phq9": "estimated"}
    )
    assert fit.diagnostics["boundary"] == ["error[1]"]
    notes = " ".join(fit.diagnostics["notes"])
    assert "error={'phq9': (1 - r) x" in notes
    table, wald = fit.tidy(), fit.tidy(interval="wald")
    assert table["std_error"].isna().all()
    ratio = fit.compare(fit.without("phq9", "alliance_lag"))
    assert table["p_value"][2] == pytest.approx(ratio["p_value"].item(), rel=1e-3)
    width, narrow = (one["ci_high"] - one["ci_low"] for one in (table, wald))
    assert (width > 0.95 * narrow).all()
    assert (width / narrow).max() > 1.1
    variance = als.variances(fit).query("group == 'within' and term == 'phq9' and term_2 == ''")["variance"].item()
    assert f"x {variance:.3g}}}" in notes


def test_three_measures(sessions):
    noise = np.random.default_rng(0).normal(size=len(sessions))
    fit = als.fit_dynamics(sessions.assign(third=noise), measures=["alliance", "phq9", "third"], start="stationary")
    assert len(fit.tidy()) == 9


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda s: s.assign(phq9=5.0), {}, "'phq9' has the same value everywhere"),
        (lambda s: s.assign(phq9=s["alliance"]), {}, "linear in each other"),
        (lambda s: s.assign(phq9=3 - 2 * s["alliance"]), {}, "linear in each other"),
        (lambda s: s.groupby("patient").head(1), {}, "No patient has two sessions"),
        (lambda s: s[s["patient"].isin(s["patient"].unique()[:12])], {}, "12 patients cannot carry"),
        (lambda s: pd.concat([s, s.head(1)]), {}, "Duplicate patient-session rows"),
        (
            lambda s: s.assign(arm=pd.Categorical(s["arm"], ["A", "B", "C"])),
            {"by": "arm"},
            "'C' of 'arm'",
        ),
        (lambda s: s.assign(arm="A"), {"by": "arm"}, "one group only"),
        (lambda s: s.assign(arm=s["session"] % 2), {"by": "arm"}, "changes within a patient"),
        (lambda s: s.assign(phq9=np.nan), {}, "'phq9' has no values"),
        (lambda s: s.assign(z=np.where(s["session"] == 3, np.nan, 1.0)), {"inputs": ["z"]}, "input 'z' is missing"),
        (lambda s: s.assign(z=1.0), {"inputs": ["z"]}, "input 'z' has the same value"),
        (lambda s: s.assign(z=1.0), {"covariates": ["z"]}, "covariate 'z' has the same value"),
        (lambda s: s.assign(session=s["session"] * 1000), {}, "at most 400 steps"),
        (lambda s: s, {"error": {"phq9": 1e6}}, "exceeds the variance"),
        (lambda s: s.assign(z=s["age"] * 2), {"covariates": ["age", "z"]}, "cannot be computed"),
    ],
)
def test_bad_input_is_named(sessions, change, options, message):
    with pytest.raises(DataError, match=message):
        als.fit_dynamics(change(sessions), alliance="alliance", symptom="phq9", **options)


def test_arguments():
    with pytest.raises(ValueError, match="Name alliance"):
        als.fit_dynamics(pd.DataFrame())
    with pytest.raises(ValueError, match="two to four"):
        als.fit_dynamics(pd.DataFrame(), measures=["a"])


def test_next_session_says_when_symptoms_move_the_alliance():
    options = {"n_patients": 120, "n_therapists": 6, "bounded": False, "seed": 11}
    feeding = als.simulate_study(symptom_feedback=-0.06, **options)
    fit = als.fit_next_session(feeding.sessions, symptom="phq9", alliance="alliance")
    assert fit.feedback["estimate"].item() < 0
    assert "Symptoms move the later alliance" in fit.summary()
    few = feeding.sessions[feeding.sessions["patient"].isin(feeding.sessions["patient"].unique()[:8])]
    assert als.fit_next_session(few, symptom="phq9", alliance="alliance", slope=False).feedback is None


def test_one_question_answered_in_worlds_with_feedback():
    from feedback_bias import feedback_bias, summarise_feedback_bias

    found = summarise_feedback_bias(feedback_bias(feedbacks=(-0.06,), repetitions=4, n_sessions=8, seed=1))
    assert found["repetitions"].tolist() == [4, 4, 4]
    mean = found.set_index("model")["estimate"]
    assert mean["next session, patient's mean"] > -1.1
    assert mean["both directions"] < -1.2
