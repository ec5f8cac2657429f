"""The headline questions put to one simulated study, answered by the report, by the field's practice and by the truth.

Each way of answering returns one row per question: ``estimate, ci_low, ci_high, p_value`` and ``said``, empty or the
reason why the answer is not to be relied on, as the package says it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from answers.worlds import VERSIONS, WORLDS

import alliance_stats as als
from alliance_stats.simulate.study import Study
from alliance_stats.tables.shares import wilson
from alliance_stats.tables.states import distrust

SCORE, SYMPTOM = "alliance", "phq9"
CHANCE_RULE = "running_mean_2pooled"
PUBLISHED_RULE = "own_mean_2sd"
DRAWS = 300
HAZARD = "rupture_open + repaired_before + session"

COUNT = "ruptures beyond chance"
DIRECTION = "alliance to symptoms"
NEXT = "open rupture to symptoms"
DROPOUT = "open rupture to dropout"
REPAIR = "repair to dropout"
REPAIRED = "share repaired"
PREVALENCE = "patients with a rupture"

ASKED: dict[str, tuple[str, ...]] = {
    "effects": (COUNT, PREVALENCE, NEXT, DROPOUT, REPAIR, REPAIRED),
    "alliance only": (DIRECTION, NEXT, DROPOUT, REPAIR),
    "nothing": (COUNT, DIRECTION),
}
"""What is asked in each version of a world."""

Answer = dict[str, Any]


def ask(world: str, version: str, questions: tuple[str, ...], *, seed: int) -> pd.DataFrame:
    """Every answer to the questions (some or all of ``ASKED[version]``), put to one study.

    Returns
    -------
    DataFrame
        One row per question and way: ``world, version, seed, question, way, truth, estimate, ci_low, ci_high, p_value,
        said``.
    """
    study = WORLDS[world].study(version, seed=seed)
    rows = []
    for way, answers in (("report", by_report), ("practice", by_practice), ("true states", by_truth)):
        for question, answer in answers(study, questions):
            given = _attempt(answer)
            truth = truth_of(question, version, study, way)
            rows.append(
                {"world": world, "version": version, "seed": seed, "question": question, "way": way}
                | {"truth": truth}
                | given
            )
    return pd.DataFrame(rows)


def truth_of(question: str, version: str, study: Study, way: str) -> float:
    """What the answer should be."""
    values = VERSIONS[version]
    if question == COUNT:
        return _true_marks(study, PUBLISHED_RULE if way == "practice" else CHANCE_RULE)
    if question == REPAIRED:
        return share_repaired(study)
    if question == PREVALENCE:
        return float(_rated_inside(study)["patient"].nunique())
    return float(
        {
            DIRECTION: values["alliance_effect"],
            NEXT: values["rupture_effect"],
            DROPOUT: values["dropout_rupture"],
            REPAIR: values["dropout_repair"],
        }[question]
    )


def _true_marks(study: Study, rule: str) -> float:
    """How many of the ruptures that `rule` marks begin in a true one."""
    if study.events.empty:
        return 0.0
    marks = als.detect_ruptures(study.sessions, score=SCORE, rule=rule)
    return float(len(marks.merge(_rated_inside(study), left_on=["patient", "onset"], right_on=["patient", "session"])))


def _rated_inside(study: Study) -> pd.DataFrame:
    """The rated sessions in which a true rupture goes on."""
    inside = study.truth.sessions.query("in_rupture == 1")[["patient", "session"]]
    return inside.merge(study.sessions.loc[study.sessions[SCORE].notna(), ["patient", "session"]])


def share_repaired(study: Study) -> float:
    """Share of the true ruptures that were repaired, past or to their baseline, while therapy lasted."""
    return float(_whether_repaired(study, study.events).mean())


def _whether_repaired(study: Study, events: pd.DataFrame) -> pd.Series:
    """0 or 1 for each rupture that begins before the patient's last rating: whether it was repaired in therapy."""
    last = study.sessions.dropna(subset=[SCORE]).groupby("patient")["session"].max()
    begun = events["onset"] < events["patient"].map(last).astype(float)
    return (events.loc[begun, "status"] == "repaired").astype(float)


def by_report(study: Study, asked: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Answer]]]:
    """What the report leads with: uncertain ruptures in the models, the count against chance, both directions.

    The error of the alliance is what the items imply. Where there are none, the report says that effects of the
    alliance come out too small.
    """
    error = _implied_error(study)
    if COUNT in asked:
        yield COUNT, lambda: _beyond_chance(study)
    if DIRECTION in asked:
        yield DIRECTION, lambda: _both_directions(study, error)
    if set(asked) - {COUNT, DIRECTION}:
        latent = als.detect_latent(study.sessions, score=SCORE)
        yield from _models(study, latent, asked, error=error)


def _implied_error(study: Study) -> float | None:
    if study.items.empty:
        return None
    sessions = study.sessions.merge(study.items, on=["patient", "session"])
    sessions["as_answered"] = sessions.filter(like="wai_").mean(axis=1)
    return als.reliability.error_variance(sessions, "wai_{item}", score="as_answered", instrument="WAI-SR")


