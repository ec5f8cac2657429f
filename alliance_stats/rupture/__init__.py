"""Rupture and repair in session-by-session alliance scores: rules, detection, description, chance, agreement."""

from alliance_stats.rupture.describe import describe_ruptures, ruptures_by_session
from alliance_stats.rupture.detect import detect_ruptures
from alliance_stats.rupture.explain import Explanation, explain
from alliance_stats.rupture.rule import Rule
from alliance_stats.rupture.rules import RULES
from alliance_stats.rupture.summarise import summarise_patients

__all__ = [
    "RULES",
    "Explanation",
    "Rule",
    "describe_ruptures",
    "detect_ruptures",
    "explain",
    "ruptures_by_session",
    "summarise_patients",
]
