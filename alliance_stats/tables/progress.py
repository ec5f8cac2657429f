"""What long calls show while they run: a bar on a terminal (on stderr) or in a notebook, and nothing anywhere else.

A public function opens the bar; the loops below it call :func:`advance`, wherever they are. A bar that opens inside
another one is not shown, nor is one in a worker process or thread: the loop that hands out the work counts what comes
back.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

DELAY = 1.0
"""Seconds before a bar appears: a call that is quick shows none."""

_MOVE: ContextVar[Callable[[int, str], Any] | None] = ContextVar("bar", default=None)


@contextmanager
def bar(what: str, total: int, *, show: bool) -> Iterator[None]:
    """A bar of `total` steps for as long as the block lasts, if `show` and if somebody can see it.

    >>> with bar("Drawing studies", 3, show=True):   # the output of a doctest is no terminal
    ...     for _ in range(3):
    ...         advance()
    """
    where = _screen() if show and _MOVE.get() is None else None
    if where is None:
        token = _MOVE.set(_nothing)
        try:
            yield
        finally:
            _MOVE.reset(token)
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, file=where, delay=DELAY, leave=False, dynamic_ncols=True) as shown:

        def move(steps: int, now: str) -> None:
            if now:
                shown.set_description(f"{what}: {now}", refresh=False)
            shown.update(steps)

        token = _MOVE.set(move)
        try:
            yield
        finally:
            _MOVE.reset(token)


def advance(steps: int = 1, now: str = "") -> None:
    """Move the open bar by `steps`, and say what is being done now; without a bar nothing happens."""
    (_MOVE.get() or _nothing)(steps, now)


def _nothing(steps: int, now: str) -> None:
    """What a bar does that nobody sees."""


def _screen() -> TextIO | None:
    """Where a bar can be seen: the output of a notebook's cell, or stderr if it is a terminal."""
    in_worker = multiprocessing.current_process().name != "MainProcess"
    if in_worker or threading.current_thread() is not threading.main_thread():
        return None
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        return sys.stdout  # a notebook paints stderr as an error
    return sys.stderr if sys.stderr.isatty() else None
