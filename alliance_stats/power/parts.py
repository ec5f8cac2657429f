"""A power analysis in parts (:mod:`alliance_stats.tables.parts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.power.design import Design
from alliance_stats.power.simulated import power_table
from alliance_stats.tables import parts


def write_part(
    design: Design, part: int, of: int, folder: Path, *, n_jobs: int | None = None, progress: bool = True
) -> Path:
    """Run every `of`-th study of a design, beginning with the `part`-th, and write what they answered.

    See :func:`alliance_stats.tables.parts.write_part`. The analysis and the rule must be named, and the seed a number.
    """
    return parts.write_part(work_of(design), part, of, folder, n_jobs=n_jobs, progress=progress)


def work_of(design: Design) -> parts.Work:
    """The studies of a design as pieces of work."""
    return parts.Work("power", asdict(design), design.answer, design.pieces(), "Simulating studies")


def merge_parts(folder: Path) -> tuple[Design, pd.DataFrame]:
    """The design that all parts in `folder` belong to, and its table: that of one run, to the bit.

    See :func:`alliance_stats.tables.parts.read_parts` for the errors.
    """
    return merged(*parts.read_parts(folder)[1:])


def merged(told: Mapping[str, Any], answers: Sequence[Any]) -> tuple[Design, pd.DataFrame]:
    """The design of parts, and its table."""
    design = Design(**told)
    return design, power_table(design, [answer if isinstance(answer, str) else tuple(answer) for answer in answers])
