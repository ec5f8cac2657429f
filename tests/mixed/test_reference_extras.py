"""statsmodels as a cross-check on easy cases; bootstrap, diagnostics plot, invariances and refusals of the extras."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.answers.anova import anova
from alliance_stats.mixed.answers.compare import bootstrap_statistics, compare
from alliance_stats.mixed.answers.effects import simulate_outcomes
from alliance_stats.mixed.answers.inference import inference
from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.marginal import marginal_blocks, whitened_residuals
from alliance_stats.mixed.answers.means import marginal_means
from alliance_stats.mixed.answers.plot_diagnostics import plot_diagnostics
from alliance_stats.mixed.answers.profile import profile_intervals
from alliance_stats.mixed.answers.r_squared import r_squared, variance_explained
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.mixed.fit import fit_mixed

DATA = Path(__file__).parents[1] / "reference" / "mixed" / "data"
THREE = "y ~ session + within + (1 + session | patient) + (1 | therapist)"


def read(name):
    return pd.read_csv(DATA / f"{name}.csv")


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    ("name", "fixed", "slopes", "group"),
    [
        ("growth", "distance ~ age * sex", "1", "child"),
        ("reaction", "y ~ day", "1 + day", "subject"),
        ("four_slopes", "y ~ x1", "1 + x1", "patient"),
        ("one_session", "y ~ session", "1 + session", "patient"),
    ],
)
def test_statsmodels_agrees_on_easy_cases(name, fixed, slopes, group, reml):
    import statsmodels.formula.api as smf

    data = read(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels' own deprecations and convergence remarks
        theirs = smf.mixedlm(fixed, data, groups=group, re_formula=f"~{slopes}").fit(reml=reml, method=["lbfgs"])
    ours = fit_mixed(f"{fixed} + ({slopes} | {group})", data, reml=reml)
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-6)
    assert ours.log_likelihood >= theirs.llf - 1e-8
    for term, value in theirs.fe_params.items():
        assert ours.coefficients[term] == pytest.approx(value, rel=1e-5)


# -- the written-out covariance ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "formula", "options"),
    [
        ("three_level", THREE, {}),
        ("three_level", THREE, {"correlation": "ar1", "time": "session"}),
        ("transfers", "y ~ session + x + (1 + session | patient) + (1 | therapist)", {}),
        ("serial", "y ~ session + (1 | patient)", {"correlation": "car1", "time": "day"}),
        ("serial", "y ~ session + (1 | patient)", {"correlation": "ar1", "time": "session", "weights": "weight"}),
    ],
)
def test_the_written_out_covariance_gives_the_engines_likelihood(name, formula, options):
    data = read(name)
    fit = fit_mixed(formula, data.assign(weight=1 + data["session"] % 3), reml=False, **options)
    deviance = 0.0
    for block in marginal_blocks(fit):
        root = np.linalg.cholesky(block.covariance)
        white = np.linalg.solve(root, block.residual)
        deviance += 2 * np.log(np.diag(root)).sum() + white @ white + len(white) * np.log(2 * np.pi)
    deviance += 2 * fit.design.n * np.log(fit.design.y_scale)
    assert deviance == pytest.approx(-2 * fit.log_likelihood, abs=1e-6)


def test_whitened_residuals_of_a_simulated_outcome_are_white():
    data = read("serial")
    fit = fit_mixed("y ~ session + (1 | patient)", data, correlation="ar1", time="session")
    products, squares = [], []
    for y in simulate_outcomes(fit, draws=20, seed=4):
        for group in whitened_residuals(fit.refit(y)):
            products.append(group[1:] * group[:-1])
            squares.append(group**2)
    products, squares = np.concatenate(products), np.concatenate(squares)
    assert abs(products.mean()) < 4 / np.sqrt(len(products))
    assert abs(squares.mean() - 1) < 4 * np.sqrt(2 / len(squares))


# -- comparison --------------------------------------------------------------------------------------------------------
def test_simulated_outcomes_have_the_models_moments():
    fit = fit_mixed("y ~ session + (1 | patient) + (1 | therapist)", read("transfers"))
    draws = np.array(list(simulate_outcomes(fit, draws=600, seed=1)))
    mean = fit.design.user_x() @ fit.coefficients.to_numpy()
    total = sum(float(cov[0, 0]) for cov in fit.covariances) + fit.residual_variance
    assert np.abs(draws.mean(axis=0) - mean).max() < 5 * np.sqrt(total / 600)
    assert draws.var(axis=0).mean() == pytest.approx(total, rel=0.05)


def test_bootstrap_and_mixture_tell_the_same_story():
    data = read("transfers")
    smaller = fit_mixed("y ~ session + x + (1 | patient)", data)
    larger = fit_mixed("y ~ session + x + (1 | patient) + (1 | therapist)", data)
    row = compare(smaller, larger, draws=60, seed=1).iloc[1]
    assert row["null"] == "chi2(0):chi2(1)"
    assert row["draws"] == 60
    assert row["p_bootstrap"] == pytest.approx(1 / 61)
    assert row["p_value"] < 1e-4
    again = compare(smaller, larger, draws=60, seed=1, n_jobs=2).iloc[1]
    assert again["p_bootstrap"] == row["p_bootstrap"]


@pytest.mark.slow
def test_the_mixture_is_the_null_distribution():
    """Under no therapist variance about half the statistics are zero, and the mixture's 5 % point holds its size."""
    data = read("three_level")
    smaller = fit_mixed("y ~ session + (1 | patient)", data)
    larger = fit_mixed("y ~ session + (1 | patient) + (1 | therapist)", data)
    found = bootstrap_statistics(smaller, larger, draws=2000, seed=9)
    print(len(found), np.mean(found < 1e-6), np.mean(found > 2.7055), np.mean(found > 3.8415))
    assert len(found) == 2000
    # 14 therapists: the share of zeros is above its limit of one half
    assert 0.5 <= np.mean(found < 1e-6) <= 0.65
    assert 0.03 <= np.mean(found > 2.7055) <= 0.06
    assert np.mean(found > 3.8415) <= 0.035, "chi2(1) would reject half as often as it says"


