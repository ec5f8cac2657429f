"""The true alliance of every patient over the whole planned therapy: level, growth, state and ruptures.

Arrays are (n_patients, n_sessions); column t - 1 is session t. Endings come later and only cut rows off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.simulate.world import RESOLUTIONS, World

Array = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

PAST, TO, SHORT, NEVER = range(len(RESOLUTIONS))
FIRST_ONSET = 3
"""No rupture begins before the third session: there would be no level to fall from."""


@dataclass(frozen=True, eq=False)
class Ruptures:
    """True ruptures, one entry each, sorted by patient and onset (sessions are numbered from 1).

    Attributes
    ----------
    patient, onset, length, resolution : int arrays
        Row of the patient, first session of the fall, sessions until it ends (huge where it never does), index into
        ``RESOLUTIONS``.
    depth, baseline : float arrays
        Full depth in points, and the level fallen from, both without the session's state and error.
    """

    patient: IntArray
    onset: IntArray
    length: IntArray
    resolution: IntArray
    depth: Array
    baseline: Array


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

    Parameters
    ----------
    level, growth : (n_patients, n_sessions) arrays
        The undisturbed alliance, in points.
    unit : float
        Within-patient SD of a score without ruptures, the unit of depth, in points.
    """
    n_patients, n_sessions = level.shape
    chance = rng.random((n_patients, n_sessions))
    kind = np.searchsorted(np.cumsum(world.repair)[:-1], rng.random((n_patients, n_sessions)), side="right")
    deviation = rng.standard_normal((n_patients, n_sessions))
    depths = unit * np.maximum(world.rupture_depth + world.rupture_depth_sd * deviation, 0.25 * world.rupture_depth)
    lengths = _geometric(world.rupture_length, rng.random((n_patients, n_sessions)))
    prone = rng.random(n_patients) < world.rupture_prone

    shift, acute = np.zeros(level.shape), np.zeros(level.shape, dtype=bool)
    is_open, repaired = acute.copy(), acute.copy()
    lasting, depth = np.zeros(n_patients), np.zeros(n_patients)
    left, running = np.zeros(n_patients, dtype=np.int64), np.zeros(n_patients, dtype=np.int64)
    how = np.zeros(n_patients, dtype=np.int64)
    unresolved, healed = np.zeros(n_patients, dtype=bool), np.zeros(n_patients, dtype=bool)
    found: list[tuple[IntArray, ...]] = []
    values: list[tuple[Array, Array]] = []
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
            found.append((who, np.full(len(who), session), left[who].copy(), how[who].copy()))
            values.append((depth[who].copy(), before))
        active = left > 0
        running[active] += 1
        left[active] -= 1
        fallen = np.minimum(running / world.fall_sessions, 1.0)
        shift[:, column] = lasting - np.where(active, fallen * depth, 0.0)
        acute[:, column] = active
        is_open[:, column] = active | unresolved
        repaired[:, column] = healed
    return _collect(found, values), shift, acute, is_open, repaired


def _collect(found: list[tuple[IntArray, ...]], values: list[tuple[Array, Array]]) -> Ruptures:
    """The ruptures of all sessions in one table, sorted by patient and onset."""
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return Ruptures(none, none, none, none, none.astype(np.float64), none.astype(np.float64))
    patient, onset, length, how = (np.concatenate(parts) for parts in zip(*found, strict=True))
    depth, baseline = (np.concatenate(parts) for parts in zip(*values, strict=True))
    order = np.lexsort((onset, patient))
    return Ruptures(patient[order], onset[order], length[order], how[order], depth[order], baseline[order])


def _geometric(mean: float, uniform: Array) -> IntArray:
    """Whole numbers 1, 2, ... of a geometric distribution with `mean`, from uniform draws by inversion."""
    if mean <= 1:
        return np.ones(uniform.shape, dtype=np.int64)
    further: IntArray = np.floor(np.log1p(-uniform) / np.log1p(-1 / mean)).astype(np.int64)
    return 1 + further
