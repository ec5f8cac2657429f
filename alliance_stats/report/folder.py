"""A folder of results that is written as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alliance_stats.report.study import StudyError

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
