"""Dropout done right: time-varying rupture states, competing endings, therapist effects."""

from alliance_stats.dropout.bias import immortal_time_bias
from alliance_stats.dropout.checks import check_calibration, check_discrimination, check_proportionality
from alliance_stats.dropout.competing import EndingsFit, fit_endings
from alliance_stats.dropout.definitions import compare_endings, derive_endings
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.incidence import cumulative_incidence
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.dropout.landmark import landmark_intervals, landmark_terms
from alliance_stats.dropout.paths import predict_paths, rupture_path
from alliance_stats.dropout.repair import repair_effect
from alliance_stats.dropout.result import HazardFit

__all__ = [
    "EndingsFit",
    "HazardFit",
    "check_calibration",
    "check_discrimination",
    "check_proportionality",
    "compare_endings",
    "cumulative_incidence",
    "derive_endings",
    "dropout_intervals",
    "fit_dropout",
    "fit_endings",
    "immortal_time_bias",
    "landmark_intervals",
    "landmark_terms",
    "predict_paths",
    "repair_effect",
    "rupture_path",
]