def test_compare_chooses_the_null_by_what_is_new():
    data = read("four_slopes")
    null = {
        "y ~ x1 + (1 | patient)": "chi2(1):chi2(2)",
        "y ~ x1 + (0 + x1 | patient)": "chi2(1):chi2(2)",
        "y ~ x1 + (1 + x1 || patient)": "chi2(1)",
    }
    larger = fit_mixed("y ~ x1 + (1 + x1 | patient)", data)
    for formula, name in null.items():
        assert compare(fit_mixed(formula, data), larger).iloc[1]["null"] == name
    two = fit_mixed("y ~ x1 + (1 + x1 + x2 | patient)", data)
    assert compare(fit_mixed("y ~ x1 + (1 | patient)", data), two).iloc[1]["null"] == "at most chi2(4):chi2(5)"
    serial = read("serial")
    plain = fit_mixed("y ~ session + (1 | patient)", serial)
    ar1 = fit_mixed("y ~ session + (1 | patient)", serial, correlation="ar1", time="session")
    car1 = fit_mixed("y ~ session + (1 | patient)", serial, correlation="car1", time="day")
    assert compare(plain, ar1).iloc[1]["null"] == "chi2(1)"
    assert compare(plain, car1).iloc[1]["null"] == "chi2(0):chi2(1)"
    with pytest.raises(ValueError, match="nested"):
        compare(ar1, car1)


def test_compare_refuses_what_cannot_be_compared():
    data = read("four_slopes")
    fit = fit_mixed("y ~ x1 + (1 | patient)", data)
    with pytest.raises(ValueError, match="different rows"):
        compare(fit, fit_mixed("y ~ x1 + x2 + (1 | patient)", data.iloc[:-5]))
    with pytest.raises(ValueError, match="different outcomes"):
        compare(fit, fit_mixed("x2 ~ x1 + (1 + x1 | patient)", data))
    with pytest.raises(ValueError, match="fixed term 'x1'"):
        compare(fit, fit_mixed("y ~ x2 + x3 + (1 | patient)", data))
    with pytest.raises(ValueError, match="variance parameter"):
        compare(fit_mixed("y ~ x1 + (1 + x2 | patient)", data), fit_mixed("y ~ x1 + (1 + x1 | patient)", data))
    with pytest.raises(ValueError, match="nothing to test"):
        compare(fit, fit)
    with pytest.raises(ValueError, match="smaller model first"):
        compare(fit, fit_mixed("y ~ 1 + (1 | patient)", data))
    with pytest.raises(ValueError, match="seed"):
        compare(fit, fit_mixed("y ~ x1 + (1 + x1 | patient)", data), draws=5)


# -- invariances ------------------------------------------------------------------------------------------------------
def every_table(data, **options):
    fit = fit_mixed("y ~ session * arm + within + (1 + session | patient) + (1 | therapist)", data, **options)
    return [
        anova(fit).drop(columns="term"),
        fit.tidy(df="kenward-roger").drop(columns="term"),
        fit.tidy(df="robust").drop(columns="term"),
        marginal_means(fit, "arm").tidy().drop(columns="arm"),
        r_squared(fit),
        profile_intervals(fit).select_dtypes("number"),
    ]


