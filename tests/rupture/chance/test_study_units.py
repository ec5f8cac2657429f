"""Units of the whole study: simulated studies are judged by thresholds that are those of the data, in points."""

from dataclasses import replace

import numpy as np
import pytest
from calm import FIVE_POINTS, as_sessions, world

from alliance_stats.rupture.chance.calibrate import calibrate
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REFERENCES, UNITS

STUDY_UNITS = ("pooled_sd", "between_sd", "rci")
DRAWN_TOWARDS = ("shrunken_sd", "earlier_sd", "stricter_sd")


def rule_with(unit, **options):
    return Rule(unit=unit, reliability=0.8 if unit == "rci" else None, **options)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_study_judged_by_its_own_constants_is_judged_as_before(unit, reference):
    series = world(np.random.default_rng(1), patients=30)
    judged = judge(series, rule_with(unit, reference=reference))
    assert (len(judged.of_study) > 0) == (unit in STUDY_UNITS + DRAWN_TOWARDS)
    twice = judge(series.tiled(2), judged.rule, judged.of_study)
    assert np.array_equal(twice.fires, np.tile(judged.fires, 2))


@pytest.mark.parametrize("unit", STUDY_UNITS)
def test_a_held_unit_is_a_threshold_in_points(unit):
    rule, rng = rule_with(unit, size=1.3, run_rules=("two_of_three",)), np.random.default_rng(1)
    data = judge(world(rng, patients=30), rule)
    other = world(rng, patients=40, sd=1.2)
    held = judge(other, rule, data.of_study)
    assert held.unit == pytest.approx(data.unit)
    points = rule_with("points", size=1.3 * float(data.unit[0]))
    falls = judge(other, points).fires
    assert np.array_equal(held.fires & ~falls, held.fires & ~(held.fall >= 1.3 * data.unit))
    assert falls[held.fires].sum() == falls.sum()


@pytest.mark.parametrize("unit", DRAWN_TOWARDS)
def test_units_drawn_towards_the_study_hold_its_part(unit):
    """Two patients of the data judged in a study of wild others keep the unit they have in their own study."""
    rng = np.random.default_rng(1)
    series, wild = (
        world(rng, patients=20, fixed=True, missing=0.0),
        world(rng, patients=20, sd=1.4, fixed=True, missing=0),
    )
    rule, n = rule_with(unit), len(series.score)
    both = series.tiled(2).with_scores(np.r_[series.score, wild.score])
    one_study = type(both)(both.score, both.session, both.start, both.length, np.zeros(40, dtype=np.int64))
    data = judge(series, rule)
    assert not np.allclose(judge(one_study, rule).unit[:n], data.unit)
    assert np.allclose(judge(one_study, rule, data.of_study).unit[:n], data.unit)


def test_ruptures_do_not_lower_the_bar_for_the_draws():
    """Half the patients ruptured: judged in a pooled SD of their own, draws would be judged by smaller falls."""
    series = world(np.random.default_rng(5), patients=150, ruptured=0.5, fixed=True)
    sessions, options = as_sessions(series), {"score": "alliance", "draws": 200, "seed": 1}
    rule = RULES["running_mean_2pooled"]
    in_points = replace(rule, unit="points", size=float(2 * judge(series, rule).unit[0]))
    one, two = (chance_level(sessions, rule=each, **options) for each in (rule, in_points))
    assert np.array_equal(one.table.drop(columns="quantity"), two.table.drop(columns="quantity"))
    assert np.array_equal(one.events["false_discovery"], two.events["false_discovery"])
    sizes = [calibrate(sessions, rule=each, **options).size for each in (rule, in_points)]
    assert sizes[0] * judge(series, rule).unit[0] == pytest.approx(sizes[1])


def test_coarse_scores_near_an_edge():
    """The pooled SD decides whether falls of one or of one and a half points count; expected are those that did."""
    ratios = []
    for seed in range(12):
        sessions = as_sessions(world(np.random.default_rng(seed), **FIVE_POINTS))
        result = chance_level(
            sessions, score="alliance", rule="own_median_2pooled", draws=100, seed=1, bounds=(1.0, 5.0)
        )
        row = result.table.set_index("quantity").loc["patients with a rupture"]
        ratios.append((row["observed"], row["expected"]))
    observed, expected = np.sum(ratios, axis=0)
    assert observed / expected == pytest.approx(1.0, abs=0.2)
