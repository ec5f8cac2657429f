"""Linear mixed models: nested and crossed factors, serially correlated residuals, small-sample degrees of freedom."""

from alliance_stats.mixed.anova import anova
from alliance_stats.mixed.compare import compare
from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.mixed.kenward_roger import kenward_roger
from alliance_stats.mixed.marginal_means import marginal_means, marginal_slopes
from alliance_stats.mixed.plot_diagnostics import plot_diagnostics
from alliance_stats.mixed.profile import profile_intervals
from alliance_stats.mixed.r_squared import r_squared, variance_explained
from alliance_stats.mixed.result import MixedFit
from alliance_stats.mixed.robust import cluster_robust
from alliance_stats.mixed.shares import icc

__all__ = [
    "MixedFit",
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
]
