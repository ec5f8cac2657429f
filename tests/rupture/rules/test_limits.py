"""In whom a rule can never fire."""

from dataclasses import replace

import numpy as np
import pytest
from naive_rules import sessions_of

from alliance_stats.rupture.describe.describe import describe_ruptures
from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.explain import explain
from alliance_stats.rupture.rules.limits import largest_fall
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.schema import check_sessions


def test_two_sd_below_own_mean_cannot_fire_with_five_ratings():
    sessions = sessions_of([7, 7, 7, 7, 1], [7, 7, 7, 7, 7, 1])
    events = detect_ruptures(sessions, score="alliance", rule="own_mean_2sd")
    assert events["patient"].tolist() == [1]
    table = describe_ruptures(sessions, events).set_index("quantity")
    assert table.loc["cannot fire: too few ratings", "count"] == 1
    assert explain(sessions, patient=0, session=5, score="alliance", rule="own_mean_2sd").verdict == "cannot fire"
    assert summarise_patients(sessions, events)["cannot_fire"].tolist() == ["too few ratings", ""]


@pytest.mark.parametrize("name", ["own_mean_2sd", "own_trend_2sd", "previous_2sd", "chart_3sigma"])
def test_the_largest_possible_fall_is_never_exceeded_and_nearly_reached(name):
    rng = np.random.default_rng(1)
    rule = replace(RULES[name], bridge=None)
    for n in range(3, 9):
        courses = [rng.normal(0, 1, n) for _ in range(300)]
        for low in range(n):  # one low rating, one high and one low: the extreme courses
            courses.append(np.where(np.arange(n) == low, -1.0, 0.0))
            courses.append(np.where(np.arange(n) == low, -1.0, np.where(np.arange(n) == low - 1, 1.0, 0.0)))
        series, _ = read_series(check_sessions(sessions_of(*courses), ["alliance"]), "alliance")
        depth = np.maximum.reduceat(judge(series, rule).depth(), series.start)
        most = largest_fall(series, rule)
        assert (depth <= most * (1 + 1e-9)).all()
        assert depth.max() >= 0.98 * most[0]


@pytest.mark.parametrize("name", RULES)
def test_no_rating_at_all_gives_no_event(name):
    sessions = sessions_of([None, None])
    events = detect_ruptures(sessions, score="alliance", rule=name)
    assert events.empty
    table = describe_ruptures(sessions, events).set_index("quantity")
    assert table.loc["cannot fire: not rated", "count"] == 1
    assert summarise_patients(sessions, events)["cannot_fire"].tolist() == ["not rated"]
