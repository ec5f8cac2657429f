"""Rules that are refused, and rules that look ahead."""

import pytest
from naive_rules import sessions_of

from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import DataError


def test_which_rules_are_prospective():
    prospective = {name for name, rule in RULES.items() if rule.prospective}
    assert prospective == {
        "previous_2pooled",
        "running_mean_2pooled",
        "running_mean_2earlier",
        "previous_1point",
        "previous_rci",
        "running_max_1point",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference": "own_maen"}, "Did you mean 'own_mean'"),
        ({"unit": "sd"}, "unit='sd'"),
        ({"unit": "earlier"}, "Did you mean 'earlier_sd'"),
        ({"unit": "earlier_sd", "reliability": 0.8}, "reliability"),
        ({"size": 0}, "size=0"),
        ({"size": float("nan")}, "size=nan"),
        ({"fall": "cumulative"}, "needs reference='previous'"),
        ({"repair": "within_points"}, "needs repair_amount"),
        ({"repair_amount": 1.0}, "takes no repair_amount"),
        ({"repair": "share_of_fall", "repair_amount": 1.5}, "repair_amount=1.5"),
        ({"unit": "rci"}, "reliability"),
        ({"reliability": 0.9}, "reliability"),
        ({"unit": "rci", "reliability": 1.0}, "reliability=1.0"),
        ({"window": 0}, "window=0"),
        ({"burn_in": -1}, "burn_in=-1"),
        ({"bounds": (7, 1)}, "bounds"),
        ({"run_rules": ("three_of_four",)}, "run_rules"),
        ({"overlap": "merge"}, "overlap"),
        ({"sudden_alpha": 0}, "sudden_alpha"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Rule(**fields)


@pytest.mark.parametrize(
    "fields", [{"size": "2"}, {"window": 2.5}, {"strict": 1}, {"run_rules": "two_of_three"}, {"name": 3}]
)
def test_a_field_of_the_wrong_type_is_refused(fields):
    with pytest.raises(TypeError):
        Rule(**fields)


def test_unknown_names_are_refused_with_the_nearest():
    sessions = sessions_of([5, 6, 5])
    with pytest.raises(ValueError, match="own_mean_2sd"):
        detect_ruptures(sessions, score="alliance", rule="own_mean_2SD")
    with pytest.raises(DataError, match="alliance"):
        detect_ruptures(sessions, score="alliense", rule="own_mean_2sd")
    with pytest.raises(TypeError):
        detect_ruptures(sessions, score="alliance", rule=2)


def test_every_named_rule_states_its_source_and_fidelity():
    assert len(RULES) >= 10
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.citation
        assert rule.fidelity
    unverified = [rule for rule in RULES.values() if "recalled" in rule.fidelity]
    assert not any(rule.fidelity.startswith("As published") for rule in unverified)
