"""The symptom course: a patient's own line, disturbed by the alliance and the rupture state of the session before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.simulate.alliance import Course
from alliance_stats.simulate.world import World

Array = np.ndarray[Any, np.dtype[np.float64]]

HIGHEST = 27
"""The highest sum of a 9-item, 0-to-3 symptom questionnaire (PHQ-9)."""


@dataclass(frozen=True, eq=False)
class SymptomLines:
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
        state = course.state + feedback * stretch
        course = Course(
            level=course.level,
            growth=course.growth,
            state=state,
            shift=course.shift,
            acute=course.acute,
            is_open=course.is_open,
            repaired=course.repaired,
            ruptures=course.ruptures,
        )
    return line + therapist_effect + y, course
