"""fit_dropout: references on real data, hand-worked answers, invariances, and the cases that have no answer."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared_data import real_data

import alliance_stats as als
from alliance_stats.dropout.competing import fit_endings
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.tables.schema import DataError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "reference" / "hazard"
R = json.loads((FOLDER / "reference.json").read_text())
FORMULA = "rupture_open + repaired_before + x + group"


@pytest.fixture(scope="module")
def cbasp():
    sessions = pd.read_csv(real_data("cbasp_sessions.csv"))
    last = sessions.groupby("patient")["session"].max()
    endings = als.derive_endings(sessions, "before_planned_end", planned=24)
    assert (endings["ending"] == "dropout").sum() == (last < 24).sum() == 44
    intervals = dropout_intervals(sessions, endings=endings, covariates=["symptom_count"], fixed=["group"], carry=None)
    # The published analysis, and R's, count patients as at risk at the sessions they missed.
    return intervals.assign(unit=intervals["patient"] % 12, at_risk=1)


def errors(fit):
    return np.sqrt(np.diag(fit.covariance))


class TestRealData:
    REF = json.loads((FOLDER / "cbasp.json").read_text())

    def test_published_hazard_ratio(self, cbasp):
        """Time-varying symptom count and ending before session 24: HR 1.146, p = .020, 44 events."""
        row = fit_dropout("symptom_count + group", cbasp, model="cox").tidy().iloc[0]
        assert round(row["ratio"], 3) == 1.146
        assert round(row["p_value"], 3) == 0.020

    @pytest.mark.parametrize("ties", ["efron", "breslow"])
    def test_cox(self, cbasp, ties):
        fit = fit_dropout("symptom_count + group", cbasp, model="cox", ties=ties, cluster="unit", adjust="none")
        np.testing.assert_allclose(fit.coefficients, self.REF[ties]["estimate"], rtol=1e-6)
        np.testing.assert_allclose(errors(fit), self.REF[ties]["clustered_none"], rtol=1e-5)

    @pytest.mark.parametrize("link", ["logit", "cloglog"])
    def test_discrete(self, cbasp, link):
        ref = self.REF[link]
        plain = fit_dropout("symptom_count + group + session", cbasp, link=link)
        assert plain.diagnostics["n_rows"] == ref["n_rows"]
        np.testing.assert_allclose(plain.coefficients, ref["estimate"], rtol=1e-6)
        np.testing.assert_allclose(errors(plain), ref["std_error"], rtol=1e-5)
        clustered = fit_dropout("symptom_count + group + session", cbasp, link=link, cluster="unit", adjust="groups")
        np.testing.assert_allclose(errors(clustered), ref["clustered_groups"], rtol=1e-5)

    def test_frailty_of_no_variance_is_reported(self, cbasp):
        fit = fit_dropout("symptom_count + group", cbasp, model="cox", random="unit")
        assert self.REF["gamma"]["variance"] < 1e-6
        np.testing.assert_allclose(fit.coefficients, self.REF["gamma"]["estimate"], rtol=1e-4)
        assert fit.variances()["variance"].iloc[0] == 0
        assert any("boundary" in note for note in fit.diagnostics["notes"])

    def test_cumulative_incidence(self, cbasp):
        ref = self.REF["incidence"]
        found = als.cumulative_incidence(cbasp)
        for column, name in ((1, "dropout"), (2, "completed")):
            own = found[found["state"] == name].set_index("time")
            expected = np.asarray(ref["probability"])[:, column]
            where = np.isin(ref["time"], own.index)
            np.testing.assert_allclose(own["estimate"], expected[where], atol=1e-8)
            np.testing.assert_allclose(own["std_error"], np.asarray(ref["std_error"])[where, column], atol=1e-8)


class TestTheTables:
    def test_every_model_speaks_the_same(self, data):
        fits = [
            fit_dropout(FORMULA, data),
            fit_dropout(FORMULA, data, link="cloglog", cluster="therapist"),
            fit_dropout(FORMULA, data, model="cox", cluster="therapist"),
            fit_dropout(FORMULA, data, random="therapist"),
            fit_dropout(FORMULA, data, model="cox", random="therapist"),
            fit_dropout(FORMULA, data, model="cox", random="therapist", frailty="lognormal"),
        ]
        for fit in fits:
            terms, line = als.tidy(fit), als.glance(fit)
            assert terms.columns[:8].tolist() == list(als.tables.schema.TERMS_COLUMNS)
            np.testing.assert_allclose(terms["ratio"], np.exp(terms["estimate"]))
            assert line["n_rows"].iloc[0] == len(data)
            assert line["n_events"].iloc[0] == (data["ending"] == "dropout").sum()
            assert line["converged"].iloc[0]
            assert als.variances(fit).columns[:6].tolist() == list(als.tables.schema.VARIANCES_COLUMNS)
            assert fit.formula in fit.summary()
            assert "<table" in fit._repr_html_()
            assert fit.predict().shape == (len(data),)
        assert "jackknife" in fits[1].settings["errors"]
        assert (als.tidy(fits[1])["df"] == 14).all()
        assert np.isinf(als.tidy(fits[0])["df"]).all()
        assert len(fits[3].random_effects) == 15
        assert 0 < fits[3].variances()["share"].iloc[0] < 1

    def test_rows_without_a_value_are_counted(self, data):
        holes = data.assign(x=data["x"].where(data.index % 10 != 0))
        fit = fit_dropout(FORMULA, holes)
        lost = data.index % 10 == 0
        assert fit.diagnostics["n_dropped"] == lost.sum()
        assert fit.diagnostics["events_dropped"] == (data.loc[lost, "ending"] == "dropout").sum()
        assert fit.diagnostics["dropped"] == {"x": lost.sum()}
        assert "'x'" in fit.summary()

    def test_a_level_per_session_leaves_out_sessions_without_events(self, data):
        data = data[(data["session"] != 5) | (data["ending"] != "dropout")]
        fit = fit_dropout("rupture_open", data, baseline="dummies")
        assert fit.settings["fixed_hazards"][5] == 0.0
        assert any("session(s) 5" in note for note in fit.diagnostics["notes"])
        by_hand = fit_dropout(
            "rupture_open + C(session)", data[~data["session"].isin(list(fit.settings["fixed_hazards"]))]
        )
        np.testing.assert_allclose(fit.coefficients[-1], by_hand.coefficients[-1], rtol=1e-6)
        path = als.dropout.predict_paths(fit, {"p": als.dropout.rupture_path(8)})
        assert path.loc[path["start"] == 5, "hazard"].item() == 0

    def test_prediction_is_the_formula(self, data):
        fit = fit_dropout("rupture_open * x + cr(session, df=3, constraints='center')", data)
        new = data.head(20)
        np.testing.assert_allclose(fit.predict(new), fit.predict()[:20], rtol=1e-12)
        linear = fit.predict(new, kind="linear")
        np.testing.assert_allclose(fit.predict(new), 1 / (1 + np.exp(-linear)))
        gap = fit.predict(new.assign(x=[np.nan, *new["x"].iloc[1:]]))
        assert np.isnan(gap[0])
        assert not np.isnan(gap[1:]).any()
        level = fit_dropout("C(group)", data)
        with pytest.raises(DataError, match="not among those of the fit"):
            level.predict(new.assign(group=7))


class TestTherapistEffects:
    @pytest.mark.parametrize("options", [{}, {"model": "cox"}], ids=str)
    def test_df_are_those_between_and_within_therapists(self, data, options):
        known = data.assign(z=data["therapist"] % 4)
        terms = fit_dropout("x + z", known, random="therapist", **options).tidy().set_index("term")
        n_within = 1
        assert terms.loc["z", "df"] == 15 - 2
        assert terms.loc["x", "df"] == data["patient"].nunique() - 15 - n_within

    def test_the_likelihood_and_its_test_are_those_of_the_maximum(self, data):
        options = {"model": "cox", "random": "therapist", "frailty": "lognormal"}
        reml, ml = (fit_dropout(FORMULA, data, method=method, **options) for method in ("reml", "ml"))
        assert ml.variances()["variance"].iloc[0] < reml.variances()["variance"].iloc[0]
        assert ml.log_likelihood == reml.log_likelihood
        assert ml.variances()["p_value"].iloc[0] == reml.variances()["p_value"].iloc[0]
        assert "lognormal (ML)" in ml.settings["errors"]


class TestInvariances:
    OPTIONS = (
        {"cluster": "therapist"},
        {"link": "cloglog", "cluster": "therapist"},
        {"random": "therapist", "nodes": 9},
        {"model": "cox", "cluster": "therapist"},
        {"model": "cox", "random": "therapist"},
    )

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_row_order_labels_and_index(self, data, options):
        plain = fit_dropout(FORMULA, data, **options)
        other = data.sample(frac=1, random_state=4).assign(
            therapist=lambda table: "T" + table["therapist"].astype(str), patient=lambda table: table["patient"] + 1000
        )
        found = fit_dropout(FORMULA, other.set_index(["patient", "session"], drop=False), **options)
        tolerance = 1e-6 if "random" in options else 1e-8
        np.testing.assert_allclose(found.coefficients, plain.coefficients, rtol=tolerance)
        np.testing.assert_allclose(errors(found), errors(plain), rtol=tolerance)

    @pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
    def test_shift_and_scale_of_a_covariate(self, data, options):
        plain = fit_dropout(FORMULA, data, **options)
        found = fit_dropout(FORMULA, data.assign(x=2000 + 10 * data["x"]), **options)
        place = plain.terms.index("x")
        np.testing.assert_allclose(found.coefficients[place] * 10, plain.coefficients[place], rtol=1e-6)
        np.testing.assert_allclose(errors(found)[place] * 10, errors(plain)[place], rtol=1e-6)

    def test_splitting_a_row_leaves_the_cox_model_alone(self, data):
        long = data.assign(start=data["day_start"], stop=data["day_stop"])
        half = long["start"] + 2
        first, second = long.assign(stop=half, ending=""), long.assign(start=half)
        plain = fit_dropout(FORMULA, long, model="cox", cluster="patient")
        split = fit_dropout(FORMULA, pd.concat([first, second]), model="cox", cluster="patient")
        np.testing.assert_allclose(split.coefficients, plain.coefficients, rtol=1e-9)
        np.testing.assert_allclose(errors(split), errors(plain), rtol=1e-9)

    def test_cloglog_with_a_level_per_session_is_near_the_cox_model(self, data):
        discrete = fit_dropout(FORMULA, data, link="cloglog", baseline="dummies")
        cox = fit_dropout(FORMULA, data, model="cox")
        np.testing.assert_allclose(discrete.coefficients[1:5], cox.coefficients, atol=0.02)


class TestNoAnswer:
    def test_no_event(self, data):
        for model in ("discrete", "cox"):
            with pytest.raises(DataError, match="No 'dropout' happens"):
                fit_dropout(FORMULA, data[data["ending"] != "dropout"], model=model)

    @pytest.mark.parametrize("options", [{}, {"link": "cloglog"}, {"model": "cox"}, {"random": "therapist"}], ids=str)
    def test_separation_names_the_term(self, data, options):
        leaves = data["ending"] == "dropout"
        # Cox: had only some tied events the sign, Efron's likelihood would have a maximum.
        some = leaves if "model" in options else leaves & (data["patient"] % 2 == 0)
        sure = data.assign(sign=some.astype(int))
        with pytest.raises(DataError, match=r"infinite.*'sign'"):
            fit_dropout("x + sign", sure, **options)

    def test_separation_by_a_level_without_events(self, data):
        data = data.assign(arm=np.where(data["patient"] < 20, "small", "large"))
        quiet = data[(data["arm"] == "large") | (data["ending"] != "dropout")]
        with pytest.raises(DataError, match=r"infinite.*arm\[T.small\]"):
            fit_dropout("x + arm", quiet)

    def test_one_therapist(self, data):
        one = data.assign(therapist="t")
        for options in ({"cluster": "therapist"}, {"random": "therapist"}):
            for model in ("discrete", "cox"):
                with pytest.raises(DataError, match="at least two"):
                    fit_dropout(FORMULA, one, model=model, **options)

    def test_all_events_in_one_session(self, data):
        late = data.assign(ending=np.where((data["ending"] == "dropout") & (data["session"] != 6), "", data["ending"]))
        cox = fit_dropout("x + group", late, model="cox")
        discrete = fit_dropout("x + group", late, baseline="dummies", link="cloglog")
        assert cox.diagnostics["n_events"] == discrete.diagnostics["n_events"] > 1
        np.testing.assert_allclose(cox.coefficients, discrete.coefficients[1:], atol=0.1)
        with pytest.raises(DataError, match=r"session\)'.* determined|does not vary|infinite"):
            fit_dropout("x + C(session)", late)

    def test_thousands_of_therapists_with_one_patient(self):
        random = np.random.default_rng(3)
        n = 3000
        length = random.integers(1, 6, n)
        patient = np.repeat(np.arange(n), length)
        session = np.arange(len(patient)) - np.repeat(np.cumsum(length) - length, length) + 1
        last = session == length[patient]
        x = random.normal(size=len(patient))
        ending = np.where(last & (random.random(len(patient)) < 0.6), "dropout", np.where(last, "completed", ""))
        rows = pd.DataFrame({"patient": patient, "therapist": patient, "session": session, "start": session})
        rows = rows.assign(stop=session + 1, x=x, ending=ending)
        clustered = fit_dropout("x", rows, cluster="therapist", baseline="dummies")
        plain = fit_dropout("x", rows, baseline="dummies")
        np.testing.assert_allclose(errors(clustered), errors(plain), rtol=0.1)
        for options in ({"random": "therapist", "nodes": 7}, {"model": "cox", "random": "therapist"}):
            fit = fit_dropout("x", rows, **options)
            assert np.isfinite(fit.coefficients).all()
            assert fit.variances()["variance"].iloc[0] >= 0

    def test_aliased_and_constant_terms_are_named(self, data):
        with pytest.raises(DataError, match="'twice' is determined"):
            fit_dropout("x + twice", data.assign(twice=2 * data["x"]))
        with pytest.raises(DataError, match="'one' does not vary"):
            fit_dropout("x + one", data.assign(one=1.0), model="cox")

    def test_a_term_that_is_constant_within_strata_is_named(self, data):
        with pytest.raises(DataError, match=r"'group' does not vary among those at risk together.*strata="):
            fit_dropout("x + group", data, model="cox", strata="group")

    def test_wrong_arguments(self, data):
        with pytest.raises(ValueError, match=r"model='kox'.*'cox'"):
            fit_dropout(FORMULA, data, model="kox")
        with pytest.raises(ValueError, match="Choose one"):
            fit_dropout(FORMULA, data, cluster="therapist", random="therapist")
        with pytest.raises(ValueError, match="baseline= belongs to"):
            fit_dropout(FORMULA, data, model="cox", baseline="spline")
        with pytest.raises(DataError, match=r"'rupture_opened'.*Did you mean 'rupture_open'"):
            fit_dropout("rupture_opened", data)
        with pytest.raises(ValueError, match="random='therapist'"):
            fit_dropout("x + (1 | therapist)", data)
        with pytest.raises(ValueError, match="right-hand side only"):
            fit_dropout("y ~ x", data)
        with pytest.raises(DataError, match="No row has a value"):
            fit_dropout("x", data.assign(x=np.nan))


def test_a_constant_hazard_is_events_over_rows(data):
    fit = fit_dropout("1", data)
    share = (data["ending"] == "dropout").mean()
    np.testing.assert_allclose(fit.predict(), share, rtol=1e-10)
    np.testing.assert_allclose(errors(fit)[0], 1 / np.sqrt(len(data) * share * (1 - share)), rtol=1e-8)


def test_all_endings_in_one_call(data):
    fits = fit_endings("x + group", data, cluster="therapist")
    assert list(fits) == ["completed", "dropout", "transferred"]
    alone = fit_dropout("x + group", data, cluster="therapist", ending="completed")
    np.testing.assert_array_equal(fits["completed"].coefficients, alone.coefficients)
    assert als.tidy(fits)["ending"].unique().tolist() == list(fits)
    assert len(als.glance(fits)) == 3
    with pytest.raises(DataError, match="Nobody's therapy ends by 'transferred'"):
        fit_endings("x", data[data["ending"] != "transferred"])
