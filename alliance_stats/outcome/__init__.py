"""Ruptures, repairs and outcome: at the end of therapy, in the next session, and over the whole course."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
