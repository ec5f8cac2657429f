"""Scores as arrays: one row per patient, and which patients share session numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Courses:
    """Rated scores of n patients, padded on the right to T positions."""

    score: Floats  # (n, T): 0 beyond a patient's last rating
    time: Floats  # (n, T): Session numbers; beyond the last rating they go on by one
    n_rated: Ints  # (n,)

    def take(self, rows: Any) -> Courses:
        """The series of some patients, cut to the longest of them."""
        longest = int(self.n_rated[rows].max()) if len(self.n_rated[rows]) else 0
        return Courses(self.score[rows, :longest], self.time[rows, :longest], self.n_rated[rows])

    @property
    def rated(self) -> Bools:
        """Where there is a rating, (n, T)."""
        return np.asarray(np.arange(self.score.shape[1]) < self.n_rated[:, None])


def as_courses(code: Ints, session: Ints, score: Floats) -> Courses:
    """Pad long columns, sorted by patient `code` (0, 1, ...) and session and without missing scores, into rows."""
    n_rated = np.bincount(code)
    n, longest = len(n_rated), int(n_rated.max())
    position = np.arange(len(code)) - np.repeat(np.cumsum(n_rated) - n_rated, n_rated)
    padded, time = np.zeros((n, longest)), np.zeros((n, longest))
    padded[code, position] = score
    time[code, position] = session
    last = time[np.arange(n), n_rated - 1]
    beyond = np.arange(longest) - (n_rated[:, None] - 1)
    time = np.where(beyond > 0, last[:, None] + beyond, time)
    return Courses(padded, time, n_rated.astype(np.int64))


class Patterns(NamedTuple):
    """The distinct sets of session numbers among the series, and which of them each series has."""

    time: Floats
    n_rated: Ints
    of: Ints


def patterns(series: Courses) -> Patterns:
    """Group the series that share session numbers, so that a covariance matrix is worked on once for all of them."""
    rows = np.column_stack([series.time, series.n_rated])
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    return Patterns(series.time[first], series.n_rated[first], of.reshape(-1).astype(np.int64))


def multiply(matrices: Floats, of: Ints, values: Floats) -> Floats:
    """``matrices[of[i]] @ values[i]`` for every row i of `values`."""
    if len(matrices) == 1:
        return np.asarray(values @ matrices[0].T)
    if len(matrices) <= len(values) / 20:
        result = np.empty_like(values)
        for p in range(len(matrices)):
            rows = np.flatnonzero(of == p)
            result[rows] = values[rows] @ matrices[p].T
        return result
    return np.asarray(np.einsum("ntu,nu->nt", matrices[of], values, optimize=False))
