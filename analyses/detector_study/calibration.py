"""Stated probabilities against what happened, and what they give as covariates of an outcome or of dropout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from detector_study.worlds import SCORE, DetectorWorld, simulate_world

from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.tables.schema import PATIENT, SESSION

EDGES = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0])
SYMPTOM_EFFECT, SYMPTOM_SD, DROPOUT_EFFECT, DROPOUT_INTERCEPT = 2.0, 2.0, 1.5, -3.0
STATES = ("truth", "smoothed", "filtered")


def calibration(
    worlds: Iterable[DetectorWorld], *, n_patients: int = 200, replicates: int = 3, seed: int = 1
) -> pd.DataFrame:
    """Share of sessions in a true rupture among those with a stated probability in each bin.

    Returns
    -------
    DataFrame
        One row per ``world``, ``version`` (filtered, smoothed) and bin (``low``, ``high``): ``n`` sessions, ``stated``
        (mean probability), ``observed``; with ``n_patients`` and ``verdicts``, what the studies' verdicts were.
    """
    rows: list[dict[str, Any]] = []
    for world in worlds:
        parts, verdicts = [], []
        for replicate in range(replicates):
            rng = np.random.default_rng([seed, replicate, n_patients, *world.name.encode()])
            sessions = simulate_world(world, n_patients=n_patients, seed=rng).sessions
            found = detect_latent(sessions, score=SCORE, seed=replicate)
            verdicts.append(found.verdict)
            parts.append(found.probabilities.assign(in_rupture=sessions["in_rupture"]))
        table = pd.concat(parts).dropna(subset=["p_smoothed"])
        counts = pd.Series(verdicts).value_counts()
        head = {"world": world.name, "n_patients": n_patients}
        words = "; ".join(f"{name} {count}/{replicates}" for name, count in counts.items())
        for version in ("filtered", "smoothed"):
            chance = table[f"p_{version}"]
            for k, part in table.groupby(np.clip(np.digitize(chance, EDGES) - 1, 0, len(EDGES) - 2)):
                bounds = {"version": version, "low": EDGES[k], "high": EDGES[k + 1], "n": len(part)}
                means = {"stated": part[f"p_{version}"].mean(), "observed": part["in_rupture"].mean()}
                rows.append(head | bounds | means | {"verdicts": words})
    return pd.DataFrame(rows)


def plug_in(
    worlds: Iterable[DetectorWorld], *, n_patients: int = 250, replicates: int = 6, seed: int = 1
) -> pd.DataFrame:
    """Estimates of the effect of an open rupture, each state entered as the covariate.

    Symptoms of the next session: 2 points while a rupture is open, patients' own levels, noise with an SD of 2; slope
    within patients. Dropout after a session: log-odds of -3, and 1.5 more while one is open; a logistic regression on
    the state and the session, the detector having seen only the sessions before dropout.

    Returns
    -------
    DataFrame
        One row per ``world``, ``outcome``, ``state`` and ``replicate``: ``estimate``; with the true ``effect``.
    """
    rows = []
    for world in worlds:
        for replicate in range(replicates):
            rng = np.random.default_rng([seed, replicate, *world.name.encode()])
            sessions = simulate_world(world, n_patients=n_patients, seed=rng).sessions
            chance = DROPOUT_INTERCEPT + DROPOUT_EFFECT * sessions["in_rupture"]
            leaves = rng.random(len(sessions)) < 1 / (1 + np.exp(-chance))
            stays = leaves.groupby(sessions[PATIENT]).cumsum() - leaves == 0
            seen = sessions[stays].reset_index(drop=True)
            head = {"world": world.name, "replicate": replicate}
            for outcome, table, ends in (("next session", sessions, None), ("dropout", seen, leaves[stays].to_numpy())):
                found = detect_latent(table, score=SCORE, seed=replicate)
                states = {name: found.states(name)["rupture_open"].to_numpy() for name in STATES[1:]}
                states["truth"] = table["in_rupture"].to_numpy(dtype=float)
                effect = SYMPTOM_EFFECT if ends is None else DROPOUT_EFFECT
                noise = rng.normal(0, SYMPTOM_SD, len(table)) + rng.normal(0, 3, n_patients)[table[PATIENT]]
                symptom = SYMPTOM_EFFECT * states["truth"] + noise
                for name in STATES:
                    if ends is None:
                        estimate = _within_slope(table[PATIENT], states[name], symptom)
                    else:
                        estimate = _log_odds(states[name], table[SESSION].to_numpy(dtype=float), ends)
                    row = {"outcome": outcome, "state": name, "effect": effect, "estimate": estimate}
                    rows.append(head | row | {"verdict": found.verdict})
    return pd.DataFrame(rows)


def summarise_plug_in(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean estimate and its Monte Carlo error, and whether it is within max(10 %, 2 errors) of the effect."""
    grouped = runs.groupby(["world", "outcome", "state", "effect"], sort=False)["estimate"]
    table = grouped.agg(estimate="mean", mc_error=lambda x: x.std(ddof=1) / np.sqrt(len(x)), n="size").reset_index()
    allowed = np.maximum(0.1 * table["effect"], 2 * table["mc_error"])
    return table.assign(within=(table["estimate"] - table["effect"]).abs() <= allowed)


def _within_slope(patient: Any, state: Any, outcome: Any) -> float:
    """Slope of the outcome on the state, both from the patient's mean; the state is that of the session before."""
    x, y = (values - pd.Series(values).groupby(patient.to_numpy()).transform("mean") for values in (state, outcome))
    return float((x * y).sum() / (x * x).sum())


def _log_odds(state: Any, session: Any, event: Any) -> float:
    """The state's coefficient in a logistic regression of `event` on it and the session, by Newton's method."""
    design = np.column_stack([np.ones(len(state)), session - session.mean(), state])
    beta = np.zeros(3)
    for _ in range(25):
        p = 1 / (1 + np.exp(-design @ beta))
        beta = beta + np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, design.T @ (event - p))
    return float(beta[2])
