"""The study file: one TOML file per study, whose sections mirror the arguments of the functions they call.

An unknown section or key is an error that names the nearest known one. Nothing has a default here: what a study
file leaves out, the function it mirrors decides.
"""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alliance_stats.tables.schema import DataError, suggest

REPEATABLE = ("merge", "keep", "score", "flip", "multiverse")
"""Sections that may occur more than once, written ``[[score]]``."""
FILES = ("merge", "patients", "endings", "codes")
"""Sections that name a file of their own, besides the one of the sessions."""


class StudyError(DataError):
    """A study file, or a command's argument, that cannot be used as it is."""


@dataclass(frozen=True)
class StudyFile:
    """A study file as read: its path and its settings, section to keys as written.

    The data files it names are looked for from its folder; they may be on another drive.
    """

    path: Path
    settings: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        """The keys of a section; empty where the section is not there."""
        content = self.settings.get(name)
        return dict(content) if isinstance(content, dict) else {}

    def tables(self, name: str) -> list[dict[str, Any]]:
        """The tables of a section written several times, as ``[[score]]``, or once, as ``[score]``."""
        content = self.settings.get(name, [])
        return [dict(one) for one in (content if isinstance(content, list) else [content]) if isinstance(one, dict)]

    def has(self, name: str) -> bool:
        """Whether the study file has the section."""
        return name in self.settings

    def file(self, section: str) -> Path:
        """The path of the data file that `section` names, which must exist."""
        return self.beside(self.section(section)["file"], section)

    def beside(self, name: object, section: str) -> Path:
        """The path of a file named in `section`, looked for from the study file's folder; it must exist."""
        path = self.path.parent / str(name)
        if not path.is_file():
            problem = f"{self.path}: [{section}] file = {name!r}: there is no such file in {path.parent.resolve()}."
            raise StudyError(problem, remedy=_nearest_file(path))
        return path

    def without(self, name: str, table: Mapping[str, Any]) -> StudyFile:
        """The study file without one table of a section."""
        left = [one for one in self.tables(name) if one != table]
        rest = {other: content for other, content in self.settings.items() if other != name}
        return StudyFile(self.path, rest | ({name: left} if left else {}))

    @property
    def source(self) -> str:
        """The section that says how the sessions are read: ``read``, or ``redcap`` for an export of REDCap."""
        return "redcap" if self.has("redcap") else "read"

    def files(self) -> list[tuple[str, Path]]:
        """Every data file that the study names, with its section."""
        named = [(name, table) for name in (self.source, *FILES) for table in self.tables(name)]
        return [(name, self.beside(table["file"], name)) for name, table in named]


def load_study(path: Path) -> StudyFile:
    """The study file at `path`, its sections and keys not yet looked at."""
    try:
        return StudyFile(path, tomllib.loads(path.read_bytes().decode("utf-8-sig")))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StudyError(f"{path}: {reason}.", remedy="Give the path of a study file (TOML).") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text.", remedy="Save the study file as UTF-8.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the latter: nested too deeply
        raise StudyError(f"{path} is not valid TOML: {error}.", remedy=_toml_remedy(path)) from error


def mistakes_in(
    study: StudyFile, sections: Mapping[str, frozenset[str]], *, required: Mapping[str, tuple[str, ...]]
) -> Iterator[StudyError]:
    """Unknown sections and keys, keys that are missing, and sections that are no sections, in the order of the file.

    `sections` holds the keys each section may have, `required` those it must have where it is there.
    """
    path = study.path
    for name, content in study.settings.items():
        if name not in sections:
            yield StudyError(f"{path}: there is no section called [{name}].", remedy=_section_remedy(name, sections))
            continue
        for table in content if isinstance(content, list) and name in REPEATABLE else [content]:
            if not isinstance(table, dict):
                remedy = f"Write [{name}] on a line of its own."
                yield StudyError(f"{path}: {name} must be a section.", remedy=remedy)
                continue
            for key in table:
                if key not in sections[name]:
                    remedy = suggest(key, sorted(sections[name]))
                    elsewhere = [other for other, keys in sections.items() if key in keys]
                    if elsewhere and not remedy.startswith("Did"):
                        remedy = f"It is a key of [{'], ['.join(elsewhere)}]. {remedy}"
                    yield StudyError(f"{path}: [{name}] has an unknown key {key!r}.", remedy=remedy)
            meant = {nearest(key, sections[name]) for key in table}
            for key in required.get(name, ()):
                if key not in meant:
                    yield StudyError(f"{path}: [{name}] has no key {key!r}.", remedy=f"Add {key} = ... to [{name}].")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is or was probably meant to be; None where none is near."""
    known = sorted(known)
    near = [name] if name in known else difflib.get_close_matches(name.casefold(), known, n=1)
    return near[0] if near else None


def as_meant(study: StudyFile, sections: Mapping[str, frozenset[str]]) -> StudyFile:
    """The study file with unknown sections and keys under the nearest known names, so that a dry run can go on."""

    def renamed(content: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
        known = frozenset(known)
        names = {name: name if name in known else nearest(name, known - set(content)) for name in content}
        return {new: content[old] for old, new in names.items() if new is not None}

    settings = renamed(study.settings, sections)
    for name, content in settings.items():
        tables = content if isinstance(content, list) else [content]
        whole = [renamed(table, sections[name]) for table in tables if isinstance(table, dict)]
        settings[name] = whole if isinstance(content, list) else whole[0] if whole else content
    return StudyFile(study.path, settings)


def options_of(function: Callable[..., Any], *, without: tuple[str, ...] = ()) -> frozenset[str]:
    """The keyword-only arguments of `function`, which are the keys its section may have; how it runs is no setting."""
    parameters, without = inspect.signature(function).parameters.values(), (*without, "progress", "n_jobs")
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in without)


def _section_remedy(name: str, sections: Mapping[str, frozenset[str]]) -> str:
    """The nearest section; of a key written above the first section, where it belongs."""
    near = suggest(name, sections)
    owners = [section for section, keys in sections.items() if name in keys]
    return f"It is a key: write it below [{owners[0]}]." if owners and not near.startswith("Did") else near


def _toml_remedy(path: Path) -> str:
    """What usually breaks TOML in a study file."""
    text = path.read_bytes().decode("utf-8-sig", "replace")
    if "\u201c" in text or "\u201d" in text:
        return 'It has typographic quotes: write straight ones, ".'
    if re.search(r'=\s*"[^"\n]*\\', text):
        return r"In a path write / instead of \, or put it in single quotes: 'C:\data\study.csv'."
    if re.search(r"=\s*(True|False)\b", text):
        return "Write true and false in small letters."
    if re.search(r"(?m)^\s*[\w]+\s*=\s*[A-Za-z_][\w.]*\s*(#.*)?$", re.sub(r"=\s*(true|false|nan|inf)\b", "= 1", text)):
        return 'Text goes in quotes, as in patient = "id".'
    return "Correct that line."


def _nearest_file(path: Path) -> str:
    there = sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else []
    return suggest(path.name, there) if there else "Correct the path; it is relative to the study file."
