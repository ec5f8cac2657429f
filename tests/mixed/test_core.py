"""fit_mixed: a case worked by hand, what must not change the answer, and the published fits."""

import numpy as np
import pandas as pd
import pytest
from shared_data import real_data

from alliance_stats.mixed.answers.r_squared import icc
from alliance_stats.mixed.design.formula import parse
from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.schema import DataError

TINY = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})


def study(seed=0, patients=40, therapists=8, sessions=12, rho=0.0):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), sessions)
    session = np.tile(np.arange(1, sessions + 1), patients)
    therapist = patient % therapists
    noise = rng.normal(0, 2, (patients, sessions))
    for s in range(1, sessions):
        noise[:, s] = rho * noise[:, s - 1] + np.sqrt(1 - rho**2) * noise[:, s]
    start, slope = rng.normal(0, 3, patients), rng.normal(0, 0.3, patients)
    alliance = rng.normal(size=len(patient))
    y = 15 - 0.4 * session + 0.5 * alliance + start[patient] + slope[patient] * session
    y = y + rng.normal(0, 1.5, therapists)[therapist] + noise.ravel()
    data = pd.DataFrame({"patient": patient, "therapist": therapist, "session": session, "alliance": alliance, "y": y})
    data["arm"] = np.where(patient % 3 == 0, "cbt", np.where(patient % 3 == 1, "ipt", "wait"))
    kept = rng.uniform(size=len(data)) > 0.15
    return data[kept].reset_index(drop=True)


FULL = "y ~ session + alliance + (1 + session | patient) + (1 | therapist)"


def same(left, right, *, atol=1e-6):
    assert left.log_likelihood == pytest.approx(right.log_likelihood, abs=1e-7)
    np.testing.assert_allclose(left.tidy().iloc[:, 1:], right.tidy().iloc[:, 1:], rtol=1e-5, atol=atol)
    numbers = ["variance", "sd", "correlation"]
    np.testing.assert_allclose(left.variances()[numbers], right.variances()[numbers], rtol=1e-4, atol=atol)


# -- by hand ------------------------------------------------------------------------------------------------------


def test_balanced_one_way_layout_by_hand():
    """REML in a balanced layout is the analysis of variance: sigma^2 = MSW, tau^2 = (MSB - MSW) / n.

    Means 2, 13/3, 6, 8/3; MSW = (2 + 14/3 + 2 + 8/3) / 8 = 17/12; MSB = 347/36; the mean's variance is MSB / 12, df 3.
    """
    fit = fit_mixed("y ~ 1 + (1 | g)", TINY)
    within, between = 17 / 12, 347 / 36
    table = fit.variances()
    assert table["variance"].tolist() == pytest.approx([(between - within) / 3, within], rel=1e-6)
    row = fit.tidy().iloc[0]
    assert row["estimate"] == pytest.approx(3.75)
    assert row["std_error"] == pytest.approx(np.sqrt(between / 12), rel=1e-6)
    assert row["df"] == pytest.approx(3, rel=1e-4)
    n, k = 12, 4
    deviance = (n - k) * np.log(within) + (k - 1) * np.log(between) + np.log(n)
    deviance += (n - 1) * (1 + np.log(2 * np.pi))
    assert -2 * fit.log_likelihood == pytest.approx(deviance, abs=1e-9)
    share = icc(fit).set_index("group")["icc"]
    tau2 = (between - within) / 3
    assert share["g"] == pytest.approx(tau2 / (tau2 + within), rel=1e-6)


def test_maximum_likelihood_of_the_balanced_layout_by_hand():
    """ML divides the between mean square by k instead of k - 1: tau^2 = (MSB (k-1)/k - MSW) / n."""
    fit = fit_mixed("y ~ 1 + (1 | g)", TINY, reml=False)
    expected = [(347 / 36 * 3 / 4 - 17 / 12) / 3, 17 / 12]
    assert fit.variances()["variance"].tolist() == pytest.approx(expected, rel=1e-6)


def test_shrinkage_by_hand():
    """The conditional mode is the group's deviation times n tau^2 / (n tau^2 + sigma^2)."""
    fit = fit_mixed("y ~ 1 + (1 | g)", TINY)
    tau2, sigma2 = fit.variances()["variance"]
    weight = 3 * tau2 / (3 * tau2 + sigma2)
    effects = fit.random_effects["g"]
    assert effects["Intercept"].tolist() == pytest.approx([weight * (m - 3.75) for m in (2, 13 / 3, 6, 8 / 3)])
    assert effects["Intercept_sd"].tolist() == pytest.approx([np.sqrt(tau2 * (1 - weight))] * 4)


