"""The words of a rule: each reference level, unit and repair target once, with its meaning and its arithmetic.

A new unit is one function in :mod:`units` and one entry in :data:`UNITS`: rule, detection, explanation, report and
chance level read it from here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alliance_stats.rupture.rules import references, units
from alliance_stats.rupture.rules.references import Basis
from alliance_stats.tables.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class Reference:
    """A level that scores are compared with."""

    name: str  # as an argument
    words: str  # in a sentence ("below ...")
    meaning: str  # in the documentation of Rule
    level: Callable[[Basis], tuple[FloatArray, BoolArray]]  # the level at every rating, and where there is one
    looks_ahead: bool = False  # uses ratings later than the one judged
    ordered: bool = True  # depends on the order of the ratings


@dataclass(frozen=True)
class Unit:
    """What the size of a fall is counted in."""

    name: str
    words: str
    meaning: str
    in_points: Callable[[Basis, FloatArray], Any]  # from the reference level: at every rating, or one value
    of: str  # what it is a constant of: scale (of the score), study (one value for all patients), patient
    several: str = "{size:g} times {words}"  # a size other than 1
    looks_ahead: bool = False  # as of a reference; values of the study count as known beforehand
    ordered: bool = False

    def counted(self, size: float) -> str:
        """A size in this unit, in a sentence."""
        return self.words if size == 1 else self.several.format(size=size, words=self.words)


@dataclass(frozen=True)
class Repair:
    """What regains the level that was lost."""

    name: str
    words: str
    meaning: str
    target: Callable[[Any, Any, float], Any]  # of the baseline, the lowest score so far and the amount
    above: bool = False  # must be exceeded, not only reached
    takes_amount: bool = False


# fmt: off
_REFERENCES = (
    Reference(
        name="previous", words="the previous rated session",
        meaning="the previous rated session.",
        level=references.previous,
    ),
    Reference(
        name="running_mean", words="the mean of all earlier rated sessions",
        meaning="mean of all earlier rated sessions.",
        level=references.running_mean,
    ),
    Reference(
        name="running_max", words="the highest of all earlier ratings",
        meaning="maximum of all earlier rated sessions.",
        level=references.running_max,
    ),
    Reference(
        name="own_mean", words="the patient's own mean of all sessions",
        meaning="mean of all the patient's rated sessions, the judged one included.",
        looks_ahead=True, ordered=False, level=references.own_level,
    ),
    Reference(
        name="own_median", words="the patient's own median of all sessions",
        meaning="median of all the patient's rated sessions, the judged one included.",
        looks_ahead=True, ordered=False, level=references.own_median,
    ),
    Reference(
        name="own_trend", words="the patient's own linear trend",
        meaning="the patient's least-squares line over session numbers.",
        looks_ahead=True, level=references.own_level,
    ),
)
REFERENCES: dict[str, Reference] = {reference.name: reference for reference in _REFERENCES}

_UNITS = (
    Unit(
        name="points", words="one point",
        meaning="points of the score.",
        several="{size:g} points", of="scale", in_points=units.points,
    ),
    Unit(
        name="percent", words="one percent of that level",
        meaning="percent of the reference level (of its absolute value).",
        several="{size:g} percent of that level", of="scale", in_points=units.percent,
    ),
    Unit(
        name="own_sd", words="the patient's own SD",
        meaning="the patient's SD (n - 1) around the own mean; with ``own_trend`` around the line (n - 2).",
        of="patient", looks_ahead=True, in_points=units.own_sd,
    ),
    Unit(
        name="pooled_sd", words="the pooled within-patient SD",
        meaning="root of the pooled within-patient variance of the study, around the same centre.",
        of="study", in_points=units.pooled_sd,
    ),
    Unit(
        name="shrunken_sd", words="the patient's own SD, shrunken towards the pooled one",
        meaning="root of the own variance drawn towards the pooled one, (df s_i^2 + w s^2) / (df + w), with "
        "w = 2 + 2 / CV^2 and CV the spread of the true variances across patients (method of moments, inverse gamma "
        "law).",
        of="patient", looks_ahead=True, in_points=units.shrunken_sd,
    ),
    Unit(
        name="earlier_sd",
        words="the SD of the patient's earlier ratings, shrunken towards the pooled within-patient SD",
        meaning="root of the variance of the patient's ratings *before* the one judged, drawn towards the pooled one "
        "with the weight of four further ratings, (q + 4 s^2) / (m + 4): q squares of the k earlier ratings around "
        "their own mean, m = k - 1 (0 for none), s^2 the study's pooled within-patient variance around the own means, "
        "whatever the `reference`. With no or one earlier rating it is the pooled SD. Earlier 6, 4, 5 in a study with "
        "s^2 = 1.5: q = 2, m = 2, the unit is sqrt(8 / 6) = 1.15 points.",
        of="patient", ordered=True, in_points=units.earlier_sd,
    ),
    Unit(
        name="between_sd", words="the between-patient SD",
        meaning="SD of the patients' own means.",
        of="study", in_points=units.between_sd,
    ),
    Unit(
        name="stricter_sd", words="the stricter of within- and between-patient SD",
        meaning="the larger of own and between SD (Gumz et al. 2012).",
        of="patient", looks_ahead=True, in_points=units.stricter_sd,
    ),
    Unit(
        name="moving_range", words="sigma of the patient's moving range",
        meaning="mean absolute difference of neighbouring ratings / 1.128, the sigma of a control chart for "
        "individuals.",
        of="patient", looks_ahead=True, ordered=True, in_points=units.moving_range,
    ),
    Unit(
        name="rci", words="the reliable change index",
        meaning="the reliable change index, 1.96 x SD x sqrt(2) x sqrt(1 - `reliability`), with the SD of the "
        "patients' first ratings (Jacobson & Truax 1991).",
        of="study", ordered=True, in_points=units.rci,
    ),
)
UNITS: dict[str, Unit] = {unit.name: unit for unit in _UNITS}

_REPAIRS = (
    Repair(
        name="past_baseline", words="strictly above the baseline",
        meaning="strictly above the baseline.",
        above=True, target=lambda baseline, lowest, amount: baseline,
    ),
    Repair(
        name="to_baseline", words="at or above the baseline",
        meaning="at or above the baseline.",
        target=lambda baseline, lowest, amount: baseline,
    ),
    Repair(
        name="share_of_fall", words="that has regained the share {amount:g} of the fall",
        meaning="has regained `repair_amount` (0 to 1] of the fall from baseline to the lowest score so far.",
        takes_amount=True, target=lambda baseline, lowest, amount: lowest + amount * (baseline - lowest),
    ),
    Repair(
        name="within_points", words="not more than {amount:g} points below the baseline",
        meaning="is not more than `repair_amount` points below the baseline.",
        takes_amount=True, target=lambda baseline, lowest, amount: baseline - amount,
    ),
)
REPAIRS: dict[str, Repair] = {repair.name: repair for repair in _REPAIRS}
# fmt: on


def described(words: Mapping[str, Reference | Unit | Repair]) -> str:
    """The meaning of each word, as lines of a docstring."""
    lines = (f"``{word.name}``: {word.meaning}" for word in words.values())
    return "\n".join(textwrap.fill(line, 108) for line in lines)
