"""Measuring the therapeutic alliance: ruptures, repairs, chance, and what they mean for outcome and dropout.

Everything public is imported from here (``import alliance_stats as als``); each name is loaded from its own
module on first use, so that importing the package costs hardly more than importing pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "schema": ("DataError",),
    "tidying": ("tidy", "glance", "variances"),
    "instruments": ("INSTRUMENTS", "Instrument", "read_instrument"),
    "mixed": (
        "anova",
        "cluster_robust",
        "compare",
        "fit_mixed",
        "icc",
        "kenward_roger",
        "marginal_means",
        "marginal_slopes",
        "plot_diagnostics",
        "profile_intervals",
        "r_squared",
        "variance_explained",
    ),
    "load": (
        "check_file",
        "describe_sessions",
        "describe_study",
        "flow",
        "keep",
        "merge_ratings",
        "missing_patterns",
        "pseudonymise",
        "read_redcap",
        "read_sessions",
        "unmatched_ratings",
    ),
    "score": ("score_items",),
    "reliability": (
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
    ),
    "rupture": (
        "LatentParameters",
        "RULES",
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
    ),
    "features": ("lag", "mark_ruptures", "split_within_between"),
    "dropout": (
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
    ),
    "outcome": ("fit_growth", "fit_next_session", "fit_outcome"),
    "simulate": ("simulate_study",),
    "multiverse": ("fit_multiverse", "summarise_multiverse"),
    "power": ("simulate_power",),
    "courses": ("onset_aligned", "score_distribution"),
    "figures": (
        "plot_attendance",
        "plot_distribution",
        "plot_flow",
        "plot_hazard",
        "plot_incidence",
        "plot_multiverse",
        "plot_onset_aligned",
        "plot_paths",
        "plot_patient",
        "plot_patients",
        "plot_prevalence",
        "plot_terms",
        "save_figure",
    ),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'alliance_stats' has no attribute {name!r}")
    value = getattr(import_module(f"alliance_stats.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
