"""Putting a simulated study together: the parts in order, then the tables cut at each patient's ending."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.catalogue import as_instrument
from alliance_stats.instruments.instrument import Instrument
from alliance_stats.simulate.courses import (
    HIGHEST,
    NEVER,
    PAST,
    SHORT,
    TO,
    Course,
    autoregression,
    draw_lines,
    draw_ruptures,
    draw_symptoms,
)
from alliance_stats.simulate.observation import (
    Scale,
    draw_attendance,
    draw_dates,
    draw_endings,
    draw_forms,
    draw_therapists,
    dropout_hazard,
    fit_scale,
    planned_sessions,
)
from alliance_stats.simulate.study import POINTS_SPAN, RESOLUTIONS, Study, Truth, World
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

STREAMS = ("sizes", "levels", "state", "ruptures", "symptoms", "endings", "attendance", "forms", "items", "rater")


class _Sizes(NamedTuple):
    """The standard deviations that follow from the shares of a world, in points of the score."""

    stretch: float
    mean: float
    patient: float
    therapist: float
    state: float
    unit: float


class _Rows(NamedTuple):
    """The patient-sessions that take place: row of the patient, column and number of the session, each (n,)."""

    patient: IntArray
    column: IntArray
    session: IntArray


def build_study(world: World, *, instrument: str, item_name: str, rng: np.random.Generator) -> Study:
    """The study of a world: see :func:`alliance_stats.simulate_study`."""
    key = as_instrument(instrument)
    streams = dict(zip(STREAMS, rng.spawn(len(STREAMS)), strict=True))
    scale, sizes = _measure(world, key)

    planned = planned_sessions(world, streams["sizes"])
    shape = (world.n_patients, int(planned.max()))
    therapist = draw_therapists(world, planned, shape[1], streams["sizes"])
    traits = streams["levels"].standard_normal((2, world.n_patients))
    therapists = streams["levels"].standard_normal((3, world.n_therapists))
    therapists *= np.array([[sizes.therapist], [world.symptom_therapist_sd], [world.dropout_therapist_sd]])
    patient_level = sizes.patient * traits[0]
    level = sizes.mean + patient_level[:, None] + therapists[0][therapist]
    slope = sizes.stretch * (world.growth + world.growth_sd * traits[1])
    early = world.early_growth + world.early_growth_sd * streams["levels"].standard_normal(world.n_patients)
    since = np.arange(shape[1])
    growth = slope[:, None] * since + sizes.stretch * early[:, None] * (1 - np.exp(-since / 2))
    state = sizes.state * _spread(world, since) * autoregression(world, shape, streams["state"])
    ruptures, shift, acute, is_open, repaired = draw_ruptures(world, level, growth, sizes.unit, streams["ruptures"])
    course = Course(level, growth, state, shift, acute, is_open, repaired, ruptures)
    standing = traits[0] if sizes.patient > 0 else np.zeros(world.n_patients)
    lines = draw_lines(world, standing, streams["symptoms"])
    symptom, course = draw_symptoms(world, course, lines, therapists[1][therapist], sizes.stretch, streams["symptoms"])
    hazard, intercept = dropout_hazard(world, course, standing, therapists[2][therapist], planned)
    last, ending = draw_endings(world, hazard, planned, streams["endings"])

    patient, column = np.nonzero(since < last[:, None])
    rows = _Rows(patient, column, column + 1)
    names = _Names(_padded("p", world.n_patients), _padded("t", world.n_therapists))
    own, theirs = _both_raters(world, course, scale, sizes, rows, streams)
    sessions, forms = _observed(world, course, rows, names, therapist, streams)
    reported = symptom[rows.patient, rows.column]
    reported = np.clip(np.rint(reported), 0, HIGHEST) if world.bounded else reported
    sessions = sessions.assign(
        alliance=np.where(forms[0], own.answers.mean(axis=1), np.nan),
        alliance_therapist=np.where(forms[1], theirs.answers.mean(axis=1), np.nan),
        phq9=np.where(forms[2], reported, np.nan),
    )
    parameters = {
        **vars(world),
        "instrument": key.name,
        "rupture_unit": sizes.unit,
        "state_sd": sizes.state,
        "level_sd": sizes.patient,
        "alliance_therapist_sd": sizes.therapist,
        "error_sd": float(np.sqrt(scale.error_variance)),
        "within_reliability": sizes.state**2 / sizes.unit**2 if sizes.unit > 0 else np.nan,
        "dropout_intercept": intercept,
    }
    truth = Truth(
        sessions=_truth_sessions(course, rows, names, own.expected, symptom, hazard),
        patients=pd.DataFrame(
            {
                PATIENT: names.patients,
                "planned": planned,
                "level": patient_level,
                "growth_per_session": slope,
                "symptom_intercept": lines.intercept,
                "symptom_slope": lines.slope,
            }
        ),
        therapists=pd.DataFrame(
            {THERAPIST: names.therapists, "alliance": therapists[0], "symptom": therapists[1], "dropout": therapists[2]}
        ),
        parameters=parameters,
    )
    return Study(
        sessions=sessions,
        items=_items(key, item_name, sessions, own.answers, forms[0]),
        therapist_items=_items(key, item_name, sessions, theirs.answers, forms[1]),
        events=_events(world, course, last, names, sizes.unit),
        endings=pd.DataFrame({PATIENT: names.patients, "ending": ending, "last_session": last}),
        truth=truth,
    )


def _measure(world: World, key: Instrument) -> tuple[Scale, _Sizes]:
    """The scale with the stated reliability, and the sizes of everything that varies, in points."""
    stretch = (key.high - key.low) / POINTS_SPAN
    variance = (stretch * world.alliance_sd) ** 2
    named = list(key.subscales.values()) or [key.items]
    subscale = tuple(next((k for k, items in enumerate(named) if item in items), 0) for item in key.items)
    mean = key.low + stretch * (world.alliance_mean - 1)
    scale = fit_scale(
        low=float(key.low),
        high=float(key.high),
        subscale=subscale,
        specific_sd=stretch * world.subscale_sd,
        halo=world.halo,
        bounded=world.bounded,
        mean=mean,
        sd=float(np.sqrt(variance)),
        reliability=world.reliability,
    )
    state = variance * world.within_share
    between = max(1 - world.within_share - world.therapist_share, 0.0)
    return scale, _Sizes(
        stretch=stretch,
        mean=mean,
        patient=float(np.sqrt(variance * between)),
        therapist=float(np.sqrt(variance * world.therapist_share)),
        state=float(np.sqrt(state)),
        unit=float(np.sqrt(state + scale.error_variance)),
    )


def _spread(world: World, since: IntArray) -> Array:
    """SD of state and error `since` sessions after the first, as a multiple of the first session's."""
    return np.asarray(world.narrowing + (1 - world.narrowing) * np.exp(-since / 4))


