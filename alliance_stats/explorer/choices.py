"""What was chosen on the page, as a rule and as text to copy, and the answers to it, kept as long as the page lives."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from typing import Any

import pandas as pd

from alliance_stats.rupture.chance.chance import ChanceLevel, chance_level
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.result import LatentRuptures
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.explain import Explanation, explain
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REPAIRS
from alliance_stats.tables.naming import pseudonyms
from alliance_stats.tables.schema import PATIENT, check_sessions

LATENT = "latent"
NOT_SETTINGS = ("citation", "fidelity")


def chosen_rule(start: str, **choices: Any) -> Rule:
    """The rule `start`, a name in RULES, with the choices that differ from it; unchanged it keeps its name.

    An amount that the repair target does not take is left out. Raises ``ValueError``, in the words of Rule, if the
    choices do not go together.

    >>> chosen_rule("own_mean_2sd", size=2.0).name, chosen_rule("own_mean_2sd", size=1.5).name
    ('own_mean_2sd', 'own_mean_2sd, changed')
    """
    rule = RULES[start]
    if "repair" in choices and not REPAIRS[choices["repair"]].takes_amount:
        choices["repair_amount"] = None
    changed = {name: value for name, value in choices.items() if value != getattr(rule, name)}
    if not changed:
        return rule
    return replace(rule, name=f"{start}, changed", citation="", fidelity="", **changed)


def as_toml(rule: Rule, *, score: str) -> str:
    """The section ``[detect]`` of a study file.

    >>> print(as_toml(RULES["own_mean_2sd"], score="alliance"))
    [detect]
    score = "alliance"
    rule = "own_mean_2sd"
    """
    lines = ["[detect]", f"score = {json.dumps(score, ensure_ascii=False)}"]
    if RULES.get(rule.name) == rule:
        return "\n".join([*lines, f"rule = {json.dumps(rule.name)}"])
    settings = settings_of(rule)
    if None in settings.values():  # TOML has no word for None
        names = ", ".join(name for name, value in settings.items() if value is None)
        return f"# {names}: None cannot be written in a study file; copy the Python."
    fields = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())
    return "\n".join([*lines, "", "[detect.rule]", *fields])


def as_python(rule: Rule, *, score: str) -> str:
    """The same, and the chance level, as Python.

    >>> print(as_python(RULES["own_mean_2sd"], score="alliance"))
    rule = "own_mean_2sd"
    events = als.detect_ruptures(sessions, score='alliance', rule=rule)
    chance = als.chance_level(sessions, score='alliance', rule=rule, draws=1000, seed=1)
    """
    named = RULES.get(rule.name) == rule
    fields = ", ".join(f"{name}={value!r}" for name, value in settings_of(rule).items())
    return "\n".join(
        [
            f"rule = {json.dumps(rule.name)}" if named else f"rule = als.Rule({fields})",
            f"events = als.detect_ruptures(sessions, score={score!r}, rule=rule)",
            f"chance = als.chance_level(sessions, score={score!r}, rule=rule, draws=1000, seed=1)",
        ]
    )


def latent_python(*, score: str) -> str:
    """The latent detector as Python."""
    return f"latent = als.detect_latent(sessions, score={score!r})\nevents = latent.events()"


def latent_toml() -> str:
    """What a study file can say of it."""
    return "[latent]  # settings of the latent model, which the report estimates for every study"


def settings_of(rule: Rule) -> dict[str, Any]:
    """The fields of a rule that differ from those of a plain ``Rule()``."""
    plain = asdict(Rule())
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(rule).items()
        if name not in NOT_SETTINGS and value != plain[name]
    }


DRAWS = 200  # Studies drawn for the chance level of the page; a paper should have 1000 (the text to copy does)


class Answers:
    """A study's sessions, and what the detectors say about them.

    Unless `show_ids`, patients get pseudonyms, numbered in a random order by `seed`, which also is that of the draws of
    the chance level and of the latent detector.
    """

    def __init__(self, sessions: pd.DataFrame, *, score: str, show_ids: bool, seed: int) -> None:
        table = check_sessions(sessions, [score])
        self.sessions = table if show_ids else _with_pseudonyms(table, seed)
        self.score, self.seed = score, seed
        self.events = lru_cache(maxsize=64)(self._events)
        self.chance = lru_cache(maxsize=64)(self._chance)

    def _events(self, rule: Rule) -> pd.DataFrame:
        return detect_ruptures(self.sessions, score=self.score, rule=rule)

    def _chance(self, rule: Rule) -> ChanceLevel:
        return chance_level(self.sessions, score=self.score, rule=rule, draws=DRAWS, seed=self.seed, progress=False)

    @cached_property
    def latent(self) -> LatentRuptures:
        """The latent detector's result; half a minute for a large study."""
        return detect_latent(self.sessions, score=self.score, seed=self.seed, progress=False)

    @cached_property
    def latent_events(self) -> pd.DataFrame:
        """EVENTS of the latent detector at 5 % false alarms per patient."""
        return self.latent.events()

    @cached_property
    def probabilities(self) -> pd.DataFrame:
        """STATES given the whole course, for the strip."""
        return self.latent.states("smoothed")

    def explain(self, rule: Rule, patient: Any, session: int) -> Explanation:
        """Why the rule finds a rupture in this session, or does not."""
        return explain(self.sessions, patient=patient, session=session, score=self.score, rule=rule)


def _with_pseudonyms(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    names = pseudonyms(pd.unique(table[PATIENT]), "P", seed)
    named = table.assign(**{PATIENT: table[PATIENT].map(names).astype(object)})
    return named.sort_values([PATIENT, "session"], kind="stable").reset_index(drop=True)
