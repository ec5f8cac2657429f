"""When a fall counts: cases worked by hand."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from naive_rules import POINTS, found, sessions_of

from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.schema import check_sessions


def test_cumulative_fall_begins_where_the_scores_began_to_fall():
    rule = replace(POINTS, fall="cumulative")
    events = detect_ruptures(sessions_of([5, 6, 5.5, 5.5, 4, 6.5]), score="alliance", rule=rule)
    assert events.loc[0, ["onset", "baseline", "repaired_at"]].tolist() == [5, 6.0, 6]
    assert found([5, 6, 5.5, 5.6, 4], rule) == []


def test_bridge_is_the_gap_policy():
    course = [6, None, 3, 7]
    assert found(course, replace(POINTS, bridge=0)) == []
    assert found(course, replace(POINTS, bridge=1)) == [(3, 3, 4, "repaired")]
    assert found([6, None, None, 3, 7], replace(POINTS, bridge=1)) == []


def test_burn_in_and_min_ratings():
    assert found([6, 3, 7, 4], replace(POINTS, burn_in=2)) == [(4, 4, None, "censored")]
    running = Rule(reference="running_mean", unit="points", size=1.0, min_ratings=3)
    assert found([6, 4, 6, 4, 7], running) == [(4, 4, 5, "repaired")]


def test_strict_and_not():
    assert found([6, 4, 7], POINTS) == [(2, 2, 3, "repaired")]
    assert found([6, 4, 7], replace(POINTS, strict=True)) == []
    tenths = replace(POINTS, size=0.1)
    assert len(found([0.4, 0.3, 0.5], tenths)) == 1  # .4 - .3 < .1 in floating point


def test_run_rules_of_a_control_chart():
    rule = Rule(reference="own_mean", unit="points", size=9.0, run_rules=("two_of_three",), bridge=None)
    assert found([6, 6, 6, 6, 3, 6, 3, 9], rule)[0][0] == 7  # mean 5.625: two of three at least 2 below
    rule = replace(rule, run_rules=("eight_in_a_row",))
    assert found([9, 9, 9, 9, *[5] * 8], rule)[0][0] == 12


def test_the_unit_of_earlier_ratings_does_not_hear_of_a_later_outburst():
    """Two patients alike up to session 4; with the pooled SD in points given, their units there are the same."""
    sessions = sessions_of([5, 6, 4, 5, 1, 7, 1], [5, 6, 4, 5, 5, 5, 5], [3, 4])
    series, _ = read_series(check_sessions(sessions, ["alliance"]), "alliance")
    earlier = judge(series, Rule(unit="earlier_sd")).unit
    own = judge(series, Rule(unit="own_sd")).unit
    assert np.allclose(earlier[:5], earlier[7:12])
    assert not np.isclose(own[0], own[7])
    pooled = math.sqrt((statistics.variance([5, 6, 4, 5, 1, 7, 1]) * 6 + 2 + 0.5) / (6 + 6 + 1))
    assert np.allclose(earlier[[0, 1, 7, 8, 14, 15]], pooled)  # no or one earlier rating
    assert earlier[3] == pytest.approx(math.sqrt((2 + 4 * pooled**2) / 6))  # 5, 6, 4: squares 2, 2 df
