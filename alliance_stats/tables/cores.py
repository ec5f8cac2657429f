"""Pieces of one long computation, on as many cores as the caller wants, and the same numbers on any.

The pieces go to joblib: processes of this machine by default, or whatever ``joblib.parallel_config`` names, such as
the workers of a Dask or Ray cluster. Each piece has its own stream of random numbers and one thread for linear algebra,
so that the result is the same to the bit for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from alliance_stats.tables.progress import advance
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
