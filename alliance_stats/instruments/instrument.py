"""What a questionnaire is: item numbers, range, reversals, subscales, scoring, polarity, and where each fact was read.

No wording of any item: most of it is copyrighted, and scoring needs the numbers alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import Array
from alliance_stats.tables.naming import ranges
from alliance_stats.tables.schema import require_choice

SCORES = ("sum", "mean", "mean_of_subscales")
MISSING_RULES = ("prorate", "subscale_mean_rounded")
POLARITIES = ("better", "worse")
FACTS = ("items", "range", "reversed", "subscales", "score", "missing", "polarity", "cutoffs", "reliability", "change")
"""What an instrument states, each fact either with its source (``verified``) or with what is not known of it."""


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """The scoring key of a questionnaire, and where each of its facts was read.

    Attributes
    ----------
    name, title : str
        Short name (the key in ``INSTRUMENTS``) and full name.
    construct : str
        What it measures, such as ``alliance``, ``rupture`` or ``symptoms``.
    items : tuple of int
        The item numbers.
    low, high : float
        The range of an answer. Declared, never guessed from data.
    reversed : tuple of int
        Items answered against the direction of the score; they count as ``low + high - answer``.
    subscales : mapping of str to tuple of int
        Item numbers of each subscale.
    higher_is : {"better", "worse"}
        What a higher score means for the patient.
    score : {"sum", "mean", "mean_of_subscales"}
        How answers become the total; subscales are summed where the total is a sum, else averaged.
    factor : float
        The score is multiplied by this (10 for the CORE-OM).
    whole : bool
        Answers are whole numbers (False for a line that is marked and measured).
    missing : {"prorate", "subscale_mean_rounded"}
        What replaces a missing answer where one is allowed: the mean of the answered items of the same scale,
        as it is or rounded to a whole answer.
    max_missing : int
        Missing answers allowed in the total; with more, the score is missing.
    max_missing_subscale : int or None
        The same in a subscale; None: as many as in the total.
    raters : tuple of str
        Who answers forms that share this key.
    cutoffs, reliability : mapping of str to float
        Published cut-offs of the total and reliabilities, by name.
    reliable_change : float or None
        Published reliable change of the total, in points.
    source : str
        The publication.
    verified, unverified : mapping of str to str
        Fact (one of ``FACTS``) to where it was read, or to what is not known of it.

    Examples
    --------
    >>> from alliance_stats.instruments.catalogue import INSTRUMENTS
    >>> wai = INSTRUMENTS["WAI-SR"]
    >>> wai.low, wai.high, wai.subscales["bond"], wai.total_range
    (1, 5, (3, 5, 7, 9), (1, 5))
    """

    name: str
    items: tuple[int, ...]
    low: float
    high: float
    higher_is: str
    score: str
    title: str = ""
    construct: str = "alliance"
    reversed: tuple[int, ...] = ()
    subscales: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    factor: float = 1
    whole: bool = True
    missing: str = "prorate"
    max_missing: int = 0
    max_missing_subscale: int | None = None
    raters: tuple[str, ...] = ("patient",)
    cutoffs: Mapping[str, float] = field(default_factory=dict)
    reliability: Mapping[str, float] = field(default_factory=dict)
    reliable_change: float | None = None
    source: str = ""
    verified: Mapping[str, str] = field(default_factory=dict)
    unverified: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("items", "reversed", "raters"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        subscales = {name: tuple(items) for name, items in self.subscales.items()}
        object.__setattr__(self, "subscales", MappingProxyType(subscales))
        for name in ("cutoffs", "reliability", "verified", "unverified"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        self._check()

    def _check(self) -> None:
        here = f"instrument {self.name!r}"
        if not self.items or len(set(self.items)) != len(self.items):
            raise ValueError(f"{here}: items must name at least one item, each once; found {list(self.items)}.")
        if not self.low < self.high:
            raise ValueError(f"{here}: low={self.low} must be smaller than high={self.high}.")
        require_choice(self.score, SCORES, name="score")
        require_choice(self.missing, MISSING_RULES, name="missing")
        require_choice(self.higher_is, POLARITIES, name="higher_is")
        for label, items in {"reversed": self.reversed, **self.subscales}.items():
            unknown = sorted(set(items) - set(self.items))
            if unknown:
                raise ValueError(f"{here}: {label} names item {unknown[0]}, which is not one of its items.")
            if len(set(items)) != len(items):
                raise ValueError(f"{here}: {label} names an item twice: {list(items)}.")
        if self.score == "mean_of_subscales" and not self.subscales:
            raise ValueError(f"{here}: score='mean_of_subscales' needs subscales.")
        if not 0 <= self.max_missing < len(self.items):
            raise ValueError(f"{here}: max_missing={self.max_missing} must lie in 0 to {len(self.items) - 1}.")
        for fact in (*self.verified, *self.unverified):
            require_choice(fact, FACTS, name=f"{here}: fact")

    @property
    def total_range(self) -> tuple[float, float]:
        """The smallest and largest total there can be."""
        n = len(self.items) if self.score == "sum" else 1
        return self.low * n * self.factor, self.high * n * self.factor

    def with_range(self, low: float, high: float) -> Instrument:
        """The same instrument answered on another range, such as a WAI-SR with answers from 1 to 7.

        Published cut-offs, reliabilities and reliable change belong to the published range and do not come along.

        >>> from alliance_stats.instruments.catalogue import INSTRUMENTS
        >>> INSTRUMENTS["WAI-SR"].with_range(1, 7).high
        7
        """
        note = f"answers from {low} to {high} as declared by the user; published: {self.low} to {self.high}"
        verified = {fact: text for fact, text in self.verified.items() if fact in _RANGE_FREE}
        unverified = {fact: text for fact, text in self.unverified.items() if fact in _RANGE_FREE}
        return dataclasses.replace(
            self,
            low=low,
            high=high,
            name=f"{self.name} ({low}-{high})",
            cutoffs={},
            reliability={},
            reliable_change=None,
            verified=verified,
            unverified={**unverified, "range": note},
        )

    def caveats(self) -> list[str]:
        """One sentence for each fact that the score rests on and that no source could be read for.

        >>> from alliance_stats.instruments.catalogue import INSTRUMENTS
        >>> INSTRUMENTS["WAI-SR"].caveats()
        []
        """
        concerned = _SCORING if self.max_missing else tuple(fact for fact in _SCORING if fact != "missing")
        return [
            f"{self.name}: {fact} not verified ({text})." for fact, text in self.unverified.items() if fact in concerned
        ]

    def table(self) -> pd.DataFrame:
        """One row per fact: its value, whether it is verified, and the source or what is not known of it."""
        values: dict[str, object] = {
            "items": _listed(self.items),
            "range": f"{self.low:g} to {self.high:g}",
            "reversed": _listed(self.reversed) or "none",
            "subscales": "; ".join(f"{name} {_listed(items)}" for name, items in self.subscales.items()) or "none",
            "score": self.score + (f" x {self.factor:g}" if self.factor != 1 else ""),
            "missing": f"{self.missing}, up to {self.max_missing}" if self.max_missing else "complete answers only",
            "polarity": f"higher is {self.higher_is}",
            "cutoffs": ", ".join(f"{name} {value:g}" for name, value in self.cutoffs.items()) or "none",
            "reliability": ", ".join(f"{name} {value:g}" for name, value in self.reliability.items()) or "none",
            "change": "none" if self.reliable_change is None else f"{self.reliable_change:g} points",
        }
        rows = [
            {
                "fact": fact,
                "value": values[fact],
                "verified": fact in self.verified,
                "source": self.verified.get(fact, self.unverified.get(fact, "stated in the key")),
            }
            for fact in FACTS
        ]
        return pd.DataFrame(rows)

    def reverse(self, answers: Array) -> Array:
        """Answers (rows x items in the order of ``items``) with the reversed items reversed; a new array."""
        turned = np.array(answers, dtype=np.float64)
        columns = [self.items.index(item) for item in self.reversed]
        turned[:, columns] = self.low + self.high - turned[:, columns]
        return turned


_RANGE_FREE = ("items", "reversed", "subscales", "polarity", "missing")
_listed = partial(ranges, between=", ", least=3)
_SCORING = ("items", "range", "reversed", "subscales", "score", "missing", "polarity")
