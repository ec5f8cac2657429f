"""What the command line calls: score, detect, and the report as a folder, written whole or not at all."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.multiverse.fit import FITTING
from alliance_stats.multiverse.joint import joint_of, plan_joint
from alliance_stats.report.folder import MANIFEST, masked_for, names_of, sha256, whole_folder
from alliance_stats.report.page import page
from alliance_stats.report.part_codes import describe_the_codes
from alliance_stats.report.part_data import describe_data
from alliance_stats.report.part_dropout import relate_to_dropout
from alliance_stats.report.part_dynamics import relate_both_ways
from alliance_stats.report.part_multiverse import arguments, compare_the_rules
from alliance_stats.report.part_notes import close_report, open_report
from alliance_stats.report.part_outcome import relate_to_outcome
from alliance_stats.report.part_ruptures import describe_the_ruptures
from alliance_stats.report.run import Run
from alliance_stats.report.sections import open_study
from alliance_stats.report.steps import find_ruptures, read_and_score, study_endings, summarised
from alliance_stats.report.study import StudyError, StudyFile
from alliance_stats.tables.flow import flow
from alliance_stats.tables.parts import Work
from alliance_stats.tables.progress import advance, bar
from alliance_stats.tables.schema import PATIENT

_LEAD = "Ruptures and repairs in session-by-session alliance scores, and what they mean for outcome and dropout."
_PACKAGES = ("alliance_stats", "numpy", "pandas", "scipy", "matplotlib", "statsmodels", "formulaic")

PARTS: tuple[tuple[str, Callable[[Run], None]], ...] = (
    ("describing the data", describe_data),
    ("describing ruptures", describe_the_ruptures),
    ("describing codes", describe_the_codes),
    ("relating ruptures to outcome", relate_to_outcome),
    ("relating alliance and symptoms both ways", relate_both_ways),
    ("relating ruptures to dropout", relate_to_dropout),
    ("comparing rules", compare_the_rules),
)
"""The parts of the report, in the order of the page."""


@dataclass(frozen=True)
class Written:
    """What a report came to: its main findings and what to know before trusting them, a sentence each, and counts."""

    headline: tuple[str, ...]
    notes: tuple[str, ...]
    n_tables: int
    n_figures: int
    n_undone: int  # parts that the study file asks for and that could not be done


def scored_study(path: Path) -> tuple[pd.DataFrame, str, Mapping[Any, str]]:
    """SESSIONS of the study with its scores, the score of ``[detect]``, and what each patient is called in print."""
    study = open_study(path, needs=("detect",))
    sessions = read_and_score(study)
    return sessions, str(study.section("detect")["score"]), names_of(study, sessions, PATIENT)


def score_study(path: Path) -> pd.DataFrame:
    """SESSIONS of the study with its scores, ids replaced by pseudonyms unless the study file shows ids."""
    study = open_study(path)
    sessions = read_and_score(study)
    return masked_for(study, sessions, sessions)


def detect_study(path: Path) -> pd.DataFrame:
    """EVENTS of the study by the rule it names, ids replaced by pseudonyms unless the study file shows ids."""
    study = open_study(path, needs=("detect",))
    sessions = read_and_score(study)
    return masked_for(study, sessions, find_ruptures(study, sessions))


def multiverse_work(path: Path) -> Work:
    """Every specification of the study's ``[[multiverse]]`` sections, each a piece of its own."""
    study = open_study(path, needs=("detect", "multiverse"))
    sessions = read_and_score(study)
    endings = study_endings(study, sessions)
    plans = [plan_joint(sessions, **arguments(study, endings, options)) for options in study.tables("multiverse")]
    inputs = {f"SHA-256 of {file.name}": sha256(file) for file in (study.path, *(file for _, file in study.files()))}
    tests = [{"n": len(plan.pieces), **plan.told} for plan in plans]
    pieces = [(plan.work, piece) for plan in plans for piece in plan.pieces]
    return Work("multiverse", {**inputs, "tests": tests}, _answer, pieces, FITTING)


def _answer(piece: tuple[Callable[[Any], Any], Any]) -> Any:
    return piece[0](piece[1])


def multiverse_tables(design: Mapping[str, Any], answers: Sequence[Any]) -> dict[str, pd.DataFrame]:
    """The tables of the report about all rules together, by name, from the answers of :func:`multiverse_work`."""
    tables, rest = {}, list(answers)
    for told in design["tests"]:
        test, rest = joint_of(rest[: told["n"]], told), rest[told["n"] :]
        tables[f"multiverse_{told['question']}"] = test.table
        tables[f"multiverse_{told['question']}_joint"] = test.joint
    return tables


def write_report(path: Path, out: Path, *, force: bool = False, progress: bool = True) -> Written:
    """Run the study at `path` and write its report into the folder `out`.

    Parameters
    ----------
    path : Path
        The study file.
    out : Path
        The folder to write; an earlier report there is replaced as a whole when the new one is complete.
    force : bool
        Replace an earlier report even if some of its files were changed after it was written.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Raises
    ------
    StudyError
        If the study file or `out` cannot be used.
    DataError
        If the data cannot.
    """
    study = open_study(path, needs=("detect",))
    with bar("Report", len(PARTS) + 1, show=progress), whole_folder(out, force=force) as folder:
        run = _open_run(study, folder)
        advance(now=PARTS[0][0])
        for (step, part), following in zip(PARTS, [*(name for name, _ in PARTS[1:]), "writing the page"], strict=True):
            with run.listening(f"While {step}"):
                part(run)
            advance(now=following)
        close_report(run)
        title = str(study.section("study").get("title", study.path.stem))
        (folder / "report.html").write_text(page(title, _LEAD, run.sections), encoding="utf-8", newline="\n")
        _write_manifest(run)
    return Written(tuple(run.headline), tuple(run.notes), len(run.tables), run.n_figures, run.n_undone)


def _open_run(study: StudyFile, folder: Path) -> Run:
    """The study, read and scored, with its ruptures, endings and patients."""
    sessions = read_and_score(study)
    run = Run(study, folder, sessions, find_ruptures(study, sessions), study_endings(study, sessions))
    run.patients = summarised(study, sessions, run.events, run.endings)
    open_report(run)
    return run


def demo_study() -> Path:
    """The study file of the simulated study that is shipped."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "data", package / "data"):
        if (folder / "simulated_study.toml").is_file():
            return folder / "simulated_study.toml"
    raise StudyError(
        "The shipped study is not beside this installation of alliance_stats.",
        remedy="Run the demo in a clone of the repository.",
    )


def _write_manifest(run: Run) -> None:
    """Everything needed to say where a number came from; nothing in it depends on the day or the folder."""
    study = run.study
    inputs = [study.path, *(file for _, file in study.files())]
    outputs = sorted(path for path in run.folder.rglob("*") if path.is_file())
    manifest: dict[str, Any] = {
        "alliance_stats": version("alliance_stats"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "seed": run.seed,
        "inputs": [{"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for path in inputs],
        "settings": study.settings,
        "flow": flow(run.sessions).to_dict("records"),
        "rows_out": {name: len(table) for name, table in sorted(run.tables.items())},
        "warnings": run.notes,
        "outputs": [
            {"file": path.relative_to(run.folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in outputs
        ],
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, default=str)
    (run.folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")
