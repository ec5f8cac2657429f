"""The words of a rule: each is documented, can be said in a sentence, and tells whether it looks ahead."""

import numpy as np
import pytest
from naive_rules import random_sessions, sessions_of

from alliance_stats.report.numbers import rule_in_words
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS


@pytest.mark.parametrize("words", [REFERENCES, UNITS, REPAIRS])
def test_every_word_is_documented_where_rules_are_made(words):
    for name, word in words.items():
        assert name == word.name
        assert f"``{name}``: {word.meaning[:20]}" in Rule.__doc__
    assert "{" not in Rule.__doc__


def test_a_rule_can_be_said_in_words():
    assert rule_in_words(Rule(reference="own_mean", unit="own_sd", size=2.0, strict=True)) == (
        "a score more than 2 times the patient's own SD below the patient's own mean of all sessions begins a rupture, "
        "and the first later score strictly above the baseline repairs it"
    )
    said = rule_in_words(Rule(unit="percent", size=15.0, repair="share_of_fall", repair_amount=0.5))
    assert "at least 15 percent of that level below the mean of all earlier rated sessions" in said
    assert "that has regained the share 0.5 of the fall" in said


def judged(series, scores, **fields):
    fields |= {"bridge": None, "reliability": 0.8 if fields.get("unit") == "rci" else None}
    return judge(series.with_scores(scores), Rule(**fields))


SERIES, _ = read_series(random_sessions(12, patients=60, missing=0.0), "alliance")
RNG = np.random.default_rng(1)
SHUFFLED = SERIES.score[np.lexsort((RNG.random(len(SERIES.score)), SERIES.owner))]
LATER = SERIES.score + np.where(SERIES.position >= 5, RNG.normal(0, 1, len(SERIES.score)), 0.0)


@pytest.mark.parametrize("reference", REFERENCES)
def test_which_references_look_ahead_and_which_depend_on_order(reference):
    found, shuffled, moved = (judged(SERIES, scores, reference=reference) for scores in (SERIES.score, SHUFFLED, LATER))
    known, early = found.known, found.known & (SERIES.position < 5)
    assert np.allclose(found.baseline[known], shuffled.baseline[known]) != REFERENCES[reference].ordered
    assert np.allclose(found.baseline[early], moved.baseline[early]) != REFERENCES[reference].looks_ahead


@pytest.mark.parametrize("unit", UNITS)
def test_which_units_depend_on_order(unit):
    found, shuffled = (judged(SERIES, scores, reference="own_mean", unit=unit) for scores in (SERIES.score, SHUFFLED))
    assert np.allclose(found.unit, shuffled.unit) != UNITS[unit].ordered


@pytest.mark.parametrize("unit", UNITS)
def test_which_units_are_of_the_study_and_which_look_ahead(unit):
    """Two patients with the same start in a large study: units of one patient who changes late tell of it."""
    calm, late = [5.0, 6, 4, 5, 5, 6, 4, 5], [5.0, 6, 4, 5, 1, 7, 1, 6]
    series, _ = read_series(sessions_of(calm, late, [3.0, 4, 5]), "alliance")
    values = np.broadcast_to(judged(series, series.score, reference="running_mean", unit=unit).unit, len(series.score))
    assert np.allclose(values[1:4], values[9:12]) != UNITS[unit].looks_ahead
    if UNITS[unit].of == "study":
        assert np.ptp(values) == 0


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("unit", UNITS)
def test_a_rule_is_prospective_if_neither_level_nor_unit_looks_ahead(reference, unit):
    rule = Rule(reference=reference, unit=unit, reliability=0.8 if unit == "rci" else None)
    assert rule.prospective == (not REFERENCES[reference].looks_ahead and not UNITS[unit].looks_ahead)
