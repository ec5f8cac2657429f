"""Which rupture pattern a patient has: labels as 0/1 columns, or the probability of each pattern as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import PATIENT, PATTERNS, DataError, require_choice, require_columns

POSTERIOR = "p_pattern"
MIN_EXPECTED = 5.0
"""A pattern with fewer expected patients joins the reference: its own coefficient would be an extrapolation."""


def named_pattern(patients: pd.DataFrame, pattern: str | None) -> tuple[str, list[str]]:
    """The column of labels, or the stem of the columns of probabilities, and all columns it needs.

    By default the probabilities ``p_pattern_<name>`` where PATIENTS have them, otherwise ``pattern``. Raises
    ``DataError`` where a patient has two rows.
    """
    require_columns(patients, [PATIENT], table_name="patients")
    if patients[PATIENT].duplicated().any():
        raise DataError("Duplicate patient rows in patients.", remedy="Keep one row per patient.")
    if pattern is None:
        pattern = POSTERIOR if f"{POSTERIOR}_{PATTERNS[0]}" in patients else "pattern"
    if pattern in patients:
        return pattern, [pattern]
    return pattern, [str(name) for name in patients if str(name).startswith(f"{pattern}_")] or [pattern]


def pattern_sizes(table: pd.DataFrame, pattern: str, reference: str) -> dict[str, float]:
    """Patients (expected numbers, where they are probabilities) by pattern, the reference first; one row per patient.

    Raises
    ------
    DataError
        If the reference, or every other pattern, is missing.
    """
    sizes: dict[str, float]
    if pattern in table:
        sizes = {str(name): int(count) for name, count in table[pattern].value_counts().items()}
    else:
        found = {name: float(table[f"{pattern}_{name}"].sum()) for name in PATTERNS if f"{pattern}_{name}" in table}
        sizes = {name: round(size, 1) for name, size in found.items() if size >= MIN_EXPECTED}
    if reference not in sizes:
        remedy = f"Choose another reference=; patterns found: {', '.join(sorted(map(str, sizes))) or 'none'}."
        raise DataError(f"No patient left in the model has the pattern {reference!r}.", remedy=remedy)
    if len(sizes) < 2:
        raise DataError(
            f"Every patient left in the model has the pattern {reference!r}: there is nothing to compare with.",
            remedy="Use a rule that finds ruptures in this study, or more patients.",
        )
    order = {name: place for place, name in enumerate(PATTERNS)}
    others = sorted((str(name) for name in sizes if name != reference), key=lambda name: (order.get(name, 99), name))
    return {name: sizes[name] for name in (reference, *others)}


def with_patterns(table: pd.DataFrame, pattern: str, reference: str, levels: list[str]) -> pd.DataFrame:
    """The table with ``pattern_<name>`` for each of `levels`: 0/1, or the probability."""
    if pattern not in table:
        return table.assign(**{f"pattern_{name}": table[f"{pattern}_{name}"].astype(np.float64) for name in levels})
    values = table[pattern].astype(object)
    unknown = set(values.dropna()) - {reference, *levels}
    if unknown:
        require_choice(sorted(unknown)[0], [reference, *levels], name=pattern)
    return table.assign(
        **{f"pattern_{name}": (values == name).astype(np.float64).where(values.notna()) for name in levels}
    )


def spread_within(values: pd.Series, dummies: pd.DataFrame) -> tuple[float, int]:
    """SD of a measure within patterns, and its degrees of freedom; a patient counts in each pattern by its probability.

    `dummies` are the columns of all patterns but the reference.
    """
    weight = np.column_stack([1.0 - dummies.sum(axis=1), dummies])
    y = values.to_numpy(dtype=np.float64)
    means = weight.T @ y / weight.sum(axis=0)
    df = len(y) - weight.shape[1]
    return (float(np.sqrt((weight * (y[:, None] - means) ** 2).sum() / df)) if df else float("nan")), df
