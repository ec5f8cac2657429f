"""The headline analyses of a study, each as the report makes it, with the term that a study is planned for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from alliance_stats.coding.episodes import repair_intervals
from alliance_stats.coding.events import events_from_codes
from alliance_stats.coding.sessions import code_sessions, consensus
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.next_session_fit import STATES
from alliance_stats.outcome.patterns import CONTRASTS, fit_outcome
from alliance_stats.outcome.reciprocal import fit_dynamics
from alliance_stats.reliability.sessions import error_variance
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.simulate.study import Study
from alliance_stats.tables.schema import PATIENT, REPAIRED, SESSION, THERAPIST

SCORE, SYMPTOM = "alliance", "phq9"
DRAWS = 199
"""Studies without ruptures in each chance level: p values in steps of 1/200."""


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
