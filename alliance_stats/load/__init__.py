"""Reading a study's files: every format researchers have, every check, every decision on record."""

from __future__ import annotations

from alliance_stats.load.codebook import describe_sessions, describe_study, missing_patterns
from alliance_stats.load.keeping import flow, keep
from alliance_stats.load.merging import merge_ratings, unmatched_ratings
from alliance_stats.load.privacy import pseudonymise
from alliance_stats.load.reading import check_file, read_sessions
from alliance_stats.load.redcap import read_redcap

__all__ = [
    "check_file",
    "describe_sessions",
    "describe_study",
    "flow",
    "keep",
    "merge_ratings",
    "missing_patterns",
    "pseudonymise",
    "read_redcap",
    "read_sessions",
    "unmatched_ratings",
]
