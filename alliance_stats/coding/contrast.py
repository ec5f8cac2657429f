"""Codes against scores: what observers saw in sessions with and without a rupture in the scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.panel import series_means
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, numeric, require_columns
from alliance_stats.tables.states import events_or_states, rupture_states
from alliance_stats.tables.terms import tidy


def codes_against_scores(
    coded: pd.DataFrame,
    ruptures: Any,
    *,
    measures: Iterable[str] | None = None,
    absent: float = 1.0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Coded markers and their significance while a rupture is open in the scores, and otherwise, within patients.

    The contrast published for sessions more than 2 SD below the patient's mean (Journal of Consulting and Clinical
    Psychology, 2024, 92, 129), here within patients and with any detector.

    ``measure ~ open + mean of open in the patient + (1 | patient)``; t with Satterthwaite's df.

    Parameters
    ----------
    coded : DataFrame
        Coded sessions (from `consensus`), or any table of ``patient``, ``session`` and measures such as tension.
    ruptures : DataFrame or detector's result
        EVENTS by a rule; or STATES, or the result of `detect_latent`: then an open rupture is a probability, and the
        difference is that between certainly open and certainly not.
    measures : iterable of str, optional
        Columns of `coded`; default: those of ``rupture``, ``n_markers``, ``n_<type>`` and ``significance`` that vary.
    absent : float
        What ``significance`` is where no rupture was coded: the lowest rating.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row per measure: ``measure``, ``open`` and ``otherwise`` (means, weighted by the probability), ``estimate``
        (the difference within patients) with ``std_error, df, p_value, ci_low, ci_high``, ``d`` (estimate over the SD
        within patients), ``n_sessions``, ``n_open`` (sum of the probabilities), ``n_patients``.

    Raises
    ------
    DataError
        If no coded session has an open rupture, or none is without one; if a measure asked for does not vary.
    """
    require_columns(coded, [PATIENT, SESSION], table_name="coded")
    table = coded.sort_values([PATIENT, SESSION]).reset_index(drop=True)
    found = events_or_states(ruptures, so_far=False)
    found = found.loc[found[PATIENT].isin(table[PATIENT])]  # patients without events have none open
    is_open = np.asarray(rupture_states(table, found)["rupture_open"], dtype=np.float64)
    series, patients = pd.factorize(table[PATIENT])
    if not 0 < is_open.sum() < len(is_open):
        raise DataError(
            "Every coded session, or none, has an open rupture: there is nothing to compare.",
            remedy="Code sessions of both kinds, or use another rule.",
        )
    counts = [str(name) for name in table if str(name).startswith("n_") and name != "n_coders"]
    usual = [name for name in ("rupture", *counts, "significance") if name in table]
    names: list[str] = usual if measures is None else list(measures)
    require_columns(table, names, table_name="coded")
    rows = []
    for name in names:
        values = numeric(table, name)
        if name == "significance" and "rupture" in table:
            values = np.where(np.isnan(values) & (table["rupture"].to_numpy() == 0), absent, values)
        if len(np.unique(values[~np.isnan(values)])) < 2:
            if measures is None:
                continue
            raise DataError(f"{name!r} does not vary over the coded sessions.", remedy="Leave it out.", column=name)
        rows.append(_contrast(name, values, is_open, series, patients, level))
    return pd.DataFrame(rows)


def _contrast(name: str, values: Any, is_open: Any, series: Any, patients: Any, level: float) -> dict[str, Any]:
    known = ~np.isnan(values)
    data = pd.DataFrame({PATIENT: patients[series], "value": values, "open": is_open}).loc[known]
    of, n = series[known], len(patients)
    mean_open = series_means(of, data["open"].to_numpy(), n)[of]
    away = data["value"].to_numpy() - series_means(of, data["value"].to_numpy(), n)[of]
    weight, n_patients = data["open"].to_numpy(), len(np.unique(of))
    df = len(data) - n_patients
    sd = float(np.sqrt((away**2).sum() / df)) if df > 0 else np.nan
    row: dict[str, Any] = {
        "measure": name,
        "open": float((data["value"] * weight).sum() / weight.sum()) if weight.sum() > 0 else np.nan,
        "otherwise": float((data["value"] * (1 - weight)).sum() / (1 - weight).sum()) if (1 - weight).sum() else np.nan,
    }
    data = data.assign(open_between=mean_open)
    between = " + open_between" if np.ptp(mean_open) > 1e-12 else ""
    terms = tidy(fit_mixed(f"value ~ open{between} + (1 | {PATIENT})", data), level=level)
    of_open = terms.loc[terms["term"] == "open"].to_dict("records")[0]
    row |= {key: float(of_open[key]) for key in ("estimate", "std_error", "df", "p_value", "ci_low", "ci_high")}
    return row | {
        "d": row["estimate"] / sd if sd > 0 else np.nan,
        "n_sessions": len(data),
        "n_open": float(weight.sum()),
        "n_patients": n_patients,
    }
