"""The bias of "ever repaired": a world in which repair has no effect, and what two analyses say about it.

A repair takes sessions, so whoever was ever repaired has stayed long enough to be: comparing fixed groups counts the
sessions before the repair in its favour (immortal time; Suissa 2008).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.incidence import cumulative_incidence
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.tables.schema import Seed, generator

NAIVE, LAGGED = "ever repaired, as a fixed group", "repaired, as a lagged state"


class Bias(NamedTuple):
    """What `immortal_time_bias` found.

    Attributes
    ----------
    estimates : DataFrame
        One row per repetition and ``method``: ``ratio, ci_low, ci_high`` of repair (hazard ratio of dropout) and
        ``significant`` (the 95 % interval leaves out 1). The truth is a ratio of 1.
    summary : DataFrame
        One row per method: ``mean_ratio`` (geometric mean), ``coverage`` of the 95 % interval, ``false_alarms``
        (share of repetitions that find an effect), ``repetitions``.
    curves : DataFrame
        Cumulative incidence of dropout of the two naive groups in one large sample.
    """

    estimates: pd.DataFrame
    summary: pd.DataFrame
    curves: pd.DataFrame


def immortal_time_bias(
    *,
    n_patients: int = 400,
    n_sessions: int = 20,
    dropout_hazard: float = 0.06,
    rupture_hazard: float = 0.15,
    repair_hazard: float = 0.25,
    repetitions: int = 200,
    seed: Seed,
) -> Bias:
    """Simulate therapies in which neither rupture nor repair touches dropout, and estimate the effect of repair twice.

    Among patients with a rupture: a Cox regression of dropout on *ever repaired*, from the first session on; and a Cox
    regression on the state *repaired* as known one session earlier, from the rupture on. Same data, same model.

    Parameters
    ----------
    n_patients : int
        Per repetition; the curves use twenty times as many.
    n_sessions : int
        Whoever has not dropped out completes here.
    dropout_hazard, rupture_hazard, repair_hazard : float
        Per session, constant: of leaving, of the (one) rupture, of its repair while it is open.
    repetitions : int
    seed : int or Generator

    Returns
    -------
    Bias
    """
    random = generator(seed)
    hazards = (dropout_hazard, rupture_hazard, repair_hazard)
    rows = []
    for repetition in range(repetitions):
        intervals = _ruptured(_simulate(n_patients, n_sessions, hazards, random))
        for method, table, term in (
            (NAIVE, intervals, "ever_repaired"),
            (LAGGED, intervals[intervals["n_ruptures_so_far"] > 0], "repaired_before"),
        ):
            found = fit_dropout(term, table, model="cox").tidy().iloc[0]
            low, high = found["ratio_low"], found["ratio_high"]
            rows.append((repetition, method, found["ratio"], low, high, not low <= 1 <= high))
    columns = ["repetition", "method", "ratio", "ci_low", "ci_high", "significant"]
    estimates = pd.DataFrame(rows, columns=columns)
    large = _ruptured(_simulate(20 * n_patients, n_sessions, hazards, random))
    curves = cumulative_incidence(large, by="ever_repaired")
    return Bias(estimates, _summary(estimates), curves[curves["state"] == "dropout"].reset_index(drop=True))


def _summary(estimates: pd.DataFrame) -> pd.DataFrame:
    groups = estimates.assign(log_ratio=np.log(estimates["ratio"])).groupby("method", sort=False)
    return pd.DataFrame(
        {
            "mean_ratio": np.exp(groups["log_ratio"].mean()),
            "coverage": 1 - groups["significant"].mean(),
            "false_alarms": groups["significant"].mean(),
            "repetitions": groups.size(),
        }
    ).reset_index()


def _simulate(
    n_patients: int, n_sessions: int, hazards: tuple[float, float, float], random: np.random.Generator
) -> pd.DataFrame:
    """INTERVALS of a study in which dropout does not depend on anything."""
    dropout_hazard, rupture_hazard, repair_hazard = hazards
    leaves = random.geometric(dropout_hazard, n_patients)
    onset = random.geometric(rupture_hazard, n_patients)
    repaired = onset + random.geometric(repair_hazard, n_patients)
    last = np.minimum(leaves, n_sessions)
    patient = np.repeat(np.arange(n_patients), last)
    session = np.arange(len(patient)) - np.repeat(np.cumsum(last) - last, last) + 1
    seen = onset <= last
    repaired_at = np.where(repaired <= last, repaired, np.nan)
    events = pd.DataFrame({"patient": np.flatnonzero(seen), "onset": onset[seen], "repaired_at": repaired_at[seen]})
    events.attrs["prospective"] = True
    ending = np.where(leaves <= n_sessions - 1, "dropout", "completed")
    return dropout_intervals(
        pd.DataFrame({"patient": patient, "session": session}),
        events,
        endings=pd.DataFrame({"patient": np.arange(n_patients), "ending": ending}),
    )


def _ruptured(intervals: pd.DataFrame) -> pd.DataFrame:
    """The patients with a rupture, and whether it was ever repaired: what nobody can know at the first session."""
    by_patient = intervals.groupby("patient")
    had = by_patient["n_ruptures_so_far"].transform("max") > 0
    ever = by_patient["repaired_before"].transform("max")
    return intervals.assign(ever_repaired=ever)[had].reset_index(drop=True)
