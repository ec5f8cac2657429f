"""The command line: ``alliance-stats init DATA``, ``check | score | detect | report | monitor STUDY.toml``, ``demo``.

Exit status: 0, all went well; 1, the command ran and found problems in the data; 2, wrong usage or input that cannot
be read. Errors are one line on stderr. What each command does is in ``commands``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from alliance_stats import commands
from alliance_stats.commands import OK, PROBLEMS, UNUSABLE, fail, one_line, worded


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    if options.debug:
        return int(options.run(options))
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return fail("interrupted; nothing was left half-written.", 130)
    except BrokenPipeError:  # the reader of a pipe (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or type(error).__name__}.", UNUSABLE)
    except MemoryError:
        return fail("not enough memory for this study.", UNUSABLE)
    except ImportError as error:  # an optional package that reads a kind of file
        return fail(str(error), UNUSABLE)
    except ValueError as error:
        from alliance_stats.report.study import StudyError
        from alliance_stats.tables.schema import DataError

        of_data = isinstance(error, DataError) and not isinstance(error, StudyError)
        return fail(worded(str(error)), PROBLEMS if of_data else UNUSABLE)


class _Parser(argparse.ArgumentParser):
    """Errors of usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {one_line(message)}. See {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="alliance-stats",
        description="Ruptures and repairs in session-by-session alliance scores, and what they mean for outcome and"
        " dropout. A study is described by one TOML file.",
        epilog="Sections of a study file: study, read (or redcap), merge, patients, keep, score, flip, reliability,"
        " endings, codes, detect, latent, chance, outcome, next_session, growth, dynamics, dropout, multiverse, and"
        " figures; an example is data/simulated_study.toml. Ids are shown as pseudonyms unless the study file says"
        " show_ids = true. Exit status: 0 all well, 1 problems found in the data, 2 wrong usage, a study file with"
        " mistakes or unreadable input.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    _fill(parser.add_subparsers(title="commands", metavar="COMMAND", required=True))
    return parser


def _fill(menu: argparse._SubParsersAction[_Parser]) -> None:
    def add(run: Callable[[argparse.Namespace], int], argument: str = "", **about: Any) -> argparse.ArgumentParser:
        """A command; its help is the docstring of the function that runs it."""
        told = str(run.__doc__)
        command = menu.add_parser(run.__name__, help=told[0].lower() + told[1:-1], description=told)
        if argument:
            command.add_argument(argument, type=Path, **about)
        command.set_defaults(run=run)
        return command

    study: dict[str, Any] = {"argument": "study", "metavar": "STUDY.toml", "help": "the study file"}
    init = add(commands.init, "data", metavar="DATA", help="the data file: csv, xlsx, ods, sav, dta, ...")
    init.add_argument("--sheet", metavar="SHEET", help="of a workbook: the sheet's name, or its position from 1")
    init.add_argument("--out", type=Path, metavar="STUDY.toml", help="default: the data file's name, in this folder")
    add(commands.check, **study)
    for command in (add(commands.score, **study), add(commands.detect, **study)):
        command.add_argument("--out", type=Path, metavar="FILE", help="the CSV file to write (default: print it)")
    report = add(commands.report, **study)
    monitor = add(commands.monitor, **study)
    monitor.add_argument("--parameters", type=Path, metavar="FILE", help="JSON file of an earlier study's parameters")
    monitor.add_argument("--estimate", type=Path, metavar="FILE", help="write that file from this study instead")
    monitor.add_argument("--patient", metavar="ID", help="one patient only (default: all)")
    monitor.add_argument("--sessions", type=int, default=20, metavar="N", help="length of a therapy (default: 20)")
    monitor.add_argument("--false-alarm", type=float, default=0.05, metavar="RATE", help="per therapy (default: 0.05)")
    monitor.add_argument("--out", type=Path, metavar="DIR", help="also write a picture of each patient, and a table")
    explore = add(commands.explore, **study)
    explore.add_argument("--port", type=int, default=0, help="default: a free one")
    explore.add_argument("--no-browser", action="store_true", help="only print the address")
    power = add(commands.power, "design", metavar="DESIGN.toml", help="sections power, vary, world: docs/scale.md")
    multiverse = add(commands.multiverse, **study)
    for command in (power, multiverse):
        command.add_argument("--part", metavar="I/N", help="only every N-th piece, beginning with the I-th: 3/100")
    merge = add(commands.merge, "parts", metavar="DIR", help="the folder of the parts")
    merge.add_argument("--out", type=Path, metavar="DIR", help="the folder to write (default: that of the parts)")
    demo = add(commands.demo)
    demo.add_argument("--out", type=Path, metavar="DIR", default=Path("demo-report"), help="default: demo-report")
    for command in (report, power, multiverse):
        command.add_argument("--out", type=Path, metavar="DIR", required=True, help="the folder to write")
    for command in (report, demo):
        command.add_argument("--force", action="store_true", help="replace a report even if its files were edited")
    for command in (report, demo, power, multiverse):
        command.add_argument("--jobs", type=_workers, metavar="N", help="cores to use; -1 is all (default: one)")


def _workers(text: str) -> int:
    if int(text) == 0:
        raise argparse.ArgumentTypeError("0 workers do no work")
    return int(text)


class _Version(argparse.Action):
    """Read the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from alliance_stats import __version__

        print(f"alliance_stats {__version__}")
        parser.exit(OK)
