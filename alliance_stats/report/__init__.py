"""The whole path in one call: a study file in, a folder with an HTML report, tables, figures and a manifest out.

The study file is described in :mod:`alliance_stats.report.study`; each part of the report stands in a module of its
own, adds its tables, figures and sentences to a :class:`~alliance_stats.report.run.Run`, and knows nothing of the
others.
"""

from alliance_stats.report.study import Study, StudyError
from alliance_stats.report.writing import (
    Written,
    check_study,
    demo_study,
    detect_study,
    score_study,
    write_report,
    write_table,
)

__all__ = [
    "Study",
    "StudyError",
    "Written",
    "check_study",
    "demo_study",
    "detect_study",
    "score_study",
    "write_report",
    "write_table",
]
