"""A plan of simulated studies, checked before the first is drawn; the headline analyses; one study, analysed."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.coding.episodes import repair_intervals
from alliance_stats.coding.events import events_from_codes
from alliance_stats.coding.sessions import code_sessions, consensus
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.next_session_fit import STATES
from alliance_stats.outcome.patterns import fit_outcome
from alliance_stats.outcome.patterns_fit import CONTRASTS
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.reliability.sessions import error_variance
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.simulate.codes import Coding
from alliance_stats.simulate.simulated import NOT_OF_WORLD, simulate_study
from alliance_stats.simulate.study import Study, World
from alliance_stats.tables.schema import (
    PATIENT,
    REPAIRED,
    SESSION,
    THERAPIST,
    DataError,
    Seed,
    generator,
    require_choice,
    require_whole,
)

Analysis = Callable[[Study, pd.DataFrame], pd.DataFrame]  # A study and its events in, TERMS out

Answer = tuple[float, float, float] | str
"""Estimate, standard error and p value of the term in one study; or why there is none."""

Piece = tuple[Mapping[str, Any], int]  # The world of one study, and its seed


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is simulated and how it is analysed: the arguments of :func:`alliance_stats.simulate_power`, checked.

    ``wanted`` is the power that :func:`smallest_study` is to reach.
    """

    analysis: str | Analysis
    seed: Seed
    term: str = ""
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    world: Mapping[str, Any] = field(default_factory=dict)
    rule: str | Rule | None = "previous_2pooled"
    n_studies: int = 200
    alpha: float = 0.05
    wanted: float = 0.8

    def __post_init__(self) -> None:
        if not callable(self.analysis):
            require_choice(self.analysis, list(ANALYSES), name="analysis")
        if callable(self.analysis) and not self.term:
            raise ValueError("An analysis of your own needs term=: the row of its TERMS in question.")
        if not isinstance(self.seed, np.random.Generator):
            require_whole(self.seed, name="seed", low=0)
        require_whole(self.n_studies, name="n_studies", low=1)
        for name, value in (("alpha", self.alpha), ("wanted", self.wanted)):
            if not isinstance(value, float) or not 0 < value < 1:
                raise ValueError(f"{name}={value!r} must be a number between 0 and 1.")
        looks_ahead = self.rule is not None and not as_rule(self.rule).prospective
        if looks_ahead and self.analysis in ("next_session", "dropout"):
            problem = f"rule={self.rule!r} looks ahead: analysis={self.analysis!r} predicts."
            raise ValueError(f"{problem} Choose another rule.")
        for name, values in self.vary.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
                raise ValueError(f"vary: {name}={values!r} must be a list of values.")
            if name in self.world:
                raise ValueError(f"{name} is in both vary and world: leave it out of one.")
        for cell in self.cells():
            _check_world({**self.world, **cell})

    @property
    def asked(self) -> str:
        """The term in question."""
        return self.term or ANALYSES[str(self.analysis)].term

    def cells(self) -> list[dict[str, Any]]:
        """The combinations of the varied parameters."""
        return [dict(zip(self.vary, values, strict=True)) for values in itertools.product(*self.vary.values())]

    def pieces(self) -> list[Piece]:
        """The studies, cell by cell; every cell has the same seeds."""
        seeds = generator(self.seed).integers(0, 2**63, self.n_studies)
        return [({**self.world, **cell}, int(seed)) for cell in self.cells() for seed in seeds]

    def answer(self, piece: Piece) -> Answer:
        """One study, drawn and analysed."""
        world, seed = piece
        study = simulate_study(seed=seed, **{**world, "codes": _coding(world, self.analysis == "codes")})
        events = study.events
        if self.rule is not None:
            events = detect_ruptures(study.sessions, score="alliance", rule=self.rule)
        try:
            if callable(self.analysis):
                terms = self.analysis(study, events)
            else:
                terms = ANALYSES[self.analysis].analyse(Detected(study, events, self.rule, seed))
        except DataError as error:
            return error.problem
        terms = terms.set_index("term")
        if self.asked not in terms.index:
            if self.asked not in MAY_BE_ABSENT:
                require_choice(self.asked, list(terms.index), name="term")
            return f"no {self.asked!r} in the study"
        estimate, std_error, p_value = terms.loc[self.asked, ["estimate", "std_error", "p_value"]].to_numpy(np.float64)
        if np.isnan(p_value):
            return f"{self.asked!r} cannot be known"
        return float(estimate), float(std_error), float(p_value)


def _coding(world: Mapping[str, Any], wanted: bool = False) -> bool | Coding:
    """``codes`` of the world (in a file: a table of the fields of a Coding); whether `wanted` where it says nothing."""
    codes = world.get("codes", wanted)
    return Coding(**codes) if isinstance(codes, Mapping) else codes


