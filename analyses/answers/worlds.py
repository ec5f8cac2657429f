"""The worlds of the answer table: one plain world, and what therapy has that the plain world lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from alliance_stats.simulate.simulated import simulate_study
from alliance_stats.simulate.study import Study

ALLIANCE_EFFECT, RUPTURE_EFFECT = -1.5, 1.5
"""Symptom points in the next session: per point of alliance, and while a rupture is open."""
DROPOUT_RUPTURE, DROPOUT_REPAIR = 1.0, -0.5
"""Log-odds of dropout: while a rupture is open, and once one has been repaired."""

PLAIN: dict[str, Any] = {
    "n_patients": 250,
    "n_therapists": 25,
    "n_sessions": 14,
    "sessions_sd": 5,
    "max_sessions": 26,
    "bounded": False,
    "rupture_rate": 0.05,
    "rupture_depth": 2.5,
    "rupture_length": 3,
    "dropout": 0.25,
    "halo": 0.0,
}
VERSIONS: dict[str, dict[str, Any]] = {
    "effects": {
        "alliance_effect": ALLIANCE_EFFECT,
        "rupture_effect": RUPTURE_EFFECT,
        "repair_effect": 0.0,
        "dropout_rupture": DROPOUT_RUPTURE,
        "dropout_repair": DROPOUT_REPAIR,
    },
    "alliance only": {
        "alliance_effect": ALLIANCE_EFFECT,
        "rupture_effect": 0.0,
        "repair_effect": 0.0,
        "dropout_rupture": 0.0,
        "dropout_repair": 0.0,
    },
    "nothing": {
        "rupture_rate": 0.0,
        "alliance_effect": 0.0,
        "rupture_effect": 0.0,
        "repair_effect": 0.0,
        "dropout_rupture": 0.0,
        "dropout_repair": 0.0,
    },
}
"""What is true in each version of a world.

``effects``: ruptures act on symptoms beyond the alliance's fall, and on dropout. ``alliance only``: ruptures act
through the alliance alone, and not on dropout. ``nothing``: no ruptures, and the alliance does not act on symptoms.
"""


@dataclass(frozen=True)
class World:
    """One world: what differs from the plain one, and what happens to the scores afterwards."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    afterwards: Callable[[pd.DataFrame], pd.DataFrame] | None = None

    def study(self, version: str, *, seed: int) -> Study:
        """One simulated study of this world in one of VERSIONS."""
        study = simulate_study(seed=seed, **(PLAIN | self.changes | VERSIONS[version]))
        if self.afterwards is None:
            return study
        # the score is one answer: there are no items behind it
        return replace(study, sessions=self.afterwards(study.sessions), items=study.items.iloc[:0])


def whole_points(sessions: pd.DataFrame) -> pd.DataFrame:
    """The alliance as one answer on a five-point scale."""
    return sessions.assign(alliance=sessions["alliance"].round().clip(1, 5))


WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        World("plain"),
        World("symptoms feed back on the alliance", {"symptom_feedback": -0.05}),
        World("early rise that saturates", {"early_growth": 0.5, "early_growth_sd": 0.4}),
        World("scores calm down", {"narrowing": 0.5}),
        World("ceiling", {"bounded": True, "alliance_mean": 4.4}),
        World("five-point scores", {}, whole_points),
        World("skewed noise", {"skew": -1.5}),
        World("heavy tails", {"tails": 3.0}),
        World("forms missing during ruptures", {"missing_rupture": 0.5}),
        World("autocorrelation .6", {"autocorrelation": 0.6}),
        World("six sessions", {"n_sessions": 6, "sessions_sd": 0}),
        World("40 patients", {"n_patients": 40, "n_therapists": 8}),
        World("8 therapists", {"n_therapists": 8}),
        World("few dropouts", {"dropout": 0.05}),
        World("error shared by all items", {"halo": 0.5}),
        World("lasting falls", {"repair": (0.1, 0.1, 0.2, 0.6)}),
        World("brief ruptures", {"rupture_length": 1}),
    )
}
"""The worlds by name."""
