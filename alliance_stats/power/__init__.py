"""Power by simulation: the analyses of a study over a grid of sizes, whole or in parts."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
