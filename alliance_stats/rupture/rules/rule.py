"""One detection rule: what a fall is measured from, in which unit, how large it must be, and what repairs it."""

from __future__ import annotations

import inspect
import math
import textwrap
from dataclasses import dataclass
from numbers import Real
from typing import Any

from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS, described
from alliance_stats.tables.schema import require_choice, require_whole

FALLS = ("single", "cumulative", "sudden")
OVERLAPS = ("absorb", "restart")
RUN_RULES = ("two_of_three", "four_of_five", "eight_in_a_row")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of rupture and repair: reference level x unit x size x kind of fall x repair target x window.

    ::

        score   7 |  *   *  ..baseline (reference level at onset).....*   repaired_at: first score past baseline
                6 |                                              *
                5 |              *  onset: the fall reaches size x unit
                4 |                  *   nadir       *
                  +--1---2---3---4---5---6---7---8---9--> session
                                 |---- open (at most `window` session numbers) ----|

    The default fall, two pooled within-patient SD below the mean of the patient's earlier ratings, is prospective. The
    default repair is the first later score *past* the baseline. The size that suits a study comes from
    :func:`~alliance_stats.calibrate`; how many ruptures each rule finds in simulated studies is told in docs/rules.md.

    Parameters
    ----------
    name : str
        Written into the column ``rule`` of EVENTS.
    reference : str
        The level a score is compared with.
        {references}
        Scores 5, 6, 4, 6 judged at the third: previous 6, running mean 5.5, running maximum 6, own mean 5.25, own
        median 5.5.
    unit : str
        What `size` is counted in.
        {units}
    size : float
        How many units make a fall. With `unit` "points" and `size` 1, a score of 4 after a 5 is a fall.
    strict : bool
        False: a fall of exactly `size` units counts. True: it must exceed `size`.
    fall : str
        ``single``: the score lies `size` units below the reference. ``cumulative`` (reference ``previous`` only): it
        lies `size` units below the score at which the current run of non-rising ratings began; 6, 5, 5, 4 is one
        fall of 2 from 6. ``sudden`` (reference ``previous`` only): a single fall that is also at least `sudden_percent`
        percent of the previous score and separates up to three ratings before from up to three after (sessions n-2..n
        and n+1..n+3, two of each at least) by more than t(`sudden_alpha`) pooled SD (Tang & DeRubeis 1999).
    burn_in : int
        A rupture cannot begin within the first `burn_in` rated sessions of a patient.
    min_ratings : int
        Ratings of the patient that the rule must be able to look at: for prospective rules those before the session
        judged, for all others the patient's rated sessions altogether.
    bridge : int or None
        Gap policy. Neighbouring ratings (for ``previous``, for cumulative falls, for the moving range) are compared
        across at most this many missed or unrated sessions: 0 breaks at every gap, None bridges all. With 1, sessions
        3 and 5 are neighbours if 4 is missing, sessions 3 and 6 are not.
    repair : str
        Repaired at the first later rated session whose score meets the target.
        {repairs}
    repair_amount : float or None
        For ``share_of_fall`` and ``within_points`` only.
    repair_holds : int
        How many rated sessions in a row must meet the target. With 2, one good score in a noisy course is no repair:
        ``repaired_at`` is the second of two, since only then is it known.
    window : int or None
        Session numbers after onset within which repair must come; None: any time before therapy ends. With 3, a rupture
        at session 5 can be repaired at 6, 7 or 8, whether or not all three took place.
    overlap : str
        While a rupture is open, ``absorb``: every further fall belongs to it. ``restart``: a further fall that meets
        the criterion *below* the nadir so far closes it (unrepaired) and begins a new one.
    bounds : (float, float) or None
        Lowest and highest possible score. Ceiling rule: a score at the upper bound always counts as regained, since
        nothing above it can be scored. A threshold below the lower bound is reported as "cannot fire".
    run_rules : tuple of str
        Western Electric run rules that also signal, one-sided below the reference, in consecutive rated sessions:
        ``two_of_three`` beyond 2 units, ``four_of_five`` beyond 1 unit (the last of them being one of the two or four),
        ``eight_in_a_row`` below the reference.
    reliability : float or None
        For ``rci`` only: reliability of the score, in [0, 1).
    sudden_percent, sudden_alpha : float
        For ``sudden`` falls only.
    citation : str
        Where the rule comes from.
    fidelity : str
        How far it is the published rule: "as published", "in the spirit of", with what is unverified.

    Examples
    --------
    >>> Rule(reference="previous", unit="points", size=1.0, repair="within_points", repair_amount=0.25).prospective
    True
    >>> Rule(reference="own_maen")
    Traceback (most recent call last):
        ...
    ValueError: reference='own_maen' is not known. Did you mean 'own_mean'?
    """

    name: str = "custom"
    reference: str = "running_mean"
    unit: str = "pooled_sd"
    size: float = 2.0
    strict: bool = False
    fall: str = "single"
    burn_in: int = 0
    min_ratings: int = 1
    bridge: int | None = 1
    repair: str = "past_baseline"
    repair_amount: float | None = None
    repair_holds: int = 1
    window: int | None = None
    overlap: str = "absorb"
    bounds: tuple[float, float] | None = None
    run_rules: tuple[str, ...] = ()
    reliability: float | None = None
    sudden_percent: float = 25.0
    sudden_alpha: float = 0.05
    citation: str = ""
    fidelity: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "citation", "fidelity"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, not {getattr(self, name)!r}.")
        for name, allowed in _CHOICES.items():
            require_choice(getattr(self, name), allowed, name=name)
        if not isinstance(self.strict, bool):
            raise TypeError(f"strict must be True or False, not {self.strict!r}.")
        _require_real("size", self.size, low=0.0)
        require_whole(self.burn_in, name="burn_in", low=0)
        require_whole(self.min_ratings, name="min_ratings", low=0)
        require_whole(self.repair_holds, name="repair_holds", low=1)
        if self.bridge is not None:
            require_whole(self.bridge, name="bridge", low=0)
        if self.window is not None:
            require_whole(self.window, name="window", low=1)
        self._check_fall()
        self._check_repair()
        self._check_bounds()

    def _check_fall(self) -> None:
        if self.fall != "single" and self.reference != "previous":
            raise ValueError(
                f"fall={self.fall!r} is measured from neighbouring ratings: it needs reference='previous'."
            )
        if isinstance(self.run_rules, str):
            raise TypeError(f"run_rules must be a tuple of names, not the text {self.run_rules!r}.")
        object.__setattr__(self, "run_rules", tuple(self.run_rules))
        for run_rule in self.run_rules:
            require_choice(run_rule, RUN_RULES, name="run_rules")
        if self.run_rules and self.fall != "single":
            raise ValueError(f"run_rules judge single scores against a level: they cannot go with fall={self.fall!r}.")
        if (self.unit == "rci") != (self.reliability is not None):
            raise ValueError("reliability= is needed with unit='rci', and has no meaning without it.")
        if self.reliability is not None:
            _require_real("reliability", self.reliability, low=0.0, high=1.0, low_allowed=True)
        _require_real("sudden_percent", self.sudden_percent, low=0.0, low_allowed=True)
        _require_real("sudden_alpha", self.sudden_alpha, low=0.0, high=1.0)

    def _check_repair(self) -> None:
        needs_amount = REPAIRS[self.repair].takes_amount
        if needs_amount != (self.repair_amount is not None):
            verb = "needs" if needs_amount else "takes no"
            raise ValueError(f"repair={self.repair!r} {verb} repair_amount=.")
        if self.repair == "share_of_fall":
            _require_real("repair_amount", self.repair_amount, low=0.0, high=1.0, high_allowed=True)
        elif self.repair == "within_points":
            _require_real("repair_amount", self.repair_amount, low=0.0, low_allowed=True)

    def _check_bounds(self) -> None:
        if self.bounds is None:
            return
        if isinstance(self.bounds, str) or len(tuple(self.bounds)) != 2:
            raise ValueError(f"bounds={self.bounds!r} must be the lowest and the highest possible score.")
        low, high = self.bounds
        _require_real("bounds", low, low=-math.inf)
        _require_real("bounds", high, low=-math.inf)
        if not low < high:
            raise ValueError(f"bounds={self.bounds!r}: the lowest possible score must lie below the highest.")
        object.__setattr__(self, "bounds", (float(low), float(high)))

    @property
    def prospective(self) -> bool:
        """Whether the state at a session rests on no later rating of that patient.

        Constants of the whole study (pooled and between SD, the RCI's SD; for ``earlier_sd`` the pooled SD it is drawn
        towards) count as known beforehand, as an instrument's norms are; whoever needs them strictly so passes them as
        `size` in points.
        """
        looks_ahead = REFERENCES[self.reference].looks_ahead or UNITS[self.unit].looks_ahead
        return not looks_ahead and self.fall != "sudden"


def _documented(docstring: str) -> str:
    """The docstring of Rule with the meaning of each word of the vocabulary."""
    text = inspect.cleandoc(docstring)
    for name, lines in (
        ("references", described(REFERENCES)),
        ("units", described(UNITS)),
        ("repairs", described(REPAIRS)),
    ):
        text = text.replace(f"    {{{name}}}", textwrap.indent(lines, "    "))
    return text


Rule.__doc__ = _documented(Rule.__doc__ or "")

_CHOICES: dict[str, tuple[str, ...]] = {
    "reference": tuple(REFERENCES),
    "unit": tuple(UNITS),
    "fall": FALLS,
    "repair": tuple(REPAIRS),
    "overlap": OVERLAPS,
}


def _require_real(
    name: str, value: Any, *, low: float, high: float = math.inf, low_allowed: bool = False, high_allowed: bool = False
) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} must be a number.")
    number = float(value)
    above = number >= low if low_allowed else number > low
    below = number <= high if high_allowed else number < high
    if not (math.isfinite(number) and above and below):
        allowed = f"{'[' if low_allowed else '('}{low:g}, {high:g}{']' if high_allowed else ')'}"
        raise ValueError(f"{name}={value!r} must lie in {allowed}.")
