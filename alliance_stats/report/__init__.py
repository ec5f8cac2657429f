"""The whole path in one call: a study file in, a folder with an HTML report, tables, figures and a manifest out.

:mod:`alliance_stats.report.study` reads the study file and :mod:`alliance_stats.report.sections` knows its sections.
Each part of the report has a module of its own (``part_*``) that adds its tables, figures and sentences to a
:class:`~alliance_stats.report.run.Run`; a later part uses the tables that earlier parts kept there.
"""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
