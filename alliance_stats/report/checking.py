"""A dry run: everything that is wrong with a study file and its data, each cause once, all of it in one round."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from alliance_stats.load.layout import ROLES, layout_of
from alliance_stats.load.problems import NOTE
from alliance_stats.load.reading import read_in_part
from alliance_stats.load.sessions import read_raw
from alliance_stats.report.rehearsal import Findings, no_column, rehearse, rehearse_codes, rehearse_endings
from alliance_stats.report.sections import in_section, mistakes, well_formed
from alliance_stats.report.steps import read_and_score, steps_between
from alliance_stats.report.study import FILES, StudyError, StudyFile, load_study
from alliance_stats.tables import naming
from alliance_stats.tables.schema import PATIENT, SESSION, THERAPIST, DataError
from alliance_stats.tables.states import STATE_COLUMNS

_COLUMNS = {
    "detect": ("score",),
    "outcome": ("symptom", "therapist"),
    "next_session": ("covariates", "therapist"),
    "growth": ("therapist",),
    "dynamics": ("symptom", "covariates", "inputs", "by", "therapist"),
    "dropout": ("measures", "covariates", "fixed"),
}
"""Keys that name columns of the sessions."""


def check_study(path: Path) -> pd.DataFrame:
    """FINDINGS of a study: all that `report` would refuse or could not do, except what only a fit can tell.

    Raises ``StudyError`` if the study file cannot be read at all.
    """
    written = load_study(path)
    found = Findings(written)
    for error in mistakes(written):
        found.error(error, path.name)
    study, made = well_formed(written)
    for name in (study.source, *FILES):
        for table in study.tables(name):
            with found.trying():
                study.beside(table["file"], name)
                continue
            study, made = study.without(name, table), made if name in ("endings", "codes") else made | {"*"}
    if not study.has(study.source):
        return found.table()
    sessions, columns = _sessions(study, found)
    sessions = None if sessions is None or sessions.empty else sessions  # what was said of the file is the one cause
    if sessions is not None:
        sessions, failed = _steps(study, sessions, found)
        columns, made = {*map(str, sessions.columns)}, made | failed
    else:
        made |= {str(table["into"]) for name in ("score", "flip") for table in study.tables(name)}
    if columns is not None and "*" not in made:
        _names(study, found, columns | made)
    score = study.section("detect").get("score")
    if sessions is not None and score in sessions:
        rehearse(study, sessions, found)
        if study.has("codes"):
            rehearse_codes(study, sessions, found)
    elif sessions is not None and study.has("endings"):
        rehearse_endings(study, sessions, found)
    return found.table()


def _sessions(study: StudyFile, found: Findings) -> tuple[pd.DataFrame | None, set[str] | None]:
    """The sessions as far as they can be read, and the columns there will be where they cannot."""
    path, options = study.file(study.source), study.section(study.source)
    del options["file"]
    if study.source == "redcap":
        bare = StudyFile(study.path, {"redcap": study.settings["redcap"]})
        with found.trying(path.name):
            return read_and_score(bare), None
        return None, None
    try:
        layout = layout_of(options)
        table = read_raw(path, layout).table
        raw = table.columns
    except DataError as error:
        found.error(StudyError(f"[read] {error.problem}", remedy=error.remedy, row=error.row), path.name)
        return None, None
    except (ValueError, TypeError, ImportError) as error:
        found.error(StudyError(f"[read] {error}", remedy="Correct the study file."), path.name)
        return None, None
    named = {**layout.roles(), **layout.renamed_measures()}
    absent = {new: old for new, old in named.items() if old not in raw and not naming.is_pattern(old)}
    if {PATIENT, SESSION} & set(absent):
        checked = read_in_part(path, **options)[1]
        if checked["remedy"].str.startswith("Say header_row").any():  # the line of names is further down
            found.checked(checked, path.name)
            return None, None
    for new, old in absent.items():
        key = new if new in ROLES else "measures"
        found.error(no_column(study, "read", key, old, raw, path.name), path.name)
    if {PATIENT, SESSION} & set(absent):
        return None, set(map(str, raw))
    for role in set(absent) & set(ROLES):
        del options[role]
    if set(absent) - set(ROLES):
        options["measures"] = {new: old for new, old in layout.renamed_measures().items() if new not in absent}
    try:
        sessions, checked = read_in_part(path, **options)
    except (ValueError, TypeError) as error:
        found.error(StudyError(f"[read] {error}", remedy="Correct the study file."), path.name)
        return None, None
    found.checked(checked, path.name)
    return sessions, None if layout.wide is not None else {*named, *(layout.named(str(name)) for name in raw)}


def _steps(study: StudyFile, sessions: pd.DataFrame, found: Findings) -> tuple[pd.DataFrame, set[str]]:
    """The sessions after every section between reading and detecting; what failed sections would have made."""
    made: set[str] = set()
    file = study.file(study.source).name
    scoring = iter(study.tables("score"))
    for section, step in steps_between(study):
        options = next(scoring) if section == "score" else {}
        try:
            sessions = in_section(study, section, step, sessions)
            if section == "merge":
                merge = sessions.attrs["merge"]
                alone = f"{merge['only_first']} only in the first file, {merge['only_second']} only in the second"
                found.add(NOTE, "data", file, f"[[merge]] {merge['matched']} sessions are in both files, {alone}.", "")
        except DataError as error:
            found.error(error, file)
            if section in ("merge", "patients"):
                made.add("*")
            elif section in ("score", "flip"):
                made |= {str(step.keywords["into"])}  # type: ignore[attr-defined]
            if options and options.get("out_of_range") != "missing":
                try:  # so that what is built on the score can be checked as well
                    sessions = in_section(study, section, partial(step, out_of_range="missing"), sessions)
                except DataError:
                    continue
                gone = int(sessions[f"{options['into']}_n_out_of_range"].sum())
                found.rows[-1]["n"] = max(gone, 1)
    for note in sessions.attrs.get("notes", []):
        found.add(NOTE, "data", file, str(note), "")
    return sessions, made


def _names(study: StudyFile, found: Findings, columns: set[str]) -> None:
    """Columns that sections name and that the sessions do not have."""
    for section, keys in _COLUMNS.items():
        for key in keys:
            value = study.section(section).get(key)
            own = columns | set(STATE_COLUMNS) if key == "inputs" else columns
            for name in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
                known = name in own or (key == THERAPIST and name == "none")
                if not known and not any(str(name).startswith(f"{one}_") for one in own if one not in ROLES):
                    found.error(no_column(study, section, key, name, own), study.path.name)
