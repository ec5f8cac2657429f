"""The tables of a chance level, made of counts: by quantity, session and patient, and the false discovery rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.draws import QUANTITIES, Counts
from alliance_stats.rupture.chance.fit_check import INSEPARABLE
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.shares import normal_quantile


def main_table(
    series: Series,
    observed: Counts,
    totals: FloatArray,
    expected: FloatArray,
    per_patient: FloatArray,
    level: float,
    verdict: str,
) -> pd.DataFrame:
    """One row per quantity, from the counts (draws, q) in draws and what is expected (q,), also of each patient."""
    p_value = (1.0 + (totals >= observed.total[0]).sum(axis=0)) / (1.0 + len(totals))
    seen = observed.total[0]
    tail = (1.0 - level) / 2.0
    low, most, high = np.quantile(totals, [tail, level, 1.0 - tail], axis=0)
    unknown = verdict == INSEPARABLE
    ratio = np.divide(seen, expected, out=np.full(len(seen), np.nan), where=expected > 0)
    bounds = [_ratio_interval(observed.per_patient[:, q], per_patient[:, q], level) for q in range(len(seen))]
    sessions = len(series.score)
    out_of = {"ruptures": sessions, "sessions with a fall": sessions, "repaired ruptures": int(seen[1])}
    return pd.DataFrame(
        {
            "quantity": list(QUANTITIES),
            "of": [out_of.get(quantity, series.n_patients) for quantity in QUANTITIES],
            "observed": seen.astype(np.int64),
            "expected": expected,
            "chance_low": low,
            "chance_high": high,
            "at_least": np.where(unknown, np.nan, np.maximum(np.ceil(seen - most), 0.0)),
            "ratio": ratio,
            "ratio_low": [bound[0] for bound in bounds],
            "ratio_high": [bound[1] for bound in bounds],
            "p_value": np.where(unknown, np.nan, p_value),
            "verdict": verdict,
        }
    )


def _ratio_interval(seen: FloatArray, expected: FloatArray, level: float) -> tuple[float, float]:
    """An interval for sum(seen) / sum(expected) over patients, on the log scale; Poisson if nothing was seen."""
    total, chance = float(seen.sum()), float(expected.sum())
    if chance <= 0:
        return float("nan"), float("nan")
    if total == 0:
        return 0.0, -float(np.log((1.0 - level) / 2.0)) / chance
    ratio, p = total / chance, len(seen)
    variance = p / max(p - 1, 1) * float(np.square(seen - ratio * expected).sum()) / total**2
    half = normal_quantile(level) * np.sqrt(variance)
    return float(ratio * np.exp(-half)), float(ratio * np.exp(half))


def session_table(
    series: Series, observed: Counts, found: Counts, scale: float, level: float, verdict: str
) -> pd.DataFrame:
    """Onsets by session number, as counts and as rates of the rated sessions."""
    tail = (1.0 - level) / 2.0
    rated = np.bincount(np.searchsorted(found.numbers, series.session), minlength=len(found.numbers))
    drawn = found.by_session * scale
    low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    counts = {
        "observed": observed.by_session[0],
        "expected": drawn.mean(axis=0),
        "chance_low": low,
        "chance_high": high,
    }
    rates = ("observed_rate", "expected_rate", "low_rate", "high_rate")
    table = pd.DataFrame(
        {
            "session": found.numbers,
            "n_rated": rated,
            **counts,
            **{rate: values / rated for rate, values in zip(rates, counts.values(), strict=True)},
        }
    )
    table.attrs["verdict"] = verdict
    return table


def false_discovery(depth: FloatArray, found: Counts, scale: float) -> FloatArray:
    """For each rupture: expected chance ruptures at least so deep over observed ones, monotone in depth, at most 1."""
    if not len(depth):
        return np.zeros(0)
    chance = np.sort(found.depth)
    slack = 1e-9 * max(float(np.abs(depth).max()), 1.0)
    deeper = (len(chance) - np.searchsorted(chance, depth - slack)) * scale / len(found.total)
    order = np.argsort(depth, kind="stable")
    seen = len(depth) - np.searchsorted(depth[order], depth - slack)
    rate = np.minimum(deeper / seen, 1.0)
    monotone = np.empty_like(rate)
    monotone[order] = np.minimum.accumulate(rate[order])
    return monotone


def patient_table(ids: pd.Series, series: Series, observed: Counts, per_patient: FloatArray) -> pd.DataFrame:
    """Ruptures found and expected, one row per rated patient."""
    columns: dict[str, Any] = {
        "patient": ids.reset_index(drop=True),
        "n_rated": series.length,
        "ruptures": observed.per_patient[:, 1].astype(np.int64),
        "expected": per_patient[:, 1],
        "expected_any": per_patient[:, 0],
    }
    return pd.DataFrame(columns)
