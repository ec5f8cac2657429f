"""Endings, incidence, paths, the effect of repair, landmarks, checks and figures: by hand and by invariances."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import alliance_stats as als
from alliance_stats.dropout.competing import fit_endings
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.figures.dropout import plot_hazard, plot_immortal_time, plot_incidence, plot_paths
from alliance_stats.tables.schema import DataError

mpl.use("Agg")
FOLDER = Path(__file__).parents[1] / "reference" / "hazard"
FORMULA = "rupture_open + repaired_before + x"


@pytest.fixture(scope="module")
def data():
    data = pd.read_csv(FOLDER / "sessions.csv", keep_default_na=False)
    state = np.where(data["rupture_open"] == 1, "open", np.where(data["repaired_before"] == 1, "repaired", "none"))
    return data.assign(rupture_state=state)


@pytest.fixture(autouse=True)
def _close():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


class TestEndings:
    SESSIONS = pd.DataFrame(
        {
            "patient": [1, 1, 1, 2, 2, 3, 4, 4],
            "session": [1, 2, 3, 1, 2, 1, 1, 2],
            "date": pd.to_datetime(
                [
                    *("2024-01-01", "2024-01-08", "2024-03-20"),
                    *("2024-01-01", "2024-01-08"),
                    "2024-03-25",
                    *("2024-01-01", "2024-03-31"),
                ]
            ),
            "phq9": [20.0, 15, 9, 18, 17, 20, 15, np.nan],
            "planned": [3, 3, 3, 3, 3, 1, 3, 3],
            "says": ["completed"] * 3 + ["dropout"] * 2 + ["transferred"] + ["ongoing"] * 2,
        }
    )

    def derive(self, definition, **options):
        return als.derive_endings(self.SESSIONS, definition, **options)

    def test_before_planned_end(self):
        assert self.derive("before_planned_end", planned=3)["ending"].tolist() == ["completed", *["dropout"] * 3]
        by_patient = self.derive("before_planned_end", planned="planned")
        assert by_patient["ending"].tolist() == ["completed", "dropout", "completed", "dropout"]
        assert by_patient["last_session"].tolist() == [3, 2, 1, 2]
        assert by_patient.attrs["definition"] == "before_planned_end (planned=planned)"

    def test_gap_in_days(self):
        found = self.derive("gap_in_days", days=42)
        # 1 and 4 pause longer than 42 days: their therapy ended before the pause; 3 was seen a week ago
        assert found["ending"].tolist() == ["dropout", "dropout", "ongoing", "dropout"]
        assert found["last_session"].tolist() == [2, 2, 1, 1]
        known = pd.DataFrame({"patient": [2, 4], "ending": ["completed", "transferred"]})
        kept = self.derive("gap_in_days", days=42, known=known)
        assert kept["ending"].tolist() == ["dropout", "completed", "ongoing", "transferred"]

    def test_fewer_sessions_judgement_and_change(self):
        assert self.derive("fewer_sessions", minimum=2)["ending"].tolist() == [
            *["completed"] * 2,
            "dropout",
            "completed",
        ]
        assert self.derive("judgement", judgement="says")["ending"].tolist() == [
            *("completed", "dropout", "transferred", "ongoing")
        ]
        change = self.derive("no_reliable_change", score="phq9", reliable_change=6)
        assert change["ending"].tolist() == ["completed", "dropout", "dropout", "dropout"]
        worse = self.derive("no_reliable_change", score="phq9", reliable_change=6, lower_is_better=False)
        assert (worse["ending"] == "dropout").all()

    def test_missed_sessions_are_not_held(self):
        came = ["attended", "attended", "no-show", *["attended"] * 5]
        found = als.derive_endings(self.SESSIONS.assign(attendance=came), "before_planned_end", planned=3)
        assert found["last_session"].tolist() == [2, 2, 1, 2]

    def test_comparison(self):
        table = als.dropout.compare_endings(
            self.SESSIONS,
            {
                "planned": {"definition": "before_planned_end", "planned": 3},
                "judged": {"definition": "judgement", "judgement": "says"},
            },
        )
        assert table["n_dropout"].tolist() == [3, 1]
        assert table["n_ongoing"].tolist() == [0, 1]
        np.testing.assert_allclose(table["rate"], [3 / 4, 1 / 3])
        # Wilson (1927) for 3 of 4, by hand
        np.testing.assert_allclose(table.loc[0, ["ci_low", "ci_high"]].astype(float), [0.300642, 0.954413], atol=1e-6)
        np.testing.assert_allclose(table["agreement"], [1, 0.5])

    def test_errors(self):
        with pytest.raises(ValueError, match="needs planned="):
            self.derive("before_planned_end")
        with pytest.raises(ValueError, match=r"'before_end'.*'before_planned_end'"):
            self.derive("before_end")
        with pytest.raises(DataError, match="'phq9' must say"):
            self.derive("judgement", judgement="phq9")


class TestIncidence:
    def test_by_hand(self):
        """Three patients: dropout after 1, completion after 2, one ongoing after 2."""
        rows = pd.DataFrame(
            {
                "patient": [1, 2, 2, 3, 3],
                "start": [1, 1, 2, 1, 2],
                "stop": [2, 2, 3, 2, 3],
                "ending": ["dropout", "", "completed", "", ""],
            }
        )
        found = als.cumulative_incidence(rows).set_index("state")["estimate"]
        np.testing.assert_allclose(found["dropout"], [1 / 3, 1 / 3])
        np.testing.assert_allclose(found["completed"], [0, 1 / 3])

    def test_shares_add_up_and_limits_hold(self, data):
        found = als.cumulative_incidence(data, states=True)
        np.testing.assert_allclose(found.groupby("time")["estimate"].sum(), 1, atol=1e-12)
        assert (found["ci_low"] <= found["estimate"] + 1e-12).all()
        assert (found["ci_high"] >= found["estimate"] - 1e-12).all()
        assert_frame_equal(found, als.cumulative_incidence(data.sample(frac=1, random_state=1), states=True))

    def test_a_group_known_only_later_is_refused(self, data):
        groups = als.cumulative_incidence(data, by="group", cluster="therapist")
        assert sorted(groups["group"].unique()) == [0, 1]
        with pytest.raises(DataError, match="changes within a patient"):
            als.cumulative_incidence(data, by="rupture_state")


class TestPaths:
    def test_discrete_by_hand(self, data):
        fit = fit_dropout(FORMULA, data)
        path = als.dropout.predict_paths(fit, {"p": als.dropout.rupture_path(6, onset=3, x=0.0)})
        b = dict(zip(fit.terms, fit.coefficients, strict=True))
        hazard = 1 / (1 + np.exp(-(b["Intercept"] + b["rupture_open"] * np.array([0, 0, 1, 1, 1]))))
        np.testing.assert_allclose(path["hazard"], hazard)
        np.testing.assert_allclose(path["survival"], np.cumprod(1 - hazard))
        np.testing.assert_allclose(path["incidence"], 1 - path["survival"])
        error = np.sqrt(fit.covariance[0, 0])
        low = path["hazard_low"].iloc[0]
        scale = np.log(-np.log1p(-hazard[0]))
        slope = hazard[0] * (1 - hazard[0]) / ((1 - hazard[0]) * -np.log1p(-hazard[0]))
        np.testing.assert_allclose(low, 1 - np.exp(-np.exp(scale - 1.959963985 * error * slope)), rtol=1e-6)

    @pytest.mark.parametrize("model", ["discrete", "cox"])
    def test_endings_add_up(self, data, model):
        fits = fit_endings(FORMULA, data, model=model)
        path = als.dropout.predict_paths(fits, {"p": als.dropout.rupture_path(20, onset=3, repaired_at=6, x=0.0)})
        left = path.groupby("stop")["incidence"].sum() + path.groupby("stop")["survival"].first()
        np.testing.assert_allclose(left, 1, atol=1e-12)
        for name in ("hazard", "incidence", "survival"):
            assert (path[f"{name}_low"] <= path[name] + 1e-12).all()
            assert (path[name] <= path[f"{name}_high"] + 1e-12).all()

    def test_a_model_without_covariates_is_aalen_johansen(self, data):
        fits = fit_endings("1", data[data["start"] < 15], baseline="dummies")
        path = als.dropout.predict_paths(fits, {"all": als.dropout.rupture_path(15)})
        observed = als.cumulative_incidence(data[data["start"] < 15])
        for ending in ("dropout", "completed", "transferred"):
            own = path[path["ending"] == ending].set_index("stop")["incidence"]
            other = observed[observed["state"] == ending].set_index("time")["estimate"]
            np.testing.assert_allclose(own.reindex(other.index), other, rtol=1e-6, atol=1e-9)

    def test_paths_that_make_no_sense(self, data):
        fit = fit_dropout(FORMULA, data)
        with pytest.raises(ValueError, match="cannot be repaired"):
            als.dropout.rupture_path(9, onset=4, repaired_at=4)
        with pytest.raises(ValueError, match="every row must start"):
            als.dropout.predict_paths(fit, {"gap": als.dropout.rupture_path(6, x=0.0).drop(index=2)})
        with pytest.raises(DataError, match="no column 'x'"):
            als.dropout.predict_paths(fit, {"p": als.dropout.rupture_path(6)})


class TestRepair:
    def test_by_hand(self, data):
        fit = fit_dropout("rupture_open + repaired_before", data)
        found = als.dropout.repair_effect(fit, by=10, after=2, draws=20, seed=1).set_index("quantity")
        b = dict(zip(fit.terms, fit.coefficients, strict=True))

        def hazard(opened, repaired):
            return 1 / (1 + np.exp(-(b["Intercept"] + b["rupture_open"] * opened + b["repaired_before"] * repaired)))

        opened = (
            data[(data["rupture_open"] == 1) & (data["start"] < 10)].sort_values("start").drop_duplicates("patient")
        )
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
    def test_same_seed_same_answer_and_repair_helps_here(self, data, options):
        fit = fit_dropout(FORMULA, data, **options)
        found = als.dropout.repair_effect(fit, draws=60, seed=3)
        assert_frame_equal(found, als.dropout.repair_effect(fit, draws=60, seed=3))
        row = found.set_index("quantity").loc["difference"]
        assert row["ci_low"] < row["estimate"] < row["ci_high"] < 0

    def test_a_model_without_repair_is_refused(self, data):
        with pytest.raises(ValueError, match="Repair plays no part"):
            als.dropout.repair_effect(fit_dropout("x", data), draws=5)
        with pytest.raises(ValueError, match="without random="):
            als.dropout.repair_effect(fit_dropout(FORMULA, data, random="therapist", nodes=5), draws=5)


class TestLandmarks:
    def test_covariates_are_those_of_the_landmark(self, data):
        found = als.dropout.landmark_intervals(data, at=[3, 6], horizon=4)
        here = data[data["start"] == 3]
        own = found[found["landmark"] == 3].set_index("patient")
        assert_frame_equal(
            own[["rupture_open", "x"]], here.set_index("patient")[["rupture_open", "x"]], check_names=False
        )
        last = data.groupby("patient").last()
        late = last["stop"].reindex(own.index) > 7
        assert (own.loc[late, "ending"] == "").all()
        assert (own.loc[late, "stop"] == 7).all()
        assert (own.loc[~late, "ending"] == last["ending"].reindex(own.index)[~late]).all()

    def test_one_model_each_and_one_for_all(self, data):
        table = als.dropout.landmark_terms("rupture_open + x", data, at=[2, 4, 6], horizon=8)
        assert table["landmark"].tolist() == ["2", "2", "4", "4", "6", "6", "all", "all"]
        alone = fit_dropout("rupture_open + x", als.dropout.landmark_intervals(data, at=4, horizon=8), model="cox")
        np.testing.assert_allclose(table.loc[table["landmark"] == "4", "estimate"], alone.coefficients)
        with pytest.raises(DataError, match="Nobody is in treatment"):
            als.dropout.landmark_intervals(data, at=99)


class TestChecks:
    def test_calibration_adds_up(self, data):
        fit = fit_dropout(FORMULA, data)
        for by in ("session", "risk"):
            table = als.dropout.check_calibration(fit, by=by)
            total = table[table["group"] == "all"].iloc[0]
            np.testing.assert_allclose(total["expected"], total["observed"], rtol=1e-9)
            parts = table[table["group"] != "all"]
            assert parts["observed"].sum() == total["observed"]
            np.testing.assert_allclose(table.attrs["slope"], 1, atol=1e-6)
        cox = als.dropout.check_calibration(fit_dropout(FORMULA, data, model="cox", ties="breslow"))
        np.testing.assert_allclose(cox["expected"], cox["observed"], rtol=1e-9)

    def test_calibration_of_predictions_too_extreme(self, data):
        fit = fit_dropout(FORMULA, data[data["patient"] % 2 == 0])
        rest = data[data["patient"] % 2 == 1]
        table = als.dropout.check_calibration(fit, rest)
        assert table.iloc[-1]["n"] == len(rest)
        assert table.attrs["slope"] != 1

    def test_discrimination_by_hand(self):
        rows = pd.DataFrame(
            {
                "patient": range(5),
                "session": 1,
                "start": 1,
                "stop": 2,
                "ending": ["dropout", "", "", "dropout", ""],
                "x": [3.0, 1.0, 3.0, 0.0, -2.0],
            }
        )
        fit = fit_dropout("x", rows)
        # pairs won: 3 > 1, 3 > -2, 0 > -2, half of 3 = 3; of 6
        assert fit.coefficients[1] > 0
        np.testing.assert_allclose(als.dropout.check_discrimination(fit)["auc"], 3.5 / 6)

    def test_discrete_proportionality_finds_a_changing_effect(self):
        random = np.random.default_rng(1)
        n = 6000
        rows = pd.DataFrame({"patient": range(n), "session": random.integers(1, 9, n), "x": random.normal(size=n)})
        rows = rows.assign(start=rows["session"], stop=rows["session"] + 1, z=random.normal(size=n))
        linear = -2 + rows["z"] * 0.5 + rows["x"] * (rows["session"] - 4.5) * 0.3
        rows["ending"] = np.where(random.random(n) < 1 / (1 + np.exp(-linear)), "dropout", "")
        for model in ("discrete", "cox"):
            found = als.dropout.check_proportionality(fit_dropout("x + z", rows, model=model)).set_index("term")
            assert found.loc["x", "p_value"] < 1e-6
            assert found.loc["z", "p_value"] > 0.01
            assert found.loc["GLOBAL", "df"] == 2

    def test_discrete_residuals(self, data):
        fit = fit_dropout(FORMULA, data, link="cloglog")
        np.testing.assert_allclose(fit.residuals("score").sum(), 0, atol=1e-6)
        np.testing.assert_allclose((fit.residuals("deviance") ** 2).sum(), -2 * fit.log_likelihood)
        with pytest.raises(ValueError, match="Cox"):
            fit.residuals("schoenfeld")


class TestFigures:
    def test_incidence(self, data):
        found = als.cumulative_incidence(data)
        ax = plot_incidence(found)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["completed", "dropout", "transferred"]
        line = ax.get_lines()[1]
        np.testing.assert_allclose(line.get_ydata()[1:-1], found.loc[found["state"] == "dropout", "estimate"])
        groups = plot_incidence(als.cumulative_incidence(data, by="group"), states=["dropout"])
        assert len(groups.get_lines()) == 2

    def test_hazard_and_paths(self, data, tmp_path):
        fit = fit_dropout(FORMULA + " + session", data)
        assert len(plot_hazard(als.dropout.check_calibration(fit)).get_lines()) == 2
        paths = {"repaired at 6": als.dropout.rupture_path(15, onset=4, repaired_at=6, x=0.0)}
        table = als.dropout.predict_paths(fit, paths | {"never repaired": als.dropout.rupture_path(15, onset=4, x=0.0)})
        for show in ("incidence", "survival", "hazard"):
            ax = plot_paths(table, show=show)
            assert [text.get_text() for text in ax.get_legend().get_texts()] == list(dict.fromkeys(table["path"]))
        first, second = (als.save_figure(plot_paths(table), tmp_path / name) for name in ("a", "b"))
        for one, two in zip(first, second, strict=True):
            assert one.read_bytes() == two.read_bytes()
        with pytest.raises(ValueError, match="show='risk'"):
            plot_paths(table, show="risk")

    def test_immortal_time(self):
        bias = als.dropout.immortal_time_bias(n_patients=150, repetitions=12, seed=1)
        naive, lagged = bias.summary["mean_ratio"]
        assert naive < 0.5 < 0.8 < lagged < 1.25
        assert_frame_equal(
            bias.estimates, als.dropout.immortal_time_bias(n_patients=150, repetitions=12, seed=1).estimates
        )
        figure = plot_immortal_time(bias.estimates, bias.curves)
        assert len(figure.axes[1].get_lines()) == 3
