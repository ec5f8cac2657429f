"""One question under every detection rule and repair target: each answer, and one p value for all of them."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
