"""Rupture and repair in session-by-session alliance scores: rules, detection, description, chance, agreement."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
