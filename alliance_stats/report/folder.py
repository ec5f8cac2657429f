"""A folder of results that is written as a whole or not at all: CSV tables and pseudonyms."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.report.study import StudyError, StudyFile
from alliance_stats.tables.files import write_whole
from alliance_stats.tables.naming import pseudonyms
from alliance_stats.tables.schema import PATIENT, THERAPIST

MANIFEST = "manifest.json"


@contextmanager
def whole_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """A new folder beside `target` to write into; it becomes `target` when the block ends without an error.

    A run that fails leaves nothing; one that is killed outright leaves `target` as it was (and a hidden folder that the
    next run removes). An earlier report at `target` is replaced, but only if everything in it is listed in its own
    manifest and, unless `force`, as it was written: a file that somebody else put there is never lost. A link is
    followed: the folder it leads to is replaced, and the link stays. Raises ``StudyError`` if `target` is a file, a
    mount point, or a folder with files that no report wrote or that were changed since.
    """
    target = target.resolve()
    refuse_unsafe(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    partial = target.with_name(f".{target.name}.partial-{socket.gethostname()}-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        _move_into_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_unsafe(target: Path, *, force: bool) -> None:
    """Raise unless `target` may be replaced: absent, empty, or holding nothing but an earlier report."""
    if not target.exists():
        return
    if not target.is_dir():
        raise StudyError(f"{target} is a file.", remedy="Choose another folder for --out.")
    if target.is_mount():
        raise StudyError(
            f"{target} is a mount point, which cannot be replaced as a whole.",
            remedy=f"Choose a folder in it: --out {target / 'report'}.",
        )
    written = _written_by_report(target)
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    foreign = sorted(found - set(written))
    if foreign:
        raise StudyError(
            f"{target} contains {len(foreign)} file(s) that no report wrote, such as {foreign[0]!r}.",
            remedy="Choose another folder for --out, or move them away.",
        )
    edited = sorted(name for name in found if written[name] not in ("", sha256(target / name)))
    if edited and not force:
        raise StudyError(
            f"{len(edited)} file(s) of the report in {target} were changed since, such as {edited[0]!r}.",
            remedy="Choose another folder for --out, or add --force to replace them.",
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _written_by_report(target: Path) -> dict[str, str]:
    """The files of the report at `target` and their SHA-256, as its manifest lists them ("" for the manifest)."""
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        return {MANIFEST: ""} | {str(one["file"]): str(one.get("sha256", "")) for one in manifest["outputs"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _move_into_place(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed runs of this machine left beside `target`; put back a report they had moved away."""
    for kind in ("replaced", "partial"):
        prefix = f".{target.name}.{kind}-{socket.gethostname()}-"
        for path in sorted(target.parent.iterdir()):
            process = path.name.removeprefix(prefix)
            if not path.name.startswith(prefix) or not process.isdigit() or _alive(int(process)):
                continue
            if kind == "replaced" and not target.exists():
                path.rename(target)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True  # signal 0 would end the process there; better an old folder than a broken run
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV text.

    Text that a spreadsheet would take for a formula (beginning with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
    return) gets an apostrophe in front, in column names too. Numbers, and text that is a number, stay as they are.

    Examples
    --------
    >>> print(as_csv(pd.DataFrame({"id": ["=1+1", "-7", "p1"], "x": [-1.5, 2, 3]})), end="")
    id,x
    '=1+1,-1.5
    -7,2.0
    p1,3.0
    """
    changed = {}
    for name in table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]:
        cells = table[name].tolist()
        harmless = [_defused(cell) for cell in cells]
        if any(new is not old for new, old in zip(harmless, cells, strict=True)):
            changed[name] = pd.Series(harmless, index=table.index, dtype=object)
    return table.assign(**changed).rename(columns=_defused).to_csv(index=False, lineterminator="\n")


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write a table as CSV, whole or not at all; a link is followed, a device or pipe is written to as it is."""
    out = out.resolve()
    if out.is_dir():
        raise StudyError(f"{out} is a folder.", remedy="Give --out the name of a file.")
    text = as_csv(table)
    if out.exists() and not out.is_file():
        out.write_text(text, encoding="utf-8", newline="\n")
        return
    write_whole(out, text.encode())


def _defused(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_DANGEROUS) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def seed_of(study: StudyFile) -> int:
    """The study's seed; 1 where the study file names none."""
    return int(study.section("study").get("seed", 1))


def shows_ids(study: StudyFile) -> bool:
    """Whether the study file asks for the real ids in what is written."""
    return bool(study.section("study").get("show_ids", False))


def names_of(study: StudyFile, sessions: pd.DataFrame, column: str) -> Mapping[Any, str]:
    """Id to pseudonym (or to itself, where the study file shows ids), for the patients or therapists of `sessions`.

    The same study file and data give the same pseudonyms in every command.
    """
    ids = pd.unique(sessions[column].dropna())
    if shows_ids(study):
        return {one: str(one) for one in ids}
    return pseudonyms(ids, column[0].upper(), seed_of(study))


def masked(table: pd.DataFrame, names: Mapping[str, Mapping[Any, str]], *, ids_shown: bool) -> pd.DataFrame:
    """`table` with the names of its patients and therapists instead of their ids.

    Rows are sorted by pseudonym, so that their order does not tell the order of the ids either.
    """
    named = {column: table[column].map(own) for column, own in names.items() if column in table}
    table = table.assign(**named)
    if ids_shown or PATIENT not in named:
        return table
    return table.sort_values(PATIENT, kind="stable").reset_index(drop=True)


def masked_for(study: StudyFile, sessions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """`table`, made from `sessions`, as the study file lets it be shown."""
    names = {column: names_of(study, sessions, column) for column in (PATIENT, THERAPIST) if column in sessions}
    return masked(table, names, ids_shown=shows_ids(study))
