"""Dropout done right: time-varying rupture states, competing endings, therapist effects."""

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.dropout.result import HazardFit

__all__ = ["HazardFit", "dropout_intervals", "fit_dropout"]
