"""The simulated study: its parameters, checked once; the tables a researcher would have, and beside them the truth."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Truth:
    """What no real study shows.

    Attributes
    ----------
    sessions : DataFrame
        One row per patient and session, as SESSIONS: ``level`` (the patient's and therapist's), ``growth``, ``state``
        and ``shift`` (of ruptures), whose sum is ``alliance``, all in points of the score; ``expected_score``, the
        score without measurement error; ``in_rupture``, ``rupture_open``, ``repaired_before`` (0/1); ``symptom``
        before rounding; ``hazard``, the probability that this session is the last by dropout.
    patients : DataFrame
        One row per patient: ``planned`` sessions, ``level`` (deviation from the mean, in points, therapist apart),
        ``symptom_intercept`` and ``symptom_slope`` of the undisturbed line.
    therapists : DataFrame
        One row per therapist: what they add to ``alliance`` (points), ``symptom`` and the log-odds of ``dropout``.
    parameters : dict
        Every argument, and what follows from them: ``rupture_unit`` (the within-patient SD that depth is measured
        in, points), ``error_sd``, ``state_sd``, ``level_sd``, ``alliance_therapist_sd`` (points),
        ``within_reliability`` and ``dropout_intercept``.
    """

    sessions: pd.DataFrame
    patients: pd.DataFrame
    therapists: pd.DataFrame
    parameters: dict[str, Any]

    def __repr__(self) -> str:
        return f"Truth({len(self.sessions)} sessions, {len(self.patients)} patients, {len(self.therapists)} therapists)"


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A simulated study.

    Attributes
    ----------
    sessions : DataFrame
        SESSIONS: ``patient, therapist, session, date, attendance, alliance, alliance_therapist, phq9``.
    items : DataFrame
        One row per patient and session, the patient's answers: ``patient, session, wai_1, wai_2, ...``.
    therapist_items : DataFrame
        The same items answered by the therapist.
    events : DataFrame
        The true ruptures as EVENTS, scores on the true alliance without state and error (``score`` is
        ``true_alliance``, ``rule`` is ``truth``), and ``resolution``: past, to, short or never.
    endings : DataFrame
        ``patient, ending, last_session``.
    truth : Truth
        The latent values and parameters.
    codes : DataFrame or None
        CODES, where the study was coded; ``sessions`` then also has ``rupture_patient`` and ``rupture_therapist`` (1
        where the rater reported a rupture after the session, 0 where not) and ``missed_by``.
    """

    sessions: pd.DataFrame
    items: pd.DataFrame
    therapist_items: pd.DataFrame
    events: pd.DataFrame
    endings: pd.DataFrame
    truth: Truth
    codes: pd.DataFrame | None = None

    def __repr__(self) -> str:
        n_patients, n_therapists = len(self.endings), self.sessions["therapist"].nunique()
        return (
            f"Study(simulated: {n_patients} patients, {n_therapists} therapists, {len(self.sessions)} sessions, "
            f"{len(self.events)} true ruptures)"
        )


RESOLUTIONS = ("past", "to", "short", "never")
"""How a rupture ends: above the level it fell from, at it, part of the way up, or not at all."""

POINTS_SPAN = 4.0
"""Alliance parameters are in points of a 1-to-5 item; another instrument's range is stretched to this span."""


class World(SimpleNamespace):
    """The parameters of :func:`alliance_stats.simulate_study`, which documents them; raises where one is impossible."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        for name in ("n_patients", "n_therapists", "max_sessions", "fall_sessions"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("within_share", "therapist_share", "halo", "rupture_prone", "partial_recovery", "rupture_rate"):
            _require(self, name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        for name in ("transferred", "ongoing", "therapist_change", "missed", "late", "missing"):
            _require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in ("missed_rupture", "missing_rupture"):
            _require(self, name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        for name in (*(name for name in parameters if name.endswith("_sd")), "symptom_noise"):
            _require(self, name, getattr(self, name) >= 0, "at least 0")
        _require(self, "n_sessions", 1 <= self.n_sessions <= self.max_sessions, f"from 1 to {self.max_sessions}")
        _require(self, "alliance_sd", self.alliance_sd > 0, "above 0")
        _require(self, "reliability", 0 < self.reliability <= 1, "above 0 and at most 1")
        _require(self, "dropout", 0 <= self.dropout < 1, "at least 0 and below 1")
        _require(self, "dropout_lag", self.dropout_lag in (1, 2), "1 or 2")
        _require(self, "rupture_length", self.rupture_length >= 1, "at least 1")
        _require(self, "tails", self.tails is None or self.tails > 2, "None or above 2 degrees of freedom")
        _require(self, "skew", self.skew == 0 or self.tails is None, "0 where tails are given")
        _require(self, "narrowing", self.narrowing > 0, "above 0")
        for name in ("autocorrelation", "symptom_carry"):
            _require(self, name, abs(getattr(self, name)) < 1, "between -1 and 1")
        _require(self, "therapist_share", self.within_share + self.therapist_share <= 1, "at most 1 - within_share")
        agreement = abs(self.rater_agreement) <= self.reliability
        _require(self, "rater_agreement", agreement, "no further from 0 than the reliability")
        four = len(self.repair) == 4 and min(self.repair) >= 0 and abs(sum(self.repair) - 1) < 1e-9
        _require(self, "repair", four, f"four shares ({', '.join(RESOLUTIONS)}) that sum to 1")
        within = self.alliance_sd * (self.within_share > 0 or self.reliability < 1)
        has_unit = self.rupture_rate == 0 or within > 0
        _require(self, "rupture_rate", has_unit, "0 where scores never vary within a patient (depth has no unit)")


def _require(world: World, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name}={getattr(world, name)!r} must be {allowed}.")
