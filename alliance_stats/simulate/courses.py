"""The true course of every patient over the whole planned therapy: the alliance with its ruptures, and symptoms.

Arrays are (n_patients, n_sessions); column t - 1 is session t. Endings come later and only cut rows off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from alliance_stats.simulate.study import RESOLUTIONS, World
from alliance_stats.tables.arrays import BoolArray, IntArray
from alliance_stats.tables.arrays import FloatArray as Array

PAST, TO, SHORT, NEVER = range(len(RESOLUTIONS))
FIRST_ONSET = 3  # No rupture begins before the third session: there would be no level to fall from


@dataclass(frozen=True, eq=False)
class Ruptures:
    """True ruptures, one entry each, sorted by patient and onset (sessions are numbered from 1)."""

    patient: IntArray  # row of the patient
    onset: IntArray  # first session of the fall
    length: IntArray  # sessions until it ends; huge where it never does
    resolution: IntArray  # index into RESOLUTIONS
    depth: Array  # full depth in points
    baseline: Array  # the level fallen from, in points, without the session's state and error


@dataclass(frozen=True, eq=False)
class Course:
    """The true alliance: ``level + growth + state + shift`` in points, and the rupture state of each session.

    ``level`` includes the therapist of the session; ``shift`` is what ruptures take away or, once repaired past the
    baseline, have added. ``acute``: between onset and end. ``is_open``: some onset not repaired. ``repaired``: some
    rupture repaired by then.
    """

    level: Array
    growth: Array
    state: Array
    shift: Array
    acute: BoolArray
    is_open: BoolArray
    repaired: BoolArray
    ruptures: Ruptures

    @property
    def alliance(self) -> Array:
        """The true alliance, (n_patients, n_sessions)."""
        return self.level + self.growth + self.state + self.shift


def autoregression(world: World, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Stationary first-order autoregressive states of unit variance over session numbers, (n_patients, n_sessions)."""
    if world.skew:
        root = 2 / abs(world.skew)
        shock = np.sign(world.skew) * (rng.standard_gamma(root**2, shape) / root - root)
    elif world.tails is None:
        shock = rng.standard_normal(shape)
    else:
        shock = rng.standard_t(world.tails, shape) / np.sqrt(world.tails / (world.tails - 2))
    state = np.empty(shape)
    state[:, 0] = shock[:, 0]
    for column in range(1, shape[1]):
        keep = world.autocorrelation
        state[:, column] = keep * state[:, column - 1] + np.sqrt(1 - keep**2) * shock[:, column]
    return state