def by_practice(study: Study, asked: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Answer]]]:
    """What papers do: the published rule's ruptures as facts, alliance about the patient's mean, counts as they are."""
    events = als.detect_ruptures(study.sessions, score=SCORE, rule=PUBLISHED_RULE)
    yield from _models(study, events, asked, centre="patient", allow_lookahead=True)
    if COUNT in asked:
        yield COUNT, lambda: {"estimate": float(len(events))}
    if DIRECTION in asked:
        fit = als.fit_next_session
        yield (
            DIRECTION,
            lambda: _term(fit(study.sessions, symptom=SYMPTOM, alliance=SCORE, centre="patient"), "alliance_within"),
        )


def by_truth(study: Study, asked: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Answer]]]:
    """The same models given the true states and the true error: what the best detector could reach."""
    asked = tuple(question for question in asked if question != PREVALENCE)  # the truth itself
    both = study.sessions.merge(study.truth.sessions, on=["patient", "session"], suffixes=("", "_true"))
    error = float((both[SCORE] - both["expected_score"]).var())
    yield from _models(study, study.events, asked, error=error)


def _models(
    study: Study,
    ruptures: Any,
    asked: tuple[str, ...],
    *,
    error: float | None = None,
    centre: str = "so_far",
    **options: Any,
) -> Iterator[Any]:
    """The answers that need a rupture state: next session, dropout and the share repaired.

    What the detector says against its numbers, or against their use in a model, goes with them.
    """
    known = isinstance(ruptures, pd.DataFrame) or ruptures.supported
    said = "" if known else ruptures.verdict
    warned = "" if isinstance(ruptures, pd.DataFrame) else " ".join(distrust(ruptures.states("filtered").attrs))

    def next_session() -> Answer:
        fit = als.fit_next_session(
            study.sessions, ruptures, symptom=SYMPTOM, alliance=SCORE, centre=centre, error=error, **options
        )
        return _term(fit, "rupture_open") | {"said": warned}

    if NEXT in asked:
        yield NEXT, next_session
    hazard: dict[str, Any] = {}

    def dropout(term: str) -> Answer:
        if not hazard:
            intervals = als.dropout_intervals(study.sessions, ruptures, endings=study.endings, **options)
            hazard["fit"] = als.fit_dropout(HAZARD, intervals, cluster="therapist")
        unknown = term in hazard["fit"].diagnostics["unknown"]
        return _term(hazard["fit"], term) | {"said": warned or ("too few events" if unknown else "")}

    if DROPOUT in asked:
        yield DROPOUT, lambda: dropout("rupture_open")
        yield REPAIR, lambda: dropout("repaired_before")
    if PREVALENCE in asked:
        yield PREVALENCE, lambda: _prevalence(study, ruptures) | {"said": said}
    if REPAIRED in asked:
        yield REPAIRED, lambda: _repaired(study, ruptures) | {"said": said}


def _repaired(study: Study, ruptures: Any) -> Answer:
    """The share of ruptures repaired in therapy; a detector's is of all ruptures, not of those found."""
    if not isinstance(ruptures, pd.DataFrame):
        row = ruptures.endings().set_index("ending").loc["repaired"]
        return {name: float(row[name]) for name in ("estimate", "ci_low", "ci_high")}
    repaired = _whether_repaired(study, ruptures)
    if repaired.empty:
        return {"said": "no rupture found"}
    low, high = wilson(repaired.mean(), len(repaired), level=0.95)
    return {"estimate": float(repaired.mean()), "ci_low": float(low), "ci_high": float(high)}


def _prevalence(study: Study, ruptures: Any) -> Answer:
    """How many patients have a rupture in a rated session, with the interval of their share."""
    row = als.describe_ruptures(study.sessions, ruptures).set_index("quantity").loc["patients with a rupture"]
    return {"estimate": row["count"], "ci_low": row["ci_low"] * row["of"], "ci_high": row["ci_high"] * row["of"]}


def _beyond_chance(study: Study) -> Answer:
    """How many of the marks are more than chance gives, at least: an interval that is open above."""
    chance = als.chance_level(study.sessions, score=SCORE, rule=CHANCE_RULE, draws=DRAWS, seed=1)
    row = chance.table.set_index("quantity").loc["ruptures"]
    said = chance.verdict if np.isnan(row["p_value"]) else ""
    least = {"estimate": float(row["at_least"]), "ci_low": float(row["at_least"]), "ci_high": np.inf}
    return least | {"p_value": float(row["p_value"]), "said": said}


def _both_directions(study: Study, error: float | None) -> Answer:
    known = None if error is None else {SCORE: error}
    fit = als.fit_dynamics(
        study.sessions, alliance=SCORE, symptom=SYMPTOM, trend="random", start="stationary", error=known
    )
    terms = fit.tidy()
    row = terms[(terms["outcome"] == SYMPTOM) & (terms["term"] == f"{SCORE}_lag")]
    said = "" if known else "taken as measured without error: too small"
    return _numbers(row) | {"said": said or ("at a ceiling: too large" if SCORE in fit.diagnostics["at_bound"] else "")}


def _term(fit: Any, term: str) -> Answer:
    terms = fit.tidy()
    return _numbers(terms[terms["term"] == term])


def _numbers(rows: pd.DataFrame) -> Answer:
    if rows.empty:
        return {"said": "no such state in the study"}
    found = rows.iloc[0]
    return {name: float(found[name]) for name in ("estimate", "ci_low", "ci_high", "p_value")}


def _attempt(answer: Callable[[], Answer]) -> Answer:
    """The answer, or in ``said`` the package's reason for giving none."""
    empty: Answer = {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "p_value": np.nan, "said": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return empty | answer()
        except ValueError as error:
            return empty | {"said": str(error)}