def test_row_order_and_ids_change_nothing():
    data = read("three_level").query("therapist < 't007'")
    shuffled = data.sample(frac=1, random_state=5).reset_index(drop=True)
    relabelled = shuffled.assign(
        patient=shuffled["patient"].str[1:].astype(int) * 7 % 1009, therapist=shuffled["therapist"].astype("category")
    )
    for one, two in zip(every_table(data), every_table(relabelled)):
        np.testing.assert_allclose(one.to_numpy(float), two.to_numpy(float), rtol=2e-4, atol=1e-7)


def test_a_new_unit_of_the_outcome_scales_and_changes_no_test():
    data = read("three_level").query("therapist < 't007'")
    fit, scaled = (
        fit_mixed(THREE, table) for table in (data, data.assign(y=1000 * data["y"] + 3, session=data["session"] + 2000))
    )
    for df in ("satterthwaite", "kenward-roger", "robust", "normal"):
        one, two = fit.tidy(df=df), scaled.tidy(df=df)
        keep = one["term"] != "Intercept"
        np.testing.assert_allclose(1000 * one.loc[keep, "std_error"], two.loc[keep, "std_error"], rtol=1e-5)
        np.testing.assert_allclose(one.loc[keep, "p_value"], two.loc[keep, "p_value"], rtol=1e-4, atol=1e-15)


# -- methods of inference ---------------------------------------------------------------------------------------------
def test_methods_of_inference():
    fit = fit_mixed(THREE, read("three_level"))
    plain, corrected, normal = (fit.tidy(df=df) for df in ("satterthwaite", "kenward-roger", "normal"))
    assert (corrected["std_error"] >= plain["std_error"] * (1 - 1e-9)).all()
    assert np.isinf(normal["df"]).all()
    np.testing.assert_allclose(normal["ci_high"] - normal["estimate"], 1.959963984540054 * normal["std_error"])
    assert inference(fit, "robust").method == "cluster-robust CR2 by therapist, Satterthwaite"
    chi2 = anova(fit, df="normal")
    np.testing.assert_allclose(chi2["statistic"], normal["statistic"].to_numpy()[1:] ** 2, rtol=1e-9)
    with pytest.raises(ValueError, match="kenward-roger"):
        anova(fit, df="kenward")


def test_large_blocks_are_refused(monkeypatch):
    monkeypatch.setattr("alliance_stats.mixed.answers.marginal.LARGEST_BLOCK", 50)
    fit = fit_mixed(THREE, read("three_level"))
    for method in (kenward_roger, cluster_robust):
        with pytest.raises(ValueError, match="the limit is 50"):
            method(fit)


def test_an_interval_ends_where_the_range_does():
    table = profile_intervals(fit_mixed("y ~ session + (1 | patient) + (1 | therapist)", read("no_therapist_variance")))
    row = table.query("group == 'therapist'").iloc[0]
    assert row["ci_low"] == 0.0
    assert row["ci_high"] > 0
    wide, narrow = (
        profile_intervals(fit_mixed("y ~ day + (1 | subject)", read("reaction")), level=level) for level in (0.99, 0.8)
    )
    assert (wide["ci_low"] < narrow["ci_low"]).all()
    assert (wide["ci_high"] > narrow["ci_high"]).all()


def test_variance_explained():
    data = read("three_level")
    null = fit_mixed("y ~ 1 + (1 | patient) + (1 | therapist)", data)
    table = variance_explained(
        null, fit_mixed("y ~ session + within + between + (1 | patient) + (1 | therapist)", data)
    )
    assert table["group"].tolist() == ["patient", "therapist", "residual"]
    np.testing.assert_allclose(table["explained"], 1 - table["variance"] / table["variance_null"])
    assert table.set_index("group").loc["residual", "explained"] > 0.1
    with pytest.raises(ValueError, match="rows"):
        variance_explained(null, fit_mixed("y ~ session + (1 | patient) + (1 | therapist)", data.iloc[:-9]))


# -- the picture ------------------------------------------------------------------------------------------------------
def test_plot_diagnostics_draws_what_it_says():
    fit = fit_mixed("y ~ session + (1 | patient)", read("serial"))
    modelled = fit_mixed("y ~ session + (1 | patient)", read("serial"), correlation="ar1", time="session")
    tops = []
    for one in (fit, modelled):
        axes = plot_diagnostics(one)
        assert [axis.get_title(loc="left") != "" for axis in axes] == [True] * 4
        points = axes[0].lines[1]
        assert len(points.get_xdata()) == one.design.n
        bars = axes[3].collections[0].get_segments()
        tops.append(bars[0][1][1])
    assert tops[0] > 0.3, "autocorrelation left over is seen"
    assert abs(tops[1]) < 0.1, "and gone where it is modelled"
    own = plot_diagnostics(fit, ax=axes)
    assert own[0] is axes[0]
    with pytest.raises(ValueError, match="4 are needed"):
        plot_diagnostics(fit, ax=axes[:2])
