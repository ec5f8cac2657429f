"""From single answers to the answer table: bias, coverage, false alarms, and whether the answer holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.terms import t_quantile

BIAS, COVERAGE, SIZE = 0.10, 0.92, 0.05
UNSETTLED_FROM = 0.25
"""Half-width of the Monte Carlo interval of the relative bias from which a cell is not judged."""
HOLDS, UNKNOWN, MISSES, UNSETTLED = "holds", "says it cannot be known", "misses", "too few studies to tell"


def answer_table(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per world, question and way of answering.

    Parameters
    ----------
    answers : DataFrame
        Rows of :func:`answers.questions.ask` for every world, version and seed.

    Returns
    -------
    DataFrame
        ``world, question, way, n`` studies with something to find; ``silent``, the share of them in which the package
        says that it cannot know. Over the others: ``truth`` and ``estimate`` (means), ``bias`` relative to the truth
        (below 0: too small) with ``bias_se`` (Monte Carlo), ``coverage`` of 95 % intervals, ``bound`` (whether they are
        open above). ``false_alarms`` (p < .05) and ``n_null`` in studies with nothing to find, silent ones counted.
        ``judgement``: ``holds`` where the bias is at most 10 % (not asked of a lower bound), the coverage at least .92
        and the false alarms at most 5 %, each give or take its Monte Carlo error; ``misses`` where one of them is not;
        ``too few studies to tell`` where none is shown to fail, but the bias is known to no better than a quarter of
        the truth; ``says it cannot be known`` where more than half of the studies with something to find say so.
    """
    rows = []
    for (world, question, way), part in answers.groupby(["world", "question", "way"], sort=False):
        there = part["truth"].ne(0)
        found, null = part[there], part[~there]
        rows.append({"world": world, "question": question, "way": way} | _cell(found) | _alarms(null))
    table = pd.DataFrame(rows)
    return table.assign(judgement=[_judge(row) for _, row in table.iterrows()])


def _cell(found: pd.DataFrame) -> dict[str, Any]:
    told = found[found["said"].eq("") & found["estimate"].notna()]
    error = told["estimate"] / told["truth"] - 1
    covered = told["ci_low"].le(told["truth"]) & told["ci_high"].ge(told["truth"])
    known = told["ci_low"].notna()
    return {
        "n": len(found),
        "silent": 1 - len(told) / len(found) if len(found) else np.nan,
        "truth": told["truth"].mean(),
        "estimate": told["estimate"].mean(),
        "bias": error.mean(),
        "bias_se": error.std() / np.sqrt(len(error)) if len(error) > 1 else np.nan,
        "coverage": covered[known].mean() if known.any() else np.nan,
        "bound": bool(len(told)) and bool(np.isposinf(told["ci_high"]).all()),
    }


def _alarms(null: pd.DataFrame) -> dict[str, float]:
    if null["p_value"].isna().all() and null["said"].eq("").all():
        return {"false_alarms": np.nan, "n_null": len(null)}
    return {"false_alarms": float((null["p_value"] < SIZE).mean()), "n_null": len(null)}


def _judge(row: pd.Series) -> str:
    if row["silent"] > 0.5:
        return UNKNOWN
    n = row["n"] * (1 - row["silent"])
    half_width = float(t_quantile(0.95, n - 1)) * row["bias_se"] if n > 1 else np.inf
    fine = [row["bound"] or abs(row["bias"]) <= BIAS + half_width]
    if not np.isnan(row["coverage"]):
        slack = 2 * np.sqrt(0.05 * 0.95 / n)
        fine.append(COVERAGE - slack <= row["coverage"])
    if not np.isnan(row["false_alarms"]):
        fine.append(row["false_alarms"] <= SIZE + 2 * np.sqrt(SIZE * (1 - SIZE) / row["n_null"]))
    if not all(fine):
        return MISSES
    return HOLDS if row["bound"] or half_width <= UNSETTLED_FROM else UNSETTLED
