"""What is chosen becomes a rule, and the text to copy gives that rule back."""

import tomllib

import pytest

from alliance_stats import RULES, Rule, chance_level, detect_ruptures, simulate_study
from alliance_stats.explorer.choices import DRAWS, Answers, as_python, as_toml, chosen_rule
from alliance_stats.explorer.drawing import patient_picture, study_picture
from alliance_stats.report.sections import study_rule
from alliance_stats.report.study import StudyFile

RULES_TO_COPY = [
    *RULES.values(),
    chosen_rule("previous_2pooled", size=1.25, window=3, repair="within_points", repair_amount=0.25),
    chosen_rule("chart_run_rules", size=2.5),
]


@pytest.mark.parametrize("rule", RULES_TO_COPY, ids=lambda rule: rule.name)
def test_copied_text_gives_the_same_events(rule, tmp_path):
    sessions = simulate_study(n_patients=30, seed=2).sessions
    found = detect_ruptures(sessions, score="alliance", rule=rule)
    settings = tomllib.loads(as_toml(rule, score="alliance"))
    if settings:
        read = study_rule(StudyFile(tmp_path / "study.toml", settings))
        assert detect_ruptures(sessions, score="alliance", rule=read).equals(found)
    else:
        assert "cannot be written" in as_toml(rule, score="alliance")
    names = {"als": __import__("alliance_stats")}
    exec(as_python(rule, score="alliance").splitlines()[0], names)
    assert detect_ruptures(sessions, score="alliance", rule=names["rule"]).equals(found)


def test_an_unchanged_rule_keeps_its_name_and_a_changed_one_does_not_claim_its_source():
    assert chosen_rule("own_mean_2sd", size=2.0, repair_amount=0.5, repair="past_baseline") is RULES["own_mean_2sd"]
    changed = chosen_rule("own_mean_2sd", size=1.0)
    assert changed.citation == changed.fidelity == ""
    assert changed.name == "own_mean_2sd, changed"


def test_choices_that_do_not_go_together_are_refused_in_words():
    with pytest.raises(ValueError, match="reliability"):
        chosen_rule("own_mean_2sd", unit="rci")


def test_patients_are_pseudonyms_and_answers_those_of_the_package():
    sessions = simulate_study(n_patients=30, seed=2).sessions
    answers = Answers(sessions, score="alliance", show_ids=False, seed=1)
    assert not set(answers.sessions["patient"]) & set(sessions["patient"])
    rule = RULES["own_mean_2sd"]
    assert len(answers.events(rule)) == len(detect_ruptures(sessions, score="alliance", rule=rule))
    assert answers.events(rule) is answers.events(Rule(**vars(rule)))
    expected = chance_level(answers.sessions, score="alliance", rule=rule, draws=DRAWS, seed=1)
    assert answers.chance(rule).table.equals(expected.table)
    shown = Answers(sessions, score="alliance", show_ids=True, seed=1)
    assert set(shown.sessions["patient"]) == set(sessions["patient"])


@pytest.mark.parametrize("with_states", [False, True])
def test_pictures_are_the_same_bytes_and_differ_by_rule(with_states):
    answers = Answers(simulate_study(n_patients=30, seed=2).sessions, score="alliance", show_ids=False, seed=1)
    states = answers.sessions[["patient", "session"]].assign(rupture_open=0.3) if with_states else None
    patient = answers.sessions["patient"].iloc[0]
    one, other = (answers.events(RULES[name]) for name in ("own_mean_2sd", "previous_1sd"))

    def pictures(events):
        common = {"score": "alliance", "patient": patient}
        return (
            study_picture(answers.sessions, events, states, **common),
            patient_picture(answers.sessions, events, states, session=3, **common),
        )

    assert pictures(one) == pictures(one)
    assert pictures(one)[0] != pictures(other)[0]
