"""What each command of ``alliance-stats`` does: functions of its options that return the exit status.

The docstring of a command is its help. Nothing heavy is imported until a command needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import pandas as pd

    from alliance_stats.power.design import Design
    from alliance_stats.tables.parts import Work

OK, PROBLEMS, UNUSABLE = 0, 1, 2


def check(options: argparse.Namespace) -> int:
    """A dry run: every problem of the study file and its data at once."""
    from alliance_stats.report.checking import check_study

    _quiet()
    return _show(check_study(options.study), options.study)


def init(options: argparse.Namespace) -> int:
    """Propose a study file from a data file, every guess marked."""
    from alliance_stats.report.checking import check_study
    from alliance_stats.report.proposing import write_proposal

    _quiet()
    out = options.out or Path(f"{options.data.stem}.toml")
    sheet = int(options.sheet) if options.sheet and options.sheet.isdigit() else options.sheet
    made = write_proposal(options.data, out, sheet=sheet)
    print(f"{_shown(out)}: a proposal; every guess in it is marked.")
    for question in made.questions:
        print(f"fill in: {question}.")
    return _show(check_study(out), out)


def _show(found: pd.DataFrame, study: Path) -> int:
    """Print FINDINGS, a line each; the exit status they mean."""
    from alliance_stats.report.rehearsal import SHOWN

    for row in found.to_dict("records"):
        more = f" (and {row['n'] - SHOWN:,} more)" if row["n"] > SHOWN else ""
        places = f" {row['places'][:1].upper()}{row['places'][1:]}{more}." if row["places"] else ""
        print(one_line(worded(f"{row['severity']}: {row['file']}: {row['problem']}{places} {row['remedy']}")))
    errors = found.loc[found["severity"] == "error", "of"]
    print(f"{study}: {len(errors)} error(s), {len(found) - len(errors)} other remark(s).")
    return UNUSABLE if (errors == "study").any() else PROBLEMS if len(errors) else OK


def score(options: argparse.Namespace) -> int:
    """Score the items and write the sessions as CSV (with pseudonyms)."""
    from alliance_stats.report.writing import score_study

    return _write_table(score_study(options.study), options.out)


def detect(options: argparse.Namespace) -> int:
    """Find ruptures and repairs and write them as CSV (with pseudonyms)."""
    from alliance_stats.report.writing import detect_study

    return _write_table(detect_study(options.study), options.out)


def explore(options: argparse.Namespace) -> int:
    """Try rules out in a browser, on this machine only (with pseudonyms)."""
    from alliance_stats.explorer.page import serve
    from alliance_stats.report.sections import open_study
    from alliance_stats.report.writing import score_study

    score = open_study(options.study, needs=("detect",)).section("detect")["score"]
    serve(score_study(options.study), score=str(score), port=options.port, show=not options.no_browser)
    return OK


def monitor(options: argparse.Namespace) -> int:
    """Say after each patient's latest session whether a rupture is open."""
    from alliance_stats.monitoring.watch import CAUTION, draw_pages, every_session, latest, monitor_patients
    from alliance_stats.report.folder import write_table
    from alliance_stats.report.writing import scored_study
    from alliance_stats.rupture.latent.detect import detect_latent
    from alliance_stats.rupture.latent.parameters import read_parameters

    if (options.parameters is None) == (options.estimate is None):
        return fail("monitor needs --parameters FILE of an earlier study, or --estimate FILE to write them.", UNUSABLE)
    sessions, score, names = scored_study(options.study)
    if options.estimate is not None:
        latent = detect_latent(sessions, score=score)
        latent.parameters.save(options.estimate)
        print(f"{_shown(options.estimate)}: from {len(names)} patients. {latent.summary().splitlines()[1].strip()}")
        return OK
    wanted = None
    if options.patient is not None:
        wanted = [one for one in names if str(one) == options.patient]
        if not wanted:
            return fail(f"there is no patient {options.patient!r} in {options.study}.", PROBLEMS)
    watched = monitor_patients(
        sessions,
        parameters=read_parameters(options.parameters),
        score=score,
        patients=wanted,
        n_sessions=options.sessions,
        false_alarm=options.false_alarm,
    )
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_table(every_session(watched, names), options.out / "sessions.csv")
        draw_pages(watched, names, options.out)
        print(f"{_shown(options.out)}: {len(watched)} patient(s).", file=sys.stderr)
    print(CAUTION, file=sys.stderr)
    return _write_table(latest(watched, names).round(4), None)


def power(options: argparse.Namespace) -> int:
    """Simulate studies and say how large one must be, whole or in parts."""
    from alliance_stats.power.design import Design
    from alliance_stats.power.simulated import run_design, work_of
    from alliance_stats.report.study import StudyFile, load_study, mistakes_in, options_of
    from alliance_stats.simulate.simulated import simulate_study

    file, world = load_study(options.design), options_of(simulate_study, without=("seed",))
    keys = {"power": options_of(Design, without=("vary", "world")), "vary": world, "world": world}
    file = file if file.has("power") else StudyFile(file.path, {**file.settings, "power": {}})
    for mistake in mistakes_in(file, keys, required={"power": ("analysis", "seed")}):
        raise mistake
    try:
        design = Design(**file.section("power"), vary=file.section("vary"), world=file.section("world"))
    except TypeError as error:
        return fail(f"{options.design}: {error}", UNUSABLE)
    if options.part is None:
        return _write_power(design, run_design(design, n_jobs=options.jobs), options.out)
    return _write_part(work_of(design), options)


