"""The whole path in one call: a study file in, a folder with an HTML report, tables, figures and a manifest out.

The study file is described in :mod:`alliance_stats.report.study`; each part of the report stands in a module of its
own, adds its tables, figures and sentences to a :class:`~alliance_stats.report.run.Run`, and knows nothing of the
others.
"""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
