"""The study file: one TOML file per study, whose sections mirror the arguments of the functions they call.

An unknown section or key is an error that names the nearest known one. Nothing has a default here: what a study
file leaves out, the function it mirrors decides.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alliance_stats.tables.schema import DataError, suggest

REPEATABLE = ("keep", "score", "flip")
"""Sections that may occur more than once, written ``[[score]]``."""


class StudyError(DataError):
    """A study file, or a command's argument, that cannot be used as it is."""


@dataclass(frozen=True)
class StudyFile:
    """A study file as read: its path and its settings, every section and key known.

    Attributes
    ----------
    path : Path
        The study file; the data files it names are looked for from its folder; they may be on another drive.
    settings : mapping
        Section to keys, as written.
    """

    path: Path
    settings: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        """The keys of a section; empty where the section is not there."""
        return dict(self.settings.get(name, {}))

    def tables(self, name: str) -> list[dict[str, Any]]:
        """The tables of a section written several times, as ``[[score]]``, or once, as ``[score]``."""
        content = self.settings.get(name, [])
        return [dict(table) for table in (content if isinstance(content, list) else [content])]

    def has(self, name: str) -> bool:
        """Whether the study file has the section."""
        return name in self.settings

    def file(self, section: str) -> Path:
        """The path of the data file that `section` names, which must exist."""
        name = str(self.section(section)["file"])
        path = self.path.parent / name
        if not path.is_file():
            problem = f"[{section}] file = {name!r}: there is no such file in {self.path.parent}."
            raise StudyError(problem, remedy=_nearest_file(path))
        return path


def read_study(
    path: Path, sections: Mapping[str, frozenset[str]], *, required: Mapping[str, tuple[str, ...]]
) -> StudyFile:
    """Read and check a study file.

    Parameters
    ----------
    path : Path
        The TOML file, in UTF-8.
    sections : mapping
        The keys each section may have.
    required : mapping
        The sections that must be there, with the keys each must have where it is there.

    Raises
    ------
    StudyError
        If the file cannot be read or is no TOML, for an unknown or missing section or key.
    """
    try:
        settings = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StudyError(f"{path}: {reason}.", remedy="Give the path of a study file (TOML).") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text.", remedy="Save the study file as UTF-8.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the latter: nested too deeply
        raise StudyError(f"{path} is not valid TOML: {error}.", remedy="Correct that line.") from error
    for name, content in settings.items():
        if name not in sections:
            raise StudyError(f"{path} has an unknown section [{name}].", remedy=suggest(name, sections))
        tables = content if isinstance(content, list) and name in REPEATABLE else [content]
        for table in tables:
            _check_keys(path, name, table, sections[name], required.get(name, ()))
    for name in ("read", "detect"):
        if name not in settings:
            raise StudyError(f"{path} has no section [{name}].", remedy=f"Add one, with {_listed(required[name])}.")
    return StudyFile(path, settings)


def options_of(function: Callable[..., Any], *, without: tuple[str, ...] = ()) -> frozenset[str]:
    """The keyword-only arguments of `function`, which are the keys its section may have."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in without)


def _check_keys(path: Path, name: str, table: object, known: frozenset[str], required: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise StudyError(f"{path}: {name} must be a section.", remedy=f"Write [{name}] on a line of its own.")
    for key in table:
        if key not in known:
            raise StudyError(f"{path}: [{name}] has an unknown key {key!r}.", remedy=suggest(key, sorted(known)))
    for key in required:
        if key not in table:
            raise StudyError(f"{path}: [{name}] has no key {key!r}.", remedy=f"Add {key} = ... to [{name}].")


def _listed(keys: tuple[str, ...]) -> str:
    return " and ".join(f"{key} = ..." for key in keys)


def _nearest_file(path: Path) -> str:
    there = sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else []
    return suggest(path.name, there) if there else "Correct the path; it is relative to the study file."
