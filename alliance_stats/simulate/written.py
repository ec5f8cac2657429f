"""What a researcher would have of a simulated study, table by table, and the truth in the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.simulate.courses import NEVER, PAST, SHORT, TO, Course
from alliance_stats.simulate.observation import Scale, draw_attendance, draw_dates, draw_forms
from alliance_stats.simulate.study import RESOLUTIONS, World
from alliance_stats.tables.arrays import FloatArray as Array
from alliance_stats.tables.arrays import IntArray
from alliance_stats.tables.schema import (
    ATTENDED,
    CENSORED,
    EVENTS_DTYPES,
    LATE,
    PATIENT,
    REPAIRED,
    SESSION,
    THERAPIST,
    UNREPAIRED,
)


class Rows(NamedTuple):
    """The patient-sessions that take place, each (n,): row of the patient, column and number of the session, ids."""

    patient: IntArray
    column: IntArray
    session: IntArray
    id: pd.Index
    therapist: pd.Index


def spread(world: World, since: IntArray) -> Array:
    """SD of state and error `since` sessions after the first, as a multiple of the first session's."""
    return np.asarray(world.narrowing + (1 - world.narrowing) * np.exp(-since / 4))


class Rating(NamedTuple):
    """The answers to the items (n, items), and the score expected of them (n,)."""

    answers: Array
    expected: Array


def answered(world: World, alliance: Array, scale: Scale, rows: Rows, rng: np.random.Generator) -> Rating:
    """The answers of one rater, who sees the true `alliance` (patients, sessions)."""
    specific = scale.specific_sd * rng.standard_normal((world.n_patients, int(scale.subscale.max()) + 1))
    values, specific = alliance[rows.patient, rows.column], specific[rows.patient]
    return Rating(scale.answers(values, specific, spread(world, rows.column), rng), scale.expected(values, specific))


def observed(
    world: World, course: Course, rows: Rows, attending: np.random.Generator, filling: np.random.Generator
) -> tuple[pd.DataFrame, tuple[Any, Any, Any]]:
    """SESSIONS without its measures, and which of the three forms are there."""
    acute = course.acute[rows.patient, rows.column]
    attendance = draw_attendance(world, acute, rows.session, attending)
    forms = draw_forms(world, acute, np.isin(attendance, [ATTENDED, LATE]), filling)
    dates = draw_dates(rows.patient, rows.session, world.n_patients, attending)
    columns = {PATIENT: rows.id, THERAPIST: rows.therapist, SESSION: rows.session}
    return pd.DataFrame({**columns, "date": dates, "attendance": attendance}), forms


def items(key: Instrument, item_name: str, sessions: pd.DataFrame, answers: Array, answered: Any) -> pd.DataFrame:
    """Answers as given on the form: reversed items turned round, missing forms empty."""
    given = np.where(np.asarray(answered)[:, None], key.reverse(answers), np.nan)
    columns = [item_name.format(item=item) for item in key.items]
    return pd.concat([sessions[[PATIENT, SESSION]], pd.DataFrame(given, columns=columns)], axis=1)


def truth_by_session(course: Course, rows: Rows, expected: Array, symptom: Array, hazard: Array) -> pd.DataFrame:
    """What was true in each session."""

    def at(values: Any) -> Any:
        return values[rows.patient, rows.column]

    return pd.DataFrame(
        {
            PATIENT: rows.id,
            SESSION: rows.session,
            "level": at(course.level),
            "growth": at(course.growth),
            "state": at(course.state),
            "shift": at(course.shift),
            "alliance": at(course.alliance),
            "expected_score": expected,
            "in_rupture": at(course.acute).astype(np.int64),
            "rupture_open": at(course.is_open).astype(np.int64),
            "repaired_before": at(course.repaired).astype(np.int64),
            "symptom": at(symptom),
            "hazard": at(hazard),
        }
    )


def events(world: World, course: Course, last: IntArray, patients: pd.Index, unit: float) -> pd.DataFrame:
    """The ruptures that began before the patient's last session, as EVENTS on the noise-free alliance."""
    found = course.ruptures
    seen = found.onset <= last[found.patient]
    found = replace(found, **{name: getattr(found, name)[seen] for name in vars(found)})
    end = last[found.patient]
    resolved = found.onset + found.length
    over = resolved <= end
    nadir = np.minimum.reduce([found.onset + world.fall_sessions - 1, end, resolved - 1])
    fallen = found.depth * np.minimum((nadir - found.onset + 1) / world.fall_sessions, 1.0)
    healed = over & (found.resolution <= TO)
    failed = (found.resolution == NEVER) | (over & (found.resolution == SHORT))
    repair_score = found.baseline + np.where(found.resolution == PAST, world.repair_gain * unit, 0.0)
    first = np.concatenate([[True], np.diff(found.patient) > 0])[: len(end)]
    number = np.arange(len(end)) - np.maximum.accumulate(np.where(first, np.arange(len(end)), 0)) + 1
    table = pd.DataFrame(
        {
            PATIENT: patients[found.patient],
            "event": number,
            "onset": found.onset,
            "nadir": nadir,
            "repaired_at": pd.array(np.where(healed, resolved, 0), dtype="Int64"),
            "status": np.where(healed, REPAIRED, np.where(failed, UNREPAIRED, CENSORED)),
            "baseline": found.baseline,
            "nadir_score": found.baseline - fallen,
            "repair_score": np.where(healed, repair_score, np.nan),
            "drop": fallen,
            "drop_units": fallen / unit if unit > 0 else fallen,
            "sessions_to_repair": pd.array(np.where(healed, found.length, 0), dtype="Int64"),
            "score": "true_alliance",
            "rule": "truth",
        }
    ).astype(EVENTS_DTYPES)
    table.loc[~healed, ["repaired_at", "sessions_to_repair"]] = pd.NA
    table = table.assign(resolution=np.array(RESOLUTIONS, dtype=object)[found.resolution])
    table.attrs = {"rule": "truth", "prospective": True}
    return table
