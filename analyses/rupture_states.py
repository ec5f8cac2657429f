"""The effect of an open rupture when nobody knows the ruptures, estimated in four ways where the truth is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import alliance_stats as als
from alliance_stats.figures.style import COLOURS, WIDTH, styled_figure
from alliance_stats.tables.terms import t_quantile

PLAIN: dict[str, Any] = {
    "n_patients": 250, "n_therapists": 20, "n_sessions": 14, "sessions_sd": 6, "max_sessions": 30, "bounded": False,
    "rupture_rate": 0.06, "rupture_depth": 2.5, "dropout": 0.25, "dropout_repair": 0.0, "repair_effect": 0.0,
    "alliance_effect": 0.0, "dropout_level": 0.0, "dropout_therapist_sd": 0.2,
}  # fmt: skip
"""Nothing but an open rupture moves symptoms and dropout, so that its generating effect is what models estimate."""
NONE = {"rupture_effect": 0.0, "dropout_rupture": 0.0}
MIDDLE = {"rupture_effect": 1.0, "dropout_rupture": 0.75}
STRONG = {"rupture_effect": 2.0, "dropout_rupture": 1.5}

WORLDS: dict[str, dict[str, Any]] = {
    "brief, no effect": {"rupture_length": 2.0, **NONE},
    "brief, strong": {"rupture_length": 2.0, **STRONG},
    "long, no effect": {"rupture_length": 5.0, **NONE},
    "long, middling": {"rupture_length": 5.0, **MIDDLE},
    "long, strong": {"rupture_length": 5.0, **STRONG},
    "long, strong, 150 patients": {"rupture_length": 5.0, **STRONG, "n_patients": 150},
    "long, strong, 500 patients": {"rupture_length": 5.0, **STRONG, "n_patients": 500, "n_therapists": 40},
    "all repaired": {"rupture_length": 5.0, **STRONG, "repair": (0.6, 0.4, 0.0, 0.0)},
    "scores calm down": {"rupture_length": 4.0, **STRONG, "narrowing": 0.5},
    "symptoms feed back": {"rupture_length": 4.0, **STRONG, "symptom_feedback": -0.05},
    "ceiling": {"rupture_length": 4.0, **STRONG, "bounded": True, "alliance_mean": 4.4},
}
WAYS = ("true states", "rule", "probabilities", "calibrated")
"""What is entered: simulated states, `running_mean_2pooled`, probabilities so far, and those as the models use them."""
MODELS = {"next session": "rupture_effect", "dropout": "dropout_rupture"}


def simulated(world: str, seed: int, **more: Any) -> Any:
    return als.simulate_study(seed=seed, **(PLAIN | WORLDS[world] | more))


def true_states(study: Any) -> pd.DataFrame:
    states = study.truth.sessions[["patient", "session", "rupture_open", "repaired_before"]].copy()
    states.attrs = {"prospective": True}
    return states


def bounds(world: str) -> dict[str, Any]:
    return {} if WORLDS[world].get("bounded") else {"bounds": None}


@cache
def parameters(world: str) -> Any:
    """The detector's parameters, from one larger study of the same kind."""
    larger = simulated(world, 99_999, n_patients=1200, n_therapists=60)
    return als.detect_latent(larger.sessions, score="alliance", **bounds(world)).parameters


def effects(study: Any, ruptures: Any, **more: Any) -> tuple[pd.DataFrame, Any, Any]:
    """The rows of ``rupture_open`` in the models of the next session and of dropout, and the two fits."""
    fit = als.fit_next_session(study.sessions, ruptures, symptom="phq9", alliance="alliance", **more)
    intervals = als.dropout_intervals(study.sessions, ruptures, endings=study.endings)
    hazard = als.fit_dropout("rupture_open + session", intervals, cluster="therapist", **more)
    rows = [one.tidy().set_index("term").loc["rupture_open"] for one in (fit, hazard)]
    return pd.DataFrame(rows, index=list(MODELS)), fit, hazard


def estimates(world: str, seed: int) -> pd.DataFrame:
    """One row per model: the estimate of each of WAYS, and the interval of the last; missing where it is silent."""
    study = simulated(world, seed)
    latent = als.detect_latent(study.sessions, score="alliance", parameters=parameters(world), **bounds(world))
    rule = als.detect_ruptures(study.sessions, score="alliance", rule="running_mean_2pooled")
    ruptures = dict(zip(WAYS, (true_states(study), rule, latent.states(), latent), strict=True))
    rows = {way: effects(study, states)[0] for way, states in ruptures.items()}
    found = pd.DataFrame({way: row["estimate"] for way, row in rows.items()})
    found[["ci_low", "ci_high"]] = rows[WAYS[-1]][["ci_low", "ci_high"]]
    return found.rename_axis("model").reset_index().assign(world=world, seed=seed)


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Per model and world: the mean estimate of each way; of the calibrated one its Monte Carlo error and coverage.

    `silent` is the share of studies whose model says that it cannot be known; `p < .05` the share of the others whose
    interval leaves out 0.
    """
    rows = []
    for (model, world), own in runs.groupby(["model", "world"], sort=False):
        effect, last = WORLDS[world][MODELS[model]], own[WAYS[-1]]
        told = own[own["ci_low"].notna()]
        covered = told["ci_low"].le(effect) & told["ci_high"].ge(effect)
        rejected = told["ci_low"].gt(0) | told["ci_high"].lt(0)
        rows.append(
            {"model": model, "world": world, "studies": len(own), "effect": effect}
            | {way: own[way].mean() for way in WAYS}
            | {"MC error": last.sem(), "coverage": covered.mean(), "p < .05": rejected.mean()}
            | {"silent": 1 - len(told) / len(own)}
        )
    return pd.DataFrame(rows)


def plot_effects(table: pd.DataFrame) -> Figure:
    """Mean estimates world by world, one panel per model; the effect itself is the upright stroke."""
    marks = dict(zip(WAYS, ("|", "s", "v", "o"), strict=True))
    colours = dict(zip(WAYS, ("black", "vermillion", "sky", "blue"), strict=True))
    worlds = list(table["world"].unique())
    with styled_figure(1, 2, figsize=(1.35 * WIDTH, 0.9 + 0.3 * len(worlds)), sharey=True) as (figure, panels):
        for ax, (model, rows) in zip(panels[0], table.groupby("model", sort=False), strict=True):
            y = np.array([worlds.index(world) for world in rows["world"]], dtype=float)
            ax.vlines(
                rows["effect"], y - 0.4, y + 0.4, color=COLOURS["grey"], linewidth=3, alpha=0.5, label="the effect"
            )
            for k, way in enumerate(WAYS):
                level = y + 0.16 * (k - 1.5)
                ax.plot(rows[way], level, marks[way], color=COLOURS[colours[way]], label=way, markersize=4)
                if way == WAYS[-1]:
                    half = rows["MC error"] * t_quantile(0.95, rows["studies"].min() - 1)
                    ax.hlines(level, rows[way] - half, rows[way] + half, color=COLOURS[colours[way]])
            ax.set_yticks(range(len(worlds)), worlds)
            unit = "symptom points" if model == "next session" else "log-odds"
            ax.set(xlabel=f"Mean estimate ({unit})", title=model.capitalize())
        panels[0, 0].invert_yaxis()
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure
