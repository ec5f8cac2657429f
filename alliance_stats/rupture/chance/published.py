"""What noise alone gives, for a published prevalence: only the rule and the number of sessions are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, Seed, generator, require_whole

SCORE = "score"


def prevalence_by_chance(
    rule: str | Rule,
    *,
    n_sessions: int,
    autocorrelation: float = 0.0,
    ceiling: float | None = None,
    n_patients: int = 5000,
    seed: Seed,
) -> pd.DataFrame:
    """The share of patients with a rupture, and of sessions, that a rule finds in noise around a constant level.

    For a study of which only the rule and the number of sessions are in print. Where the scores are at hand,
    :func:`chance_level` fits the noise to them.

    Parameters
    ----------
    rule : str or Rule
        A rule whose unit does not depend on the scale of the scores (own SD, pooled SD, moving range, ...).
    n_sessions : int
        Ratings per patient.
    autocorrelation : float
        Of the noise from one session to the next, between -1 and 1.
    ceiling : float, optional
        Share of the ratings that are at the highest score, in (0, 1).
    n_patients, seed
        How many patients are simulated.

    Returns
    -------
    DataFrame
        One row: ``rule``, ``n_sessions``, ``patients`` (share with a rupture) with its Monte Carlo ``std_error``,
        ``sessions`` (share at which one begins), ``repaired`` (share of the decided ruptures that are "repaired").

    Raises
    ------
    DataError
        If the rule's fall is stated in points: noise has no points.

    Examples
    --------
    >>> found = prevalence_by_chance("own_mean_2sd", n_sessions=16, seed=1, n_patients=2000)
    >>> found[["patients", "sessions"]].round(2)
       patients  sessions
    0      0.26      0.02
    """
    found = as_rule(rule)
    require_whole(n_sessions, name="n_sessions", low=1)
    require_whole(n_patients, name="n_patients", low=2)
    if found.unit == "points":
        raise DataError(
            f"The rule {found.name!r} counts in points, and noise of unit variance has none.",
            remedy="State the fall in SD: divide the points by the published SD within patients.",
        )
    if not abs(autocorrelation) < 1:
        raise ValueError(f"autocorrelation={autocorrelation!r} must lie between -1 and 1.")
    if ceiling is not None and not 0 < ceiling < 1:
        raise ValueError(f"ceiling={ceiling!r} must lie between 0 and 1.")
    noise = generator(seed).standard_normal((n_patients, n_sessions))
    for t in range(1, n_sessions):
        noise[:, t] = autocorrelation * noise[:, t - 1] + np.sqrt(1 - autocorrelation**2) * noise[:, t]
    if ceiling is not None:
        noise = np.minimum(noise, np.quantile(noise, 1 - ceiling))
    sessions = pd.DataFrame(
        {
            PATIENT: np.repeat(np.arange(n_patients), n_sessions),
            SESSION: np.tile(np.arange(1, n_sessions + 1), n_patients),
            SCORE: noise.ravel(),
        }
    )
    events = detect_ruptures(sessions, score=SCORE, rule=found)
    share = events[PATIENT].nunique() / n_patients
    decided = events.loc[events["status"] != "censored", "status"]
    return pd.DataFrame(
        {
            "rule": [found.name],
            "n_sessions": [n_sessions],
            "patients": [share],
            "std_error": [float(np.sqrt(share * (1 - share) / n_patients))],
            "sessions": [len(events) / len(sessions)],
            "repaired": [float((decided == "repaired").mean()) if len(decided) else np.nan],
        }
    )
