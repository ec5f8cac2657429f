"""Draws counted, and their counts adjusted to the statistics of the data."""

from functools import partial

import numpy as np
import pytest
from calm import as_sessions, world

from alliance_stats.rupture.chance import draws
from alliance_stats.rupture.chance.counted import false_discovery
from alliance_stats.rupture.chance.draws import (
    Counts,
    adjust,
    count_draws,
    count_study,
    draw_null,
    draw_shuffled,
)
from alliance_stats.rupture.chance.frame import frame_of
from alliance_stats.rupture.chance.null_fit import NullFit, fit_null
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES


def test_draws_are_counted_as_single_studies(monkeypatch):
    series = world(np.random.default_rng(2), patients=30)
    frame = frame_of(series, bounds=(1.0, 7.0), step=None)
    fit = fit_null(frame, np.random.default_rng(1))
    monkeypatch.setattr(draws, "BLOCK_RATINGS", 4 * len(series.score))
    streams = np.random.default_rng(4).spawn(2)
    scores = np.hstack([draw_null(frame, fit, size, stream) for size, stream in zip((4, 3), streams, strict=True)])
    for rule in RULES.values():
        like = judge(series, rule)
        together = count_draws(frame, like, partial(draw_null, frame, fit), 7, np.random.default_rng(4))
        alone = [count_study(series.with_scores(scores[:, draw].copy()), rule, like.of_study)[0] for draw in range(7)]
        assert np.array_equal(together.total, np.concatenate([counts.total for counts in alone]))
        assert np.allclose(together.per_patient, np.mean([counts.per_patient for counts in alone], axis=0))
        assert np.array_equal(together.by_session, np.concatenate([counts.by_session for counts in alone]))
        assert np.allclose(together.depth, np.concatenate([counts.depth for counts in alone]))


def test_counts_agree_with_the_events():
    series = world(np.random.default_rng(2), patients=60)
    events = detect_ruptures(as_sessions(series), score="alliance", rule="previous_1sd")
    counts = count_study(series, RULES["previous_1sd"])[0]
    repaired = events[events["status"] == "repaired"]
    assert counts.total[0, [0, 1, 3, 4]].tolist() == [
        events["patient"].nunique(),
        len(events),
        len(repaired),
        repaired["patient"].nunique(),
    ]
    assert np.allclose(counts.depth, events["drop_units"])


def test_shuffling_keeps_every_patients_scores():
    series = world(np.random.default_rng(2), patients=30)
    for draw in draw_shuffled(series, 5, np.random.default_rng(1)).T:
        for start, stop in zip(series.start, series.stop, strict=True):
            assert np.array_equal(np.sort(draw[start:stop]), np.sort(series.score[start:stop]))


def test_adjustment_recovers_the_conditional_expectation():
    rng = np.random.default_rng(1)

    def drawn(spread, curved):
        known = rng.normal(0, spread, (3, 4000))
        bent = 3 * known[1] ** 2 if curved else 0.0
        totals = np.rint(50 + 6 * known[0] - 4 * known[1] + bent + rng.normal(0, 2, 4000))[:, None]
        return Counts(totals, np.zeros((1, 1)), np.zeros((4000, 1)), np.arange(1), np.zeros(0), known)

    estimated = NullFit(np.zeros(3), np.zeros((3, 3)), np.eye(3), 0.0, [])  # the statistics are the estimates
    moved, mean = adjust(drawn(1.0, False), drawn(0.1, False), estimated)
    assert mean[0] == pytest.approx(50, abs=0.3)
    assert moved.std() == pytest.approx(np.sqrt(4 + 2 / 12), rel=0.06)
    wider, _ = adjust(drawn(1.0, False), drawn(0.1, False), estimated, crowding=0.25)
    assert wider.std() == pytest.approx(1.5 * 2, rel=0.06)  # twice a quarter more
    _, mean = adjust(drawn(1.0, True), drawn(0.1, True), estimated)
    assert mean[0] == pytest.approx(50, abs=0.3)  # the scattered draws alone average 53


def test_false_discovery_by_hand():
    found = Counts(
        np.zeros((2, 5)), np.zeros((1, 5)), np.zeros((2, 1)), np.arange(1), np.array([1.0, 1.5, 2.5, 3.5]), None
    )
    rate = false_discovery(np.array([1.0, 2.0, 3.0, 4.0]), found, 1.0)
    assert rate == pytest.approx([0.5, 1 / 3, 0.25, 0.0])  # 2, 1, .5 and 0 expected so deep, of 4, 3, 2 and 1 seen
    twice = false_discovery(np.array([1.0, 2.0, 3.0, 4.0]), found, 2.0)  # drawn were half of the patients
    assert twice == pytest.approx([1.0, 2 / 3, 0.5, 0.0])
