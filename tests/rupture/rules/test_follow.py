"""From a fall to its repair: cases worked by hand."""

from dataclasses import replace

import pandas as pd
import pytest
from naive_rules import POINTS, found, random_sessions

from alliance_stats.rupture.rules.detect import detect_ruptures


@pytest.mark.parametrize(
    ("repair", "amount", "repaired_at"),
    [("past_baseline", None, 7), ("to_baseline", None, 6), ("share_of_fall", 0.5, 5), ("within_points", 1.0, 5)],
)
def test_repair_targets(repair, amount, repaired_at):
    rule = replace(POINTS, repair=repair, repair_amount=amount)
    assert found([6, 6, 2, 3.5, 5, 6, 6.5], rule)[0][2] == repaired_at


def test_share_of_the_fall_is_measured_from_the_lowest_score_so_far():
    rule = replace(POINTS, repair="share_of_fall", repair_amount=0.5)
    assert found([6, 4, 2, 3.9, 4], rule) == [(2, 3, 5, "repaired")]


def test_a_window_counts_session_numbers_missed_ones_too():
    rule = replace(POINTS, window=2)
    assert found([6, 3, None, 7, 7], rule) == [(2, 2, 4, "repaired")]
    assert found([6, 3, None, None, 7], rule) == [(2, 2, None, "unrepaired")]


def test_censoring():
    assert found([6, 6, 3], POINTS) == [(3, 3, None, "censored")]
    assert found([6, 3, 3], POINTS) == [(2, 2, None, "unrepaired")]
    windowed = replace(POINTS, window=3)
    assert found([6, 3, 3, 3], windowed) == [(2, 2, None, "censored")]
    assert found([6, 3, 3, 3, 3], windowed) == [(2, 2, None, "unrepaired")]


def test_after_the_window_a_new_rupture_may_begin():
    assert found([7, 5, 5, 3, 8], replace(POINTS, window=1)) == [(2, 2, None, "unrepaired"), (4, 4, 5, "repaired")]
    assert found([7, 5, 5, 3, 8], POINTS) == [(2, 4, 5, "repaired")]


def test_restart_closes_the_open_rupture_at_a_deeper_fall():
    course = [7, 5, 5, 3, 6, 8]
    assert found(course, replace(POINTS, overlap="restart")) == [(2, 2, None, "unrepaired"), (4, 4, 5, "repaired")]
    assert found(course, POINTS) == [(2, 4, 6, "repaired")]


def test_ceiling_counts_as_regained():
    rule = replace(POINTS, bounds=(1, 7))
    assert found([7, 4, 7, 7], POINTS) == [(2, 2, None, "unrepaired")]
    assert found([7, 4, 7, 7], rule) == [(2, 2, 3, "repaired")]


def test_a_repair_that_must_hold():
    """It is known at the second score in a row past the baseline; one alone is none."""
    twice = replace(POINTS, repair_holds=2)
    assert found([6, 3, 7, 5, 7, 7, 6], POINTS)[0] == (2, 2, 3, "repaired")
    assert found([6, 3, 7, 5, 7, 7, 6], twice) == [(2, 2, 6, "repaired")]
    assert found([6, 3, 7, None, 7, 6], twice) == [(2, 2, 5, "repaired")]  # a missed session does not break the row
    assert found([6, 3, 7, 2, 7], twice) == [(2, 4, None, "censored")]  # the last score may be the first of two
    assert found([6, 3, 7, 5], twice) == [(2, 2, None, "unrepaired")]
    assert found([6, 3, 7], twice) == [(2, 2, None, "censored")]
    assert found([6, 3, 5], twice) == [(2, 2, None, "censored")]  # one rating cannot show a repair that holds
    assert found([6, 3, 7, 7, 6], replace(twice, window=1)) == [(2, 2, None, "unrepaired")]


def test_cutting_the_course_changes_no_repair_already_known():
    rule = replace(POINTS, size=1.0, repair_holds=2)
    sessions = random_sessions(3, patients=60, missing=0.1)
    whole = detect_ruptures(sessions, score="alliance", rule=rule)
    for last in range(3, 14):
        cut = detect_ruptures(sessions[sessions["session"] <= last], score="alliance", rule=rule)
        known, again = (events[events["repaired_at"].fillna(99) <= last] for events in (whole, cut))
        pd.testing.assert_frame_equal(known.reset_index(drop=True), again.reset_index(drop=True), check_exact=True)
