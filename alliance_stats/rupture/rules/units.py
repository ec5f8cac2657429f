"""One unit of a rule in points, one function per unit of the vocabulary; arrays only.

Each takes the basis and the reference level (n,), and returns a scalar array, one value for a single study, (1,), or
one value for each rating, (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alliance_stats.rupture.rules.references import Basis
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray

MOVING_RANGE_CONSTANT = 1.128
"""Expected absolute difference of two standard normal values (d2 of control charts), as charts use it."""
EARLIER_WEIGHT = 4.0  # Ratings that the pooled variance counts for beside the earlier ratings of a patient
RELIABLE = 1.96 * np.sqrt(2.0)


def points(basis: Basis, level: FloatArray) -> Any:
    """One point of the score."""
    return np.ones(())


def percent(basis: Basis, level: FloatArray) -> Any:
    """One percent of the reference level."""
    return np.abs(level) / 100.0


def own_sd(basis: Basis, level: FloatArray) -> Any:
    """The patient's SD around the own centre."""
    return basis.series.spread(basis.own.sd)


def pooled_sd(basis: Basis, level: FloatArray) -> Any:
    """Root of the within-patient variance of the study."""
    return _of_study(basis, "sd", lambda: np.sqrt(_pooled(basis.series, basis.own.ss, basis.own.df)))


def shrunken_sd(basis: Basis, level: FloatArray) -> Any:
    """Root of the own variance drawn towards the pooled one, the more so the less the true variances seem to differ.

    Under an inverse gamma law of the true variances with shape w / 2 the posterior mean is (df s_i^2 + w s^2) /
    (df + w), and their squared coefficient of variation is CV^2 = 2 / (w - 2).
    """
    series, own = basis.series, basis.own
    pooled = basis.study_value("variance", lambda: _pooled(series, own.ss, own.df))

    def degrees() -> FloatArray:
        square = np.divide(own.ss * own.ss, own.df + 2.0)  # df s^4 / (1 + 2 / df): unbiased for df sigma^4
        df = series.study_sum(own.df)
        fourth = np.divide(series.study_sum(square), df, out=np.zeros_like(df), where=df > 0)
        cv_squared = np.divide(fourth, pooled**2, out=np.ones_like(df), where=pooled > 0) - 1.0
        return 2.0 + 2.0 / np.maximum(cv_squared, 1e-6)

    weight = basis.study_value("degrees", degrees)
    return series.spread(np.sqrt((own.ss + (weight * pooled)[series.study]) / (own.df + weight[series.study])))


def earlier_sd(basis: Basis, level: FloatArray) -> Any:
    """Root of the variance of the patient's earlier ratings, drawn towards the study's within-patient one."""
    series, earlier = basis.series, basis.earlier
    squared = earlier.centred * earlier.centred
    pooled = _of_study(
        basis, "variance", lambda: _pooled(series, series.total(squared), series.length.astype(np.float64) - 1.0)
    )
    before = np.maximum(series.position, 1).astype(np.float64)
    ss = np.maximum(series.total_before(squared) - earlier.total * earlier.total / before, 0.0)
    return np.sqrt((ss + EARLIER_WEIGHT * pooled) / (before - 1.0 + EARLIER_WEIGHT))


def between_sd(basis: Basis, level: FloatArray) -> Any:
    """SD of the patients' own means in the study."""
    return _of_study(basis, "sd", lambda: _study_sd(basis.series, basis.series.mean))


def stricter_sd(basis: Basis, level: FloatArray) -> Any:
    """The larger of the own SD and the SD between patients (Gumz et al. 2012)."""
    series = basis.series
    between = basis.study_value("sd", lambda: _study_sd(series, series.mean))
    return series.spread(np.maximum(basis.own.sd, between[series.study]))


def moving_range(basis: Basis, level: FloatArray) -> Any:
    """Each patient's mean absolute difference of neighbouring ratings / 1.128; 0 without neighbours."""
    series = basis.series
    known = series.neighbours(basis.bridge)
    step = np.zeros(len(series.score))
    step[1:] = np.abs(np.diff(series.score))
    count = series.total(known)
    mean = np.divide(series.total(step * known), count, out=np.zeros_like(count), where=count > 0)
    return series.spread(mean / MOVING_RANGE_CONSTANT)


def rci(basis: Basis, level: FloatArray) -> Any:
    """The reliable change index, from the SD of the patients' first ratings (Jacobson & Truax 1991)."""
    series = basis.series
    error = np.sqrt(1.0 - float(basis.reliability or 0.0))
    return _of_study(basis, "sd", lambda: RELIABLE * error * _study_sd(series, series.score[series.start]))


def _pooled(series: Series, ss: FloatArray, df: FloatArray) -> FloatArray:
    """The within-patient variance of each study; 0 where no patient has enough ratings."""
    total = series.study_sum(df)
    return np.divide(series.study_sum(ss), total, out=np.zeros_like(total), where=total > 0)


def _study_sd(series: Series, per_patient: FloatArray) -> FloatArray:
    """The SD over the patients of each study."""
    count = series.study_sum(np.ones_like(per_patient))
    mean = np.divide(series.study_sum(per_patient), count, out=np.zeros_like(count), where=count > 0)
    deviation = per_patient - mean[series.study]
    return np.sqrt(series.study_sum(deviation * deviation) / np.maximum(count - 1.0, 1.0))


def _of_study(basis: Basis, name: str, compute: Callable[[], FloatArray]) -> Any:
    """A value of the study at each rating; a single value where there is a single study."""
    series, per_study = basis.series, basis.study_value(name, compute)
    return np.full(1, per_study[0]) if series.n_studies == 1 else series.spread(per_study[series.study])