class _Names(NamedTuple):
    """Ids of patients and therapists."""

    patients: pd.Index
    therapists: pd.Index


def _padded(letter: str, n: int) -> pd.Index:
    """Ids whose order as text is their order."""
    width = max(len(str(n)), 2)
    return pd.Index([f"{letter}{number:0{width}d}" for number in range(1, n + 1)])


class _Rating(NamedTuple):
    answers: Array
    expected: Array


def _both_raters(
    world: World, course: Course, scale: Scale, sizes: _Sizes, rows: _Rows, streams: dict[str, np.random.Generator]
) -> tuple[_Rating, _Rating]:
    """The patient's answers and the therapist's, who shares part of the view and rates lower."""
    n_subscales = int(scale.subscale.max()) + 1
    shape = course.state.shape

    def rate(alliance: Array, rng: np.random.Generator) -> _Rating:
        specific = scale.specific_sd * rng.standard_normal((world.n_patients, n_subscales))
        values, specific = alliance[rows.patient, rows.column], specific[rows.patient]
        return _Rating(
            scale.answers(values, specific, _spread(world, rows.column), rng), scale.expected(values, specific)
        )

    rng = streams["rater"]
    shared = world.rater_agreement / world.reliability
    level_sd = np.hypot(sizes.patient, sizes.therapist)
    view = level_sd * rng.standard_normal((world.n_patients, 1)) + sizes.state * autoregression(world, shape, rng)
    gap = world.rater_gap * np.sqrt((sizes.stretch * world.alliance_sd) ** 2 + scale.error_variance)
    alliance = sizes.mean - gap + shared * (course.alliance - sizes.mean) + np.sqrt(1 - shared**2) * view
    return rate(course.alliance, streams["items"]), rate(alliance, rng)


def _observed(
    world: World,
    course: Course,
    rows: _Rows,
    names: _Names,
    therapist: IntArray,
    streams: dict[str, np.random.Generator],
) -> tuple[pd.DataFrame, tuple[Any, Any, Any]]:
    """SESSIONS without its measures, and which of the three forms are there."""
    acute = course.acute[rows.patient, rows.column]
    attendance = draw_attendance(world, acute, rows.session, streams["attendance"])
    came = np.isin(attendance, [ATTENDED, LATE])
    forms = draw_forms(world, acute, came, streams["forms"])
    dates = draw_dates(rows.patient, rows.session, world.n_patients, streams["attendance"])
    sessions = pd.DataFrame(
        {
            PATIENT: names.patients[rows.patient],
            THERAPIST: names.therapists[therapist[rows.patient, rows.column]],
            SESSION: rows.session,
            "date": dates,
            "attendance": attendance,
        }
    )
    return sessions, forms


def _items(key: Instrument, item_name: str, sessions: pd.DataFrame, answers: Array, answered: Any) -> pd.DataFrame:
    """Answers as given on the form: reversed items turned round, missing forms empty."""
    given = np.where(np.asarray(answered)[:, None], key.reverse(answers), np.nan)
    columns = [item_name.format(item=item) for item in key.items]
    return pd.concat([sessions[[PATIENT, SESSION]], pd.DataFrame(given, columns=columns)], axis=1)


def _truth_sessions(
    course: Course, rows: _Rows, names: _Names, expected: Array, symptom: Array, hazard: Array
) -> pd.DataFrame:
    def at(values: Any) -> Any:
        return values[rows.patient, rows.column]

    return pd.DataFrame(
        {
            PATIENT: names.patients[rows.patient],
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


def _events(world: World, course: Course, last: IntArray, names: _Names, unit: float) -> pd.DataFrame:
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
    events = pd.DataFrame(
        {
            PATIENT: names.patients[found.patient],
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
    events.loc[~healed, ["repaired_at", "sessions_to_repair"]] = pd.NA
    events = events.assign(resolution=np.array(RESOLUTIONS, dtype=object)[found.resolution])
    events.attrs = {"rule": "truth", "prospective": True}
    return events
