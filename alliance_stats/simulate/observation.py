"""What a study sees of the truth: who came, which forms were filled in, the answers to the items, how therapies end.

A session's item j of subscale k is answered by rounding ``alliance + specific_k + easiness_j + shared + unique_j`` to
the nearest answer the instrument has. ``specific_k`` belongs to the patient, ``shared`` to the session (a halo over all
items), ``unique_j`` to the single answer; the last two are measurement error. The reliability of the mean is
Var(E[mean | true values]) / Var(mean), which the error variance is solved for by quadrature, rounding and ceiling
included. The dropout hazard knows the rupture state; other endings compete with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from alliance_stats.simulate.courses import Course
from alliance_stats.simulate.study import World
from alliance_stats.tables.arrays import BoolArray, IntArray
from alliance_stats.tables.arrays import FloatArray as Array
from alliance_stats.tables.schema import ATTENDED, CANCELLED, COMPLETED, DROPOUT, LATE, NO_SHOW, ONGOING, TRANSFERRED

Objects = np.ndarray[Any, np.dtype[np.object_]]
Dates = np.ndarray[Any, np.dtype[np.datetime64]]

NO_SHOW_SHARE = (0.3, 0.6)
"""Share of missed sessions that are not even cancelled: ordinarily, and during a rupture (chosen, not published)."""

FIRST_MONDAY = np.datetime64("2022-01-03", "D")
INTAKE_DAYS = 730


def draw_attendance(world: World, acute: BoolArray, session: IntArray, rng: np.random.Generator) -> Objects:
    """Attendance of each patient-session (n,): the first session is always attended, ruptures make absence likelier."""
    uniform = rng.random((3, len(acute)))
    came = (uniform[0] >= world.missed + world.missed_rupture * acute) | (session == 1)
    silent = uniform[1] < np.where(acute, NO_SHOW_SHARE[1], NO_SHOW_SHARE[0])
    present = np.where(uniform[2] < world.late, LATE, ATTENDED).astype(object)
    return np.where(came, present, np.where(silent, NO_SHOW, CANCELLED).astype(object))


def draw_forms(
    world: World, acute: BoolArray, came: BoolArray, rng: np.random.Generator
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Whether the patient's alliance form, the therapist's and the symptom form are there, each (n,).

    Every form is missing at random with probability ``missing``; the patient's alliance form also, not at random, with
    ``missing_rupture`` more during a rupture.
    """
    uniform = rng.random((3, len(acute)))
    patient = came & (uniform[0] >= world.missing + world.missing_rupture * acute)
    return patient, came & (uniform[1] >= world.missing), came & (uniform[2] >= world.missing)


def draw_dates(patient: IntArray, session: IntArray, n_patients: int, rng: np.random.Generator) -> Dates:
    """Dates of weekly sessions on the patient's own weekday, some of them a day late; increasing within a patient."""
    start = rng.integers(0, INTAKE_DAYS, n_patients)
    start -= (start % 7 >= 5) * 2
    delay = rng.random(len(patient)) < 0.1
    return (FIRST_MONDAY + start[patient] + 7 * (session - 1) + delay).astype("datetime64[ns]")


def draw_therapists(world: World, planned: IntArray, n_sessions: int, rng: np.random.Generator) -> IntArray:
    """The therapist of every patient-session, (n_patients, n_sessions): uneven caseloads, some changes under way."""
    weight = rng.gamma(4.0, size=world.n_therapists)
    first = rng.choice(world.n_therapists, size=world.n_patients, p=weight / weight.sum())
    changes = (rng.random(world.n_patients) < world.therapist_change) & (planned > 2) & (world.n_therapists > 1)
    when = 3 + np.floor(rng.random(world.n_patients) * np.maximum(planned - 2, 1)).astype(np.int64)
    other = (first + 1 + rng.integers(0, max(world.n_therapists - 1, 1), world.n_patients)) % world.n_therapists
    session = np.arange(1, n_sessions + 1)
    return np.asarray(
        np.where(changes[:, None] & (session >= when[:, None]), other[:, None], first[:, None]), dtype=np.int64
    )


def planned_sessions(world: World, rng: np.random.Generator) -> IntArray:
    """Planned numbers of sessions, log-normal with the world's mean and SD, rounded and at most ``max_sessions``."""
    if world.sessions_sd == 0:
        return np.full(world.n_patients, round(float(world.n_sessions)), dtype=np.int64)
    spread = np.log1p((world.sessions_sd / world.n_sessions) ** 2)
    centre = np.log(world.n_sessions) - spread / 2
    drawn = np.exp(centre + np.sqrt(spread) * rng.standard_normal(world.n_patients))
    return np.asarray(np.clip(np.rint(drawn), 1, world.max_sessions), dtype=np.int64)


def dropout_hazard(
    world: World, course: Course, level: Array, frailty: Array, planned: IntArray
) -> tuple[Array, float]:
    """The probability that a session is the last by dropout, (n_patients, n_sessions), and its intercept.

    `level` (n_patients,) is the patient's alliance level in SD between patients; `frailty` (n_patients, n_sessions) the
    log-odds that the therapist of the session adds. With s = t + 1 - lag, ``logit h(t) = intercept + dropout_rupture *
    o(s) + dropout_repair * r(s) + dropout_level * level + frailty``: what is known `lag` sessions before the one the
    patient fails to come to. Nothing is open before the first session. In the last planned session dropout comes before
    completion, so that the hazard model holds in every row. The intercept is solved so that the expected share of
    patients whose hazard strikes up to the planned end, other endings apart, is ``dropout``.
    """

    def lagged(state: BoolArray) -> Array:
        if world.dropout_lag == 1:
            return state.astype(np.float64)
        return np.concatenate([np.zeros((len(state), 1)), state[:, :-1]], axis=1)

    odds = world.dropout_rupture * lagged(course.is_open) + world.dropout_repair * lagged(course.repaired)
    odds += frailty + world.dropout_level * level[:, None]
    at_risk = np.arange(1, odds.shape[1] + 1) <= planned[:, None]
    if world.dropout == 0 or not at_risk.any():
        return np.zeros(odds.shape), -np.inf

    def hazard(intercept: float) -> Array:
        return np.where(at_risk, 1 / (1 + np.exp(-np.clip(intercept + odds, -700, 700))), 0.0)

    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        expected = 1 - np.exp(np.log1p(-np.minimum(hazard(middle), 1 - 1e-16)).sum(axis=1)).mean()
        low, high = (middle, high) if expected < world.dropout else (low, middle)
    intercept = (low + high) / 2
    return hazard(intercept), intercept


def draw_endings(
    world: World, hazard: Array, planned: IntArray, rng: np.random.Generator
) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.object_]]]:
    """The last session of each patient and how the therapy ended there; the earliest ending wins, dropout on ties."""
    n_patients = len(planned)
    struck = rng.random(hazard.shape) < hazard
    last, ending = planned.copy(), np.full(n_patients, COMPLETED, dtype=object)
    for name, share in ((ONGOING, world.ongoing), (TRANSFERRED, world.transferred)):
        chosen = rng.random(n_patients) < share
        when = 1 + np.floor(rng.random(n_patients) * np.maximum(planned - 1, 1)).astype(np.int64)
        earlier = chosen & (when < last)
        last[earlier], ending[earlier] = when[earlier], name
    dropped = struck.any(axis=1)
    when = np.where(dropped, struck.argmax(axis=1) + 1, np.iinfo(np.int64).max)
    earlier = when <= last
    last[earlier], ending[earlier] = when[earlier], DROPOUT
    return last, ending


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
