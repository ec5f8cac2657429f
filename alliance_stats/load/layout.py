"""The options of ``read_sessions``, checked once and asked from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from alliance_stats.load.shape import Wide
from alliance_stats.load.text import MISSING_TEXT
from alliance_stats.tables import naming
from alliance_stats.tables.schema import (
    ATTENDANCE,
    ATTENDANCES,
    DATE,
    PATIENT,
    SESSION,
    THERAPIST,
    require_choice,
    suggest,
)

ROLES = (PATIENT, SESSION, THERAPIST, DATE, ATTENDANCE)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a study's file is to be read: the options of ``read_sessions``, checked."""

    patient: str
    session: str | None = None
    therapist: str | None = None
    date: str | None = None
    attendance: str | None = None
    measures: Sequence[str] | Mapping[str, str] | None = None
    wide: Wide | None = None
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing_codes: Sequence[Any] | Mapping[str, Sequence[Any]] = ()
    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    sheet: str | int | None = None
    header_row: int = 1
    session_format: str | None = None
    not_sessions: Sequence[Any] = ()
    only: Mapping[str, Any] = field(default_factory=dict)
    date_format: str | None = None
    number_by: str = "order"
    attendance_codes: Mapping[str, str] = field(default_factory=dict)
    labelled: Sequence[str] = ()
    duplicates: str = "error"
    missing_text: Sequence[str] = MISSING_TEXT

    def __post_init__(self) -> None:
        require_choice(self.duplicates, ("error", "first", "last", "merge"), name="duplicates")
        require_choice(self.number_by, ("order", "days", "weeks"), name="number_by")
        require_choice(self.decimal, (None, ".", ","), name="decimal")
        if not isinstance(self.header_row, int) or self.header_row < 1:
            raise ValueError(f"header_row={self.header_row!r} must be 1 or more.")
        if self.wide is None and self.session is None and self.date is None:
            raise ValueError("Name the session= column, the date= column to number sessions by, or a wide= pattern.")
        if self.wide is not None and self.session is not None:
            raise ValueError("With wide= the session numbers are in the column names; leave session= out.")
        if isinstance(self.not_sessions, str):
            raise ValueError(f"not_sessions={self.not_sessions!r} must be a list, such as [{self.not_sessions!r}].")
        if self.not_sessions and self.session is None:
            raise ValueError("not_sessions= names cells of the session= column; there is none.")
        if not isinstance(self.only, Mapping):
            raise ValueError(f"only={self.only!r} must be a dict, such as {{'rater': 'patient'}}.")
        if self.session_format is not None and naming.fields(self.session_format) != [SESSION]:
            raise ValueError(
                f"session_format={self.session_format!r} must hold {{session}}, as in 'Session {{session}}'."
            )
        for name, ends in self.ranges.items():
            if len(ends) != 2 or not ends[0] < ends[1]:
                raise ValueError(f"ranges[{name!r}]={list(ends)!r} must be [lowest, highest].")
        for code, meaning in self.attendance_codes.items():
            require_choice(meaning, ATTENDANCES, name=f"attendance_codes[{code!r}]")
        named = [name for name in (getattr(self, role) for role in ROLES) if name is not None]
        if len(set(named)) != len(named):
            twice = next(name for name in named if named.count(name) > 1)
            raise ValueError(f"The column {twice!r} is named for two roles.")

    def roles(self) -> dict[str, str]:
        """Role to column of the file, for the roles that are named."""
        return {role: getattr(self, role) for role in ROLES if getattr(self, role) is not None}

    def renamed_measures(self) -> dict[str, str]:
        """Measure to column of the file (a pattern is its own name)."""
        if self.measures is None:
            return {}
        if isinstance(self.measures, Mapping):
            return dict(self.measures)
        names = [self.measures] if isinstance(self.measures, str) else self.measures
        return {name: name for name in names}

    def named(self, column: str) -> str:
        """The name under which a column of the file is read."""
        renamed = {old: new for new, old in {**self.roles(), **self.renamed_measures()}.items()}
        return renamed.get(column, column)

    def codes_for(self, column: str) -> list[Any]:
        """The missing codes that hold for a column."""
        if not isinstance(self.missing_codes, Mapping):
            codes = self.missing_codes
            return [codes] if isinstance(codes, str | int | float) else list(codes)
        found: list[Any] = []
        for name, codes in self.missing_codes.items():
            if naming.matching([column], name):
                found += [codes] if isinstance(codes, str | int | float) else list(codes)
        return found

    def range_for(self, column: str) -> tuple[float, float] | None:
        """The declared range of a column, None where none is declared."""
        if column in self.ranges:
            return self.ranges[column][0], self.ranges[column][1]
        for name, ends in self.ranges.items():
            if naming.is_pattern(name) and naming.matching([column], name):
                return ends[0], ends[1]
        return None


OPTIONS = tuple(item.name for item in fields(Layout))


def layout_of(options: Mapping[str, Any]) -> Layout:
    """A layout from options by name; an unknown one is a ``TypeError`` that names the nearest."""
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"{name!r} is not an option of read_sessions. {suggest(name, OPTIONS)}")
    given = {name: value for name, value in options.items() if value is not None}
    return Layout(**given)
