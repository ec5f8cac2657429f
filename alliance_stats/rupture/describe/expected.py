"""How common ruptures are, from probabilities: expected numbers, with intervals for what the scores can tell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.detect import source_of
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import PATIENT
from alliance_stats.tables.shares import clustered_share, wilson
from alliance_stats.tables.states import check_states, events_or_states, rupture_states

NOTE = (
    "a sum of probabilities: within 10 % of the truth in most simulated worlds, up to 25 % too high where ruptures are "
    "rare or shallow, or often fall on sessions without a rating"
)


class Expected(NamedTuple):
    """Probabilities at the rated sessions (n,) of a study."""

    owner: IntArray  # the place of each rating's patient in the patients
    session: IntArray
    values: dict[str, FloatArray]  # the columns of STATES, and ``rupture_begins`` where they have it
    n_patients: int  # with or without a rating
    patterns: pd.DataFrame | None  # of the rated patients, where the detector gives them
    inflation: float  # of the variance of expected numbers, where the detector's parameters were estimated


def expected_states(sessions: pd.DataFrame, ruptures: Any, *, score: str | None) -> Expected:
    """STATES, or those of the whole course of a detector's result, laid onto the rated sessions."""
    states = events_or_states(ruptures, so_far=False)
    series, roll = read_series(sessions, source_of(states, score=score))
    rated = pd.DataFrame({PATIENT: roll.ids.take(roll.rated[series.owner]).array, "session": series.session})
    checked = check_states(states, pd.Index(roll.ids))
    values = rupture_states(rated, checked[checked[PATIENT].isin(rated[PATIENT])])
    if "rupture_begins" in states:
        own = rated.merge(states[[PATIENT, "session", "rupture_begins"]], on=[PATIENT, "session"], how="left")
        values["rupture_begins"] = own["rupture_begins"].to_numpy(dtype=np.float64)
    patterns = None if isinstance(ruptures, pd.DataFrame) else ruptures.patterns()
    return Expected(series.owner, series.session, values, len(roll.ids), patterns, states.attrs.get("inflation", 1.0))


def describe_expected(found: Expected, *, level: float) -> pd.DataFrame:
    """The rows of :func:`describe_ruptures` that probabilities can give; counts are expected numbers."""
    n = int(found.owner.max()) + 1
    one, rated = np.ones(n), np.bincount(found.owner).astype(np.float64)
    last = np.cumsum(np.bincount(found.owner)) - 1
    is_open = found.values["rupture_open"]
    share = n / found.n_patients
    low, high = wilson(share, found.n_patients, level=level)
    rows: list[tuple[Any, ...]] = [("patients with a rating", n, found.n_patients, share, low, high, "patients", "")]

    def add(quantity: str, chance: FloatArray, part: FloatArray, whole: FloatArray, unit: str) -> None:
        interval = clustered_share(part, whole, level=level, information=_information(chance) / found.inflation**0.5)
        rows.append((quantity, float(part.sum()), int(whole.sum()), *interval, unit, NOTE))

    def patients(quantity: str, chance: FloatArray) -> None:
        add(quantity, chance, chance, one, "patients")

    if found.patterns is not None:
        pattern = {str(name).removeprefix("p_pattern_"): found.patterns[name].to_numpy() for name in found.patterns}
        patients("patients with a rupture", 1.0 - pattern["none"])
        patients("patients with a repaired rupture", pattern["repaired"] + pattern["mixed"])
    elif "repaired_before" in found.values:
        patients("patients with a repaired rupture", found.values["repaired_before"][last])
    patients("patients with an open rupture at their last rating", is_open[last])
    for quantity, name in (
        ("onsets per rated session", "rupture_begins"),
        ("rated sessions in an open rupture", "rupture_open"),
    ):
        if name in found.values:
            chance = found.values[name]
            add(quantity, chance, np.bincount(found.owner, weights=chance).astype(np.float64), rated, "sessions")
    return pd.DataFrame(rows, columns=["quantity", "count", "of", "estimate", "ci_low", "ci_high", "unit", "note"])


def expected_by_session(found: Expected, *, level: float) -> pd.DataFrame:
    """The columns of :func:`ruptures_by_session` that probabilities can give; numbers are expected ones."""
    number, inverse = np.unique(found.session, return_inverse=True)

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(inverse, weights=values, minlength=len(number)).astype(np.float64)

    rated = np.bincount(inverse, minlength=len(number))
    is_open = found.values["rupture_open"]
    table = pd.DataFrame({"session": number, "n_rated": rated})
    if "rupture_begins" in found.values:
        begins = found.values["rupture_begins"]
        onsets, risk = total(begins), rated - np.maximum(total(is_open - begins), 0.0)
        rate = np.divide(onsets, risk, out=np.full(len(number), np.nan), where=risk > 0)
        low, high = wilson(rate, risk * _information(begins) / found.inflation, level=level)
        table = table.assign(n_at_risk=risk, n_onsets=onsets, onset_rate=rate, ci_low=low, ci_high=high)
    return table.assign(n_open=total(is_open), open_rate=total(is_open) / rated)


def _information(chance: FloatArray) -> float:
    """The share of the variance of a state that its probability shows: 1 for 0/1, 0 where all have the same."""
    mean = float(chance.mean())
    return min(float(chance.var()) / (mean * (1 - mean)), 1.0) if 0 < mean < 1 else 1.0
