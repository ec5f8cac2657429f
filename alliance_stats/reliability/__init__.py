"""Reliability and measurement: items, sessions within patients, raters, and change beyond measurement error."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
