"""Linear mixed models: nested and crossed factors, serially correlated residuals, small-sample degrees of freedom."""

from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.mixed.result import MixedFit
from alliance_stats.mixed.shares import icc

__all__ = ["MixedFit", "fit_mixed", "icc"]
