"""Kenward-Roger, F tests, marginal means, robust covariances, profiles, likelihood ratios and R2 against R."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared_data import real_data

from alliance_stats.mixed.answers.anova import anova
from alliance_stats.mixed.answers.compare import compare
from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.means import marginal_means, marginal_slopes
from alliance_stats.mixed.answers.profile import profile_intervals
from alliance_stats.mixed.answers.r_squared import r_squared
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.mixed.fit import fit_mixed

REFERENCE = Path(__file__).parents[1] / "reference" / "mixed"
LMER = {spec["name"]: spec for spec in json.loads((REFERENCE / "lmer_models.json").read_text())["models"]}
INFERENCE = json.loads((REFERENCE / "inference.json").read_text())


def by_name(kind):
    return {spec["name"]: spec for spec in INFERENCE[kind]}


def read(name):
    if name.startswith("shared:"):
        path = real_data(name.removeprefix("shared:"))
        return pd.read_csv(path).rename(columns={"bdi.pre": "bdi_pre"})
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


CACHE = {}


def fit_of(name):
    if name not in CACHE:
        spec = LMER[name]
        data = read(spec["data"])
        if spec["subset"]:
            data = data.query(spec["subset"].replace("'", '"'))
        CACHE[name] = fit_mixed(spec["formula"].replace("bdi.pre", "bdi_pre"), data, reml=spec["reml"])
    return CACHE[name]


def assert_anova(table, reference):
    """Same terms (whatever the order inside an interaction), df, F and p."""
    ours = {frozenset(row.term.split(":")): row for row in table.itertuples()}
    assert len(ours) == len(reference)
    for row in reference:
        found = ours[frozenset(row["term"].replace("bdi.pre", "bdi_pre").split(":"))]
        assert found.df1 == row["num_df"]
        assert found.df2 == pytest.approx(row["den_df"], rel=1e-3)
        assert found.statistic == pytest.approx(row["f"], rel=1e-5)
        assert found.p_value == pytest.approx(row["p"], rel=1e-2, abs=1e-14)


@pytest.mark.parametrize("name", [name for name in LMER if name != "calendar_year"])
def test_type_three_tests_are_lmertests(name):
    assert_anova(anova(fit_of(name)), LMER[name]["anova"])


def test_type_three_does_not_depend_on_the_coding():
    data = read("three_level")
    tables = [
        anova(fit_mixed(f"y ~ {arm} * sex + session + (1 | patient)", data))
        for arm in ("arm", "C(arm, contr.sum)", "C(arm, contr.treatment('TAU'))", "C(arm, contr.helmert)")
    ]
    for table in tables[1:]:
        assert table["df1"].tolist() == tables[0]["df1"].tolist()
        np.testing.assert_allclose(table["statistic"], tables[0]["statistic"], rtol=1e-6)


@pytest.mark.parametrize("name", by_name("kenward_roger"))
def test_kenward_roger_is_pbkrtests(name):
    spec, fit = by_name("kenward_roger")[name], fit_of(name)
    adjusted = kenward_roger(fit)
    error = np.sqrt(np.diag(np.atleast_2d(spec["vcov"])))
    np.testing.assert_allclose(np.sqrt(np.diag(adjusted.covariance)), error, rtol=1e-6)
    np.testing.assert_allclose(adjusted.covariance, spec["vcov"], rtol=1e-5, atol=1e-6 * error.min() ** 2)
    np.testing.assert_allclose(adjusted.df(np.eye(len(error))), spec["df"], rtol=1e-4)
    assert_anova(anova(fit, df=adjusted), spec["anova"])


def test_kenward_roger_by_its_definition_with_serial_correlation():
    """No package offers it for comparison: the matrices of the paper, written out over all rows by differences."""
    data = read("serial").query("patient < 'p013'")
    fit = fit_mixed("y ~ session + x + (1 + session | patient)", data, correlation="ar1", time="session")
    cov, sigma2, rho = fit.covariances[0], fit.residual_variance, fit.rho
    s = data["session"].to_numpy(float)
    x = np.column_stack([np.ones(len(s)), s, data["x"]])
    z = x[:, :2]
    same = data["patient"].to_numpy()[:, None] == data["patient"].to_numpy()[None, :]

    def v(parameters):
        d = np.array([[parameters[0], parameters[1]], [parameters[1], parameters[2]]])
        noise = (
            parameters[3]
            * np.sign(parameters[4]) ** np.abs(s[:, None] - s)
            * np.abs(parameters[4]) ** np.abs(s[:, None] - s)
        )
        return same * (z @ d @ z.T + noise)

    at = np.array([cov[0, 0], cov[0, 1], cov[1, 1], sigma2, rho])
    h = 1e-4 * np.abs(at)

    def derivative(k):
        step = np.eye(5)[k] * h
        return (v(at + step) - v(at - step)) / (2 * h[k])

    def second(k, j):
        one, two = np.eye(5)[k] * h, np.eye(5)[j] * h
        return (v(at + one + two) - v(at + one - two) - v(at - one + two) + v(at - one - two)) / (4 * h[k] * h[j])

    inverse = np.linalg.inv(v(at))
    phi = np.linalg.inv(x.T @ inverse @ x)
    changes = [derivative(k) for k in range(5)]
    p = [-x.T @ inverse @ change @ inverse @ x for change in changes]
    information, middle = np.empty((5, 5)), np.zeros((3, 3))
    q = {}
    for k in range(5):
        for j in range(5):
            q[k, j] = x.T @ inverse @ changes[k] @ inverse @ changes[j] @ inverse @ x
            information[k, j] = np.trace(inverse @ changes[k] @ inverse @ changes[j])
            information[k, j] += -2 * np.trace(phi @ q[k, j]) + np.trace(phi @ p[k] @ phi @ p[j])
    weight = 2 * np.linalg.inv(information)
    for k in range(5):
        for j in range(5):
            bend = x.T @ inverse @ second(k, j) @ inverse @ x
            middle += weight[k, j] * (q[k, j] - p[k] @ phi @ p[j] - bend / 4)
    expected = phi + 2 * phi @ (middle + middle.T) / 2 @ phi
    found = kenward_roger(fit)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-4, atol=1e-6 * expected.max())
    row = np.array([0.0, 1.0, 0.0])
    size = row @ phi @ row
    slope = np.array([row @ phi @ part @ phi @ row for part in p])
    assert found.df(row)[0] == pytest.approx(2 * size**2 / (slope @ weight @ slope), rel=1e-4)


def test_kenward_roger_needs_reml():
    with pytest.raises(ValueError, match="REML"):
        kenward_roger(fit_of("reaction_slope_ml"))


@pytest.mark.parametrize(
    "case", INFERENCE["marginal_means"], ids=lambda case: f"{case['name']}-{case['case']}-{case['kind']}"
)
def test_marginal_means_are_emmeans(case):
    fit, kind, df = fit_of(case["name"]), case["kind"], case["case"]
    rows = pd.DataFrame(case["rows"])
    if "at 2, 8" in kind:
        effects = marginal_slopes(fit, "session", "session", at={"session": [2, 8]}, df=df)
    elif "slopes" in kind:
        effects = marginal_slopes(fit, "session", "arm", df=df)
    else:
        at = {"session": 10, "within": 0.5} if "session=10" in kind else None
        effects = marginal_means(fit, ["arm", "sex"] if "arm sex" in kind else "arm", at=at, df=df)
    if "pairs" in kind:
        table = effects.contrasts()
        assert table["term"].tolist() == rows["contrast"].tolist()
    else:
        table = effects.tidy()
    if "arm sex" in kind:
        rows = rows.sort_values(["arm", "sex"])
        assert table["sex"].tolist() == rows["sex"].tolist()
    name = next(column for column in ("emmean", "slope", "estimate") if column in rows)
    # emtrends differentiates numerically, which leaves 1e-7 (1e-5 for the curve)
    np.testing.assert_allclose(table["estimate"], rows[name], rtol=1e-5 if "at 2, 8" in kind else 1e-6)
    np.testing.assert_allclose(table["std_error"], rows["SE"], rtol=1e-5 if "at 2, 8" in kind else 1e-6)
    np.testing.assert_allclose(table["df"], rows["df"], rtol=1e-3)
    if "lower.CL" in rows:
        np.testing.assert_allclose(table["ci_low"], rows["lower.CL"], rtol=1e-4)
    if "p.value" in rows:
        np.testing.assert_allclose(table["p_value"], rows["p.value"], rtol=1e-3)


def test_contrasts_adjust_and_refer():
    means = marginal_means(fit_of("arm_by_session"), "arm")
    plain, holm = means.contrasts(), means.contrasts(adjust="holm")
    order = np.argsort(plain["p_value"].to_numpy())
    expected = np.maximum.accumulate(plain["p_value"].to_numpy()[order] * [3, 2, 1])
    np.testing.assert_allclose(holm["p_value"].to_numpy()[order], np.minimum(expected, 1))
    against = means.contrasts("reference", reference="TAU")
    assert against["term"].tolist() == ["CBT - TAU", "PDT - TAU"]
    assert means.test()["df1"].iloc[0] == 2
    with pytest.raises(ValueError, match="TAU"):
        means.contrasts("reference", reference="TUA")
    with pytest.raises(ValueError, match="session"):
        marginal_means(fit_of("arm_by_session"), "sesion")


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
@pytest.mark.parametrize("name", by_name("robust"))
def test_cluster_robust_is_clubsandwiches(name, kind):
    spec, fit = by_name("robust")[name], fit_of(name)
    robust = cluster_robust(fit, kind=kind)
    assert robust.cluster == spec["cluster"]
    reference = np.atleast_2d(spec[kind]["vcov"])
    scale = np.sqrt(np.outer(np.diag(reference), np.diag(reference)))
    assert np.abs((robust.covariance - reference) / scale).max() < 1e-6
    p = len(reference)
    np.testing.assert_allclose(robust.df(np.eye(p)), spec[kind]["df"], rtol=1e-4)
    test = robust.test(np.eye(p)[1:]).iloc[0]
    wald = spec[kind]["wald"]
    assert test["statistic"] == pytest.approx(wald["f"], rel=1e-5)
    assert test["df2"] == pytest.approx(wald["den_df"], rel=1e-4)
    assert test["p_value"] == pytest.approx(wald["p"], rel=1e-3)


def test_cluster_robust_refuses_crossed_factors():
    with pytest.raises(ValueError, match="crossed"):
        cluster_robust(fit_of("transfers"))


def r_profile_names(name):
    """R's labels of the rows of profile_intervals, in R's order."""
    return INFERENCE["profiles"][[p["name"] for p in INFERENCE["profiles"]].index(name)]["parameters"]


def r_label(row):
    def r(term):
        return "(Intercept)" if term == "Intercept" else term.replace("[T.", "").replace("]", "")

    if row.kind == "sd":
        return f"sd_{r(row.term)}|{row.group}"
    if row.kind == "correlation":
        return f"cor_{r(row.term_2)}.{r(row.term)}|{row.group}"
    return "sigma" if row.kind == "sigma" else r(row.term)


@pytest.mark.parametrize("name", by_name("profiles"))
def test_profile_intervals_are_lme4s(name):
    spec = by_name("profiles")[name]
    table = profile_intervals(fit_of(name), which="all", criterion="ml")
    ours = {r_label(row): (row.ci_low, row.ci_high) for row in table.itertuples()}
    assert set(ours) == set(spec["parameters"])
    for label, low, high in zip(spec["parameters"], spec["low"], spec["high"]):
        if any(label in words for words in spec["says"]):
            continue  # lme4 says itself that its spline is bad here: the next test
        # lme4 reads its ends off a spline through the profile: 1e-3 is its accuracy, not ours
        assert ours[label] == pytest.approx((low, high), rel=1e-3, abs=1e-3), label


def test_where_lme4_doubts_its_profile_the_definition_decides():
    """lme4 reports an upper end of .953 for this correlation and warns; the profile never reaches the cut before 1."""
    from scipy.optimize import minimize

    from alliance_stats.mixed.engine.fitted import user_deviance, user_vector

    spec = by_name("profiles")["reaction_slope"]
    place = spec["parameters"].index("cor_day.(Intercept)|subject")
    assert spec["high"][place] < 0.96
    assert any("bad spline fit" in words for words in spec["says"])
    fit = fit_of("reaction_slope").with_criterion(reml=False)
    lowest = user_deviance(fit, user_vector(fit)[1])[0]

    def at_one(logs):
        a, b, s = np.exp(logs)
        return user_deviance(fit, np.array([a * a, a * b, b * b, s * s]))[0]

    height = minimize(at_one, np.log([7.0, 6.0, 24.0]), method="Nelder-Mead").fun - lowest
    assert height < 3.84
    table = profile_intervals(fit)
    assert table.loc[table["kind"] == "correlation", "ci_high"].item() == 1.0


@pytest.mark.parametrize("name", by_name("dense_profiles"))
def test_profile_of_the_serial_correlation(name):
    """Against the written-out likelihood in R (dense.R), which solves the defining equation itself."""
    spec = by_name("dense_profiles")[name]
    effects = "1 + session" if "slope" in name else "1"
    correlation, time = ("car1", "day") if "car1" in name else ("ar1", "session")
    formula = f"y ~ session + x + ({effects} | patient)"
    fit = fit_mixed(formula, read("serial"), reml="ml" not in name, correlation=correlation, time=time)
    row = profile_intervals(fit).query("kind == 'rho'").iloc[0]
    assert row["estimate"] == pytest.approx(spec["estimate"], rel=1e-6)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(spec["interval"], rel=1e-6)


@pytest.mark.parametrize("case", INFERENCE["likelihood_ratio"], ids=lambda case: case["test"]["name"])
def test_likelihood_ratio(case):
    spec, data = case["test"], read(case["data"])
    smaller, larger = fit_mixed(spec["small"], data), fit_mixed(spec["large"], data)
    row = compare(smaller, larger).iloc[1]
    assert row["statistic"] == pytest.approx(spec["statistic"], abs=1e-6)
    assert row["null"] == spec["null"]
    assert row["criterion"] == ("REML" if spec["reml"] else "ML")
    assert row["p_value"] == pytest.approx(spec["p"], rel=1e-5)


@pytest.mark.parametrize("name", by_name("r_squared"))
def test_r_squared(name):
    spec = by_name("r_squared")[name]
    row = r_squared(fit_of(name)).iloc[0]
    assert row["marginal"] == pytest.approx(spec["marginal"], rel=1e-6)
    assert row["conditional"] == pytest.approx(spec["conditional"], rel=1e-6)
    assert row["residual"] == pytest.approx(spec["residual"], rel=1e-5)