def multiverse(options: argparse.Namespace) -> int:
    """Ask [[multiverse]] of every rule, whole or in parts."""
    from alliance_stats.report.writing import multiverse_tables, multiverse_work

    _quiet()
    work = multiverse_work(options.study)
    if options.part is not None:
        return _write_part(work, options)
    return _write_multiverse(multiverse_tables(work.design, work.run(n_jobs=options.jobs)), options.out)


def _write_part(work: Work, options: argparse.Namespace) -> int:
    from alliance_stats.tables.parts import write_part

    part, _, of = options.part.partition("/")
    if not (part.isdigit() and of.isdigit()):
        return fail(f"--part {options.part!r} must be like 3/100.", UNUSABLE)
    print(f"{_shown(write_part(work, int(part), int(of), options.out, n_jobs=options.jobs))}: written.")
    return OK


def merge(options: argparse.Namespace) -> int:
    """Put the parts of a power analysis or a multiverse together."""
    from alliance_stats.power.simulated import merged
    from alliance_stats.report.writing import multiverse_tables
    from alliance_stats.tables.parts import read_parts

    command, design, answers = read_parts(options.parts)
    out = options.out or options.parts
    if command == "power":
        return _write_power(*merged(design, answers), out)
    return _write_multiverse(multiverse_tables(design, answers), out)


def _write_multiverse(tables: dict[str, pd.DataFrame], out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        _write_table(table, out / f"{name}.csv")
    return OK


def _write_power(design: Design, table: pd.DataFrame, out: Path) -> int:
    from alliance_stats.figures.power import plot_power
    from alliance_stats.figures.style import save_figure
    from alliance_stats.power.simulated import SIZES, smallest_study
    from alliance_stats.report.folder import write_table

    out.mkdir(parents=True, exist_ok=True)
    write_table(table, out / "power.csv")
    print(f"{_shown(out / 'power.csv')}: {len(table)} cells of {design.n_studies:,} studies.")
    size = next((name for name in SIZES if name in design.vary), None)
    if size is not None:
        smallest = smallest_study(table, wanted=design.wanted, size=size)
        write_table(smallest, out / "smallest.csv")
        print(smallest.round(3).to_string(index=False))
        try:
            save_figure(plot_power(table, x=size, wanted=design.wanted), out / "power")
        except ValueError as error:  # too many sizes for one picture
            print(f"No figure: {error}", file=sys.stderr)
    return OK


def demo(options: argparse.Namespace) -> int:
    """The whole path on the simulated study that is shipped."""
    from alliance_stats.report.writing import demo_study

    options.study = demo_study()
    print("The shipped study is simulated: 12 therapists and their patients, none of them real.")
    return report(options)


def report(options: argparse.Namespace) -> int:
    """Run the whole path and write an HTML report, tables and figures."""
    import signal

    from joblib import parallel_config

    from alliance_stats.report.writing import write_report

    _quiet()
    out = options.out
    before = signal.signal(signal.SIGTERM, _stop)  # so that the unfinished folder is removed on the way out
    try:
        with parallel_config(n_jobs=options.jobs):
            written = write_report(options.study, out, force=options.force)
    finally:
        signal.signal(signal.SIGTERM, before)
    for sentence in written.headline:
        print(sentence)
    for note in written.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    print(f"Report:   {_shown(out / 'report.html')}")
    print(f"Tables:   {_shown(out / 'tables')} ({written.n_tables} CSV files)")
    print(f"Figures:  {_shown(out / 'figures')} ({written.n_figures} figures, PNG and SVG)")
    print(f"Manifest: {_shown(out / 'manifest.json')}")
    return PROBLEMS if written.n_undone else OK


def _quiet() -> None:
    """Keep what the package says while it works from the terminal: the findings and notes repeat it."""
    import logging

    logging.getLogger("alliance_stats").addHandler(logging.NullHandler())


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _write_table(table: pd.DataFrame, out: Path | None) -> int:
    from alliance_stats.report.folder import as_csv, write_table

    if out is None:
        sys.stdout.write(as_csv(table))
        return OK
    write_table(table, out)
    print(f"{_shown(out)}: {len(table)} rows.")
    return OK


def worded(text: str) -> str:
    """A message with keys of the study file instead of arguments of Python."""
    from alliance_stats.report.numbers import in_keys
    from alliance_stats.report.sections import all_keys

    return in_keys(text, all_keys())


def _shown(path: Path) -> str:
    """A path as the user wrote it, with ``./`` before a relative one."""
    return str(path) if path.is_absolute() else f".{os.sep}{path}"


def one_line(text: str) -> str:
    """A message without line breaks."""
    return " ".join(text.split())


def fail(message: str, status: int) -> int:
    """Print why a command failed; returns its exit status."""
    print(f"alliance-stats: {one_line(message)}", file=sys.stderr)
    return status
