"""The simulated study: the tables a researcher would have, and beside them the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Truth:
    """What no real study shows.

    Attributes
    ----------
    sessions : DataFrame
        One row per patient and session, as SESSIONS: ``level`` (the patient's and therapist's), ``growth``, ``state``
        and ``shift`` (of ruptures), whose sum is ``alliance``, all in points of the score; ``expected_score``, the
        score without measurement error; ``in_rupture``, ``rupture_open``, ``repaired_before`` (0/1); ``symptom``
        before rounding; ``hazard``, the probability that this session is the last by dropout.
    patients : DataFrame
        One row per patient: ``planned`` sessions, ``level`` (deviation from the mean, in points, therapist apart),
        ``symptom_intercept`` and ``symptom_slope`` of the undisturbed line.
    therapists : DataFrame
        One row per therapist: what they add to ``alliance`` (points), ``symptom`` and the log-odds of ``dropout``.
    parameters : dict
        Every argument, and what follows from them: ``rupture_unit`` (the within-patient SD that depth is measured
        in, points), ``error_sd``, ``state_sd``, ``level_sd``, ``alliance_therapist_sd`` (points),
        ``within_reliability`` and ``dropout_intercept``.
    """

    sessions: pd.DataFrame
    patients: pd.DataFrame
    therapists: pd.DataFrame
    parameters: dict[str, Any]

    def __repr__(self) -> str:
        return f"Truth({len(self.sessions)} sessions, {len(self.patients)} patients, {len(self.therapists)} therapists)"


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A simulated study.

    Attributes
    ----------
    sessions : DataFrame
        SESSIONS: ``patient, therapist, session, date, attendance, alliance, alliance_therapist, phq9``.
    items : DataFrame
        One row per patient and session, the patient's answers: ``patient, session, wai_1, wai_2, ...``.
    therapist_items : DataFrame
        The same items answered by the therapist.
    events : DataFrame
        The true ruptures as EVENTS, scores on the true alliance without state and error (``score`` is
        ``true_alliance``, ``rule`` is ``truth``), and ``resolution``: past, to, short or never.
    endings : DataFrame
        ``patient, ending, last_session``.
    truth : Truth
        The latent values and parameters.
    codes : DataFrame or None
        CODES, where the study was coded; ``sessions`` then also has ``rupture_patient`` and ``rupture_therapist`` (1
        where the rater reported a rupture after the session, 0 where not) and ``missed_by``.
    """

    sessions: pd.DataFrame
    items: pd.DataFrame
    therapist_items: pd.DataFrame
    events: pd.DataFrame
    endings: pd.DataFrame
    truth: Truth
    codes: pd.DataFrame | None = None

    def __repr__(self) -> str:
        n_patients, n_therapists = len(self.endings), self.sessions["therapist"].nunique()
        return (
            f"Study(simulated: {n_patients} patients, {n_therapists} therapists, {len(self.sessions)} sessions, "
            f"{len(self.events)} true ruptures)"
        )
