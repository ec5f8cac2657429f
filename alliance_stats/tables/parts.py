"""One long computation in parts that any machine may run in any order, and the whole from all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alliance_stats.tables.files import write_whole
from alliance_stats.tables.naming import ranges
from alliance_stats.tables.progress import bar, run_pieces
from alliance_stats.tables.schema import DataError, require_whole

PACKAGES = ("alliance_stats", "numpy", "scipy", "pandas")


@dataclass(frozen=True)
class Work:
    """Pieces of one computation; ``answer`` gives numbers, text, arrays and lists of them, which a file can hold."""

    command: str
    design: Mapping[str, Any]
    answer: Callable[[Any], Any]
    pieces: Sequence[Any]
    words: str

    def run(
        self, pieces: Sequence[Any] | None = None, *, n_jobs: int | None = None, progress: bool = True
    ) -> list[Any]:
        """The answers to some pieces (default: all), in their order."""
        pieces = self.pieces if pieces is None else pieces
        with bar(self.words, len(pieces), show=progress):
            return run_pieces(self.answer, pieces, n_jobs=n_jobs)


def write_part(
    work: Work, part: int, of: int, folder: Path, *, n_jobs: int | None = None, progress: bool = True
) -> Path:
    """Run every `of`-th piece, beginning with the `part`-th, and write the answers into `folder`.

    The file, such as ``part-003-of-100.json``, is written whole or not at all, and replaces an earlier one of the part.
    """
    require_whole(of, name="of", low=1)
    require_whole(part, name="part", low=1)
    if part > of:
        raise ValueError(f"There is no part {part} of {of}.")
    try:
        json.dumps(work.design)
    except TypeError as error:
        problem = "A part must say what it is of: an analysis and a rule by name, numbers and text"
        raise ValueError(f"{problem}. {error}.") from error
    answers = work.run(work.pieces[part - 1 :: of], n_jobs=n_jobs, progress=progress)
    content = {
        "command": work.command,
        "design": work.design,
        "versions": {name: version(name) for name in PACKAGES},
        "part": part,
        "of": of,
        "answers": answers,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{part:0{len(str(of))}d}-of-{of}.json"
    text = json.dumps(content, indent=1, default=lambda array: array.tolist())  # a number of numpy as well
    return write_whole(path, text.encode())


def read_parts(folder: Path) -> tuple[str, dict[str, Any], list[Any]]:
    """The command and design that all parts in `folder` belong to, and the answers of one run, to the bit.

    Raises
    ------
    DataError
        If parts are missing (which ones), belong to different designs, divisions or versions, or are damaged.
    """
    paths = sorted(folder.glob("part-*-of-*.json"))
    if not paths:
        raise DataError(
            f"{folder} holds no parts (part-*-of-*.json).",
            remedy=f"Write them: alliance-stats power DESIGN.toml --part 1/9 --out {folder}; or multiverse STUDY.toml.",
        )
    found = {path: _read(path) for path in paths}
    first = found[paths[0]]
    for path, content in found.items():
        for key in ("command", "of", "design", "versions"):
            if content[key] != first[key]:
                differs = _difference(key, content[key], first[key])
                raise DataError(
                    f"{folder} mixes runs: {path.name} has {differs} in {paths[0].name}.",
                    remedy="Move the parts of one run to a folder of their own, or run them again.",
                )
    of, parts = first["of"], {content["part"]: content["answers"] for content in found.values()}
    missing = [part for part in range(1, of + 1) if part not in parts]
    if missing:
        listed = ranges(missing)
        raise DataError(
            f"{len(missing)} of {of} parts are missing in {folder}: {listed}.",
            remedy=f"Run them (SLURM: sbatch --array={listed}) and merge again.",
        )
    answers: list[Any] = [None] * sum(map(len, parts.values()))
    for part, own in parts.items():
        answers[part - 1 :: of] = own
    return first["command"], first["design"], answers


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        return {key: content[key] for key in ("command", "design", "versions", "part", "of", "answers")}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged.", remedy="Remove it and run this part again.") from error


def _difference(key: str, here: Any, there: Any) -> str:
    """What differs, as in ``n_studies 200, but 100``."""
    if not isinstance(here, dict):
        return f"{key} {here}, but {there}"
    name = next(name for name in here if here[name] != there.get(name))
    return f"{name} {here[name]}, but {there.get(name)}"
