"""What the page shows, computed by the package's own functions; each answer is kept for as long as the page lives."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import pandas as pd

from alliance_stats.rupture.chance.chance import ChanceLevel, chance_level
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.result import LatentRuptures
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.explain import Explanation, explain
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import PATIENT, check_sessions, generator

DRAWS = 200
"""Studies drawn for the chance level of the page; a paper should have 1000 (the text to copy does)."""


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
    ids = pd.unique(table[PATIENT])
    order = generator(seed).permutation(len(ids)) + 1
    digits = max(2, len(str(len(ids))))
    names = {one: f"P{number:0{digits}d}" for one, number in zip(ids, order, strict=True)}
    named = table.assign(**{PATIENT: table[PATIENT].map(names).astype(object)})
    return named.sort_values([PATIENT, "session"], kind="stable").reset_index(drop=True)