def test_formula_reads_lme4_syntax():
    parsed = parse("np.log(y) ~ a*b + I(a + b) + (1 + t | therapist/patient) + (0 + t || site)")
    assert parsed.outcome == "np.log(y)"
    assert parsed.fixed == "a*b + I(a + b)"
    assert [(term.lhs, term.factor) for term in parsed.random] == [
        ("1 + t", "therapist"),
        ("1 + t", "therapist:patient"),
        ("0 + t", "site"),
    ]


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y + x", "no model formula"),
        ("y ~ x", "no random part"),
        ("y ~ x + (1 | )", "cannot be read"),
        ("y ~ x + (1 | g + h)", "no grouping factor"),
        ("y ~ x + (1 | g", "not closed"),
        ("y ~ x + (1 | g) + (1 | g)", "is given twice"),
        ("y ~ (1 | a) + (1 | b) + (1 | c) + (1 | x) + (1 | g)", "5 grouping factors"),
    ],
)
def test_bad_formulas_are_refused_in_words(formula, words):
    data = pd.DataFrame({name: np.arange(4.0) for name in "yxgabc"})
    with pytest.raises(ValueError, match=words):
        fit_mixed(formula, data)


# -- what must not change the answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"correlation": "ar1", "time": "session"}])
def test_row_order_ids_and_index_do_not_matter(options):
    data = study(rho=0.4)
    fit = fit_mixed(FULL, data, **options)
    shuffled = data.sample(frac=1, random_state=3)
    same(fit, fit_mixed(FULL, shuffled, **options))
    names = data.assign(
        patient=[f"id {patient * 7919 % 1000:04d}" for patient in data["patient"]],
        therapist=pd.Categorical([f"T{therapist}" for therapist in data["therapist"]]),
    )
    same(fit, fit_mixed(FULL, names, **options))
    indexed = data.set_index(["patient", "session"], drop=False)
    indexed.index.names = ["a", "b"]
    same(fit, fit_mixed(FULL, indexed, **options))
    nullable = data.convert_dtypes()
    same(fit, fit_mixed(FULL, nullable, **options))
    fitted = fit_mixed(FULL, shuffled, **options).fitted()
    pd.testing.assert_series_equal(fitted.sort_index(), fit.fitted(), rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"reml": False}, {"correlation": "ar1", "time": "session"}])
def test_origin_and_unit_of_time_do_not_move_the_deviance(options):
    data = study()
    fit = fit_mixed(FULL, data, **options)
    years = data.assign(year=2019 + data["session"] / 52)
    moved = fit_mixed(FULL.replace("session", "year"), years, **options)
    change = 0.0 if options.get("reml", True) is False else -2 * np.log(52)  # log|X'V^-1 X| in the new unit
    assert -2 * moved.log_likelihood == pytest.approx(-2 * fit.log_likelihood + change, abs=1e-6)
    assert moved.coefficients["year"] == pytest.approx(52 * fit.coefficients["session"], rel=1e-5)
    shifted = fit_mixed(FULL, data.assign(session=data["session"] + 2000), **options)
    assert shifted.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-7)
    assert shifted.tidy()["std_error"].iloc[1] == pytest.approx(fit.tidy()["std_error"].iloc[1], rel=1e-6)
    assert shifted.tidy()["df"].iloc[1:].tolist() == pytest.approx(fit.tidy()["df"].iloc[1:].tolist(), rel=1e-4)


def test_scaling_the_outcome_scales_the_estimates():
    data = study()
    fit, scaled = fit_mixed(FULL, data), fit_mixed(FULL, data.assign(y=data["y"] * 1e6 + 1e9))
    np.testing.assert_allclose(scaled.coefficients.iloc[1:], 1e6 * fit.coefficients.iloc[1:], rtol=1e-6)
    np.testing.assert_allclose(scaled.tidy()["df"], fit.tidy()["df"], rtol=1e-4)


def test_missing_values_are_left_out_and_counted():
    data = study().convert_dtypes()
    holed = data.copy()
    holed.loc[[3, 50], "alliance"] = pd.NA
    holed.loc[[50, 60], "patient"] = pd.NA
    holed.loc[70, "y"] = pd.NA
    before = holed.copy(deep=True)
    fit = fit_mixed(FULL, holed)
    pd.testing.assert_frame_equal(holed, before)
    assert fit.diagnostics["rows_dropped"] == 4
    assert fit.diagnostics["missing"] == {"y": 1, "alliance": 2, "patient": 2}
    same(fit, fit_mixed(FULL, data.drop(index=[3, 50, 60, 70])))
    assert list(fit.fitted().index) == [i for i in data.index if i not in (3, 50, 60, 70)]


