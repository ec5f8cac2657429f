"""Reliability of differences between patients, and of change within them (Cranford et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.reliability.consistency import keyed_answers, patient_means
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, check_sessions


def session_components(
    sessions: pd.DataFrame,
    items: str | Sequence[str],
    *,
    instrument: str | Path | Instrument | None = None,
    crossed: bool = False,
) -> pd.DataFrame:
    """Variance components of single answers: patients, sessions, items, and their combinations.

    Estimates are those of the analysis of variance (unbiased; for unequal numbers of sessions with the usual n0).

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with one column per item. Sessions without an answer to every item are left out and counted.
    items : str or list of str
        A pattern such as ``"wai_{item}"``, or the columns.
    instrument : optional
        Reverses its reversed items.
    crossed : bool
        False (the default): sessions belong to their patient (one patient's third session has nothing in common with
        another's), patients may have different numbers of sessions, item means are fixed. True: every patient has
        the same sessions, as on the same days of a diary; the data must then be complete.

    Returns
    -------
    DataFrame
        ``component``, ``variance`` (negative estimates set to 0), ``share``, ``at_zero``. ``attrs`` holds
        ``n_patients``, ``n_rows``, ``n_incomplete``, ``n_items``, ``harmonic_sessions`` (the harmonic mean of the
        sessions of a patient), ``crossed``.

    Raises
    ------
    DataError
        With fewer than two patients with two sessions, or `crossed` and incomplete data.
    """
    table = check_sessions(sessions)
    answers = keyed_answers(table, items, instrument)
    used = table.loc[answers.complete]
    patient = pd.factorize(used[PATIENT])[0]
    session = used[SESSION].to_numpy()
    found = _crossed(answers.values, patient, session) if crossed else _nested(answers.values, patient)
    raw = np.array(list(found.values()))
    variance = np.clip(raw, 0, None)
    components = pd.DataFrame(
        {"component": list(found), "variance": variance, "share": variance / variance.sum(), "at_zero": raw < 0}
    )
    components.attrs = {
        "n_patients": int(patient.max()) + 1,
        "n_rows": len(used),
        "n_incomplete": int((~answers.complete).sum()),
        "n_items": answers.values.shape[1],
        "harmonic_sessions": float(1 / np.mean(1 / np.bincount(patient))),
        "crossed": crossed,
    }
    return components


def session_reliability(
    sessions: pd.DataFrame,
    items: str | Sequence[str],
    *,
    instrument: str | Path | Instrument | None = None,
    crossed: bool = False,
    n_sessions: float | None = None,
) -> pd.DataFrame:
    """Reliability between patients and of change within patients, after Cranford et al. (2006).

    Parameters
    ----------
    sessions, items, instrument, crossed
        As in :func:`session_components`.
    n_sessions : float, optional
        The number k of sessions in the averages; default: the harmonic mean over the patients.

    Returns
    -------
    DataFrame
        ``coefficient``, ``estimate``, ``n_sessions``, ``meaning``; with m items and k sessions:

        ``R_1F``, ``R_kF``
            Differences between patients, from one session or the mean of k, the sessions taken as fixed.
        ``R_1R``, ``R_kR``
            The same, the sessions being any sessions: what a patient's level is worth when another had other days.
        ``R_C``
            Change within patients from session to session: the reliability that matters for ruptures.

    Notes
    -----
    Cranford, Shrout, Iida, Rafaeli, Yip & Bolger (2006), with sessions inside patients unless `crossed`. The nested
    coefficients of R's ``psych::mlr`` (RkRn, Rcn) leave differences between item means in the error; here they are out.
    """
    table = check_sessions(sessions)
    components = session_components(table, items, instrument=instrument, crossed=crossed)
    part = dict(zip(components["component"], components["variance"]))
    m = components.attrs["n_items"]
    k = components.attrs["harmonic_sessions"] if n_sessions is None else float(n_sessions)
    if k < 1:
        raise ValueError(f"n_sessions={n_sessions!r} must be 1 or more.")
    between = part["patient"] + part["patient:item"] / m
    error = part["residual"] / m
    within = part["patient:session"]
    days = part.get("session", 0.0) + within
    rows = [
        ("R_1F", between / (between + error), 1.0, "patients differ; one session, sessions fixed"),
        ("R_kF", between / (between + error / k), k, "patients differ; mean of k sessions, sessions fixed"),
        ("R_1R", between / (between + days + error), 1.0, "patients differ; one session, any session"),
        ("R_kR", between / (between + (days + error) / k), k, "patients differ; mean of k sessions, any sessions"),
        ("R_C", within / (within + error), 1.0, "change within patients from session to session"),
    ]
    result = pd.DataFrame(rows, columns=["coefficient", "estimate", "n_sessions", "meaning"])
    result.attrs = dict(components.attrs)
    return result


def error_variance(
    sessions: pd.DataFrame, items: str | Sequence[str], *, score: str, instrument: str | Path | Instrument | None = None
) -> float:
    """Variance of the measurement error in one session's score that the agreement of its items implies.

    The number that ``fit_dynamics(error={score: ...})`` and ``fit_next_session(error=...)`` take.

    Only errors that differ between the items of a session count. What all items of a form share, such as the same
    answer to every item or the mood of the minute, is taken for a true change; with it the error is larger. Effects
    then come out too near 0: by a fifth in simulated studies in which half of the error was shared.

    Parameters
    ----------
    sessions, items, instrument
        As in :func:`session_components`.
    score : str
        The column that was scored from these items, as a mean, a sum or another linear function of their mean.

    Returns
    -------
    float
        In squared points of `score`: the residual component over the number of items, ``Var(error)`` in the
        within-patient reliability R_C of Cranford et al. (2006).

    Raises
    ------
    DataError
        If `score` is not a linear function of the mean of the items.
    """
    table = check_sessions(sessions, [score])
    components = session_components(table, items, instrument=instrument)
    answers = keyed_answers(table, items, instrument)
    mean, values = answers.values.mean(axis=1), table.loc[answers.complete, score].to_numpy()
    known = ~np.isnan(values)
    mean, values = mean[known] - mean[known].mean(), values[known] - values[known].mean()
    factor = float(mean @ values / (mean @ mean)) if (mean @ mean) > 0 else 0.0
    if factor == 0 or np.abs(values - factor * mean).max() > 1e-6 * np.abs(values).max():
        raise DataError(
            f"{score!r} is not a linear function of the mean of its {answers.values.shape[1]} items.",
            remedy="Name the items that the score was made of, and its instrument where items are reversed.",
        )
    residual = dict(zip(components["component"], components["variance"]))["residual"]
    return float(residual / answers.values.shape[1] * factor**2)


def _nested(values: FloatArray, patient: Any) -> dict[str, float]:
    """Components with sessions inside patients and fixed item means, from unequal numbers of sessions."""
    n_rows, m = values.shape
    sizes = np.bincount(patient).astype(np.float64)
    n_patients = len(sizes)
    if n_patients < 2 or n_rows - n_patients < 1:
        raise DataError(
            f"{n_patients} patient(s) with {n_rows} complete sessions cannot be split into levels.",
            remedy="At least two patients and one with two complete sessions are needed.",
        )
    mean = values.mean(axis=1)
    deviation = values - mean[:, None]
    n0 = (n_rows - np.sum(sizes**2) / n_rows) / (n_patients - 1)
    of_mean = patient_means(mean[:, None], patient, sizes)
    of_deviation = patient_means(deviation, patient, sizes)
    within_mean = np.sum((mean - of_mean[patient, 0]) ** 2) / (n_rows - n_patients)
    residual = np.sum((deviation - of_deviation[patient]) ** 2) / ((n_rows - n_patients) * (m - 1))
    between_mean = np.sum(sizes * (of_mean[:, 0] - mean.mean()) ** 2) / (n_patients - 1)
    gap = of_deviation - deviation.mean(axis=0)
    between_items = np.sum(sizes[:, None] * gap**2) / ((n_patients - 1) * (m - 1))
    patient_item = (between_items - residual) / n0
    return {
        "patient": float((between_mean - within_mean) / n0 - patient_item / m),
        "patient:item": float(patient_item),
        "patient:session": float(within_mean - residual / m),
        "residual": float(residual),
    }


def _crossed(values: FloatArray, patient: Any, session: Any) -> dict[str, float]:
    """Components of the complete patient x session x item design, by the expected mean squares."""
    numbers, day = np.unique(session, return_inverse=True)
    p, t, m = int(patient.max()) + 1, len(numbers), values.shape[1]
    if len(values) != p * t or len(set(zip(patient.tolist(), day.tolist()))) != p * t:
        raise DataError(
            f"crossed=True needs every patient in every session; {p} patients, {t} sessions and {len(values)} complete "
            "rows were found.",
            remedy="Keep the sessions and patients that are complete, or leave crossed out.",
        )
    if p < 2 or t < 2:
        raise DataError("crossed=True needs two or more patients and sessions.", remedy="Leave crossed out.")
    cube = np.empty((p, t, m))
    cube[patient, day] = values
    grand = cube.mean()
    by_p, by_t, by_i = cube.mean(axis=(1, 2)) - grand, cube.mean(axis=(0, 2)) - grand, cube.mean(axis=(0, 1)) - grand
    by_pt = cube.mean(axis=2) - grand - by_p[:, None] - by_t
    by_pi = cube.mean(axis=1) - grand - by_p[:, None] - by_i
    by_ti = cube.mean(axis=0) - grand - by_t[:, None] - by_i
    rest = cube - grand - by_p[:, None, None] - by_t[:, None] - by_i
    rest = rest - by_pt[:, :, None] - by_pi[:, None, :] - by_ti
    ms_p = t * m * np.sum(by_p**2) / (p - 1)
    ms_t = p * m * np.sum(by_t**2) / (t - 1)
    ms_i = p * t * np.sum(by_i**2) / (m - 1)
    ms_pt = m * np.sum(by_pt**2) / ((p - 1) * (t - 1))
    ms_pi = t * np.sum(by_pi**2) / ((p - 1) * (m - 1))
    ms_ti = p * np.sum(by_ti**2) / ((t - 1) * (m - 1))
    residual = np.sum(rest**2) / ((p - 1) * (t - 1) * (m - 1))
    return {
        "patient": float((ms_p - ms_pt - ms_pi + residual) / (t * m)),
        "session": float((ms_t - ms_pt - ms_ti + residual) / (p * m)),
        "item": float((ms_i - ms_pi - ms_ti + residual) / (p * t)),
        "patient:session": float((ms_pt - residual) / m),
        "patient:item": float((ms_pi - residual) / t),
        "session:item": float((ms_ti - residual) / p),
        "residual": float(residual),
    }
