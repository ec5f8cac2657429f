"""Figures: tables in, Axes out, nothing computed; `save_figure` writes the same bytes twice.

Every function draws on `ax` where one is given and otherwise on a new figure, in the package's own style
(:mod:`alliance_stats.figures.style`), which never leaks into the user's settings.
"""

from alliance_stats.figures.attendance import plot_attendance
from alliance_stats.figures.courses import plot_distribution, plot_onset_aligned, plot_prevalence
from alliance_stats.figures.dropout import plot_hazard, plot_immortal_time, plot_incidence, plot_paths
from alliance_stats.figures.flow import plot_flow
from alliance_stats.figures.multiverse import plot_multiverse
from alliance_stats.figures.patients import plot_patient, plot_patients
from alliance_stats.figures.saving import save_figure
from alliance_stats.figures.terms import plot_terms

__all__ = [
    "plot_attendance",
    "plot_distribution",
    "plot_flow",
    "plot_hazard",
    "plot_immortal_time",
    "plot_incidence",
    "plot_multiverse",
    "plot_onset_aligned",
    "plot_paths",
    "plot_patient",
    "plot_patients",
    "plot_prevalence",
    "plot_terms",
    "save_figure",
]
