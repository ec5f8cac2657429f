"""How therapies end: dropout whose hazard knows the rupture state, and the endings that compete with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from alliance_stats.simulate.alliance import BoolArray, Course, IntArray
from alliance_stats.simulate.world import World
from alliance_stats.tables.schema import COMPLETED, DROPOUT, ONGOING, TRANSFERRED

Array = np.ndarray[Any, np.dtype[np.float64]]


def planned_sessions(world: World, rng: np.random.Generator) -> IntArray:
    """Planned numbers of sessions, log-normal with the world's mean and SD, rounded and at most ``max_sessions``."""
    if world.sessions_sd == 0:
        return np.full(world.n_patients, round(world.n_sessions), dtype=np.int64)
    spread = np.log1p((world.sessions_sd / world.n_sessions) ** 2)
    centre = np.log(world.n_sessions) - spread / 2
    drawn = np.exp(centre + np.sqrt(spread) * rng.standard_normal(world.n_patients))
    whole: IntArray = np.clip(np.rint(drawn), 1, world.max_sessions).astype(np.int64)
    return whole


def dropout_hazard(
    world: World, course: Course, level: Array, frailty: Array, planned: IntArray
) -> tuple[Array, float]:
    """The probability that a session is the last by dropout, (n_patients, n_sessions), and its intercept.

    Parameters
    ----------
    level : (n_patients,) array
        The patient's alliance level in SD between patients.
    frailty : (n_patients, n_sessions) array
        Log-odds the therapist of the session adds.

    Notes
    -----
    With s = t + 1 - lag, ``logit h(t) = intercept + dropout_rupture * o(s) + dropout_repair * r(s) +
    dropout_level * level + frailty``: what is known `lag` sessions before the one the patient fails to come to.
    Nothing is open before the first session. In the last planned session dropout comes before completion, so that
    the hazard model holds in every row. The intercept is solved so that the expected share of patients whose hazard
    strikes up to the planned end, other endings apart, is ``dropout``.
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
