"""Pairing marks: every pairing tried, and random moves against all moves."""

import itertools

import numpy as np
import pytest

from alliance_stats.rupture.describe.agreement import expected_pairs, match_within


def best_pairing(a, b, margin):
    """(most pairs, smallest sum of distances) by trying every pairing."""
    for size in range(min(len(a), len(b)), 0, -1):
        sums = [
            sum(abs(x - y) for x, y in zip(left, right, strict=True))
            for left in itertools.combinations(a, size)
            for right in itertools.permutations(b, size)
            if all(abs(x - y) <= margin for x, y in zip(left, right, strict=True))
        ]
        if sums:
            return size, min(sums)
    return 0, 0


@pytest.mark.parametrize("margin", [0, 1, 2, 3])
def test_as_many_pairs_as_can_be_and_among_them_the_nearest(margin):
    rng = np.random.default_rng(margin)
    for _ in range(100):
        owner_a, owner_b = rng.integers(0, 3, rng.integers(0, 9)), rng.integers(0, 3, rng.integers(0, 9))
        time_a, time_b = rng.integers(-2, 10, len(owner_a)), rng.integers(-2, 10, len(owner_b))
        i, j = match_within(owner_a, time_a, owner_b, time_b, margin=margin)
        assert len(set(i)) == len(set(j)) == len(i)
        assert (owner_a[i] == owner_b[j]).all()
        for who in range(3):
            apart = np.abs(time_a[i] - time_b[j])[owner_a[i] == who]
            assert (apart <= margin).all()
            expected = best_pairing(time_a[owner_a == who], time_b[owner_b == who], margin)
            assert (len(apart), apart.sum()) == expected


def test_an_onset_goes_with_the_code_of_its_own_session():
    i, j = match_within([0], [5], [0, 0], [4, 5], margin=1)
    assert (i.tolist(), j.tolist()) == ([0], [1])
    i, j = match_within([0, 0], [4, 5], [0, 0], [5, 6], margin=1)  # both find a partner, though one stands nearer
    assert (i.tolist(), j.tolist()) == ([0, 1], [0, 1])


def test_patients_are_kept_apart():
    i, j = match_within([0, 1, 1], [5, 5, 8], [1, 0, 2], [5, 9, 8], margin=1)
    assert (i.tolist(), j.tolist()) == ([1], [0])
    assert match_within([0], [5], [1], [5], margin=1)[0].tolist() == []
    assert match_within([], [], [1], [5], margin=1)[0].tolist() == []


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_chance_is_the_mean_over_all_moves(margin):
    """Patient 0: marks of a at 2 and 6, two of b on five sessions; patient 1: no mark of a; patient 2: one of each."""
    owner_a, time_a = np.array([0, 0, 2]), np.array([2, 6, 3])
    owner_b, time_b = np.array([0, 0, 1, 2]), np.array([1, 7, 4, 3])
    sessions = {0: [1, 2, 5, 6, 7], 1: [3, 4, 5], 2: [1, 2, 3, 4]}
    possible = tuple(
        np.array(part) for part in zip(*((who, s) for who in sessions for s in sessions[who]), strict=True)
    )
    found = expected_pairs(
        owner_a, time_a, owner_b, time_b, possible=possible, margin=margin, draws=4000, rng=np.random.default_rng(1)
    )
    moves = [(sessions[0][move % 5], sessions[0][(4 + move) % 5]) for move in range(5)]
    exact = [np.mean([best_pairing([2, 6], two, margin)[0] for two in moves]), 0.0]
    exact.append(np.mean([abs(3 - session) <= margin for session in sessions[2]]))
    per_patient = np.bincount(owner_a, weights=found.side.sum(axis=1), minlength=3)
    assert per_patient == pytest.approx(exact, abs=0.03)
    assert found.hit == pytest.approx([exact[0] / 2, exact[0] / 2, 0.0, exact[2]], abs=0.03)
    earlier = np.mean([0 < 3 - session <= margin for session in sessions[2]])
    assert found.side[2] == pytest.approx([earlier, 0.25, 0.25 * (margin > 0)], abs=0.03)
    assert found.totals.mean(axis=0) == pytest.approx(found.side.sum(axis=0))