def test_nested_ids_may_repeat_between_therapists():
    data = study()
    within = data.assign(number=data.groupby("therapist")["patient"].transform(lambda p: pd.factorize(p)[0]))
    slash = fit_mixed("y ~ session + (1 | therapist/number)", within)
    plain = fit_mixed("y ~ session + (1 | patient) + (1 | therapist)", data)
    assert slash.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-8)
    assert set(slash.random_effects) == {"therapist", "therapist:number"}


def test_equal_weights_change_nothing():
    data = study()
    fit = fit_mixed(FULL, data.assign(w=1.0), weights="w")
    same(fit, fit_mixed(FULL, data))
    with pytest.raises(DataError, match="positive"):
        fit_mixed(FULL, data.assign(w=0.0), weights="w")


def test_factors_and_transforms_go_through_formulaic():
    data = study()
    fit = fit_mixed("y ~ C(arm) * session + np.log(session) + (1 | patient)", data)
    assert fit.terms[:3] == ("Intercept", "C(arm)[T.ipt]", "C(arm)[T.wait]")
    joint = fit.test(["C(arm)[T.ipt]:session", "C(arm)[T.wait]:session"])
    assert joint["df1"].item() == 2
    by_hand = data.assign(
        log=np.log(data["session"]), ipt=1.0 * (data["arm"] == "ipt"), wait=1.0 * (data["arm"] == "wait")
    )
    plain = fit_mixed("y ~ ipt + wait + session + ipt:session + wait:session + log + (1 | patient)", by_hand)
    assert plain.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-8)


def test_columns_of_every_kind():
    data = study()
    plain = fit_mixed("y ~ arm + session + (1 | patient)", data)
    unused = pd.Categorical(data["arm"], categories=["cbt", "ipt", "never", "wait"])
    assert fit_mixed("y ~ arm + session + (1 | patient)", data.assign(arm=unused)).terms == plain.terms
    objects = data.assign(session=data["session"].astype(object))
    assert fit_mixed("y ~ arm + session + (1 | patient)", objects).terms == plain.terms
    numbered = data.assign(arm=pd.factorize(data["arm"])[0])
    for table in (numbered, numbered.convert_dtypes()):
        assert fit_mixed("y ~ C(arm) + (1 | patient)", table).terms == ("Intercept", "C(arm)[T.1]", "C(arm)[T.2]")
    late = data.assign(late=data["session"] > 6)
    assert fit_mixed("y ~ late + (1 | patient)", late).terms == ("Intercept", "late[T.True]")
    spaced = fit_mixed(
        "y ~ `the alliance` + (1 | `the patient`)",
        data.rename(columns=lambda name: f"the {name}" if name != "y" else name),
    )
    assert spaced.terms == ("Intercept", "the alliance")
    curved = fit_mixed("y ~ poly(session, 2) + (1 | patient)", data)
    square = fit_mixed("y ~ session + I(session**2) + (1 | patient)", data)
    np.testing.assert_allclose(curved.fitted(), square.fitted(), rtol=1e-6)
    np.testing.assert_allclose(curved.predict(data.iloc[:5])["prediction"], square.predict(data.iloc[:5])["prediction"])
    with pytest.raises(DataError, match="not among those of the fit, or of levels=: 'act'"):
        plain.predict(data.iloc[:2].assign(arm="act"))
    assert plain.predict(data.iloc[:2].assign(arm=["ipt", None]))["prediction"].isna().tolist() == [False, True]
    assert plain.predict(data.iloc[:0]).shape == (0, 1)


def test_random_effects_of_a_factor():
    data = study()
    cells = fit_mixed("y ~ arm + (0 + arm | therapist) + (1 | patient)", data)
    slopes = fit_mixed("y ~ arm + (1 + arm | therapist) + (1 | patient)", data)
    assert cells.log_likelihood == pytest.approx(slopes.log_likelihood, abs=1e-6)
    assert [name for name in cells.random_effects["therapist"] if not name.endswith("_sd")] == [
        "arm[cbt]",
        "arm[ipt]",
        "arm[wait]",
    ]


