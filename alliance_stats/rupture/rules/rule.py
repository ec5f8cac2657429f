"""One detection rule: what a fall is measured from, in which unit, how large it must be, and what repairs it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from alliance_stats.tables.schema import require_choice

REFERENCES = ("previous", "running_mean", "running_max", "own_mean", "own_median", "own_trend")
UNITS = (
    "points",
    "percent",
    "own_sd",
    "pooled_sd",
    "shrunken_sd",
    "earlier_sd",
    "between_sd",
    "stricter_sd",
    "moving_range",
    "rci",
)
FALLS = ("single", "cumulative", "sudden")
REPAIRS = ("past_baseline", "to_baseline", "share_of_fall", "within_points")
OVERLAPS = ("absorb", "restart")
RUN_RULES = ("two_of_three", "four_of_five", "eight_in_a_row")

EARLIER_ONLY = ("previous", "running_mean", "running_max")
"""References that use no rating later than the one judged."""
STUDY_UNITS = ("points", "percent", "pooled_sd", "between_sd", "rci")
"""Units that are constants of the instrument or of the whole study, not of the patient's own course."""
EARLIER_UNITS = ("earlier_sd",)
"""Units of the patient's own course that use no rating later than those before the one judged."""


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

    The default fall, two pooled within-patient SD below the mean of the patient's earlier ratings, is prospective.
    With thresholds set to flag 5 % of patients without ruptures it found 17 % of the true ones on average over the 23
    simulated worlds of ``figures/detector_comparison.csv``, and 19 % judged from the third rating on
    (``min_ratings=2``; one rating is a poor level to fall from, and no rupture of those worlds begins earlier). Own
    median or own mean with the pooled SD found 15 and 14 %; own mean with the patient's own SD, as most published rules
    do, 7 %; a fall from the previous session in own SD 4 %. (A rupture inflates the own SD it is measured by, and a
    short series estimates it badly.)

    The SD of the patient's earlier ratings, drawn towards the pooled one (``earlier_sd``), found 20 % from the third
    rating on. It is not the default: the same sessions judged in the pooled SD give 19 %, and the advantage depends on
    the data. It finds more at 16 and 30 sessions (brief ruptures 18 against 16 %, 13 against 11 %) and under
    heavy-tailed noise (long ruptures 15 against 12 %), but fewer where one patient in four has brief ruptures (13
    against 14 %) and at a ceiling (19 against 20 %, long ruptures 22 against 24 %): at a ceiling the earlier ratings
    hardly vary. For long therapies without a ceiling take ``running_mean_2earlier``.

    No single-session rule finds much: see :func:`~alliance_stats.detect_latent`. The default repair is the first later
    score *past* the baseline. The size that suits a study comes from :func:`~alliance_stats.calibrate`.

    Parameters
    ----------
    name : str
        Written into the column ``rule`` of EVENTS.
    reference : str
        The level a score is compared with. ``previous``: the previous rated session. ``running_mean``,
        ``running_max``: mean or maximum of all earlier rated sessions. ``own_mean``, ``own_median``: of all the
        patient's rated sessions, the judged one included. ``own_trend``: the patient's least-squares line over session
        numbers. Scores 5, 6, 4, 6 judged at the third: previous 6, running mean 5.5, running maximum 6, own mean 5.25,
        own median 5.5.
    unit : str
        What `size` is counted in.
        ``points``: points of the score.
        ``percent``: percent of the reference level (of its absolute value).
        ``own_sd``: the patient's SD (n - 1) around the own mean; with ``own_trend`` around the line (n - 2).
        ``pooled_sd``: root of the pooled within-patient variance of the study, around the same centre.
        ``shrunken_sd``: root of the own variance drawn towards the pooled one, (df s_i^2 + w s^2) / (df + w), with
        w = 2 + 2 / CV^2 and CV the spread of the true variances across patients (method of moments, inverse gamma law).
        ``earlier_sd``: root of the variance of the patient's ratings *before* the one judged, drawn towards the pooled
        one with the weight of four further ratings, (q + 4 s^2) / (m + 4): q squares of the k earlier ratings around
        their own mean, m = k - 1 (0 for none), s^2 the study's pooled within-patient variance around the own means,
        whatever the `reference`. With no or one earlier rating it is the pooled SD. Earlier 6, 4, 5 in a study with
        s^2 = 1.5: q = 2, m = 2, the unit is sqrt(8 / 6) = 1.15 points.
        ``between_sd``: SD of the patients' own means.
        ``stricter_sd``: the larger of own and between SD (Gumz et al. 2012).
        ``moving_range``: mean absolute difference of neighbouring ratings / 1.128, the sigma of a control chart for
        individuals.
        ``rci``: the reliable change index, 1.96 x SD x sqrt(2) x sqrt(1 - `reliability`), with the SD of the patients'
        first ratings (Jacobson & Truax 1991).
    size : float
        How many units make a fall. With `unit` "points" and `size` 1, a score of 4 after a 5 is a fall.
    strict : bool
        False: a fall of exactly `size` units counts. True: it must exceed `size`.
    fall : str
        ``single``: the score stands `size` units below the reference. ``cumulative`` (reference ``previous`` only): it
        stands `size` units below the score at which the current run of non-rising ratings began; 6, 5, 5, 4 is one
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
        Repaired at the first later rated session that is ``past_baseline``: strictly above the baseline;
        ``to_baseline``: at or above it; ``share_of_fall``: has regained `repair_amount` (0 to 1] of the fall from
        baseline to the lowest score so far; ``within_points``: is not more than `repair_amount` points below it.
    repair_amount : float or None
        For ``share_of_fall`` and ``within_points`` only.
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
        _require_whole("burn_in", self.burn_in, low=0)
        _require_whole("min_ratings", self.min_ratings, low=0)
        if self.bridge is not None:
            _require_whole("bridge", self.bridge, low=0)
        if self.window is not None:
            _require_whole("window", self.window, low=1)
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
        needs_amount = self.repair in ("share_of_fall", "within_points")
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
        looks_back = self.reference in EARLIER_ONLY and self.unit in (*STUDY_UNITS, *EARLIER_UNITS)
        return looks_back and self.fall != "sudden"


_CHOICES = {"reference": REFERENCES, "unit": UNITS, "fall": FALLS, "repair": REPAIRS, "overlap": OVERLAPS}


def _require_whole(name: str, value: Any, *, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} must be a whole number.")
    if value < low:
        raise ValueError(f"{name}={value!r} must be {low} or more.")


def _require_real(
    name: str,
    value: Any,
    *,
    low: float,
    high: float = math.inf,
    low_allowed: bool = False,
    high_allowed: bool = False,
) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} must be a number.")
    number = float(value)
    above = number >= low if low_allowed else number > low
    below = number <= high if high_allowed else number < high
    if not (math.isfinite(number) and above and below):
        allowed = f"{'[' if low_allowed else '('}{low:g}, {high:g}{']' if high_allowed else ')'}"
        raise ValueError(f"{name}={value!r} must lie in {allowed}.")
