"""Two sources that mark sessions: the pairs of their marks, agreement, and what chance gives of both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.panel import rows_at
from alliance_stats.tables.shares import percentiles, ratio, resampled

COLUMNS = ("quantity", "estimate", "expected", "ci_low", "ci_high", "p_value", "count", "of")


class Marks(NamedTuple):
    """Sessions that a source marked: patient (0, 1, ...) and session number, each session once, sorted."""

    who: IntArray
    when: IntArray


class Quantity(NamedTuple):
    """A share sum(part) / sum(whole) over patients, what chance would give of both, (p,), and its p-value."""

    part: FloatArray
    whole: FloatArray
    chance: FloatArray | None = None
    chance_whole: FloatArray | None = None
    p_value: float = float("nan")


class Agreement:
    """Two sources' marks in the same sessions: their pairs, and the pairs expected by chance.

    `looked` are the sessions at which both sources looked, among them all marks; `possible` those at which the second
    source could have set a mark.
    """

    def __init__(
        self,
        first: Marks,
        second: Marks,
        *,
        looked: Marks,
        possible: Marks,
        n_patients: int,
        margin: int,
        draws: int,
        rng: np.random.Generator,
    ) -> None:
        self.first, self.second, self.n_patients = first, second, n_patients
        self.pairs = match_within(*first, *second, margin=margin)
        self.chance = expected_pairs(*first, *second, possible=possible, margin=margin, draws=draws, rng=rng)
        self.side_by_chance = [self._per_patient(first.who, self.chance.side[:, side]) for side in range(3)]
        self.n_looked = self._per_patient(looked.who)
        self.n_first, self.n_second = self._per_patient(first.who), self._per_patient(second.who)
        self.both = self._per_patient(first.who[self.pairs[0]])
        self.both_by_chance = np.sum(self.side_by_chance, axis=0)
        same = match_within(*first, *second, margin=0) if margin else self.pairs
        self.same_session = self._per_patient(first.who[same[0]])
        as_many = self.chance.totals.sum(axis=1) >= self.both.sum()
        marked = len(first.who) and len(second.who)
        self.p_value = (1.0 + float(as_many.sum())) / (1.0 + draws) if marked else float("nan")

    def _per_patient(self, who: IntArray, weights: FloatArray | None = None) -> FloatArray:
        return np.bincount(who, weights=weights, minlength=self.n_patients).astype(np.float64)

    def seen(self, of: FloatArray) -> Quantity:
        """The share of the marks `of` each patient that are paired."""
        return Quantity(self.both, of, self.both_by_chance, p_value=self.p_value)

    def of_second(self, which: BoolArray) -> Quantity:
        """The share of some of the second source's marks that are paired."""
        hit = np.zeros(len(which), dtype=bool)
        hit[self.pairs[1]] = True
        who = self.second.who
        chance = self._per_patient(who[which], self.chance.hit[which])
        return Quantity(self._per_patient(who[which & hit]), self._per_patient(who[which]), chance)

    def ahead(self, side: int) -> Quantity:
        """The share of pairs whose second mark comes before (0), in the session of (1) or after (2) the first."""
        i, j = self.pairs
        part = self._per_patient(self.first.who[i][np.sign(self.second.when[j] - self.first.when[i]) + 1 == side])
        expected = ratio(self.side_by_chance[side].sum(), self.both_by_chance.sum())
        drawn = ratio(self.chance.totals[:, side], self.chance.totals.sum(axis=1))
        drawn = drawn[~np.isnan(drawn)]
        away = np.abs(drawn - expected) >= abs(ratio(part.sum(), self.both.sum()) - expected) - 1e-12
        p_value = (1.0 + float(away.sum())) / (1.0 + len(drawn)) if len(i) else float("nan")
        return Quantity(part, self.both, self.side_by_chance[side], self.both_by_chance, p_value)

    def table(self, rows: dict[str, Quantity], *, rng: np.random.Generator, draws: int, level: float) -> pd.DataFrame:
        """The rows, then kappa and AC1, each with what chance gives and a bootstrap interval over patients."""
        weights = resampled(rng, self.n_patients, draws)
        table = []
        for name, (part, whole, chance, chance_whole, p_value) in rows.items():
            low, high = percentiles(ratio(weights @ part, weights @ whole), level)
            expected = np.nan
            if chance is not None:
                expected = float(ratio(chance.sum(), (whole if chance_whole is None else chance_whole).sum()))
            count, of = part.sum(), whole.sum()
            table.append((name, float(ratio(count, of)), expected, low, high, p_value, round(count), round(of)))
        counts = np.stack([self.both, self.both_by_chance, self.same_session, self.n_first, self.n_second])
        n, n_drawn = self.n_looked.sum(), weights @ self.n_looked
        estimates, drawn = _coefficients(counts.sum(axis=1), n), _coefficients(counts @ weights.T, n_drawn)
        near, _, same, n_first, n_second = counts.sum(axis=1)
        for name, pairs in zip(estimates, (near, same, same), strict=True):
            low, high = percentiles(drawn[name], level)
            p_value = self.p_value if name == "kappa" else float("nan")
            agreed = round(n - n_first - n_second + 2 * pairs)
            table.append((name, float(estimates[name]), 0.0, low, high, p_value, agreed, round(n)))
        return pd.DataFrame(table, columns=list(COLUMNS))


