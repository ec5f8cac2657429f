"""Figures: tables in, Axes out, nothing computed; `save_figure` writes the same bytes twice.

Every function draws on `ax` where one is given and otherwise on a new figure, in the package's own style
(:mod:`alliance_stats.figures.style`), which never leaks into the user's settings.
"""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
