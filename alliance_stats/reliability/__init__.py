"""Reliability and measurement: items, sessions within patients, raters, and change beyond measurement error."""

from __future__ import annotations

from alliance_stats.reliability.change import (
    clinical_change,
    clinical_cutoffs,
    reliable_change_points,
    standard_error_of_measurement,
)
from alliance_stats.reliability.consistency import item_reliability, item_statistics
from alliance_stats.reliability.levels import level_correlations, level_omega
from alliance_stats.reliability.raters import rater_agreement, rater_icc, truth_and_bias
from alliance_stats.reliability.sessions import session_components, session_reliability

__all__ = [
    "clinical_change",
    "clinical_cutoffs",
    "item_reliability",
    "item_statistics",
    "level_correlations",
    "level_omega",
    "rater_agreement",
    "rater_icc",
    "reliable_change_points",
    "session_components",
    "session_reliability",
    "standard_error_of_measurement",
    "truth_and_bias",
]
