"""Simulated worlds with known ruptures, in which detectors are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import PATIENT, SESSION, Seed, generator, require_choice

LENGTHS = ("brief", "medium", "long", "lasting")
SHAPES = ("step", "slow", "recovery")
DEPTHS = ("gamma", "log-normal")
COURSES = ("line", "early rise", "saturating rise")
SCORE = "alliance"
BETWEEN_VARIANCE = 1.5
LEVEL = 5.0
DIFFERENT_SD = 0.25
TREND, TREND_SD = 0.02, 0.03
EARLY_RISE = 1.5
SATURATING_RISE, SATURATING_RISE_SD = 1.5, 0.75


@dataclass(frozen=True, kw_only=True)
class DetectorWorld:
    """How the scores of one simulated study come about, in units of the within-patient SD.

    Attributes
    ----------
    name : str
    n_sessions : int
    reliability : float
        Of a single rating: share of the total variance (1.5 between patients, 1 within) that is not measurement noise.
    autocorrelation : float
        Of the true fluctuation between neighbouring sessions.
    depth : float
        Mean depth of a rupture.
    depths : {"gamma", "log-normal"}
        Gamma with a coefficient of variation of .25, or log-normal with one of .6.
    lengths : {"brief", "medium", "long", "lasting"}
        Brief: geometric with mean 2 sessions. Medium: geometric with mean 4. Long: 3 to 8, equally likely. Lasting:
        to the end of therapy.
    onset_rate : float
        Chance per session, from `first_onset` on, that a rupture begins where none is open.
    first_onset : int
        The first session at which a rupture can begin.
    susceptible : float
        Share of patients who can have ruptures; theirs are as much more frequent as the others' are missing.
    shape : {"step", "slow", "recovery"}
        Whether the full depth is there throughout, reached in equal steps over .6 of the rupture's length, or there at
        once and made good in equal steps.
    noise_df : float
        Degrees of freedom of Student's t for the measurement noise; infinite: normal.
    ceiling : float
        Highest possible score; infinite: none. The mean level is 5, its SD 1.22.
    floor : float
        Lowest possible score; minus infinite: none.
    missing : float
        Share of sessions without a score; with any, patients also end therapy at a random session of the last half.
    step : float
        Granularity of the score; 0: none.
    course : {"line", "early rise", "saturating rise"}
        The mean course: a line; on top of it a rise by 1.5 in all, as the logarithm of the session number; or one that
        is over after some six sessions, 1.5 in the mean with an SD of .75 over patients.
    narrowing : float
        SD late in therapy as a multiple of that of the first session, reached as exp(-(session - 1) / 4) fades.
    skew : float
        Skewness of the shocks to the fluctuation and of the noise (gamma); below 0: falls are larger than rises.
    different_sd : float
        SD, over patients, of the logarithm of their within-patient SD.
    assumed : bool
        Whether the latent model assumes such a world.
    """

    name: str
    n_sessions: int = 16
    reliability: float = 0.8
    autocorrelation: float = 0.3
    depth: float = 2.0
    depths: str = "gamma"
    lengths: str = "brief"
    onset_rate: float = 0.05
    first_onset: int = 3
    susceptible: float = 1.0
    shape: str = "step"
    noise_df: float = np.inf
    ceiling: float = np.inf
    floor: float = -np.inf
    missing: float = 0.0
    step: float = 0.0
    course: str = "line"
    narrowing: float = 1.0
    skew: float = 0.0
    different_sd: float = DIFFERENT_SD
    assumed: bool = True

    def __post_init__(self) -> None:
        require_choice(self.lengths, LENGTHS, name="lengths")
        require_choice(self.shape, SHAPES, name="shape")
        require_choice(self.depths, DEPTHS, name="depths")
        require_choice(self.course, COURSES, name="course")
        if self.noise_variance > 1:
            raise ValueError(f"reliability={self.reliability!r} leaves no room for true fluctuation; use .6 or more.")

    @property
    def noise_variance(self) -> float:
        """Variance of the measurement noise."""
        return (1 - self.reliability) * (BETWEEN_VARIANCE + 1)


class Simulated(NamedTuple):
    """Sessions (with ``in_rupture``) and true ruptures (``patient``, ``event``, ``onset``, ``last``, ``depth``)."""

    sessions: pd.DataFrame
    truth: pd.DataFrame


_BASE = DetectorWorld(name="brief, 16 sessions")
WORLDS: dict[str, DetectorWorld] = {
    world.name: world
    for world in (
        replace(_BASE, name="brief, 8 sessions", n_sessions=8),
        _BASE,
        replace(_BASE, name="brief, 30 sessions", n_sessions=30),
        replace(_BASE, name="brief, reliability .70", reliability=0.7),
        replace(_BASE, name="brief, reliability .95", reliability=0.95),
        replace(_BASE, name="brief, no autocorrelation", autocorrelation=0.0),
        replace(_BASE, name="brief, autocorrelation .5", autocorrelation=0.5),
        replace(_BASE, name="brief, depth 1", depth=1.0),
        replace(_BASE, name="brief, depth 3", depth=3.0),
        replace(_BASE, name="brief, ceiling", ceiling=5.8),
        replace(_BASE, name="brief, holes, unequal lengths", missing=0.15),
        replace(_BASE, name="long, 8 sessions", n_sessions=8, lengths="long"),
        replace(_BASE, name="long, 16 sessions", lengths="long"),
        replace(_BASE, name="long, 30 sessions", n_sessions=30, lengths="long", onset_rate=0.03),
        replace(_BASE, name="long, autocorrelation .5", lengths="long", autocorrelation=0.5),
        replace(_BASE, name="long, depth 1", lengths="long", depth=1.0),
        replace(_BASE, name="long, depth 3", lengths="long", depth=3.0),
        replace(_BASE, name="long, ceiling", lengths="long", ceiling=5.8),
        replace(_BASE, name="slow declines", lengths="long", shape="slow", assumed=False),
        replace(_BASE, name="heavy-tailed noise, brief", noise_df=3.0, assumed=False),
        replace(_BASE, name="heavy-tailed noise, long", noise_df=3.0, lengths="long", assumed=False),
        replace(_BASE, name="one patient in four, brief", susceptible=0.25, assumed=False),
        replace(_BASE, name="one patient in four, long", susceptible=0.25, lengths="long", assumed=False),
    )
}
"""The worlds of the comparison, by name."""

FURTHER_WORLDS: dict[str, DetectorWorld] = {
    world.name: world
    for world in (
        replace(_BASE, name="brief, 12 sessions, noisier", n_sessions=12, reliability=0.75, autocorrelation=0.4),
        replace(_BASE, name="ruptures from the second session", n_sessions=10, first_onset=2),
        replace(_BASE, name="medium length", lengths="medium", onset_rate=0.04),
        replace(_BASE, name="long, 40 sessions", n_sessions=40, lengths="long", onset_rate=0.03),
        replace(_BASE, name="depths log-normal, CV .6", depths="log-normal", assumed=False),
        replace(_BASE, name="early rise", n_sessions=12, course="early rise", assumed=False),
        replace(_BASE, name="within SD between patients, CV .4", different_sd=0.385, assumed=False),
        replace(_BASE, name="five points", step=1.0, floor=3.0, ceiling=7.0, assumed=False),
        replace(_BASE, name="gradual recovery", lengths="long", shape="recovery", assumed=False),
    )
}
"""Worlds written down before the detector had been run on any of them, and on which nothing was developed."""


CALIBRATION_WORLDS: dict[str, DetectorWorld] = {
    world.name: world
    for world in (
        replace(_BASE, name="plain"),
        replace(_BASE, name="long ruptures", lengths="long"),
        replace(_BASE, name="six sessions", n_sessions=6),
        replace(_BASE, name="six sessions, long ruptures", n_sessions=6, lengths="long"),
        replace(_BASE, name="40 sessions", n_sessions=40, onset_rate=0.03),
        replace(_BASE, name="lasting falls in half the patients", lengths="lasting"),
        replace(_BASE, name="unequal depth", depths="log-normal", depth=2.5, lengths="medium"),
        replace(_BASE, name="autocorrelation .6", autocorrelation=0.6, lengths="medium"),
        replace(_BASE, name="ceiling", ceiling=5.8, lengths="medium"),
        replace(_BASE, name="five-point scores", step=1.0, floor=3.0, ceiling=7.0, lengths="medium"),
        replace(_BASE, name="two-valued scores", step=2.0, floor=4.0, ceiling=6.0, lengths="medium"),
        replace(_BASE, name="saturating rise", course="saturating rise", lengths="medium"),
        replace(_BASE, name="shrinking spread", narrowing=0.5, lengths="medium", depth=1.5),
        replace(_BASE, name="rise and shrinking spread", course="early rise", narrowing=0.5, depth=1.5),
        replace(_BASE, name="skewed noise", skew=-2.0, lengths="medium"),
        replace(_BASE, name="heavy tails", noise_df=3.0, lengths="medium"),
        replace(_BASE, name="clear ruptures", depth=2.5, lengths="medium"),
    )
}
"""Worlds in which stated probabilities are held against what happened."""


def simulate_world(world: DetectorWorld, *, n_patients: int, seed: Seed, ruptures: bool = True) -> Simulated:
    """Simulate one study.

    Parameters
    ----------
    world : DetectorWorld
    n_patients : int
    seed : int or Generator
    ruptures : bool
        False: the same world with none, for thresholds and false alarms.

    Returns
    -------
    Simulated
        A true rupture begins at a rated session; one that falls into missed sessions altogether is left out.

    Examples
    --------
    >>> study = simulate_world(WORLDS["brief, 8 sessions"], n_patients=50, seed=1)
    >>> study.sessions.columns.to_list(), len(study.sessions)
    (['patient', 'session', 'alliance', 'in_rupture'], 400)
    """
    rng = generator(seed)
    n, last = n_patients, world.n_sessions
    fall, open_now = _ruptures(world, n, rng) if ruptures else (np.zeros((n, last)), np.zeros((n, last), dtype=bool))
    score = _calm(world, n, rng) - fall
    if world.step:
        score = np.round(score / world.step) * world.step
    score = np.clip(score, world.floor, world.ceiling)
    kept = np.ones((n, last), dtype=bool)
    if world.missing:
        end = rng.integers(last // 2, last + 1, n)
        kept = (rng.random((n, last)) >= world.missing) & (np.arange(last) < end[:, None])
        kept[:, 0] = True
    patient, session = np.nonzero(kept)
    sessions = pd.DataFrame(
        {PATIENT: patient, SESSION: session + 1, SCORE: score[kept], "in_rupture": open_now[kept]},
    )
    return Simulated(sessions, _truth(sessions, fall, open_now, kept))


def _calm(world: DetectorWorld, n: int, rng: np.random.Generator) -> Any:
    """Scores without ruptures, bounds or rounding, (n, T)."""
    last = world.n_sessions
    error = world.noise_variance
    state = _shocks(world, (n, last), rng)
    for t in range(1, last):
        state[:, t] = world.autocorrelation * state[:, t - 1] + np.sqrt(1 - world.autocorrelation**2) * state[:, t]
    if np.isinf(world.noise_df):
        noise = _shocks(world, (n, last), rng)
    else:
        noise = rng.standard_t(world.noise_df, (n, last)) * np.sqrt((world.noise_df - 2) / world.noise_df)
    own_sd = np.exp(world.different_sd * rng.standard_normal((n, 1)) - world.different_sd**2)
    level = LEVEL + np.sqrt(BETWEEN_VARIANCE) * rng.standard_normal((n, 1))
    trend = (TREND + TREND_SD * rng.standard_normal((n, 1))) * (np.arange(last) - (last - 1) / 2)
    if world.course == "early rise":
        rise = np.log(np.arange(1, last + 1))
        trend = trend + EARLY_RISE * (rise / rise[-1] - 0.5)
    if world.course == "saturating rise":
        size = SATURATING_RISE + SATURATING_RISE_SD * rng.standard_normal((n, 1))
        trend = trend - size * np.exp(-np.arange(last) / 2)
    own_sd = own_sd * (world.narrowing + (1 - world.narrowing) * np.exp(-np.arange(last) / 4))
    return level + trend + own_sd * (np.sqrt(1 - error) * state + np.sqrt(error) * noise)


def _shocks(world: DetectorWorld, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    """Independent errors with mean 0, variance 1 and the world's skewness."""
    if not world.skew:
        return rng.standard_normal(shape)
    root = 2 / abs(world.skew)
    return np.sign(world.skew) * (rng.standard_gamma(root**2, shape) / root - root)