def _check_world(world: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for a parameter that `simulate_study` does not have, or a world it would refuse."""
    arguments = inspect.signature(simulate_study).parameters
    for name, value in world.items():
        require_choice(name, [known for known in arguments if known != "seed"], name="world")
        if isinstance(value, str) != isinstance(arguments[name].default, str):
            kind = "a number" if isinstance(value, str) else "text"
            raise ValueError(f"{name}={value!r} must be {kind}.")
    whole = {name: parameter.default for name, parameter in arguments.items()} | dict(world)
    try:
        _coding(world)
        World(**{name: value for name, value in whole.items() if name not in NOT_OF_WORLD})
    except TypeError as error:
        raise ValueError(f"The world {dict(world)} cannot be simulated: {error}.") from error


SCORE, SYMPTOM = "alliance", "phq9"
DRAWS = 199  # Studies without ruptures in each chance level: p values in steps of 1/200


class Detected(NamedTuple):
    """A simulated study, its EVENTS, the rule that found them (None: the true ones) and a seed for what draws again."""

    study: Study
    events: pd.DataFrame
    rule: str | Rule | None
    seed: int


class Question(NamedTuple):
    """An analysis, (`Detected`) -> TERMS, and the term that a study is planned for."""

    analyse: Callable[[Detected], pd.DataFrame]
    term: str


MAY_BE_ABSENT = (*STATES, "used_expressive", *(f"{first} - {second}" for first, second in CONTRASTS))
"""Terms that a study without such ruptures cannot give."""


def _chance(found: Detected) -> pd.DataFrame:
    if found.rule is None:
        raise ValueError("analysis='chance' asks what a rule finds beyond chance: give rule=.")
    chance = chance_level(
        found.study.sessions, score=SCORE, rule=found.rule, draws=DRAWS, seed=found.seed, progress=False
    )
    table = chance.table.rename(columns={"quantity": "term", "ratio": "estimate"})
    return table.assign(std_error=(table["ratio_high"] - table["ratio_low"]) / (2 * 1.96))


def _next_session(found: Detected) -> pd.DataFrame:
    return fit_next_session(found.study.sessions, found.events, symptom=SYMPTOM, alliance=SCORE).tidy()


def _dynamics(found: Detected) -> pd.DataFrame:
    study = found.study
    rated = study.items.merge(study.sessions[[PATIENT, SESSION, SCORE]], on=[PATIENT, SESSION])
    items = [str(name) for name in study.items if name not in (PATIENT, SESSION)]
    error = error_variance(rated, items, score=SCORE)
    fit = fit_dynamics(
        study.sessions, alliance=SCORE, symptom=SYMPTOM, trend="random", start="stationary", error={SCORE: error}
    )
    terms = fit.tidy()
    return terms.assign(term=terms["term"] + " -> " + terms["outcome"])


def _dropout(found: Detected) -> pd.DataFrame:
    intervals = dropout_intervals(found.study.sessions, found.events, endings=found.study.endings)
    varying = [name for name in STATES if len(intervals[name].unique()) > 1]
    return fit_dropout(" + ".join([*varying, SESSION]), intervals, cluster=THERAPIST).tidy()


def _repair(found: Detected) -> pd.DataFrame:
    patients = summarise_patients(found.study.sessions, found.events, measures=[SYMPTOM])
    effects = fit_outcome(patients, post=f"{SYMPTOM}_post", pre=f"{SYMPTOM}_pre").effects()
    return effects[effects["adjusted"]].rename(columns={"contrast": "term", "difference": "estimate"})


def _codes(found: Detected) -> pd.DataFrame:
    study = found.study
    if study.codes is None:
        raise ValueError("analysis='codes' needs a world with codes: leave codes out, or set it to true.")
    coded = consensus(code_sessions(study.codes))
    events = events_from_codes(coded, study.sessions, score=SCORE)
    rows = repair_intervals(study.sessions, events, coded=coded, endings=study.endings)
    used = [str(name) for name in rows if str(name).startswith("used_") and len(rows[name].unique()) > 1]
    return fit_dropout(" + ".join(used), rows, ending=REPAIRED, baseline="dummies", cluster=PATIENT).tidy()


ANALYSES = {
    "chance": Question(_chance, "ruptures"),
    "next_session": Question(_next_session, "rupture_open"),
    "dynamics": Question(_dynamics, f"{SCORE}_lag -> {SYMPTOM}"),
    "dropout": Question(_dropout, "rupture_open"),
    "repair": Question(_repair, "repaired - unrepaired"),
    "codes": Question(_codes, "used_expressive"),
}
