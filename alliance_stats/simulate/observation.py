"""What a study sees of the truth: who came, which forms were filled in, and when the sessions took place."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.simulate.alliance import BoolArray, IntArray
from alliance_stats.simulate.world import World
from alliance_stats.tables.schema import ATTENDED, CANCELLED, LATE, NO_SHOW

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
    return np.where(changes[:, None] & (session >= when[:, None]), other[:, None], first[:, None]).astype(np.int64)
