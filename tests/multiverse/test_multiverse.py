"""Every specification has its row, and its estimate is the one the model itself gives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.multiverse.fit import TARGETS


@pytest.fixture(scope="module")
def study():
    return als.simulate_study(n_patients=100, n_therapists=8, seed=4, rupture_rate=0.06)


def test_estimates_are_those_of_the_model(study):
    table = als.fit_multiverse(
        study.sessions, score="alliance", question="next_session", symptom="phq9", rules=["previous_2pooled"]
    )
    for target in TARGETS:
        rule = replace(als.RULES["previous_2pooled"], **TARGETS[target])
        events = als.detect_ruptures(study.sessions, score="alliance", rule=rule)
        fit = als.fit_next_session(study.sessions, events, symptom="phq9", alliance="alliance")
        by_hand = fit.tidy().set_index("term")
        for row in table[table["target"] == target].itertuples():
            assert row.estimate == pytest.approx(by_hand.loc[row.term, "estimate"])
            assert row.p_value == pytest.approx(by_hand.loc[row.term, "p_value"])
            assert row.n_ruptures == len(events)
            assert row.n_repaired == events["repaired_at"].notna().sum()
    lenient = table.drop_duplicates("target").set_index("target")["n_repaired"]
    assert lenient["past baseline"] <= lenient["to baseline"] <= lenient["half of the fall"]


def test_outcome_and_dropout(study):
    rules = ["previous_2pooled", "own_mean_2sd"]
    outcome = als.fit_multiverse(study.sessions, score="alliance", question="outcome", symptom="phq9", rules=rules)
    assert set(outcome["rule"]) == set(rules)
    events = als.detect_ruptures(study.sessions, score="alliance", rule="own_mean_2sd")
    patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
    effects = als.fit_outcome(patients, post="phq9_post", pre="phq9_pre").effects()
    effects = effects[effects["adjusted"]].set_index("contrast")
    own = outcome[(outcome["rule"] == "own_mean_2sd") & (outcome["target"] == "past baseline")].set_index("term")
    np.testing.assert_allclose(own["estimate"], effects.loc[own.index, "difference"])
    np.testing.assert_allclose(own["r"], effects.loc[own.index, "r"])
    dropout = als.fit_multiverse(
        study.sessions,
        score="alliance",
        question="dropout",
        endings=study.endings,
        rules=rules,
        targets=["to baseline"],
    )
    assert dropout["status"].tolist() == ["ok", "ok", "looks ahead"]
    allowed = als.fit_multiverse(
        study.sessions,
        score="alliance",
        question="dropout",
        endings=study.endings,
        rules=["own_mean_2sd"],
        targets=["to baseline"],
        allow_lookahead=True,
    )
    assert (allowed["status"] == "ok").all()
    assert not allowed["prospective"].any()


def test_a_specification_without_an_estimate_keeps_its_row(study):
    never = als.Rule(name="never", reference="previous", unit="points", size=99.0)
    table = als.fit_multiverse(
        study.sessions,
        score="alliance",
        question="outcome",
        symptom="phq9",
        rules=[never, "previous_2pooled"],
        targets=["past baseline"],
    )
    assert table.loc[0, ["rule", "status"]].tolist() == ["never", "no rupture found"]
    summary = als.multiverse.summarise_multiverse(table)
    assert (summary["n_specifications"] == 2).all()
    assert (summary["n_estimated"] == 1).all()
    assert (summary["same_sign"] == 1).all()


def test_summary_by_hand():
    table = pd.DataFrame(
        {
            "rule": ["a", "b", "c", "d"],
            "target": "to baseline",
            "term": "x",
            "estimate": [1.0, 2.0, -1.0, np.nan],
            "p_value": [0.2, 0.01, 0.5, np.nan],
            "status": ["ok", "ok", "ok", "no rupture found"],
        }
    )
    others = ["prospective", "ci_low", "ci_high", "r", "n_rows", "n_ruptures", "n_repaired", "n_patients_with_rupture"]
    summary = als.multiverse.summarise_multiverse(table.assign(**dict.fromkeys(others, 0.0))).iloc[0]
    assert summary["n_specifications"] == 4
    assert summary["n_estimated"] == 3
    assert (summary["median"], summary["lowest"], summary["highest"]) == (1.0, -1.0, 2.0)
    assert summary["same_sign"] == pytest.approx(2 / 3)
    assert summary["significant"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "cure"}, "question='cure'"),
        ({"question": "dropout"}, "needs endings="),
        ({"question": "outcome"}, "needs symptom="),
        ({"question": "outcome", "symptom": "phq8"}, "phq9"),
        ({"question": "outcome", "symptom": "phq9", "rules": ["own_mean_2ds"]}, "own_mean_2sd"),
        ({"question": "outcome", "symptom": "phq9", "targets": ["over baseline"]}, "Did you mean"),
    ],
)
def test_wrong_arguments(study, arguments, message):
    with pytest.raises(ValueError, match=message):
        als.fit_multiverse(study.sessions, score="alliance", **arguments)
