"""Ruptures, repairs and outcome: at the end of therapy, in the next session, and over the whole course."""

from alliance_stats.outcome.growth import GrowthFit, fit_growth
from alliance_stats.outcome.next_session import NextSessionFit, fit_next_session
from alliance_stats.outcome.patterns import PUBLISHED, OutcomeFit, fit_outcome

__all__ = ["PUBLISHED", "GrowthFit", "NextSessionFit", "OutcomeFit", "fit_growth", "fit_next_session", "fit_outcome"]
