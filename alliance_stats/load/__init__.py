"""Reading a study's files: every format researchers have, every check, every decision on record."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
