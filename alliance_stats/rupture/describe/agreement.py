"""Two sources that mark sessions: the pairs of their marks, agreement, and what chance gives of both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.matching import expected_pairs, match_within
from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.bootstrap import percentiles, ratio, resampled

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
