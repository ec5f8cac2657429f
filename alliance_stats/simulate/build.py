"""Putting a simulated study together: its truth, part by part, then the tables cut at each patient's ending."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.catalogue import as_instrument
from alliance_stats.instruments.instrument import Instrument
from alliance_stats.simulate.courses import (
    HIGHEST,
    Course,
    SymptomLines,
    autoregression,
    draw_lines,
    draw_ruptures,
    draw_symptoms,
)
from alliance_stats.simulate.observation import (
    Scale,
    draw_endings,
    draw_therapists,
    dropout_hazard,
    fit_scale,
    planned_sessions,
)
from alliance_stats.simulate.study import POINTS_SPAN, Study, Truth, World
from alliance_stats.simulate.written import Rows, answered, events, items, observed, spread, truth_by_session
from alliance_stats.tables.arrays import Array, FloatArray, IntArray
from alliance_stats.tables.schema import PATIENT, THERAPIST

STREAMS = ("sizes", "levels", "state", "ruptures", "symptoms", "endings", "attendance", "forms", "items", "rater")
Streams = dict[str, np.random.Generator]


class _Sizes(NamedTuple):
    """The standard deviations that follow from the shares of a world, in points of the score."""

    stretch: float
    mean: float
    patient: float
    therapist: float
    state: float
    unit: float


class _Drawn(NamedTuple):
    """The true course of every patient over the whole planned therapy, and where it ended."""

    planned: IntArray  # (patients,), as are level, slope, last and ending
    therapist: IntArray  # (patients, sessions), as are symptom and hazard
    therapists: FloatArray  # (3, therapists): what each adds to alliance, symptoms and the log-odds of dropout
    level: FloatArray
    slope: FloatArray
    course: Course
    lines: SymptomLines
    symptom: FloatArray
    hazard: FloatArray
    intercept: float  # of the hazard
    last: IntArray
    ending: Array


def build_study(world: World, *, instrument: str, item_name: str, rng: np.random.Generator) -> Study:
    """The study of a world: see :func:`alliance_stats.simulate_study`."""
    key = as_instrument(instrument)
    streams = dict(zip(STREAMS, rng.spawn(len(STREAMS)), strict=True))
    scale, sizes = _measure(world, key)
    drawn = _draw(world, sizes, streams)
    course, last = drawn.course, drawn.last
    patients, therapists = _padded("p", world.n_patients), _padded("t", world.n_therapists)
    patient, column = np.nonzero(np.arange(course.state.shape[1]) < last[:, None])
    rows = Rows(patient, column, column + 1, patients[patient], therapists[drawn.therapist[patient, column]])
    own = answered(world, course.alliance, scale, rows, streams["items"])
    view = _seen_by_therapist(world, course, scale, sizes, streams["rater"])
    theirs = answered(world, view, scale, rows, streams["rater"])
    sessions, forms = observed(world, course, rows, streams["attendance"], streams["forms"])
    reported = drawn.symptom[patient, column]
    reported = np.clip(np.rint(reported), 0, HIGHEST) if world.bounded else reported
    sessions = sessions.assign(
        alliance=np.where(forms[0], own.answers.mean(axis=1), np.nan),
        alliance_therapist=np.where(forms[1], theirs.answers.mean(axis=1), np.nan),
        phq9=np.where(forms[2], reported, np.nan),
    )
    return Study(
        sessions=sessions,
        items=items(key, item_name, sessions, own.answers, forms[0]),
        therapist_items=items(key, item_name, sessions, theirs.answers, forms[1]),
        events=events(world, course, last, patients, sizes.unit),
        endings=pd.DataFrame({PATIENT: patients, "ending": drawn.ending, "last_session": last}),
        truth=Truth(
            sessions=truth_by_session(course, rows, own.expected, drawn.symptom, drawn.hazard),
            patients=_truth_of_patients(drawn, patients),
            therapists=pd.DataFrame(
                {THERAPIST: therapists, **dict(zip(("alliance", "symptom", "dropout"), drawn.therapists, strict=True))}
            ),
            parameters=vars(world) | {"instrument": key.name} | _implied(sizes, scale, drawn.intercept),
        ),
    )


def _draw(world: World, sizes: _Sizes, streams: Streams) -> _Drawn:
    """The truth, each part from its own stream."""
    planned = planned_sessions(world, streams["sizes"])
    shape = (world.n_patients, int(planned.max()))
    therapist = draw_therapists(world, planned, shape[1], streams["sizes"])
    traits = streams["levels"].standard_normal((2, world.n_patients))
    therapists = streams["levels"].standard_normal((3, world.n_therapists))
    therapists *= np.array([[sizes.therapist], [world.symptom_therapist_sd], [world.dropout_therapist_sd]])
    of_therapist = therapists[:, therapist]
    patient_level = sizes.patient * traits[0]
    level = sizes.mean + patient_level[:, None] + of_therapist[0]
    slope = sizes.stretch * (world.growth + world.growth_sd * traits[1])
    early = world.early_growth + world.early_growth_sd * streams["levels"].standard_normal(world.n_patients)
    since = np.arange(shape[1])
    growth = slope[:, None] * since + sizes.stretch * early[:, None] * (1 - np.exp(-since / 2))
    state = sizes.state * spread(world, since) * autoregression(world, shape, streams["state"])
    ruptures, shift, acute, is_open, repaired = draw_ruptures(world, level, growth, sizes.unit, streams["ruptures"])
    course = Course(level, growth, state, shift, acute, is_open, repaired, ruptures)
    standing = traits[0] if sizes.patient > 0 else np.zeros(world.n_patients)
    lines = draw_lines(world, standing, streams["symptoms"])
    symptom, course = draw_symptoms(world, course, lines, of_therapist[1], sizes.stretch, streams["symptoms"])
    hazard, intercept = dropout_hazard(world, course, standing, of_therapist[2], planned)
    ends = draw_endings(world, hazard, planned, streams["endings"])
    return _Drawn(
        planned, therapist, therapists, patient_level, slope, course, lines, symptom, hazard, intercept, *ends
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


def _seen_by_therapist(
    world: World, course: Course, scale: Scale, sizes: _Sizes, rng: np.random.Generator
) -> FloatArray:
    """The alliance as the therapist sees it, who shares part of the patient's view and rates lower."""
    shared = world.rater_agreement / world.reliability
    level_sd = np.hypot(sizes.patient, sizes.therapist)
    view = level_sd * rng.standard_normal((world.n_patients, 1))
    view = view + sizes.state * autoregression(world, course.state.shape, rng)
    gap = world.rater_gap * np.sqrt((sizes.stretch * world.alliance_sd) ** 2 + scale.error_variance)
    return np.asarray(sizes.mean - gap + shared * (course.alliance - sizes.mean) + np.sqrt(1 - shared**2) * view)


def _padded(letter: str, n: int) -> pd.Index:
    """Ids whose order as text is their order."""
    width = max(len(str(n)), 2)
    return pd.Index([f"{letter}{number:0{width}d}" for number in range(1, n + 1)])


def _truth_of_patients(drawn: _Drawn, patients: pd.Index) -> pd.DataFrame:
    return pd.DataFrame(
        {
            PATIENT: patients,
            "planned": drawn.planned,
            "level": drawn.level,
            "growth_per_session": drawn.slope,
            "symptom_intercept": drawn.lines.intercept,
            "symptom_slope": drawn.lines.slope,
        }
    )


def _implied(sizes: _Sizes, scale: Scale, intercept: float) -> dict[str, float]:
    """What follows from the parameters of a world."""
    return {
        "rupture_unit": sizes.unit,
        "state_sd": sizes.state,
        "level_sd": sizes.patient,
        "alliance_therapist_sd": sizes.therapist,
        "error_sd": float(np.sqrt(scale.error_variance)),
        "within_reliability": sizes.state**2 / sizes.unit**2 if sizes.unit > 0 else np.nan,
        "dropout_intercept": intercept,
    }
