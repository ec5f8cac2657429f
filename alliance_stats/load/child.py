"""Binary formats are read in a child process with limits of memory and time.

The readers of SPSS, SAS, Parquet and Feather files are written in C and C++: a damaged file can stop the interpreter,
ask for many gigabytes or never come back, and no ``except`` helps. A small Excel file can unpack to a huge one. The
child takes the damage; the user gets one sentence. It is started with the first such file (about the time of importing
pandas) and serves all later ones. It is not a sandbox: a file made to attack the reader runs with the user's rights.

Where no child process can be started, files are read in this process, without limits.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from alliance_stats.load.binary import FORMATS, read_binary
from alliance_stats.load.raw import Raw
from alliance_stats.tables.schema import DataError

SECONDS, SECONDS_PER_MB = 60.0, 20.0
"""Time allowed for a file: a slow computer needs about two seconds for a megabyte of Excel."""

MEMORY, MEMORY_PER_BYTE = 4 * 2**30, 100
"""Address space allowed, in bytes; the libraries themselves reserve one to two gigabytes of it."""

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from alliance_stats.load.child import serve; serve()"
_LOCK = threading.Lock()
_running: list[subprocess.Popen[bytes]] = []

Answer = tuple[str, Any]


def read_in_child(path: Path, *, encoding: str | None, sheet: str | int | None, header_row: int) -> Raw:
    """The table of a file of any format but text.

    Raises
    ------
    DataError
        If the file cannot be read, or not within the limits.
    """
    options = {"encoding": encoding, "sheet": sheet, "header_row": header_row}
    with _LOCK:
        try:
            child = _child()
        except OSError:
            kind, content = _answer(path, options)
        else:
            kind, content = _ask(child, path, options)
    what = FORMATS[path.suffix.lower()].name
    if kind == "read":
        return Raw(*content)
    if kind == "refused":
        raise DataError(content[0], remedy=content[1])
    remedy = "Open it in the program that wrote it and save it again (without a password), or export it as CSV."
    problem = {
        "damaged": f"{path.name} is not a readable {what} file ({content}).",
        "memory": f"{path.name} needs too much memory: a damaged {what} file, or a very large one.",
        "time": f"Reading {path.name} was given up after {_seconds(path):.0f} seconds: a damaged {what} file, or a "
        "very large one.",
        "stopped": f"{path.name} is not a readable {what} file (it stopped the program that read it).",
    }[kind]
    raise DataError(problem, remedy=remedy)


def _seconds(path: Path) -> float:
    return SECONDS + SECONDS_PER_MB * path.stat().st_size / 1e6


def _child() -> subprocess.Popen[bytes]:
    """The running child, or a new one."""
    if _running and _running[0].poll() is None:
        return _running[0]
    stop()
    if not sys.executable:
        raise OSError("Python does not know its own path.")
    command = [sys.executable, "-c", _START, json.dumps(sys.path)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    _running.append(child)
    return child


def _ask(child: subprocess.Popen[bytes], path: Path, options: dict[str, Any]) -> Answer:
    """The child's answer; it is stopped where it has none in time, and after it ran out of memory."""
    if child.stdin is None or child.stdout is None:
        raise TypeError("the child has no pipes.")
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        child.kill()

    timer = threading.Timer(_seconds(path), expire)
    timer.daemon = True
    timer.start()
    try:
        memory = MEMORY + MEMORY_PER_BYTE * path.stat().st_size
        pickle.dump((str(path.resolve()), options, memory), child.stdin)
        child.stdin.flush()
        answer: Answer = pickle.load(child.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        answer = ("time" if expired.is_set() else "stopped", None)
    except BaseException:  # interrupted: what the child answers later belongs to no question
        stop()
        raise
    finally:
        timer.cancel()
    if answer[0] in ("time", "stopped", "memory"):
        stop()
    return answer


@atexit.register
def stop() -> None:
    """Stop the child, if one is running."""
    while _running:
        child = _running.pop()
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a question that was not sent
                    pipe.close()


def serve() -> None:
    """In the child: answer questions until the parent is gone."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    while True:
        try:
            path, options, memory = pickle.load(sys.stdin.buffer)
        except (EOFError, KeyboardInterrupt):
            return
        _limit(memory)
        try:
            content = pickle.dumps(_answer(Path(path), options), protocol=5)
        except MemoryError:
            content = pickle.dumps(("memory", None))
        out.write(content)
        out.flush()


def _limit(memory: int) -> None:
    """Limit the address space of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return  # Windows: the time limit holds alone
    with contextlib.suppress(ValueError, OSError):  # macOS refuses; or a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _answer(path: Path, options: dict[str, Any]) -> Answer:
    try:
        return "read", tuple(read_binary(path, **options))
    except DataError as error:
        return "refused", (error.problem, error.remedy)
    except MemoryError:
        return "memory", None
    except Exception as error:  # a damaged file may raise anything
        if os.strerror(errno.EAGAIN) in str(error):  # no room for the stack of a reader's thread
            return "memory", None
        return "damaged", f"{type(error).__name__}: {error}"[:300]
