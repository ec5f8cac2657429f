"""The scale on which parameters are estimated, where every number is allowed, and the weak penalties on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from alliance_stats.rupture.latent.courses import Floats
from alliance_stats.rupture.latent.parameters import LatentParameters

LONGEST_AUTOCORRELATION = 0.95
PENALTY = {  # parameter (on its unbounded scale) -> (centre, SD) of a weak normal penalty, worth one patient or less
    "autocorrelation": (-0.8, 1.0),
    "state_share": (0.0, 1.0),
    "trend_sd": (-3.5, 1.5),
    "rise": (0.0, 1.5),
    "rise_sd": (-1.5, 1.0),
    "rise_time": (0.9, 0.5),
    "rise_lifts": (0.5, 0.5),
    "narrowing": (0.0, 0.3),
    "within_sd_df": (2.0, 1.5),
    "onset_rate": (-3.2, 1.0),
    "repair_rate": (-0.5, 1.0),
    "never_ends": (-1.4, 1.5),
    "depth": (0.6, 0.5),
    "depth_cv": (-1.2, 0.4),
}
LIMITS: dict[str, tuple[float, float]] = {
    "autocorrelation": (-6.0, 6.0),
    "state_share": (-6.0, 6.0),
    "level_sd": (-4.0, 6.0),
    "trend_sd": (-9.0, 2.0),
    "rise_sd": (-5.0, 3.0),
    "rise_time": (-0.7, 2.5),
    "rise_lifts": (-1.0, 2.0),
    "narrowing": (-1.0, 1.5),
    "within_sd": (-6.0, 4.0),
    "within_sd_df": (-4.0, 7.0),
    "onset_rate": (-8.0, 0.0),
    "repair_rate": (-5.0, 5.0),
    "never_ends": (-6.0, 6.0),
    "depth": (-1.5, 2.5),
    "depth_cv": (-3.0, 0.3),
}
RATES = ("onset_rate", "repair_rate", "never_ends")
_SHARES = ("autocorrelation", "state_share", *RATES)
"""On the logit scale."""
_IN_WITHIN_SD = ("level_sd", "trend_sd", "rise_sd", "depth")
"""On the log scale, in within-patient SD."""


def penalties(free: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Centre and SD of the penalty of each parameter; an infinite SD where there is none."""
    centre, spread = np.array([PENALTY.get(name, (0.0, np.inf)) for name in free]).T
    return centre, spread


def to_line(name: str, value: float, unit: float, other: LatentParameters) -> float:
    """A parameter on the scale it is optimised on, where every real number is allowed."""
    if name in _SHARES:
        value = value / LONGEST_AUTOCORRELATION if name == "autocorrelation" else value
        return float(np.log(value / (1 - value)))
    if name in _IN_WITHIN_SD:
        return float(np.log(value / other.within_sd))
    if name == "within_sd":
        return float(np.log(value / unit))
    if name == "within_sd_df":
        return float(np.log(value - 2))
    if name in ("depth_cv", "rise_time"):
        return float(np.log(value))
    if name in ("narrowing", "rise_lifts"):
        return value
    return (value - other.level) / unit if name == "level" else value / unit


def unpack(start: LatentParameters, vector: Floats, free: tuple[str, ...], unit: float) -> LatentParameters:
    """The parameters at a point of the optimiser; those not free stay as in `start`."""
    line = dict(zip(free, (float(value) for value in vector)))
    value: dict[str, Any] = {}
    sd = unit * float(np.exp(line["within_sd"])) if "within_sd" in line else start.within_sd
    for name, x in line.items():
        if name in _SHARES:
            value[name] = float(1 / (1 + np.exp(-x))) * (LONGEST_AUTOCORRELATION if name == "autocorrelation" else 1.0)
        elif name in _IN_WITHIN_SD:
            value[name] = sd * float(np.exp(x))
        elif name == "within_sd":
            value[name] = sd
        elif name == "within_sd_df":
            value[name] = 2 + float(np.exp(x))
        elif name in ("depth_cv", "rise_time"):
            value[name] = float(np.exp(x))
        elif name in ("narrowing", "rise_lifts"):
            value[name] = x
        else:
            value[name] = x * unit + (start.level if name == "level" else 0.0)
    return replace(start, **value)
