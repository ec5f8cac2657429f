"""From the true alliance of a session to answered items, with a score of exactly the stated reliability.

A session's item j of subscale k is answered by rounding ``alliance + specific_k + easiness_j + shared + unique_j`` to
the nearest answer the instrument has. ``specific_k`` belongs to the patient, ``shared`` to the session (a halo over all
items), ``unique_j`` to the single answer; the last two are measurement error. The reliability of the mean is
Var(E[mean | true values]) / Var(mean), which the error variance is solved for by quadrature, rounding and ceiling
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alliance_stats.tables.arrays import FloatArray as Array
from alliance_stats.tables.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Scale:
    """How one instrument is answered: its answers, its items and the size of their error, in points."""

    low: float  # answers are whole numbers from low to high
    high: float
    subscale: IntArray  # (n_items,) 0, 1, ...
    easiness: Array  # (n_items,) how far each item is answered above the alliance; sums to 0
    specific_sd: float  # of the patient's deviation on a subscale
    shared_sd: float  # of the session's halo
    unique_sd: float  # of the single answer's error
    bounded: bool  # rounded to the instrument's range; otherwise continuous

    @property
    def error_variance(self) -> float:
        """Variance of the error of the mean of the items before rounding, in squared points."""
        return self.shared_sd**2 + self.unique_sd**2 / len(self.easiness)

    def answers(self, alliance: Array, specific: Array, spread: Array, rng: np.random.Generator) -> Array:
        """Answered items, (n, n_items), for n sessions of true `alliance` (n,) and `specific` (n, n_subscales).

        The SD of the error is multiplied by `spread` (n,).
        """
        n_items = len(self.easiness)
        shared = self.shared_sd * spread[:, None] * rng.standard_normal((len(alliance), 1))
        unique = self.unique_sd * spread[:, None] * rng.standard_normal((len(alliance), n_items))
        leaning = (alliance[:, None] + specific)[:, self.subscale] + self.easiness + shared + unique
        return np.clip(np.floor(leaning + 0.5), self.low, self.high) if self.bounded else leaning

    def expected(self, alliance: Array, specific: Array) -> Array:
        """The true score: the mean of the items expected given the true values, shape (n,)."""
        leaning = alliance[:, None] + specific
        if not self.bounded:
            return np.asarray(leaning[:, self.subscale].mean(axis=1))
        total = np.zeros(len(alliance))
        noise = float(np.hypot(self.shared_sd, self.unique_sd))
        for item, subscale in enumerate(self.subscale):
            total += self._moments(leaning[:, subscale] + self.easiness[item], noise)[0]
        return total / len(self.easiness)

    def reliability(self, mean: float, sd: float) -> float:
        """The reliability of the mean of the items where the true alliance is normal with `mean` and `sd`."""
        if not self.bounded:
            n_subscales = int(self.subscale.max()) + 1
            weights = np.bincount(self.subscale, minlength=n_subscales) / len(self.subscale)
            true = sd**2 + self.specific_sd**2 * float(weights @ weights)
            return true / (true + self.error_variance)
        noise = float(np.hypot(self.shared_sd, self.unique_sd))
        true = self._variance(mean, sd, noise, of_expectation=True)
        return true / self._variance(mean, float(np.hypot(sd, self.shared_sd)), self.unique_sd, of_expectation=False)

    def _variance(self, mean: float, sd: float, noise: float, *, of_expectation: bool) -> float:
        """Variance of the mean of the items, or of its expectation given alliance and subscale deviations."""
        node, weight = _normal_quadrature(61)
        alliance = mean + sd * node
        inner, inner_weight = _normal_quadrature(21 if self.specific_sd > 0 else 1)
        expectation, spread = np.zeros(len(node)), np.zeros(len(node))
        for subscale in np.unique(self.subscale):
            summed, noisy = np.zeros((len(node), len(inner))), np.zeros((len(node), len(inner)))
            for item in np.flatnonzero(self.subscale == subscale):
                leaning = alliance[:, None] + self.specific_sd * inner + self.easiness[item]
                first, second = self._moments(leaning, noise)
                summed += first
                noisy += second - first**2
            average = summed @ inner_weight
            expectation += average
            spread += (summed**2) @ inner_weight - average**2
            spread += 0 if of_expectation else noisy @ inner_weight
        centre = weight @ expectation
        return float(weight @ ((expectation - centre) ** 2 + spread)) / len(self.easiness) ** 2

    def _moments(self, leaning: Array, noise: float) -> tuple[Array, Array]:
        """First and second moment of an answer whose continuous value is normal around `leaning` with SD `noise`."""
        from scipy.special import ndtr

        first, second = np.full(leaning.shape, self.low), np.full(leaning.shape, self.low**2)
        for answer in np.arange(self.low + 1, self.high + 1):
            above = leaning - (answer - 0.5)
            reached = ndtr(above / noise) if noise > 0 else (above >= 0).astype(np.float64)
            first = first + reached
            second = second + (2 * answer - 1) * reached
        return first, second


@lru_cache(maxsize=64)
def fit_scale(
    *,
    low: float,
    high: float,
    subscale: tuple[int, ...],
    specific_sd: float,
    halo: float,
    bounded: bool,
    mean: float,
    sd: float,
    reliability: float,
) -> Scale:
    """The scale whose mean score has `reliability` where the true alliance is normal with `mean` and `sd`.

    `halo` is the share of the error of the mean that all items of a session have in common. The error variance is found
    by bisection on its logarithm, to a relative precision of 1e-13: reliability falls from 1 (or, for rounded answers
    to a true alliance without variance, from 0) to 0 as the error grows.
    """
    n_items = len(subscale)
    easiness = np.linspace(-0.3, 0.3, n_items)[np.argsort(np.arange(n_items) * 5 % n_items, kind="stable")]

    def scale(error_variance: float) -> Scale:
        shared = float(np.sqrt(halo * error_variance))
        unique = float(np.sqrt((1 - halo) * error_variance * n_items))
        return Scale(low, high, np.array(subscale), easiness - easiness.mean(), specific_sd, shared, unique, bounded)

    if reliability >= 1 or sd == 0:
        return scale(0.0)
    bottom, top = np.log(1e-8), np.log(1e6)
    for _ in range(50):
        middle = (bottom + top) / 2
        if scale(float(np.exp(middle))).reliability(mean, sd) > reliability:
            bottom = middle
        else:
            top = middle
    return scale(float(np.exp((bottom + top) / 2)))


def _normal_quadrature(n: int) -> tuple[Array, Array]:
    """Nodes and weights that integrate against the standard normal density (Gauss-Hermite)."""
    node, weight = np.polynomial.hermite_e.hermegauss(n)
    return node, weight / weight.sum()
