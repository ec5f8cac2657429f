"""Measuring the therapeutic alliance: ruptures, repairs, chance, and what they mean for outcome and dropout.

The root (``import alliance_stats as als``) has the verbs of the main path; everything else is public in its room, such
as ``als.mixed.anova``. Each name is listed once, in the stub (``__init__.pyi``) of the root or of its room, and is
loaded on first use.
"""

from alliance_stats.lazy import public

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = public(__name__)
