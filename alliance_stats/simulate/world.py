"""The parameters of a simulated study, checked once: every number that decides what the study looks like."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
