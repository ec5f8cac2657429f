"""The latest state of every patient in one table, and a page for each."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_stats.figures.saving import save_figure
from alliance_stats.monitoring.alarm import alarm_threshold
from alliance_stats.monitoring.watch import Monitor, monitor
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.tables.schema import PATIENT, SESSION


def monitor_patients(
    sessions: pd.DataFrame,
    *,
    parameters: LatentParameters,
    score: str,
    patients: Sequence[Hashable] | None = None,
    n_sessions: int = 20,
    false_alarm: float = 0.05,
) -> list[Monitor]:
    """One Monitor for each of `patients`, by default all with a rating; the threshold is worked out once."""
    if patients is None:
        patients = list(pd.unique(sessions.loc[sessions[score].notna(), PATIENT]))
    threshold = alarm_threshold(parameters, n_sessions=n_sessions, false_alarm=false_alarm)
    options: dict[str, Any] = {"n_sessions": n_sessions, "false_alarm": false_alarm, "threshold": threshold}
    return [monitor(sessions, patient=one, parameters=parameters, score=score, **options) for one in patients]


def latest(watched: Sequence[Monitor], names: Mapping[Any, str]) -> pd.DataFrame:
    """One row per patient, the likeliest open rupture first: the last session, its score and what it says."""
    rows = [
        {PATIENT: names[one.patient]}
        | one.table.iloc[-1][[SESSION, one.score, "expected", "p_open", "alarm"]].to_dict()
        | {"threshold": one.threshold, "alarms_began": " ".join(map(str, one.alarms))}
        for one in watched
    ]
    return pd.DataFrame(rows).sort_values(["p_open", PATIENT], ascending=[False, True], ignore_index=True)


def every_session(watched: Sequence[Monitor], names: Mapping[Any, str]) -> pd.DataFrame:
    """The tables of all patients, one below the other."""
    return pd.concat([one.table.assign(patient=names[one.patient]) for one in watched], ignore_index=True)[
        [PATIENT, *watched[0].table.columns]
    ]


def draw_pages(watched: Sequence[Monitor], names: Mapping[Any, str], out: Path) -> None:
    """A picture (PNG and SVG) of each patient in the folder `out`, named by the patient."""
    import matplotlib.pyplot as plt

    for one in watched:
        name = names[one.patient]
        axes = one.plot(label=f"Patient {name}")
        save_figure(axes, out / re.sub(r"[^\w-]", "_", name))
        plt.close("all")
