"""Dropout done right: time-varying rupture states, competing endings, therapist effects."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
