"""How often a study of a given size would find what the simulated world holds, and the smallest that often does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.power.design import Analysis, Answer, Design
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.parts import Work
from alliance_stats.tables.schema import Seed, require_choice, require_columns
from alliance_stats.tables.shares import wilson


def simulate_power(
    *,
    analysis: str | Analysis,
    seed: Seed,
    term: str = "",
    vary: Mapping[str, Sequence[Any]] | None = None,
    world: Mapping[str, Any] | None = None,
    rule: str | Rule | None = "previous_2pooled",
    n_studies: int = 200,
    alpha: float = 0.05,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Simulate many studies, analyse each, and count how often a term is significant.

    Parameters
    ----------
    analysis : {"chance", "next_session", "dynamics", "dropout", "repair", "codes"} or callable
        Ruptures beyond chance (`chance_level`, 199 draws); the next session's symptoms (`fit_next_session`); which
        comes first (`fit_dynamics` with random slopes, and the measurement error of the alliance that its items imply);
        the discrete dropout hazard on ``rupture_open + repaired_before + session``, errors clustered by therapist; the
        outcome at the end by rupture pattern (`fit_outcome`); which coded strategies go before repair
        (`coding.repair_intervals`; sessions are coded as ``codes=`` of `simulate_study` says); or your own function of
        a `Study` and its EVENTS that returns TERMS. Scores are ``alliance`` and ``phq9``.
    seed : int or numpy.random.Generator
        The same studies are drawn in every cell (common random numbers), so that cells differ by design alone.
    term : str
        The row of TERMS in question. Default, in the order of the analyses: ``ruptures``, ``rupture_open``,
        ``alliance_lag -> phq9``, ``rupture_open``, ``repaired - unrepaired``, ``used_expressive``. For repair and
        dropout: ``repaired_before`` of ``dropout``.
    vary : mapping of str to sequence, optional
        Parameters of `simulate_study` and the values to try; all combinations are run.
    world : mapping, optional
        Other parameters of `simulate_study`, for all cells.
    rule : str, Rule or None
        How ruptures are detected; None takes the true ones, which no study has.
    n_studies : int
        Studies per cell.
    alpha : float
        Level of the test.
    n_jobs : int, optional
        Studies analysed side by side: 2, or -1 for all cores. The result is the same for any number.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    DataFrame
        One row per cell: the varied parameters, ``n_studies``, ``n_fitted`` (the others count as not significant),
        ``power`` with Wilson's interval ``ci_low, ci_high``, over the fitted studies ``mean_estimate``,
        ``sd_estimate``, ``mean_std_error``, and ``not_fitted``, the most frequent reason of the others.

    Raises
    ------
    ValueError
        For an unknown analysis, a term that the analysis does not give, or a world that `simulate_study` refuses.

    Examples
    --------
    >>> table = simulate_power(analysis="next_session", term="alliance_within", vary={"n_patients": [20, 60]},
    ...                        world={"n_therapists": 5, "alliance_effect": -3.0}, n_studies=4, seed=1)
    >>> bool(table["power"].iloc[1] >= table["power"].iloc[0])
    True
    """
    design = Design(
        analysis=analysis,
        seed=seed,
        term=term,
        vary=vary or {},
        world=world or {},
        rule=rule,
        n_studies=n_studies,
        alpha=alpha,
    )
    return run_design(design, n_jobs=n_jobs, progress=progress)


def run_design(design: Design, *, n_jobs: int | None = None, progress: bool = True) -> pd.DataFrame:
    """The table of `simulate_power`."""
    work = Work("power", {}, design.answer, design.pieces(), "Simulating studies")
    return power_table(design, work.run(n_jobs=n_jobs, progress=progress))


def work_of(design: Design) -> Work:
    """The studies of a design with a named analysis and rule, and a number as seed, as pieces that files can hold."""
    return Work("power", asdict(design), design.answer, design.pieces(), "Simulating studies")


def merged(told: Mapping[str, Any], answers: Sequence[Any]) -> tuple[Design, pd.DataFrame]:
    """The design that parts tell, and its table: that of one run, to the bit."""
    design = Design(**told)
    return design, power_table(design, [answer if isinstance(answer, str) else tuple(answer) for answer in answers])


def power_table(design: Design, answers: Sequence[Answer]) -> pd.DataFrame:
    """The table of `simulate_power` from the answers of all studies, in the order of ``design.pieces()``."""
    n = design.n_studies
    cells = enumerate(design.cells())
    return pd.DataFrame([cell | _counted(answers[k * n : (k + 1) * n], design.alpha) for k, cell in cells])


def _counted(answers: Sequence[Answer], alpha: float) -> dict[str, Any]:
    fitted = [answer for answer in answers if not isinstance(answer, str)]
    reasons = Counter(answer for answer in answers if isinstance(answer, str))
    estimate, error, p_value = np.array(fitted, dtype=np.float64).reshape(-1, 3).T
    share = float((p_value < alpha).sum() / len(answers))
    low, high = wilson(share, len(answers), level=0.95)
    some = len(estimate) > 0
    return {
        "n_studies": len(answers),
        "n_fitted": len(estimate),
        "power": share,
        "ci_low": float(low),
        "ci_high": float(high),
        "mean_estimate": float(estimate.mean()) if some else np.nan,
        "sd_estimate": float(estimate.std(ddof=1)) if len(estimate) > 1 else np.nan,
        "mean_std_error": float(error.mean()) if some else np.nan,
        "not_fitted": min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else "",
    }


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
        row = {**dict(zip(others, values, strict=True)), "wanted": wanted, size: found[1], **at}
        rows.append(row | {f"{size}_low": found[0], f"{size}_high": found[2]})
    dtype = "Int64" if pd.api.types.is_integer_dtype(table[size]) else "Float64"
    return pd.DataFrame(rows).astype(dict.fromkeys([f"{size}_low", size, f"{size}_high"], dtype))
