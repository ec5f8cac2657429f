"""One running therapy, session by session: what the ratings so far say about a rupture."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import save_figure
from alliance_stats.monitoring.record import alarm_threshold
from alliance_stats.rupture.latent.detect import states_so_far
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, check_sessions, plain, suggest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAUTION = (
    "An alarm is a reason to talk about the alliance, not a diagnosis: most ruptures do not show in a score, and at "
    "the stated rate alarms come without a rupture."
)


@dataclass(frozen=True, eq=False, repr=False)
class Monitor(Shown):
    """What a patient's ratings so far say, after each session.

    Attributes
    ----------
    table : DataFrame
        One row per session of the patient: ``session``, `score`, ``expected`` (the score expected without a rupture,
        given the ratings so far), ``p_open`` (the probability that a rupture is open, given the ratings so far; both
        are carried forward where a form is missing) and ``alarm``: `p_open` is above `threshold` at a
        session with a rating.
    threshold, false_alarm, n_sessions
        A share `false_alarm` of therapies of `n_sessions` sessions without a rupture has an alarm at this threshold.
    parameters : LatentParameters
        The estimates of the earlier study.
    """

    table: pd.DataFrame
    patient: Hashable
    score: str
    threshold: float
    false_alarm: float
    n_sessions: int
    parameters: LatentParameters = field(repr=False)

    @property
    def alarms(self) -> list[int]:
        """The sessions at which an alarm begins: the session before had none."""
        on = self.table["alarm"].to_numpy()
        return [int(number) for number in self.table[SESSION].to_numpy()[on & ~np.r_[False, on[:-1]]]]

    def plot(self, *, label: str | None = None) -> Axes:
        """The page of this patient: scores above, probability and alarms below; see `figures.plot_monitor`."""
        from alliance_stats.figures.patients import plot_monitor

        return plot_monitor(self.table, score=self.score, threshold=self.threshold, label=label or str(self.patient))

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        last = self.table.iloc[-1]
        alarms = ", ".join(map(str, self.alarms)) or "none"
        head = [
            f"Patient {plain(self.patient)!r} after session {last[SESSION]}: probability of an open rupture "
            f"{last['p_open']:.2f}.",
            f"Alarm above {self.threshold:.2f}, which {self.false_alarm:.0%} of therapies of {self.n_sessions} "
            f"sessions without a rupture exceed. Alarms began at session: {alarms}.",
        ]
        return head, {"": self.table}, [CAUTION]


def monitor(
    sessions: pd.DataFrame,
    *,
    patient: Hashable,
    parameters: LatentParameters,
    score: str = "alliance",
    n_sessions: int = 20,
    false_alarm: float = 0.05,
    threshold: float | None = None,
) -> Monitor:
    """Watch a running therapy: whether a rupture is open, judged from the ratings so far (the temperature check).

    Short scales rated after each session suffice (SRS, ARM-5, SAI). Nothing is estimated from the patient: `parameters`
    come from an earlier study with the same scale (``detect_latent(...).parameters``, kept with ``save`` and
    `rupture.read_parameters`). A later session never changes what was said of an earlier one.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS that include the patient's.
    patient : hashable
        As in the column ``patient``.
    parameters : LatentParameters
        Estimates of an earlier study.
    score : str
        The alliance score, on the scale that `parameters` were estimated on.
    n_sessions, false_alarm
        See :func:`alarm_threshold`: the length of a therapy, and the share of those without a rupture that may have an
        alarm.
    threshold : float, optional
        The threshold itself, where it is already known.

    Raises
    ------
    DataError
        If there is no such patient, or the patient has no rating.

    Examples
    --------
    >>> from alliance_stats.simulate.simulated import simulate_study
    >>> from alliance_stats.rupture.latent.detect import detect_latent
    >>> study = simulate_study(n_patients=60, seed=1)
    >>> parameters = detect_latent(study.sessions, score="alliance").parameters
    >>> monitor(study.sessions, patient="p03", parameters=parameters, threshold=0.6).table.columns.to_list()
    ['session', 'alliance', 'expected', 'p_open', 'alarm']
    """
    table = check_sessions(sessions, [score])
    own = table.loc[table[PATIENT] == patient]
    if own.empty:
        raise DataError(
            f"There is no patient {plain(patient)!r}.", remedy=suggest(str(patient), table[PATIENT].unique())
        )
    if own[score].isna().all():
        raise DataError(f"Patient {plain(patient)!r} has no rating of {score!r} yet.", remedy="Wait for the first one.")
    if threshold is None:
        threshold = alarm_threshold(parameters, n_sessions=n_sessions, false_alarm=false_alarm)
    states = states_so_far(own, score=score, parameters=parameters)
    watched = pd.DataFrame(
        {
            SESSION: own[SESSION].to_numpy(),
            score: own[score].to_numpy(),
            "expected": states["baseline"].ffill().to_numpy(),
            "p_open": states["rupture_open"].to_numpy(),
        }
    )
    alarm = (watched["p_open"] > threshold) & watched[score].notna()
    return Monitor(watched.assign(alarm=alarm), patient, score, threshold, false_alarm, n_sessions, parameters)


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
