"""Long computations: pieces on as many cores as the caller wants, the same numbers on any, and a bar while they run.

The pieces go to joblib: processes of this machine by default, or whatever ``joblib.parallel_config`` names, such as
the workers of a Dask or Ray cluster. Each piece has its own stream of random numbers and one thread for linear algebra,
so that the result is the same to the bit for any number of workers. A public function opens the bar (on a terminal's
stderr or in a notebook); the loops below it call :func:`advance`. A bar inside another one is not shown, nor is one in
a worker process or thread: the loop that hands out the work counts what comes back.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO, TypeVar

import numpy as np

from alliance_stats.tables.schema import Seed, generator

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def run_pieces(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], *, n_jobs: int | None, steps: int = 1
) -> list[Result]:
    """`work` of every piece, in their order; the open bar moves by `steps` with each.

    For several processes `work` must be importable (a function of a module, or a ``partial`` of one). `n_jobs` is 2, or
    -1 for all cores; None is one, unless ``joblib.parallel_config`` says otherwise.

    >>> run_pieces(abs, [-1, 2], n_jobs=None)
    [1, 2]
    """
    if isinstance(n_jobs, bool) or not (n_jobs is None or isinstance(n_jobs, int | np.integer)) or n_jobs == 0:
        raise ValueError(f"n_jobs={n_jobs!r} must be a number of workers, -1 for all cores, or None.")
    from joblib import Parallel, delayed

    found: list[Result] = []
    parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    # closed whatever happens: an interrupt ends the workers too
    with closing(parallel(delayed(_on_one_thread)(work, piece) for piece in pieces)) as results:
        for result in results:
            found.append(result)
            advance(steps)
    return found


def streams(seed: Seed, count: int) -> list[np.random.Generator]:
    """One independent stream of random numbers for each piece (children of one ``SeedSequence``).

    >>> [stream.integers(100) for stream in streams(1, 2)] == [stream.integers(100) for stream in streams(1, 2)]
    True
    """
    return generator(seed).spawn(count)


def _on_one_thread(work: Callable[[Any], Any], piece: Any) -> Any:
    with _controller().limit(limits=1):
        return work(piece)


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


DELAY = 1.0  # Seconds before a bar appears: a call that is quick shows none

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
