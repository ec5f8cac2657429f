"""Rupture and repair in session-by-session alliance scores: rules, detection, description, chance, agreement."""

from alliance_stats.rupture.agreement import attendance_markers, coder_agreement, compare_raters
from alliance_stats.rupture.calibrate import Calibration, calibrate
from alliance_stats.rupture.chance import ChanceLevel, chance_level
from alliance_stats.rupture.describe import describe_ruptures, ruptures_by_session
from alliance_stats.rupture.detect import detect_ruptures
from alliance_stats.rupture.evaluate import evaluate_detection
from alliance_stats.rupture.explain import Explanation, explain
from alliance_stats.rupture.latent import detect_latent
from alliance_stats.rupture.latent_result import LatentRuptures
from alliance_stats.rupture.latent_scan import LatentParameters
from alliance_stats.rupture.rule import Rule
from alliance_stats.rupture.rules import RULES
from alliance_stats.rupture.sudden import sudden_gain, sudden_loss
from alliance_stats.rupture.summarise import summarise_patients

__all__ = [
    "RULES",
    "Calibration",
    "ChanceLevel",
    "Explanation",
    "LatentParameters",
    "LatentRuptures",
    "Rule",
    "attendance_markers",
    "calibrate",
    "chance_level",
    "coder_agreement",
    "compare_raters",
    "describe_ruptures",
    "detect_latent",
    "detect_ruptures",
    "evaluate_detection",
    "explain",
    "ruptures_by_session",
    "sudden_gain",
    "sudden_loss",
    "summarise_patients",
]
