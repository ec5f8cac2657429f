"""The rated scores of all patients end to end, the one layout every rule works on; arrays only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import BoolArray, FloatArray, IntArray
from alliance_stats.tables.schema import PATIENT, SESSION, check_runs


@dataclass(frozen=True)
class Series:
    """Scores of p patients with n rated sessions altogether, sorted by patient and session.

    Pooled quantities are taken within a study. Real data are one study; simulated draws are many, side by side.
    """

    score: FloatArray  # (n,) no NaN
    session: IntArray  # (n,)
    start: IntArray  # (p,) where each patient's ratings begin
    length: IntArray  # (p,) one at least
    study: IntArray  # (p,) the study each patient belongs to, 0 .. n_studies - 1
    n_studies: int = 1

    @property
    def n_patients(self) -> int:
        """Patients with a rating."""
        return len(self.start)

    @cached_property
    def stop(self) -> IntArray:
        """One past each patient's last rating."""
        return self.start + self.length

    @cached_property
    def owner(self) -> IntArray:
        """The patient of each rating, 0 .. p - 1."""
        return np.repeat(np.arange(len(self.start)), self.length)

    @cached_property
    def position(self) -> IntArray:
        """How many ratings of the patient come before each."""
        return np.arange(len(self.score)) - np.repeat(self.start, self.length)

    @cached_property
    def places(self) -> list[IntArray]:
        """The ratings that come first in their patient's series, those that come second, and so on.

        In each, patients with longer series come first, so that entry i is the same patient in all of them.
        """
        order = np.argsort(-self.length, kind="stable")
        begins, going = self.start[order], np.cumsum(np.bincount(self.length)[::-1])[::-1]
        return [begins[:many] + place for place, many in enumerate(going[1:])]

    @cached_property
    def tolerance(self) -> float:
        """Differences of scores below this are rounding, not data."""
        return 1e-9 * float(np.abs(self.score).max(initial=0.0))

    @cached_property
    def mean(self) -> FloatArray:
        """Each patient's mean."""
        return self.total(self.score) / self.length

    def total(self, values: Any) -> FloatArray:
        """The sum of a value over each patient's ratings."""
        if not len(self.start):
            return np.zeros(0)
        return np.add.reduceat(np.asarray(values, dtype=np.float64), self.start)

    def total_before(self, values: FloatArray) -> FloatArray:
        """The sum of a value over the patient's earlier ratings, at each rating."""
        before: FloatArray = np.cumsum(values) - values
        before -= self.spread(before[self.start])
        return before

    def spread(self, per_patient: Any) -> Any:
        """A value of each patient at each of the patient's ratings."""
        return np.repeat(per_patient, self.length)

    def study_sum(self, per_patient: Any) -> FloatArray:
        """The sum of a value over the patients of each study."""
        return np.bincount(
            self.study, weights=np.asarray(per_patient, dtype=np.float64), minlength=self.n_studies
        ).astype(np.float64)

    def neighbours(self, bridge: int | None) -> BoolArray:
        """Whether each rating has a predecessor at most `bridge` missed sessions before it."""
        known = np.ones(len(self.score), dtype=bool)
        known[self.start] = False
        if bridge is not None:
            known[1:] &= np.diff(self.session) <= bridge + 1
        return known

    def with_scores(self, score: FloatArray) -> Series:
        """The same patients and sessions with other scores."""
        return replace(self, score=score)

    def rows_of(self, who: IntArray) -> IntArray:
        """The places of these patients' ratings."""
        length = self.length[who]
        rows: IntArray = np.repeat(self.start[who] - np.cumsum(length) + length, length) + np.arange(length.sum())
        return rows

    def of_patients(self, who: IntArray) -> Series:
        """These patients alone."""
        rows, length = self.rows_of(who), self.length[who]
        start = np.cumsum(length) - length
        return Series(self.score[rows], self.session[rows], start, length, self.study[who], self.n_studies)

    def tiled(self, times: int) -> Series:
        """`times` copies side by side, each a study of its own."""
        n, copies = len(self.score), np.arange(times)
        return Series(
            score=np.tile(self.score, times),
            session=np.tile(self.session, times),
            start=(self.start + n * copies[:, None]).ravel(),
            length=np.tile(self.length, times),
            study=np.repeat(copies, len(self.start)),
            n_studies=times,
        )


@dataclass(frozen=True)
class Roll:
    """Who the series belong to."""

    ids: pd.Series  # every patient of the table, in its order, the unrated ones included
    n_rows: IntArray  # of each of them
    rated: IntArray  # (p,) positions in `ids` of the patients with a rating
    row: IntArray  # (n,) row of the sorted table of each rating


def read_series(sessions: pd.DataFrame, score: str) -> tuple[Series, Roll]:
    """The rated sessions of `score` in SESSIONS, which are checked and sorted first."""
    table, first = check_runs(sessions, [score])
    values = table[score].to_numpy()
    n_rows = np.diff(np.append(first, len(table)))
    unrated = np.isnan(values)
    missing = np.flatnonzero(unrated)
    session = table[SESSION].to_numpy()
    if not len(missing):
        row, length, kept = np.arange(len(values)), n_rows, np.arange(len(first))
    else:
        row = np.flatnonzero(~unrated)
        values, session = values[row], session[row]
        of_patient = np.searchsorted(first, missing, side="right") - 1
        counts = n_rows - np.bincount(of_patient, minlength=len(first))
        kept = np.flatnonzero(counts)
        length = counts[kept]
    start = np.cumsum(length) - length
    series = Series(score=values, session=session, start=start, length=length, study=np.zeros(len(start), np.int64))
    return series, Roll(ids=table[PATIENT].iloc[first].reset_index(drop=True), n_rows=n_rows, rated=kept, row=row)
