"""The bias of next-session models where symptoms feed back on the alliance, in worlds with known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import PATIENT, SESSION, Seed, generator

CENTRES = {"next session, patient's mean": "patient", "next session, mean so far": "so_far"}
DYNAMICS = "both directions"


def feedback_bias(
    *,
    feedbacks: Sequence[float] = (0.0, -0.03, -0.06),
    effect: float = -1.5,
    n_patients: int = 200,
    n_sessions: int = 12,
    repetitions: int = 100,
    seed: Seed,
) -> pd.DataFrame:
    """Simulate studies in which alliance and symptoms move each other, and estimate the effect of alliance.

    By `fit_next_session` with two ways to centre the alliance, and by `fit_dynamics`.

    Parameters
    ----------
    feedbacks : sequence of float
        Points of alliance in the next session per point of symptoms; one world each.
    effect : float
        Points of symptoms in the next session per point of alliance.
    n_patients, n_sessions, repetitions : int
    seed : int or Generator

    Returns
    -------
    DataFrame
        One row per world, model and repetition: ``feedback, model, estimate, ci_low, ci_high, covered``.
    """
    random = generator(seed)
    rows = []
    for feedback in feedbacks:
        for _ in range(repetitions):
            sessions = _simulate(n_patients, n_sessions, effect, feedback, random)
            answers = {model: _next_session(sessions, centre) for model, centre in CENTRES.items()}
            both = fit_dynamics(sessions, alliance="alliance", symptom="symptoms", trend="random").tidy()
            answers[DYNAMICS] = both.query("outcome == 'symptoms' and term == 'alliance_lag'")
            for model, row in answers.items():
                estimate, low, high = row[["estimate", "ci_low", "ci_high"]].to_numpy()[0]
                rows.append((feedback, model, estimate, low, high, bool(low <= effect <= high)))
    return pd.DataFrame(rows, columns=["feedback", "model", "estimate", "ci_low", "ci_high", "covered"])


def summarise_feedback_bias(estimates: pd.DataFrame) -> pd.DataFrame:
    """TERMS-like: per world (``term``) and ``model`` the mean estimate, the range of 95 % of them, the coverage."""
    rows = []
    for (feedback, model), part in estimates.groupby(["feedback", "model"], sort=False):
        low, mean, high = part["estimate"].quantile(0.025), part["estimate"].mean(), part["estimate"].quantile(0.975)
        term = f"feedback {feedback:g}" if feedback else "no feedback"
        rows.append((term, model, mean, low, high, part["covered"].mean(), len(part)))
    return pd.DataFrame(rows, columns=["term", "model", "estimate", "ci_low", "ci_high", "coverage", "repetitions"])


def _next_session(sessions: pd.DataFrame, centre: str) -> pd.DataFrame:
    terms = fit_next_session(sessions, symptom="symptoms", alliance="alliance", centre=centre).tidy()
    return terms[terms["term"] == "alliance_within"]


def _simulate(n: int, sessions: int, effect: float, feedback: float, draw: np.random.Generator) -> pd.DataFrame:
    """Levels, slopes and lagged effects without measurement error, in the size of a PHQ-9 and a 1 to 5 alliance."""
    lagged: FloatArray = np.array([[0.3, feedback], [effect, 0.3]])
    level = draw.standard_normal((n, 2)) * [0.65, 4.3]
    slope = [0.01, -0.25] + draw.standard_normal((n, 2)) * [0.015, 0.15]
    w = np.zeros((n, 2))
    y = np.empty((n, sessions, 2))
    for t in range(-20, sessions):
        w = w @ lagged.T + draw.standard_normal((n, 2)) * [0.27, 2.5]
        if t >= 0:
            y[:, t] = [4.1, 15.5] + level + slope * t + w
    patient, session = (part.reshape(-1) for part in np.indices((n, sessions)))
    values = y.reshape(-1, 2)
    columns = {PATIENT: patient, SESSION: session + 1, "alliance": values[:, 0], "symptoms": values[:, 1]}
    return pd.DataFrame(columns)
