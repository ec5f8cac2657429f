"""The outcome models: hand-worked cases, what is lost and why, what must not matter, and clear refusals."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.outcome.effects import hedges_factor, partial_correlation, standardised_difference
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.outcome.patterns_fit import PUBLISHED


def make_patients(seed=1, n=90, effect=4.0, therapists=True):
    rng = np.random.default_rng(seed)
    pattern = rng.choice(["none", "repaired", "unrepaired", "mixed"], n, p=[0.5, 0.2, 0.2, 0.1])
    pre = rng.normal(15, 4, n)
    table = pd.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "therapist": [f"t{i % 8}" for i in range(n)],
            "pattern": pattern,
            "n_rated": rng.integers(4, 30, n),
            "phq9_pre": pre,
            "phq9_post": 0.5 * pre + effect * (pattern == "unrepaired") + rng.normal(0, 3, n),
            "n_phq9": rng.integers(2, 30, n),
        }
    )
    return table if therapists else table.drop(columns="therapist")


ARGUMENTS = {"post": "phq9_post", "pre": "phq9_pre"}

# -- effect sizes ---------------------------------------------------------------------------------------------


def test_hedges_g_by_hand():
    """Two groups, scores 1 2 3 and 3 4 5 6: difference 2.5, pooled variance (2 + 5) / 5, g = J(5) d."""
    table = pd.DataFrame(
        {
            "patient": range(7),
            "pattern": ["none"] * 3 + ["unrepaired"] * 4,
            "post": [1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    fit = fit_outcome(table, post="post", pre=None, exposure=None)
    assert fit.post_sd == pytest.approx(np.sqrt(7 / 5))
    d = standardised_difference(2.5, np.sqrt(7 / 5 * (1 / 3 + 1 / 4)), 5, sd=np.sqrt(7 / 5), sd_df=5, level=0.95)
    gamma_ratio = 4 / (3 * np.sqrt(np.pi))  # Gamma(2.5) = 3 sqrt(pi) / 4, Gamma(2) = 1
    assert hedges_factor(5) == pytest.approx(1 / gamma_ratio / np.sqrt(2.5))
    assert d.estimate == pytest.approx(hedges_factor(5) * 2.5 / np.sqrt(7 / 5))
    row = fit.effects().iloc[0]
    assert row["difference"] == pytest.approx(2.5)
    assert (row["d"], row["d_low"], row["d_high"]) == pytest.approx(tuple(d))


def test_effect_sizes_against_pingouin():
    pingouin = pytest.importorskip("pingouin")
    rng = np.random.default_rng(3)
    x, y, z = rng.normal(1, 2, 30), rng.normal(0, 2, 25), rng.normal(size=55)
    pooled = np.sqrt((29 * x.var(ddof=1) + 24 * y.var(ddof=1)) / 53)
    ours = standardised_difference(x.mean() - y.mean(), 1.0, 53, sd=pooled, sd_df=53, level=0.95)
    theirs = pingouin.compute_effsize(x, y, eftype="hedges")
    assert ours.estimate == pytest.approx(theirs, rel=2e-4)  # pingouin uses the approximation 1 - 3 / (4 n - 9)
    table = pd.DataFrame({"a": np.r_[x, y], "b": np.r_[np.ones(30), np.zeros(25)], "c": z})
    theirs = pingouin.partial_corr(table, "a", "b", "c")
    fit = np.linalg.lstsq(np.column_stack([np.ones(55), table["b"], table["c"]]), table["a"], rcond=None)[0]
    residual = table["a"] - np.column_stack([np.ones(55), table["b"], table["c"]]) @ fit
    design = np.column_stack([np.ones(55), table["b"], table["c"]])
    error = np.sqrt((residual @ residual) / 52 * np.linalg.inv(design.T @ design)[1, 1])
    r = partial_correlation(fit[1] / error, 52, level=0.95)
    assert r.estimate == pytest.approx(theirs["r"].iloc[0], abs=1e-8)


def test_partial_correlation_at_the_edges():
    assert np.isnan(partial_correlation(1.0, 1.0, level=0.95).ci_low)
    assert partial_correlation(-np.inf, 10, level=0.95) == (-1, -1, -1)
    assert partial_correlation(0.0, 50, level=0.95).estimate == 0
    wide = partial_correlation(2.0, 50, level=0.99)
    assert wide.ci_low < partial_correlation(2.0, 50, level=0.9).ci_low


# -- fit_outcome ----------------------------------------------------------------------------------------------


def test_least_squares_against_statsmodels():
    import statsmodels.formula.api as smf

    table = make_patients(therapists=False)
    fit = fit_outcome(table, **ARGUMENTS)
    theirs = smf.ols("phq9_post ~ phq9_pre + C(pattern, Treatment('none')) + n_rated", table).fit()
    ours = fit.tidy().set_index("term")
    assert ours.loc["pattern_unrepaired", "estimate"] == pytest.approx(
        theirs.params["C(pattern, Treatment('none'))[T.unrepaired]"]
    )
    glance = fit.glance().iloc[0]
    assert glance["log_likelihood"] == pytest.approx(theirs.llf)
    assert glance["aic"] == pytest.approx(theirs.aic + 2)  # the variance counts, as in R
    contrast = theirs.t_test("C(pattern, Treatment('none'))[T.repaired] = C(pattern, Treatment('none'))[T.unrepaired]")
    row = fit.effects().iloc[0]
    assert row["difference"] == pytest.approx(contrast.effect[0])
    assert row["p_value"] == pytest.approx(contrast.pvalue)
    t = float(np.squeeze(contrast.tvalue))
    assert row["r"] == pytest.approx(-t / np.sqrt(t**2 + theirs.df_resid))  # lower is better


def test_table_of_effects_is_complete_and_oriented():
    fit = fit_outcome(make_patients(), **ARGUMENTS)
    effects = fit.effects()
    assert len(effects) == 8
    assert set(effects["contrast"]) == {
        "repaired - unrepaired",
        "repaired - none",
        "unrepaired - none",
        "mixed - none",
    }
    worse = effects[effects["contrast"] == "unrepaired - none"]
    assert (worse["difference"] > 0).all()
    assert (worse["r"] < 0).all()
    better = fit_outcome(make_patients(), **ARGUMENTS, better="higher").effects()
    np.testing.assert_allclose(better["r"], -effects["r"])
    np.testing.assert_allclose(better["r_low"], -effects["r_high"])
    assert PUBLISHED.loc[0, ["estimate", "ci_low", "ci_high"]].tolist() == [0.29, 0.10, 0.47]


def test_lost_patients_are_counted_by_reason():
    table = make_patients()
    table.loc[0, "n_phq9"] = 1
    table.loc[1, "pattern"] = "censored"
    table.loc[2, "phq9_post"] = np.nan
    table.loc[3, "therapist"] = None
    table.loc[4, "pattern"] = None
    fit = fit_outcome(table, **ARGUMENTS)
    assert fit.diagnostics["rows_lost"] == {
        "rated once: pre and post are one value": 1,
        "pattern 'censored'": 1,
        "no phq9_post": 1,
        "no pattern": 1,
        "no therapist": 1,
    }
    assert fit.diagnostics["rows"] == len(table) - 5 == fit.glance()["n_rows"][0]
    assert sum(fit.diagnostics["patterns"].values()) == len(table) - 5
    assert "immortal time" in fit.summary()
    assert "median n_rated by pattern" in fit.diagnostics["notes"][0]


def test_result_is_unmoved_by_what_does_not_matter():
    table = make_patients()
    fit = fit_outcome(table, **ARGUMENTS).tidy()
    shuffled = fit_outcome(table.sample(frac=1, random_state=1), **ARGUMENTS).tidy()
    pd.testing.assert_frame_equal(fit, shuffled, rtol=1e-7)
    relabelled = fit_outcome(table.assign(therapist=table["therapist"].str[1:].astype(int) + 100), **ARGUMENTS).tidy()
    pd.testing.assert_frame_equal(fit, relabelled, rtol=1e-7)
    nullable = table.astype({"n_rated": "Int64", "phq9_pre": "Float64"})
    pd.testing.assert_frame_equal(fit, fit_outcome(nullable, **ARGUMENTS).tidy(), rtol=1e-7)
    shifted = table.assign(phq9_post=table["phq9_post"] * 2 + 10)
    one, two = fit_outcome(table, **ARGUMENTS).effects(), fit_outcome(shifted, **ARGUMENTS).effects()
    np.testing.assert_allclose(one[["d", "r", "r_low"]], two[["d", "r", "r_low"]], rtol=1e-6)
    np.testing.assert_allclose(2 * one["difference"], two["difference"], rtol=1e-6)


def test_one_therapist_is_least_squares():
    table = make_patients()
    one = fit_outcome(table.assign(therapist="t0"), **ARGUMENTS)
    none = fit_outcome(table.drop(columns="therapist"), **ARGUMENTS)
    pd.testing.assert_frame_equal(one.tidy(), none.tidy())
    assert one.diagnostics["therapists"] == 0
    own = fit_outcome(table.assign(therapist=table["patient"]), **ARGUMENTS)
    pd.testing.assert_frame_equal(own.tidy(), none.tidy())


def test_the_same_exposure_for_all_is_no_exposure():
    table = make_patients()
    fit = fit_outcome(table.assign(n_rated=8), **ARGUMENTS)
    pd.testing.assert_frame_equal(fit.tidy(), fit_outcome(table, **ARGUMENTS, exposure=None).tidy())
    assert "same number of rated sessions" in fit.diagnostics["notes"][-1]


def test_awkward_column_names_and_covariates():
    table = make_patients().rename(columns={"phq9_post": "PHQ 9: end", "therapist": "who treats"})
    table["arm"] = np.where(np.arange(len(table)) % 2, "a", "b")
    fit = fit_outcome(table, post="PHQ 9: end", pre="phq9_pre", covariates=["arm"], therapist="who treats")
    assert any("arm" in term for term in fit.tidy()["term"])
    assert fit.diagnostics["therapists"] == 8


def test_predictions_of_new_patients():
    table = make_patients(therapists=False)
    fit = fit_outcome(table, **ARGUMENTS)
    made = fit.predict(table.head(3))["prediction"]
    by_hand = fit.tidy().set_index("term")["estimate"]
    first = table.iloc[0]
    expected = by_hand["Intercept"] + by_hand["phq9_pre"] * first["phq9_pre"] + by_hand["n_rated"] * first["n_rated"]
    expected += by_hand.get(f"pattern_{first['pattern']}", 0.0)
    assert made.iloc[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="pattern='unheard'"):
        fit.predict(table.head(2).assign(pattern="unheard"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(pattern="none"), "nothing to compare"),
        (lambda t: t[t["pattern"] != "none"], "has the pattern 'none'"),
        (lambda t: t.drop(columns="n_rated"), "no column 'n_rated'"),
        (lambda t: t.assign(phq9_post="x"), "must hold numbers"),
        (lambda t: pd.concat([t, t]), "Duplicate patient rows"),
        (lambda t: t.assign(phq9_post=5.0), "same value in every row"),
        (lambda t: t.assign(phq9_post=t["phq9_pre"]), "no residual"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(als.DataError, match=message):
        fit_outcome(change(make_patients()), **ARGUMENTS)


def test_too_few_patients():
    table = make_patients(therapists=False).groupby("pattern").head(1)
    with pytest.raises(als.DataError, match="cannot carry"):
        fit_outcome(table, **ARGUMENTS)


# -- fit_next_session -----------------------------------------------------------------------------------------

NEXT = {"symptom": "phq9", "alliance": "alliance"}


@pytest.fixture(scope="module")
def study():
    return als.simulate_study(n_patients=80, n_therapists=6, seed=5, rupture_rate=0.08)


def test_rows_by_hand():
    sessions = pd.DataFrame(
        {
            "patient": ["a"] * 5 + ["b"] * 3 + ["c"] * 4,
            "session": [1, 2, 3, 5, 6, 1, 2, 3, 1, 2, 3, 4],
            "alliance": [4.0, 5.0, np.nan, 3.0, 4.0, 2.0, 3.0, 4.0, 3.0, 3.5, 4.0, 4.5],
            "phq9": [10.0, 9.0, 8.0, 7.0, 5.0, 15.0, np.nan, 13.0, 12.0, 11.0, 13.0, 9.0],
        }
    )
    fit = fit_next_session(sessions, **NEXT, slope=False, initial=False)
    rows = fit.data[["patient", "session", "phq9", "phq9_next", "alliance_within"]]
    # a1->2, a2->3 (a3: no alliance, and no session 4), a5->6; b: 1->2 unrated, 2->3 symptom missing; c1, c2, c3
    assert rows["patient"].tolist() == ["a", "a", "a", "c", "c", "c"]
    assert rows["phq9_next"].tolist() == [9.0, 8.0, 5.0, 11.0, 13.0, 9.0]
    assert rows["alliance_within"].tolist() == [0.0, 0.5, -1.0, 0.0, 0.25, 0.5]
    whole = fit_next_session(sessions, **NEXT, centre="patient", slope=False, initial=False).data
    assert whole["alliance_within"].tolist() == [0.0, 1.0, -1.0, -0.75, -0.25, 0.25]
    assert fit.diagnostics["rows_lost"] == {
        "last session of a patient": 3,
        "no row for the next session": 1,
        "no phq9_next": 1,
        "no phq9": 1,
    }


def test_nothing_after_the_next_session_enters(study):
    """Altering every session after t + 1 leaves the row of session t as it was."""
    events = study.events
    fit = fit_next_session(study.sessions, events, **NEXT, therapist=None, slope=False)
    late = study.sessions["session"] > 6
    altered = study.sessions.assign(
        alliance=study.sessions["alliance"].mask(late, 1.0), phq9=study.sessions["phq9"].mask(late, 27.0)
    )
    again = fit_next_session(altered, events, **NEXT, therapist=None, slope=False)

    def early(data):
        known = ["patient", "session", "phq9", "phq9_next", "phq9_first", "alliance_within", "alliance_between"]
        states = ["rupture_open", "repaired_before", "rupture_open_between", "repaired_before_between"]
        return data.loc[data["session"] < 6, [*known, *states]].reset_index(drop=True)

    pd.testing.assert_frame_equal(early(fit.data), early(again.data))


def test_lookahead_is_refused(study):
    ahead = study.events.copy()
    ahead.attrs = {"prospective": False}
    with pytest.raises(ValueError, match="'truth' looks ahead"):
        fit_next_session(study.sessions, ahead, **NEXT)
    fit = fit_next_session(study.sessions, ahead, **NEXT, allow_lookahead=True)
    assert "may look ahead" in fit.diagnostics["notes"][0]


def test_terms_choices_and_effects(study):
    fit = fit_next_session(study.sessions, study.events, **NEXT)
    assert fit.diagnostics["rule"] == "truth"
    effects = fit.effects().set_index("term")
    within = effects.loc["alliance_within"]
    sd = {}
    for name in ("alliance_within", "phq9_next"):
        away = fit.data[name] - fit.data.groupby("patient")[name].transform("mean")
        sd[name] = np.sqrt((away**2).sum() / (len(away) - fit.data["patient"].nunique()))
    assert within["standardised"] == pytest.approx(within["estimate"] * sd["alliance_within"] / sd["phq9_next"])
    open_ = effects.loc["rupture_open"]
    assert open_["standardised"] == pytest.approx(open_["estimate"] / sd["phq9_next"])
    assert effects.loc[["alliance_between", "rupture_open_between"], "standardised"].isna().all()
    bare = fit_next_session(study.sessions, **NEXT, initial=False, slope=False, therapist=None)
    assert bare.tidy()["term"].tolist() == [
        "Intercept",
        "phq9",
        "alliance_within",
        "alliance_between",
        "session",
    ]
    detrended = fit_next_session(study.sessions, study.events, **NEXT, centre="detrend")
    assert detrended.diagnostics["rows"] <= fit.diagnostics["rows"]
    serial = fit_next_session(study.sessions, **NEXT, correlation="ar1", therapist=None, slope=False)
    assert "rho" in set(serial.variances()["term"])


def test_standard_errors_count_the_uncertainty_of_the_variances(study):
    """The added part by numerical differences: the estimate refitted at moved variance parameters."""
    fit = fit_next_session(study.sessions, study.events, **NEXT, therapist=None)
    engine = fit.fit
    theta, design = engine.optimum.theta, engine.design
    moves = []
    for k in range(len(theta)):
        step = np.zeros(len(theta))
        step[k] = 1e-5 * max(abs(theta[k]), 1e-3)
        ends = [engine.model.deviance(theta + sign * step).beta for sign in (1, -1)]
        moves.append(design.x_map @ (ends[0] - ends[1]) / (2 * step[k]) * design.y_scale)
    moves = np.array(moves)
    spread = moves.T @ engine.variance_curvature.covariance[:-1, :-1] @ moves
    expected = np.sqrt(np.diag(engine.covariance.to_numpy() + spread))
    np.testing.assert_allclose(fit.tidy()["std_error"], expected, rtol=1e-5)
    assert (fit.tidy()["std_error"] >= engine.tidy()["std_error"]).all()
    np.testing.assert_allclose(fit.tidy()["estimate"], engine.tidy()["estimate"])


def test_no_ruptures_leaves_their_terms_out_and_says_so():
    calm = als.simulate_study(n_patients=40, n_therapists=4, seed=2, rupture_rate=0.0)
    fit = fit_next_session(calm.sessions, calm.events, **NEXT)
    assert fit.diagnostics["left_out"] == [
        "rupture_open",
        "repaired_before",
        "rupture_open_between",
        "repaired_before_between",
    ]
    assert "never vary" in " ".join(fit.diagnostics["notes"])


def test_next_session_invariances(study):
    sessions = study.sessions.drop(columns="therapist")
    fit = fit_next_session(sessions, study.events, **NEXT).tidy()
    shuffled = fit_next_session(sessions.sample(frac=1, random_state=3), study.events, **NEXT).tidy()
    pd.testing.assert_frame_equal(fit, shuffled, rtol=1e-5, atol=1e-8)
    moved = fit_next_session(sessions.assign(alliance=sessions["alliance"] + 100), study.events, **NEXT).tidy()
    others = fit["term"] != "Intercept"
    np.testing.assert_allclose(fit.loc[others, "estimate"], moved.loc[others, "estimate"], rtol=1e-4, atol=1e-7)


def test_sessions_without_neighbours():
    lone = pd.DataFrame({"patient": [1, 2, 3], "session": [1, 1, 1], "alliance": [4.0, 3.0, 5.0], "phq9": [9.0, 8, 7]})
    with pytest.raises(als.DataError, match="last session of a patient: 3"):
        fit_next_session(lone, **NEXT)


def test_combinations_of_other_terms_are_left_out_and_said(study):
    """With two patients the mean alliance is a function of the first symptom score."""
    two = study.sessions[study.sessions["patient"].isin(study.sessions["patient"].unique()[:2])]
    fit = fit_next_session(two, **NEXT, centre="patient", slope=False, therapist=None)
    assert fit.diagnostics["aliased"] == ["alliance_between"]
    assert "combinations of other terms" in " ".join(fit.diagnostics["notes"])


def test_a_symptom_that_is_computed_is_refused(study):
    with pytest.raises(als.DataError, match="no residual"):
        fit_next_session(study.sessions.assign(phq9=study.sessions["session"] * 1.0), **NEXT)


def test_one_patient_per_therapist_needs_no_therapist_level(study):
    own = fit_next_session(study.sessions.assign(therapist=study.sessions["patient"]), study.events, **NEXT)
    none = fit_next_session(study.sessions, study.events, **NEXT, therapist=None)
    pd.testing.assert_frame_equal(own.tidy(), none.tidy())


# -- fit_growth -----------------------------------------------------------------------------------------------


def test_growth_slopes_and_losses(study):
    events = als.detect_ruptures(study.sessions, score="alliance", rule="previous_2pooled")
    patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
    fit = fit_growth(study.sessions, patients, measure="phq9")
    slopes = fit.slopes(over=10)
    terms = fit.tidy().set_index("term")["estimate"]
    for row in slopes.itertuples():
        extra = terms.get(f"sessions_since_first:pattern_{row.pattern}", 0.0)
        expected = extra if row.kind == "difference" else terms["sessions_since_first"] + extra
        assert row.estimate == pytest.approx(expected)
        assert row.d == pytest.approx(10 * row.estimate / fit.start_sd)
    assert slopes[slopes["kind"] == "slope"]["pattern"].tolist() == list(fit.diagnostics["patterns"])
    lost = sum(fit.diagnostics["rows_lost"].values())
    assert fit.diagnostics["rows"] + lost == len(study.sessions)
    assert fit.glance()["model"][0] == "growth"


def test_growth_refusals(study):
    patients = pd.DataFrame({"patient": study.endings["patient"], "pattern": "none"})
    with pytest.raises(als.DataError, match="nothing to compare"):
        fit_growth(study.sessions, patients, measure="phq9")
    with pytest.raises(als.DataError, match="Duplicate patient rows"):
        fit_growth(study.sessions, pd.concat([patients, patients]), measure="phq9")


# -- one vocabulary -------------------------------------------------------------------------------------------


def test_every_fit_speaks_the_shared_vocabulary(study):
    events = als.detect_ruptures(study.sessions, score="alliance", rule="previous_2pooled")
    patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
    fits = [
        fit_outcome(patients, **ARGUMENTS),
        fit_outcome(patients.drop(columns="therapist"), **ARGUMENTS),
        fit_next_session(study.sessions, events, **NEXT),
        fit_growth(study.sessions, patients, measure="phq9"),
    ]
    for fit in fits:
        terms = als.tidy(fit, level=0.9)
        narrow = als.tidy(fit, level=0.5)
        assert (terms["ci_low"] < narrow["ci_low"]).all()
        assert list(als.glance(fit))[:7] == [
            "model",
            "n_rows",
            "n_groups",
            "log_likelihood",
            "aic",
            "bic",
            "converged",
        ]
        assert als.variances(fit)["group"].iloc[-1] == "residual"
        assert fit.summary()
        assert "<table" in fit._repr_html_()
        with pytest.raises(AttributeError):
            fit.fit = None


def test_least_squares_is_that_of_statsmodels():
    from statsmodels.regression.linear_model import OLS

    from alliance_stats.outcome.linear import fit_linear

    rng = np.random.default_rng(4)
    table = pd.DataFrame({"x": rng.normal(1000, 3, 80), "z": rng.normal(0, 1e-3, 80)})
    table["y"] = 2 + 0.3 * table["x"] - 40 * table["z"] + rng.normal(0, 1, 80)
    fit = fit_linear("y ~ x + z", table)
    theirs = OLS(table["y"], table[["x", "z"]].assign(Intercept=1.0)[["Intercept", "x", "z"]]).fit()
    ours = fit.tidy(level=0.9).set_index("term")
    np.testing.assert_allclose(ours["estimate"], theirs.params, rtol=1e-8)
    np.testing.assert_allclose(ours["std_error"], theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(ours["p_value"], theirs.pvalues, rtol=1e-6)
    np.testing.assert_allclose(ours[["ci_low", "ci_high"]], theirs.conf_int(0.1), rtol=1e-7)
    np.testing.assert_allclose(fit.log_likelihood, theirs.llf, rtol=1e-10)
