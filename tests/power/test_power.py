"""Power: its definition by a loop, its level without an effect, and its growth with the study."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.coding.sessions import code_sessions, consensus
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.simulate.codes import Coding

SMALL = {"n_patients": 25, "n_therapists": 4, "n_sessions": 8, "sessions_sd": 2}


def test_power_against_a_loop():
    table = als.simulate_power(analysis="next_session", term="alliance_within", world=SMALL, n_studies=8, seed=3)
    seeds = np.random.default_rng(3).integers(0, 2**63, 8)
    found = []
    for seed in seeds:
        study = als.simulate_study(seed=int(seed), **SMALL)
        events = als.detect_ruptures(study.sessions, score="alliance", rule="previous_2pooled")
        terms = fit_next_session(study.sessions, events, symptom="phq9", alliance="alliance").tidy().set_index("term")
        found.append(terms.loc["alliance_within", ["estimate", "p_value"]].tolist())
    estimate, p_value = np.array(found, dtype=float).T
    row = table.iloc[0]
    assert row["power"] == (p_value < 0.05).mean()
    assert row["mean_estimate"] == pytest.approx(estimate.mean())
    assert row["n_fitted"] == 8
    assert row["ci_low"] <= row["power"] <= row["ci_high"]


def test_cells_are_all_combinations_and_repeatable():
    arguments = {
        "analysis": "dropout",
        "term": "rupture_open",
        "vary": {"n_patients": [40, 80], "dropout_rupture": [0.0, 2.0]},
        "world": {"rupture_rate": 0.1},
        "rule": None,
        "n_studies": 4,
        "seed": 5,
    }
    table = als.simulate_power(**arguments)
    assert table[["n_patients", "dropout_rupture"]].to_numpy().tolist() == [[40, 0], [40, 2], [80, 0], [80, 2]]
    pd.testing.assert_frame_equal(table, als.simulate_power(**arguments, n_jobs=2), check_exact=True)
    assert table["mean_estimate"].iloc[3] > table["mean_estimate"].iloc[2]


def test_own_analysis_and_studies_that_cannot_be_analysed():
    def own(study, events):
        if len(events) % 2:
            raise als.DataError("odd", remedy="none")
        return pd.DataFrame({"term": ["x"], "estimate": [1.0], "std_error": [0.5], "p_value": [0.01]})

    table = als.simulate_power(analysis=own, term="x", world=SMALL, n_studies=10, seed=1, rule=None)
    assert table["power"].iloc[0] == table["n_fitted"].iloc[0] / 10 < 1


def test_the_headline_analyses_are_those_of_the_report():
    world = {"n_patients": 50, "n_therapists": 6, "n_sessions": 10, "rupture_rate": 0.08}
    rule = "running_mean_2pooled"
    seed = int(np.random.default_rng(4).integers(0, 2**63, 1)[0])
    study = als.simulate_study(seed=seed, **world)
    sessions, events = study.sessions, als.detect_ruptures(study.sessions, score="alliance", rule=rule)
    chance = als.chance_level(sessions, score="alliance", rule=rule, draws=199, seed=seed).table.set_index("quantity")
    intervals = als.dropout_intervals(sessions, events, endings=study.endings)
    hazard = als.fit_dropout("rupture_open + repaired_before + session", intervals, cluster="therapist")
    patients = als.summarise_patients(sessions, events, measures=["phq9"])
    effects = als.fit_outcome(patients, post="phq9_post", pre="phq9_pre").effects()
    error = als.reliability.error_variance(
        study.items.merge(sessions), "wai_{item}", score="alliance", instrument="WAI-SR"
    )
    both = als.fit_dynamics(
        sessions, alliance="alliance", symptom="phq9", trend="random", start="stationary", error={"alliance": error}
    ).tidy()
    by_hand = {
        "chance": chance.loc["ruptures", "ratio"],
        "dropout": hazard.tidy().set_index("term").loc["rupture_open", "estimate"],
        "repair": effects.query("adjusted and contrast == 'repaired - unrepaired'")["difference"].iloc[0],
        "dynamics": both.query("outcome == 'phq9' and term == 'alliance_lag'")["estimate"].iloc[0],
    }
    for analysis, expected in by_hand.items():
        row = als.simulate_power(analysis=analysis, world=world, rule=rule, n_studies=1, seed=4).iloc[0]
        assert row["not_fitted"] == ""
        assert row["mean_estimate"] == pytest.approx(expected, rel=1e-6), analysis


def test_strategies_before_repair_are_those_of_the_report():
    world = {"n_patients": 120, "n_therapists": 6, "rupture_rate": 0.1, "codes": Coding(coders=3, use=0.4)}
    seed = int(np.random.default_rng(4).integers(0, 2**63, 1)[0])
    study = als.simulate_study(seed=seed, **world)
    coded = consensus(code_sessions(study.codes))
    events = als.events_from_codes(coded, study.sessions, score="alliance")
    rows = als.coding.repair_intervals(study.sessions, events, coded=coded, endings=study.endings)
    used = " + ".join(name for name in rows if name.startswith("used_"))
    by_hand = als.fit_dropout(used, rows, ending="repaired", baseline="dummies", cluster="patient").tidy()
    row = als.simulate_power(analysis="codes", world=world, n_studies=1, seed=4).iloc[0]
    assert row["mean_estimate"] == by_hand.set_index("term").loc["used_expressive", "estimate"]
    world["codes"] = asdict(world["codes"])  # as a design file has it
    same = als.simulate_power(analysis="codes", world=world, n_studies=1, seed=4).iloc[0]
    assert same["mean_estimate"] == row["mean_estimate"]


def test_why_studies_could_not_be_analysed_is_said():
    row = als.simulate_power(analysis="dynamics", world={**SMALL, "n_patients": 8}, n_studies=2, seed=1).iloc[0]
    assert row["n_fitted"] == row["power"] == 0
    assert "8 patients cannot carry" in row["not_fitted"]


def test_smallest_study_by_hand():
    table = pd.DataFrame(
        {
            "n_patients": [200, 50, 100, 50, 100, 200],
            "n_sessions": [6, 6, 6, 12, 12, 12],
            "n_studies": 100,
            "power": [0.75, 0.30, 0.60, 0.60, 0.81, 0.95],
            "ci_low": [0.66, 0.22, 0.50, 0.50, 0.72, 0.89],
            "ci_high": [0.82, 0.40, 0.69, 0.69, 0.87, 0.98],
        }
    )
    found = als.power.smallest_study(table).set_index("n_sessions")
    assert found["n_patients_low"].tolist() == [200, 100]
    assert found["n_patients"].tolist() == [pd.NA, 100]
    assert found["n_patients_high"].tolist() == [pd.NA, 200]
    assert found.loc[12, ["power", "ci_low", "ci_high"]].tolist() == [0.81, 0.72, 0.87]
    assert np.isnan(found.loc[6, "power"])
    with pytest.raises(ValueError, match="size='n_therapists'"):
        als.power.smallest_study(table, size="n_therapists")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"analysis": "cure", "term": "x"}, "analysis='cure'"),
        ({"analysis": "next_session", "rule": "own_mean_2sd"}, "looks ahead"),
        ({"analysis": "chance", "rule": None}, "give rule="),
        ({"analysis": len}, "needs term="),
        ({"analysis": "dropout", "vary": {"n_patiens": [1]}}, "n_patients"),
        ({"analysis": "next_session", "term": "aliance_within"}, "alliance_within"),
        ({"analysis": "next_session", "n_studies": 0}, "n_studies=0"),
        ({"analysis": "next_session", "alpha": 2.0}, "alpha=2.0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        als.simulate_power(seed=1, world=SMALL, **{"n_studies": 1, **arguments})


@pytest.mark.slow
def test_power_is_the_level_without_an_effect_and_grows_with_it():
    table = als.simulate_power(
        analysis="next_session",
        term="alliance_within",
        vary={"alliance_effect": [0.0, -1.5, -3.0]},
        world={"n_patients": 60, "n_therapists": 6, "rupture_effect": 0.0, "repair_effect": 0.0},
        n_studies=100,
        seed=7,
    )
    assert table["ci_low"].iloc[0] <= 0.05 <= table["ci_high"].iloc[0]
    assert table["power"].is_monotonic_increasing
    assert table["power"].iloc[2] > 0.8
