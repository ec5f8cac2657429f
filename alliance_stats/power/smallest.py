"""The smallest study of a grid that reaches the wanted power."""

from __future__ import annotations

from typing import Any

import pandas as pd

from alliance_stats.tables.schema import require_choice, require_columns

SIZES = ("n_patients", "n_sessions", "n_therapists")


def smallest_study(table: pd.DataFrame, *, wanted: float = 0.8, size: str = "n_patients") -> pd.DataFrame:
    """The smallest size tried that reaches the wanted power, for each combination of the other varied parameters.

    Parameters
    ----------
    table : DataFrame
        From `simulate_power`, which varied `size`.
    wanted : float
        The power.
    size : str
        The parameter to keep small: ``n_patients``, ``n_sessions`` or ``n_therapists``.

    Returns
    -------
    DataFrame
        One row per combination: the other parameters, ``wanted``, `size` (missing where no size tried is enough) with
        its ``power, ci_low, ci_high``; and how well the simulation knows it: ``<size>_low``, the smallest whose
        interval of power includes `wanted`, and ``<size>_high``, the smallest whose interval lies above it.

    Examples
    --------
    >>> table = pd.DataFrame({"n_patients": [50, 100, 200], "n_studies": 100, "power": [0.5, 0.79, 0.93],
    ...                       "ci_low": [0.40, 0.70, 0.86], "ci_high": [0.60, 0.86, 0.97]})
    >>> smallest_study(table)[["n_patients_low", "n_patients", "n_patients_high"]].iloc[0].tolist()
    [100, 200, 200]
    """
    require_columns(table, ["n_studies", "power", "ci_low", "ci_high"], table_name="table")
    if not 0 < wanted < 1:
        raise ValueError(f"wanted={wanted!r} must be a power between 0 and 1.")
    varied = list(table.columns[: list(table.columns).index("n_studies")])
    require_choice(size, varied, name="size")
    others = [name for name in varied if name != size]
    rows: list[dict[str, Any]] = []
    for values, cells in table.groupby(others, sort=False) if others else [((), table)]:
        ordered = cells.sort_values(size)
        reached = {bound: ordered[ordered[bound] >= wanted].head(1) for bound in ("ci_high", "power", "ci_low")}
        found = [part[size].iloc[0] if len(part) else pd.NA for part in reached.values()]
        at = {name: reached["power"][name].sum(min_count=1) for name in ("power", "ci_low", "ci_high")}
        rows.append(
            {**dict(zip(others, values, strict=True)), "wanted": wanted, size: found[1], **at}
            | {f"{size}_low": found[0], f"{size}_high": found[2]}
        )
    whole = pd.api.types.is_integer_dtype(table[size])
    return pd.DataFrame(rows).astype(
        dict.fromkeys([f"{size}_low", size, f"{size}_high"], "Int64" if whole else "Float64")
    )
