"""Ruptures as observers and patients see them: codes to sessions, reliability, EVENTS, repair, recognition."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