def _coefficients(counts: FloatArray, n: Any) -> dict[str, Any]:
    """Kappa and AC1 from the pairs within the margin, those expected, those in the same session, and the marks."""
    near, expected, same, n_first, n_second = counts
    return {
        "kappa": kappa(near, expected, n_first, n_second),
        "Cohen's kappa, same session": kappa(same, n_first * n_second / n, n_first, n_second),
        "AC1, same session": gwet_ac1(same, n_first, n_second, n),
    }


def kappa(both: Any, expected: Any, n_first: Any, n_second: Any) -> Any:
    """Agreement beyond chance of two sources that mark sessions, from the number of pairs and the number expected.

    Of n sessions 1 - (n_first + n_second - 2 both) / n are agreed on, so that n drops out of (agreement - expected) /
    (1 - expected). With n_first n_second / n pairs expected it is Cohen's (1960) kappa:

    >>> round(float(kappa(20, 25 * 30 / 50, 25, 30)), 4)
    0.4
    """
    return ratio(2.0 * (both - expected), n_first + n_second - 2.0 * expected)


def gwet_ac1(both: Any, n_first: Any, n_second: Any, n: Any) -> Any:
    """Gwet's (2008) AC1 of two sources that marked n_first and n_second of n sessions, `both` of them together.

    >>> round(float(gwet_ac1(118, 123, 120, 125)), 4)
    0.9408
    """
    agreed = 1.0 - ratio(n_first + n_second - 2.0 * both, n)
    prevalence = ratio(n_first + n_second, 2.0 * n)
    chance = 2.0 * prevalence * (1.0 - prevalence)
    return ratio(agreed - chance, 1.0 - chance)


_BLOCK_MARKS = 200_000  # Marks that are paired in one go: a bound on memory


class ChancePairs(NamedTuple):
    """The pairs where the marks of b are moved at random."""

    side: FloatArray  # (len(a), 3) how often each is paired with a mark at an earlier, the same and a later session
    hit: FloatArray  # (len(b),) how often a mark of the same patient is paired, on average over the patient's
    totals: FloatArray  # (draws, 3) the pairs of each random move, by side


def match_within(owner_a: Any, time_a: Any, owner_b: Any, time_b: Any, *, margin: int) -> tuple[IntArray, IntArray]:
    """Places (k,) of pairs (a, b) of one patient at most `margin` sessions apart, each mark in at most one pair.

    There are as many pairs as possible; among such pairings the one with the smallest sum of distances is taken, so
    that a mark goes with its nearest partner; among equals the one with the earlier partners.

    >>> a, b = match_within([0, 0], [3, 5], [0, 0, 0], [2, 4, 5], margin=1)
    >>> a.tolist(), b.tolist()
    ([0, 1], [0, 2])
    """
    owner_a, owner_b = np.asarray(owner_a, dtype=np.int64), np.asarray(owner_b, dtype=np.int64)
    shared = np.intersect1d(owner_a, owner_b)
    place_a, place_b = _by_owner(owner_a, time_a, shared), _by_owner(owner_b, time_b, shared)
    when_a, when_b = _times(time_a, place_a, -np.inf), _times(time_b, place_b, np.inf)
    # On a line an optimal pairing never crosses: the best pairing of the first i marks of a and the first j of b either
    # leaves out mark i or mark j, or pairs them. One more pair outweighs every distance.
    n, width_a, width_b = len(shared), place_a.shape[1], place_b.shape[1]
    worth = 1.0 + (margin + 1.0) * min(width_a, width_b)
    best = np.zeros((width_a + 1, width_b + 1, n))
    for i in range(width_a):
        for j in range(width_b):
            best[i + 1, j + 1] = np.maximum(best[i, j + 1], best[i + 1, j])
            apart = np.abs(when_a[:, i] - when_b[:, j])
            np.maximum(best[i + 1, j + 1], best[i, j] + worth - apart, out=best[i + 1, j + 1], where=apart <= margin)
    pairs = []
    left_a, left_b, who = np.full(n, width_a), np.full(n, width_b), np.arange(n)
    while len(who):
        here = best[left_a, left_b, who]
        skips_b = best[left_a, left_b - 1, who] == here  # the last mark of b is not needed: partners are early
        skips_a = ~skips_b & (best[left_a - 1, left_b, who] == here)
        paired = ~skips_a & ~skips_b
        pairs.append(np.stack([place_a[who, left_a - 1], place_b[who, left_b - 1]], axis=1)[paired])
        left_a, left_b = left_a - (paired | skips_a), left_b - (paired | skips_b)
        going = (left_a > 0) & (left_b > 0)
        left_a, left_b, who = left_a[going], left_b[going], who[going]
    found = np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)
    found = found[np.lexsort((np.asarray(time_a)[found[:, 0]], owner_a[found[:, 0]]))]
    return found[:, 0], found[:, 1]


