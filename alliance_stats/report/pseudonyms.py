"""What patients and therapists are called in everything that is written, where ids are not to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.report.study import StudyFile
from alliance_stats.tables.schema import PATIENT, THERAPIST, generator


def seed_of(study: StudyFile) -> int:
    """The study's seed; 1 where the study file names none."""
    return int(study.section("study").get("seed", 1))


def shows_ids(study: StudyFile) -> bool:
    """Whether the study file asks for the real ids in what is written."""
    return bool(study.section("study").get("show_ids", False))


def names_of(study: StudyFile, sessions: pd.DataFrame, column: str) -> Mapping[Any, str]:
    """Id to pseudonym (or to itself, where the study file shows ids), for the patients or therapists of `sessions`.

    Pseudonyms are numbered in a random order (by the study's seed), so that they do not tell the order of admission;
    the same study file and data give the same pseudonyms in every command.
    """
    ids = pd.unique(sessions[column].dropna())
    ids = ids[np.argsort([str(one) for one in ids], kind="stable")]
    if shows_ids(study):
        return {one: str(one) for one in ids}
    letter, digits = column[0].upper(), max(2, len(str(len(ids))))
    order = generator(seed_of(study)).permutation(len(ids)) + 1
    return {one: f"{letter}{number:0{digits}d}" for one, number in zip(ids, order, strict=True)}


def masked(table: pd.DataFrame, names: Mapping[str, Mapping[Any, str]], *, ids_shown: bool) -> pd.DataFrame:
    """`table` with the names of its patients and therapists instead of their ids.

    Rows are sorted by pseudonym, so that their order does not tell the order of the ids either.
    """
    named = {column: table[column].map(own) for column, own in names.items() if column in table}
    table = table.assign(**named)
    if ids_shown or PATIENT not in named:
        return table
    return table.sort_values(PATIENT, kind="stable").reset_index(drop=True)


def masked_for(study: StudyFile, sessions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """`table`, made from `sessions`, as the study file lets it be shown."""
    names = {column: names_of(study, sessions, column) for column in (PATIENT, THERAPIST) if column in sessions}
    return masked(table, names, ids_shown=shows_ids(study))
