"""chance_level: its tables, its invariances, poor data, wrong arguments."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from calm import as_sessions, world

from alliance_stats.rupture.chance import frame
from alliance_stats.rupture.chance.calibrate import calibrate
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.chance.counted import main_table
from alliance_stats.rupture.chance.draws import QUANTITIES, count_study
from alliance_stats.rupture.chance.fit_check import INSEPARABLE
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import DataError


def test_chance_level_on_noise_and_with_ruptures():
    still = chance_level(
        as_sessions(world(np.random.default_rng(5))), score="alliance", rule="own_median_2pooled", draws=300, seed=1
    )
    row = still.table.set_index("quantity").loc["patients with a rupture"]
    assert 0.6 < row["ratio"] < 1.6
    assert row["p_value"] > 0.01
    series = world(np.random.default_rng(5), patients=120, ruptured=0.4, depth=4.0, fixed=True, spread=0.1)
    moved = chance_level(as_sessions(series), score="alliance", rule="own_median_2pooled", draws=300, seed=1)
    row = moved.table.set_index("quantity").loc["patients with a rupture"]
    assert row["ratio_low"] > 1.05
    assert row["p_value"] < 0.01
    assert moved.events["false_discovery"].between(0, 1).all()
    by_depth = moved.events.sort_values("drop_units")["false_discovery"]
    assert by_depth.is_monotonic_decreasing
    assert by_depth.iloc[-1] < 0.1 < 0.2 < by_depth.iloc[0]


def test_chance_level_tables_fit_together():
    series = world(np.random.default_rng(5), patients=50, ruptured=0.3)
    sessions = as_sessions(series)
    result = chance_level(
        sessions.sample(frac=1, random_state=3), score="alliance", rule="previous_1point", draws=200, seed=1
    )
    table = result.table.set_index("quantity")
    assert list(table.index) == list(QUANTITIES)
    events = detect_ruptures(sessions, score="alliance", rule="previous_1point")
    pd.testing.assert_frame_equal(result.events.drop(columns="false_discovery"), events)
    assert result.by_session["observed"].sum() == len(events) == table.loc["ruptures", "observed"]
    assert result.by_session["expected"].sum() == pytest.approx(table.loc["ruptures", "expected"])
    assert result.per_patient["expected"].sum() == pytest.approx(table.loc["ruptures", "expected"])
    assert result.by_session["n_rated"].sum() == len(sessions)
    assert (table["chance_low"] <= table["chance_high"]).all()
    assert ((table["ratio_low"] <= table["ratio"]) & (table["ratio"] <= table["ratio_high"])).all()
    again = chance_level(sessions, score="alliance", rule="previous_1point", draws=200, seed=1)
    pd.testing.assert_frame_equal(again.table, result.table)
    assert "Chance level" in str(result)
    assert "<table" in result._repr_html_()


def test_chance_level_is_the_same_on_another_scale():
    series = world(np.random.default_rng(5), patients=50)
    one = chance_level(as_sessions(series), score="alliance", rule="own_mean_2sd", draws=150, seed=1, bounds=(1, 7))
    twelve = as_sessions(series.with_scores(12 * series.score))
    two = chance_level(twelve, score="alliance", rule="own_mean_2sd", draws=150, seed=1, bounds=(12, 84))
    assert np.allclose(one.table["expected"], two.table["expected"], rtol=0.05)


def test_shuffled_null_says_what_it_cannot_show():
    sessions = as_sessions(world(np.random.default_rng(5), patients=40))
    result = chance_level(sessions, score="alliance", rule="own_mean_2sd", draws=100, seed=1, null="shuffled")
    assert result.table.loc[0, "ratio"] == 1.0
    assert any("order" in text for text in result.diagnostics)
    assert result.parameters is None


@pytest.mark.parametrize(
    "sessions",
    [
        pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1], "alliance": [5.0, 5.0, 4.0]}),
        pd.DataFrame({"patient": [1, 2, 3], "session": [1, 1, 1], "alliance": [5.0, 6.0, 4.0]}),
        pd.DataFrame({"patient": 1, "session": range(1, 9), "alliance": 7.0}),
        pd.DataFrame({"patient": 1, "session": range(1, 31), "alliance": [5.0, 6, 4] * 10}),
        pd.DataFrame(
            {"patient": np.repeat(range(9), 4), "session": np.tile([1, 5, 9, 13], 9), "alliance": [6.0, 7, 7, 3] * 9}
        ),
    ],
    ids=["three ratings", "one each", "constant", "one patient", "sparse"],
)
@pytest.mark.parametrize("null", ["fitted", "shuffled"])
def test_poor_data_give_an_answer_and_a_warning(sessions, null):
    result = chance_level(sessions, score="alliance", rule="previous_1sd", draws=100, seed=1, null=null)
    assert np.isfinite(result.table["expected"]).all()
    assert result.table["p_value"].between(0, 1).all() or result.verdict == INSEPARABLE
    assert result.diagnostics or null == "shuffled"


@pytest.mark.filterwarnings("error")
def test_a_rule_that_fires_in_no_draw():
    sessions = pd.DataFrame({"patient": np.repeat(range(30), 4), "session": np.tile(range(1, 5), 30), "alliance": 5.0})
    sessions.loc[::7, "alliance"] = 5.5
    rule = Rule(reference="previous", unit="points", size=3.0)
    result = chance_level(sessions, score="alliance", rule=rule, draws=100, seed=1)
    assert np.isfinite(result.table[["expected", "p_value"]]).all(axis=None)
    assert np.isfinite(result.by_session["expected"]).all()


def test_wrong_arguments():
    sessions = as_sessions(world(np.random.default_rng(5), patients=10))
    with pytest.raises(ValueError, match="draws=10"):
        chance_level(sessions, score="alliance", rule="own_mean_2sd", draws=10, seed=1)
    with pytest.raises(ValueError, match="Did you mean 'fitted'"):
        chance_level(sessions, score="alliance", rule="own_mean_2sd", seed=1, null="fited")
    with pytest.raises(ValueError, match="bounds"):
        chance_level(sessions, score="alliance", rule="own_mean_2sd", seed=1, bounds=(1, 5))
    with pytest.raises(DataError, match="No session"):
        chance_level(sessions.assign(alliance=np.nan), score="alliance", rule="own_mean_2sd", seed=1)
    with pytest.raises(ValueError, match="run rules"):
        calibrate(sessions, score="alliance", rule="chart_run_rules", seed=1)
    with pytest.raises(ValueError, match="rate=5"):
        calibrate(sessions, score="alliance", rule="own_mean_2sd", seed=1, rate=5)


def test_a_large_study_is_judged_on_a_random_part(monkeypatch):
    """What is compared is of the same patients: their own ruptures, in the units of the whole study."""
    series = world(np.random.default_rng(5), patients=200, ruptured=0.3)
    sessions = as_sessions(series)
    options = {"score": "alliance", "rule": "running_mean_2pooled", "draws": 100}
    whole = chance_level(sessions, **options, seed=1)
    monkeypatch.setattr(frame, "PART_RATINGS", len(series.score) // 4)
    part, other = (chance_level(sessions, **options, seed=seed) for seed in (1, 2))
    assert whole.per_patient["patient"].nunique() == 200
    chosen = part.per_patient["patient"]
    assert 40 < len(chosen) == chosen.nunique() < 60
    assert chosen.equals(other.per_patient["patient"])  # the same patients for every seed
    of_part = whole.per_patient[whole.per_patient["patient"].isin(chosen)]
    assert part.per_patient["ruptures"].tolist() == of_part["ruptures"].tolist()
    assert part.table["observed"][1] == of_part["ruptures"].sum()
    assert part.table["of"][0] == len(chosen)
    pd.testing.assert_frame_equal(part.events.iloc[:, :-1], whole.events.iloc[:, :-1])
    counted = f"{of_part['ruptures'].sum()} of the {len(whole.events)} ruptures"
    said = f"a random {len(chosen)} of the 200 rated patients, with {counted}"
    assert said in part.verdict_words
    assert said in str(part)
    assert "random" not in str(whole)


def test_the_verdict_and_the_numbers_of_workers_and_seeds():
    sessions = as_sessions(world(np.random.default_rng(5), patients=60, ruptured=0.3))
    options = {"score": "alliance", "rule": "previous_1sd", "draws": 700}
    one, two = (chance_level(sessions, **options, seed=1, n_jobs=n_jobs) for n_jobs in (None, 2))
    other = chance_level(sessions, **options, seed=2)
    pd.testing.assert_frame_equal(one.table, two.table)
    pd.testing.assert_frame_equal(one.by_session, two.by_session)
    pd.testing.assert_frame_equal(one.fit, other.fit)
    assert one.parameters == other.parameters
    assert not one.table["expected"].equals(other.table["expected"])


def test_at_least_is_what_is_found_beyond_the_95_percent_point():
    """Of 30 found where 95 % of draws have at most 24, at least 6 are more than chance; none of 20; both by hand."""
    series = world(np.random.default_rng(1), patients=4)
    counted = count_study(series, RULES["previous_1sd"])[0]
    seen = dataclasses.replace(counted, total=np.array([[30.0, 20, 24, 25, 60]]))
    totals = np.repeat(np.arange(1.0, 26.0), 4)[:, None] * np.ones(5)  # 1 to 25, four times each
    for verdict, expected in (("fits", [6, 0, 0, 1, 36]), (INSEPARABLE, [np.nan] * 5)):
        table = main_table(series, seen, totals, totals.mean(axis=0), seen.per_patient, 0.95, verdict)
        assert np.array_equal(table["at_least"], expected, equal_nan=True)