def draw_ruptures(
    world: World, level: Array, growth: Array, unit: float, rng: np.random.Generator
) -> tuple[Ruptures, Array, BoolArray, BoolArray, BoolArray]:
    """Ruptures over the whole course, with the shift of the alliance and the three rupture states they make.

    `level` and `growth` (n_patients, n_sessions) are the undisturbed alliance; `unit` is the within-patient SD of a
    score without ruptures, in points.
    """
    n_patients, n_sessions = level.shape
    shape = (n_patients, n_sessions)
    chance = rng.random(shape)
    kind = np.searchsorted(np.cumsum(world.repair)[:-1], rng.random(shape), side="right")
    deviation = rng.standard_normal(shape)
    depths = unit * np.maximum(world.rupture_depth + world.rupture_depth_sd * deviation, 0.25 * world.rupture_depth)
    lengths = _geometric(world.rupture_length, rng.random(shape))
    prone = rng.random(n_patients) < world.rupture_prone

    shift, acute = np.zeros(level.shape), np.zeros(level.shape, dtype=bool)
    is_open, repaired = acute.copy(), acute.copy()
    lasting, depth = np.zeros(n_patients), np.zeros(n_patients)
    left, running = np.zeros(n_patients, dtype=np.int64), np.zeros(n_patients, dtype=np.int64)
    how = np.zeros(n_patients, dtype=np.int64)
    unresolved, healed = np.zeros(n_patients, dtype=bool), np.zeros(n_patients, dtype=bool)
    found: list[tuple[Any, ...]] = []
    for column in range(n_sessions):
        ending = (running > 0) & (left == 0)
        lasting += ending * (
            (how == PAST) * world.repair_gain * unit - (how == SHORT) * (1 - world.partial_recovery) * depth
        )
        healed |= ending & (how <= TO)
        unresolved |= ending & (how == SHORT)
        running[ending] = 0
        session = column + 1
        begins = prone & (running == 0) & ~ending & (session >= FIRST_ONSET)
        begins &= chance[:, column] < world.rupture_rate
        if begins.any():
            who = np.flatnonzero(begins)
            depth[who], how[who] = depths[who, column], kind[who, column]
            left[who] = np.where(how[who] == NEVER, np.iinfo(np.int64).max // 2, lengths[who, column])
            before = level[who, column] + growth[who, column] + lasting[who]
            found.append((who, np.full(len(who), session), left[who], how[who], depth[who], before))
        active = left > 0
        running[active] += 1
        left[active] -= 1
        fallen = np.minimum(running / world.fall_sessions, 1.0)
        shift[:, column] = lasting - np.where(active, fallen * depth, 0.0)
        acute[:, column] = active
        is_open[:, column] = active | unresolved
        repaired[:, column] = healed
    return _collect(found), shift, acute, is_open, repaired


def _collect(found: list[tuple[Any, ...]]) -> Ruptures:
    """The ruptures of all sessions in one table, sorted by patient and onset."""
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return Ruptures(none, none, none, none, none.astype(np.float64), none.astype(np.float64))
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    return Ruptures(*(column[order] for column in columns))


def _geometric(mean: float, uniform: Array) -> IntArray:
    """Whole numbers 1, 2, ... of a geometric distribution with `mean`, from uniform draws by inversion."""
    if mean <= 1:
        return np.ones(uniform.shape, dtype=np.int64)
    further: IntArray = np.floor(np.log1p(-uniform) / np.log1p(-1 / mean)).astype(np.int64)
    return 1 + further


HIGHEST = 27  # The highest sum of a 9-item, 0-to-3 symptom questionnaire (PHQ-9)


class SymptomLines(NamedTuple):
    """A patient's own undisturbed line: intercept (session 1) and slope per session, in points, each (n_patients,)."""

    intercept: Array
    slope: Array


def draw_lines(world: World, level: Array, rng: np.random.Generator) -> SymptomLines:
    """Symptom lines of patients whose true alliance level lies `level` (n_patients,) SD from the mean."""
    deviation = rng.standard_normal((2, len(level)))
    intercept = world.symptom_start + world.symptom_sd * deviation[0] + world.level_effect * level
    return SymptomLines(intercept, world.symptom_slope + world.symptom_slope_sd * deviation[1])


def draw_symptoms(
    world: World, course: Course, lines: SymptomLines, therapist_effect: Array, stretch: float, rng: np.random.Generator
) -> tuple[Array, Course]:
    """Symptoms over the whole course, (n_patients, n_sessions), and the course with their feedback on the alliance.

    Notes
    -----
    With y(t) the deviation from the patient's line, a(t) the alliance above the patient's level at the first session
    (growth, state and ruptures) in points, o(t) an open rupture and r(t) a repair so far::

        y(t) = carry * y(t-1) + alliance_effect * a(t-1) + rupture_effect * o(t-1) + repair_effect * r(t-1) + noise

    so that the next symptom is linear in symptom, alliance, rupture state and session, with a random intercept and
    slope. Feedback, if any, adds ``symptom_feedback * y(t)`` to the alliance of session t + 1.
    """
    n_patients, n_sessions = course.state.shape
    shock = world.symptom_noise * rng.standard_normal((n_patients, n_sessions))
    within = (course.growth + course.state + course.shift) / stretch
    y, feedback = np.empty(shock.shape), np.zeros(shock.shape)
    y[:, 0] = shock[:, 0] / np.sqrt(1 - world.symptom_carry**2)
    for column in range(1, n_sessions):
        if world.symptom_feedback:
            feedback[:, column] = world.symptom_feedback * y[:, column - 1]
        before = column - 1
        pull = world.alliance_effect * (within[:, before] + feedback[:, before])
        pull += world.rupture_effect * course.is_open[:, before] + world.repair_effect * course.repaired[:, before]
        y[:, column] = world.symptom_carry * y[:, before] + pull + shock[:, column]
    line = lines.intercept[:, None] + lines.slope[:, None] * np.arange(n_sessions)
    if world.symptom_feedback:
        course = replace(course, state=course.state + feedback * stretch)
    return line + therapist_effect + y, course
