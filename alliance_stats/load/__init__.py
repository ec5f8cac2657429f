"""Reading a study's files: every format researchers have, every check, every decision on record."""

from __future__ import annotations

from alliance_stats.load.flow import flow, keep
from alliance_stats.load.reading import check_file, read_sessions

__all__ = ["check_file", "flow", "keep", "read_sessions"]