def expected_pairs(
    owner_a: IntArray,
    time_a: IntArray,
    owner_b: IntArray,
    time_b: IntArray,
    *,
    possible: tuple[IntArray, IntArray],
    margin: int,
    draws: int,
    rng: np.random.Generator,
) -> ChancePairs:
    """The pairs that would arise if the marks of b had nothing to do with those of a.

    The marks of each patient in b are moved together by a random number of sessions, from the last on to the first.
    Their number and the gaps between them stay: a new rupture cannot begin while one is open, and marks that keep apart
    find more partners than marks thrown one by one. `possible` (owner, time) are the sessions on which a mark of b may
    fall, sorted; they include those where it did.
    """
    n = int(max(owner_a.max(initial=-1), owner_b.max(initial=-1), possible[0].max(initial=-1))) + 1
    n_b = np.bincount(owner_b, minlength=n)
    of_a, of_b = np.flatnonzero(np.isin(owner_a, owner_b)), np.flatnonzero(np.isin(owner_b, owner_a))
    pairs, totals = np.zeros((len(owner_a), 3)), np.zeros((draws, 3))
    owner, time = possible
    whose = owner_b[of_b]
    first, length = np.searchsorted(owner, whose), np.bincount(owner, minlength=n)
    place = rows_at(owner, time, whose, time_b[of_b]) - first  # among the patient's possible sessions
    block = max(1, _BLOCK_MARKS // max(len(of_a) + len(of_b), 1))
    for start in range(0, draws, block) if len(of_b) else ():
        size = min(block, draws - start)
        move = np.floor(rng.random((size, n)) * length).astype(np.int64)[:, whose]
        moved = time[first + (place + move) % length[whose]]
        study = n * np.arange(size)[:, None]
        copies = np.broadcast_to(time_a[of_a], (size, len(of_a))).ravel()
        i, j = match_within(
            (study + owner_a[of_a]).ravel(), copies, (study + whose).ravel(), moved.ravel(), margin=margin
        )
        side = np.sign(moved.ravel()[j] - copies[i]) + 1
        np.add.at(pairs, (of_a[i % len(of_a)], side), 1.0)
        np.add.at(totals, (start + i // len(of_a), side), 1.0)
    pairs /= draws
    per_patient = np.bincount(owner_a, weights=pairs.sum(axis=1), minlength=n)
    return ChancePairs(pairs, per_patient[owner_b] / n_b[owner_b], totals)


def _by_owner(owner: IntArray, time: Any, shared: IntArray) -> IntArray:
    """The positions of the marks of each shared owner in order of time, (owners, most marks), filled with -1."""
    order = np.lexsort((np.asarray(time), owner))
    order = order[np.isin(owner[order], shared)]
    who = np.searchsorted(shared, owner[order])
    rank = np.arange(len(order)) - np.searchsorted(who, who)
    place = np.full((len(shared), int(rank.max(initial=-1)) + 1), -1)
    place[who, rank] = order
    return place


def _times(time: Any, place: IntArray, missing: float) -> FloatArray:
    """When the marks at `place` were made."""
    return np.where(place >= 0, np.append(np.asarray(time, dtype=np.float64), 0.0)[place], missing)