def _ruptures(world: DetectorWorld, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """The fall at each session, and whether a rupture is open, (n, T)."""
    last = world.n_sessions
    fall, open_now = np.zeros((n, last)), np.zeros((n, last), dtype=bool)
    rate = np.where(rng.random(n) < world.susceptible, world.onset_rate / world.susceptible, 0.0)
    resumes = np.full(n, world.first_onset - 1)
    for t in range(world.first_onset - 1, last):
        begins = np.flatnonzero((resumes <= t) & (rng.random(n) < rate))
        length = _lengths(world, len(begins), rng)
        depth = world.depth * _depths(world, len(begins), rng)
        since = np.arange(1, last - t + 1)
        inside = since <= length[:, None]
        fall[begins, t:] += np.where(inside, depth[:, None] * _share(world, since, length[:, None]), 0.0)
        open_now[begins, t:] |= inside
        resumes[begins] = t + length + 1
    return fall, open_now


def _lengths(world: DetectorWorld, n: int, rng: np.random.Generator) -> Any:
    if world.lengths == "lasting":
        return np.full(n, world.n_sessions)
    if world.lengths == "long":
        return rng.integers(3, 9, n)
    return rng.geometric(0.5 if world.lengths == "brief" else 0.25, n)


def _depths(world: DetectorWorld, n: int, rng: np.random.Generator) -> Any:
    """Depths with mean 1."""
    if world.depths == "gamma":
        return rng.gamma(16.0, 1 / 16.0, n)
    spread = np.log1p(0.6**2)
    return np.exp(np.sqrt(spread) * rng.standard_normal(n) - spread / 2)


def _share(world: DetectorWorld, since: Any, length: Any) -> Any:
    """Share of the full depth in the first, second, ... session of a rupture of that length."""
    if world.shape == "slow":
        return np.minimum(since / (0.6 * length), 1.0)
    if world.shape == "recovery":
        return 1.0 - (since - 1) / length
    return np.ones(np.broadcast_shapes(np.shape(since), np.shape(length)))


def _truth(sessions: pd.DataFrame, fall: Any, open_now: Any, kept: Any) -> pd.DataFrame:
    """One row per true rupture: its first and last rated session and its greatest depth there."""
    before = np.zeros_like(open_now)
    before[:, 1:] = open_now[:, :-1]
    episode = np.cumsum(open_now & ~before, axis=1)
    mask = kept & open_now
    patient, session = np.nonzero(mask)
    rows = pd.DataFrame(
        {PATIENT: patient, "episode": episode[mask], SESSION: session + 1, "depth": fall[mask]},
    )
    grouped = rows.groupby([PATIENT, "episode"], sort=True)
    truth = grouped.agg(onset=(SESSION, "first"), last=(SESSION, "last"), depth=("depth", "max")).reset_index()
    truth["event"] = truth.groupby(PATIENT).cumcount() + 1
    return truth[[PATIENT, "event", "onset", "last", "depth"]].astype({PATIENT: sessions[PATIENT].dtype})