def test_dates_count_in_days():
    data = study(rho=0.5)
    dated = data.assign(date=pd.Timestamp("2024-01-08") + pd.to_timedelta(7 * data["session"], unit="D"))
    weeks = fit_mixed(FULL, data, correlation="car1", time="session")
    days = fit_mixed(FULL, dated, correlation="car1", time="date")
    assert days.log_likelihood == pytest.approx(weeks.log_likelihood, abs=1e-7)
    assert days.rho**7 == pytest.approx(weeks.rho, rel=1e-4)


def test_transfers_are_crossed_and_without_them_nested():
    """The crossed engine, forced by one row of one patient, tends to the nested one as that row's weight vanishes.

    Not further than about 1/n: the weightless row still counts as a row in sigma^2.
    """
    data = study(therapists=5)
    moved = data.assign(therapist=data["therapist"].where(data.index != 7, 4), w=np.where(data.index == 7, 1e-9, 1.0))
    crossed = fit_mixed(FULL, moved, weights="w")
    assert crossed.diagnostics["crossed"]
    nested = fit_mixed(FULL, data.drop(index=7))
    assert not nested.diagnostics["crossed"]
    np.testing.assert_allclose(crossed.coefficients, nested.coefficients, rtol=1e-3)
    left = crossed.random_effects["therapist"]
    np.testing.assert_allclose(left, nested.random_effects["therapist"], rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("correlation", [None, "ar1", "car1"])
def test_refit_is_a_new_fit(correlation):
    data = study(rho=0.4)
    options = {"correlation": correlation, "time": "session"} if correlation else {}
    fit = fit_mixed(FULL, data, **options)
    y = fit.design.user_outcome() * 2 + np.arange(fit.design.n) % 5
    other = data.iloc[fit.design.kept].assign(y=y)
    same(fit.refit(y), fit_mixed(FULL, other, **options))


def test_single_contrast_is_the_t_test_of_its_coefficient():
    fit = fit_mixed(FULL, study())
    row = fit.tidy().set_index("term").loc["session"]
    test = fit.test(["session"]).iloc[0]
    assert test["statistic"] == pytest.approx(row["statistic"] ** 2)
    assert (test["df2"], test["p_value"]) == pytest.approx((row["df"], row["p_value"]))


# -- predictions and residuals -----------------------------------------------------------------------------------------


def test_new_patients_get_the_population_prediction():
    data = study()
    fit = fit_mixed(FULL, data)
    new = pd.DataFrame(
        {"patient": [0, 999, 999], "therapist": [0, 0, 999], "session": [3, 3, 3], "alliance": [0.0, 0.0, np.nan]},
        index=["a", "b", "c"],
    )
    population = fit.predict(new)
    patient = fit.predict(new, level="patient", interval="prediction", new_groups="population")
    therapist = fit.predict(new, level="therapist", new_groups="population")
    assert list(patient.index) == ["a", "b", "c"]
    assert patient.loc["b", "prediction"] == pytest.approx(therapist.loc["b", "prediction"])
    assert np.isnan(patient.loc["c", "prediction"])
    assert patient.loc["b", "std_error"] > patient.loc["a", "std_error"]
    moved = fit.random_effects["therapist"].loc[0, "Intercept"]
    assert therapist.loc["b", "prediction"] == pytest.approx(population.loc["b", "prediction"] + moved)
    with pytest.raises(DataError, match="not in the data of the fit"):
        fit.predict(new, level="patient")
    with pytest.raises(DataError, match=r"First at row a .*'0'. Give 'patient' the type it had"):
        fit.predict(new.assign(patient=new["patient"].astype(str)), level="patient")
    with pytest.raises(ValueError, match="level="):
        fit.predict(new, level="patients")


def test_population_interval_is_the_contrast_s():
    fit = fit_mixed(FULL, study())
    new = pd.DataFrame({"session": [1.0, 12.0], "alliance": [0.0, 1.0]})
    found = fit.predict(new, interval="confidence")
    x = np.column_stack([np.ones(2), new["session"], new["alliance"]])
    np.testing.assert_allclose(found["prediction"], x @ fit.coefficients)
    np.testing.assert_allclose(found["std_error"], np.sqrt(np.diag(x @ fit.covariance.to_numpy() @ x.T)))
    assert fit.predict().shape == (fit.design.n, 1)


def test_residuals_are_what_they_are_called():
    data = study(rho=0.5)
    fit = fit_mixed(FULL, data, correlation="ar1", time="session")
    raw = fit.residuals()
    pd.testing.assert_series_equal(raw, data["y"] - fit.fitted(), check_names=False)
    np.testing.assert_allclose(fit.residuals(kind="standardised"), raw / np.sqrt(fit.residual_variance))
    normal = fit.residuals(kind="normalised")
    rho = fit.rho
    patient = data["patient"].iloc[10]
    rows = data.index[data["patient"] == patient]
    gap = data.loc[rows, "session"].to_numpy()
    correlation = rho ** np.abs(gap[:, None] - gap)
    whitened = np.linalg.solve(np.linalg.cholesky(correlation), raw[rows] / np.sqrt(fit.residual_variance))
    np.testing.assert_allclose(normal[rows], whitened, rtol=1e-8)


def test_a_continuous_time_in_another_unit_is_the_same_model():
    data = study(rho=0.5)
    sessions = fit_mixed(FULL, data, correlation="car1", time="session")
    days = fit_mixed(FULL, data.assign(day=data["session"] * 7.0), correlation="car1", time="day")
    discrete = fit_mixed(FULL, data, correlation="ar1", time="session")
    assert sessions.log_likelihood == pytest.approx(discrete.log_likelihood, abs=1e-7)
    assert sessions.rho == pytest.approx(discrete.rho, rel=1e-4)
    assert days.log_likelihood == pytest.approx(sessions.log_likelihood, abs=1e-7)
    assert days.rho**7 == pytest.approx(sessions.rho, rel=1e-4)


def test_words_and_tables():
    fit = fit_mixed(FULL, study(), correlation="ar1", time="session")
    text = fit.summary()
    for word in ("Linear mixed model, REML, AR(1)", "session", "therapist", "Satterthwaite", "rho"):
        assert word in text
    html = fit._repr_html_()
    assert html.startswith("<div>")
    assert "<table" in html
    assert fit.glance().columns[:7].tolist() == [
        "model",
        "n_rows",
        "n_groups",
        "log_likelihood",
        "aic",
        "bic",
        "converged",
    ]
    assert repr(fit).startswith("<MixedFit")


# -- published fits ----------------------------------------------------------------------------------------------------


def read(name):
    return pd.read_csv(real_data(name))


def test_reframed_three_levels():
    data = read("reframed_phq9.csv")
    data = data[(data["grp"] == "RO-DBT") & (data["month_num"] <= 12)].assign(month=lambda t: t["month_num"])
    fit = fit_mixed("phq9 ~ month + (1 + month | patient) + (1 | therapist)", data)
    assert fit.log_likelihood == pytest.approx(-4316.706082, abs=1e-6)
    assert fit.coefficients.tolist() == pytest.approx([17.308423, -0.432262], abs=1e-5)
    table = fit.variances()
    assert table["variance"].dropna().tolist() == pytest.approx([20.9164, 0.2230, 0.2823, 1.5302, 11.5346], rel=5e-4)
    assert table["correlation"].dropna().item() == pytest.approx(0.1307, abs=1e-4)
    assert fit.diagnostics["groups"] == {"patient": 160, "therapist": 22}


def test_reframed_worked_example():
    data = read("reframed_phq9_assessment.csv")
    data = data.assign(tx=1.0 * (data["grp"] == "RO-DBT"), month=data["month"] - data["month"].mean())
    assert fit_mixed("phq9 ~ month*tx + (1|patient)", data).log_likelihood == pytest.approx(-7108.518297, abs=1e-6)
    apart = fit_mixed("phq9 ~ month*tx + (1 + month:tx || patient)", data)
    assert apart.log_likelihood == pytest.approx(-7050.858023, abs=1e-6)


def test_cbasp():
    fit = fit_mixed("symptom_count ~ session*group + (1+session|patient)", read("cbasp_sessions.csv"))
    assert fit.log_likelihood == pytest.approx(-10271.22227, abs=1e-5)
    variance = fit.variances().set_index(["group", "term", "term_2"])["variance"]
    assert variance["patient", "Intercept", ""] == pytest.approx(4.34517, rel=5e-5)
    assert variance["residual", "", ""] == pytest.approx(1.93593, rel=5e-6)


def test_beat_the_blues():
    data = read("hsaur3_btheb_long.csv").rename(columns={"bdi.pre": "pre"})
    fit = fit_mixed("bdi ~ pre+time+treatment+drug+length+(1|subject)", data, reml=False)
    assert fit.log_likelihood == pytest.approx(-935.7459815, abs=1e-6)
    assert fit.coefficients["pre"] == pytest.approx(0.63968, abs=1e-5)
    assert fit.variances()["sd"].tolist() == pytest.approx([6.984, 5.014], abs=1e-3)
