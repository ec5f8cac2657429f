"""A running therapy watched session by session, from the parameters of an earlier study."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
