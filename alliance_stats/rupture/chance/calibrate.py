"""The size of fall that gives a wanted rate of false alarms on a study, and the prevalence that chance leaves over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.chance import NULLS, ChanceLevel, chance_level, study_frame
from alliance_stats.rupture.chance.draws import block_sizes, draw_null, draw_shuffled, each_block
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.progress import bar
from alliance_stats.tables.rendering import as_html
from alliance_stats.tables.schema import Seed, generator, require_choice
from alliance_stats.tables.shares import normal_quantile

UNITS_OF_ALARM = ("patient", "session")


@dataclass(frozen=True)
class Calibration:
    """A rule at a wanted rate of false alarms on one study.

    Attributes
    ----------
    size : float
        The smallest size, in the rule's unit, at which the rate is not exceeded.
    rule : Rule
        The rule with that size; ready for :func:`~alliance_stats.detect_ruptures`.
    rate, per : float, str
        The rate that was wanted, per ``patient`` (share with any fall) or per ``session`` (share of rated sessions).
    reached, reached_error : float
        The rate reached over the draws, and its Monte Carlo standard error. Below `rate` where the score's grid allows
        no finer choice.
    curve : DataFrame
        ``size``, ``patient_rate``, ``session_rate``: false alarms by size.
    prevalence : DataFrame
        What chance leaves over at that size, one row per quantity: ``quantity``, ``observed``, ``expected``, ``excess``
        (observed - expected), ``per`` (what it is divided by), ``adjusted`` (excess / per) with ``ci_low`` and
        ``ci_high`` from the scatter of patients. An adjusted prevalence below 0 says: no more than chance.
    chance : ChanceLevel
        The chance level at that size, from fresh draws.
    """

    size: float
    rule: Rule
    rate: float
    per: str
    reached: float
    reached_error: float
    curve: pd.DataFrame
    prevalence: pd.DataFrame
    chance: ChanceLevel

    def summary(self) -> str:
        """The result as plain text."""
        return f"{self._head()}\n{self.prevalence.round(4).to_string(index=False)}"

    def _head(self) -> str:
        return (
            f"Rule {self.rule.name}: size {self.size:.4g} gives {self.reached:.2%} false alarms per {self.per} "
            f"(wanted {self.rate:.2%})"
        )

    def __str__(self) -> str:
        """The result as plain text."""
        return self.summary()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The result for a notebook."""
        return as_html([self._head()], {"Observed less expected": self.prevalence})


def calibrate(
    sessions: pd.DataFrame,
    *,
    score: str,
    rule: str | Rule,
    rate: float = 0.05,
    per: str = "patient",
    draws: int = 1000,
    seed: Seed,
    null: str = "fitted",
    bounds: tuple[float, float] | None = None,
    step: float | None = None,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Calibration:
    """Choose the size of a rule's fall so that scores without ruptures are flagged at a wanted rate.

    Parameters
    ----------
    sessions, score, rule, draws, seed, null, bounds, step, level, n_jobs, progress
        As in :func:`~alliance_stats.chance_level`; the rule's own size is not used. Rules with run rules signal at
        fixed distances and cannot be calibrated by size.
    rate : float
        Wanted false-alarm rate, in (0, 1).
    per : str
        ``patient``: share of patients in whom any session meets the criterion. ``session``: share of rated sessions.

    Returns
    -------
    Calibration
        ``.size``, ``.rule``, ``.curve``, ``.prevalence``, ``.chance``; printable.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> sessions = pd.DataFrame({"patient": np.repeat(range(40), 12), "session": np.tile(range(1, 13), 40)})
    >>> sessions["alliance"] = rng.normal(5, 0.5, 480)
    >>> found = calibrate(sessions, score="alliance", rule="own_mean_2pooled", draws=200, seed=2)
    >>> 2.0 < found.size < 4.0, found.reached <= 0.05
    (True, True)
    """
    rule = as_rule(rule)
    require_choice(per, UNITS_OF_ALARM, name="per")
    require_choice(null, NULLS, name="null")
    if not 0.0 < rate < 1.0:
        raise ValueError(f"rate={rate!r} must lie between 0 and 1.")
    if rule.run_rules:
        raise ValueError(f"rule {rule.name!r} signals by run rules too, which have no size: it cannot be calibrated.")
    rng = generator(seed)
    whole, _, _, frame, stream = study_frame(sessions, score, rule, bounds=bounds, step=step)
    series = frame.series
    draw = partial(draw_shuffled, series)
    if null == "fitted":
        draw = partial(draw_null, frame, fit_null(frame, stream).exact())
    work = partial(_depths, rule, judge(whole, rule).of_study)
    with bar("Looking for the size", len(block_sizes(len(series.score), draws)), show=progress):
        deepest, every = zip(*each_block(work, series, draw, draws, rng, n_jobs=n_jobs), strict=True)
    pool = {"patient": np.sort(np.concatenate(deepest)), "session": np.sort(np.concatenate(every))}
    size = smallest_size(pool[per], rate)
    reached = _rate_at(pool[per], size)
    chosen = replace(rule, size=size)
    chance = chance_level(
        sessions,
        score=score,
        rule=chosen,
        draws=draws,
        seed=rng,
        null=null,
        bounds=bounds,
        step=step,
        level=level,
        n_jobs=n_jobs,
        progress=progress,
    )
    sizes = np.unique(np.r_[np.linspace(0.5, 1.5, 41) * size, size])
    per_draw = np.array([_rate_at(np.sort(part), size) for part in (deepest if per == "patient" else every)])
    error = float(per_draw.std(ddof=1) / np.sqrt(len(per_draw))) if len(per_draw) > 1 else float("nan")
    return Calibration(
        size=size,
        rule=chosen,
        rate=rate,
        per=per,
        reached=reached,
        reached_error=error,
        curve=pd.DataFrame(
            {
                "size": sizes,
                "patient_rate": [_rate_at(pool["patient"], value) for value in sizes],
                "session_rate": [_rate_at(pool["session"], value) for value in sizes],
            }
        ),
        prevalence=_prevalence(chance, level),
        chance=chance,
    )


def _depths(
    rule: Rule, of_study: dict[str, FloatArray], drawn: Series, scores: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The deepest fall of every patient, and every fall."""
    depth = judge(drawn, rule, of_study).depth()
    return np.maximum.reduceat(depth, drawn.start), depth


def smallest_size(depth: FloatArray, rate: float) -> float:
    """The smallest size that no more than `rate` of the (sorted) depths reach; midway between two depths.

    >>> smallest_size(np.array([1.0, 2.0, 3.0, 4.0]), 0.25)
    3.5
    """
    allowed = int(np.floor(rate * len(depth) + 1e-9))
    able = depth[np.isfinite(depth)]
    if not len(able):
        raise ValueError("The rule can judge no session of these data: it has no rate to calibrate.")
    if allowed >= len(able):
        return max(float(able[0]), 1e-6)
    bar = float(able[len(able) - 1 - allowed])
    above = able[np.searchsorted(able, bar + 1e-9 * max(abs(bar), 1.0), side="right") :]
    size = (bar + float(above[0])) / 2.0 if len(above) else bar * (1.0 + 1e-6) + 1e-9
    return max(size, 1e-6)


def _rate_at(depth: FloatArray, size: float) -> float:
    return float((len(depth) - np.searchsorted(depth, size)) / len(depth))


def _prevalence(chance: ChanceLevel, level: float) -> pd.DataFrame:
    """Observed less expected, per rated session and per patient, with intervals from the scatter of patients."""
    patients = chance.per_patient
    z = normal_quantile(level)
    observed = {"onsets per rated session": patients["ruptures"], "patients with a rupture": patients["ruptures"] > 0}
    expected = {"onsets per rated session": patients["expected"], "patients with a rupture": patients["expected_any"]}
    weight = {"onsets per rated session": patients["n_rated"], "patients with a rupture": patients["n_rated"] > 0}
    rows = []
    for quantity, values in observed.items():
        seen, by_chance = values.to_numpy(dtype=np.float64), expected[quantity].to_numpy()
        per = weight[quantity].to_numpy(dtype=np.float64)
        excess, total, n = float((seen - by_chance).sum()), float(per.sum()), len(per)
        adjusted = excess / total
        squares = float(np.square(seen - by_chance - adjusted * per).sum())
        half = z * float(np.sqrt(n / max(n - 1, 1) * squares)) / total
        rows.append((quantity, seen.sum(), by_chance.sum(), excess, total, adjusted, adjusted - half, adjusted + half))
    names = ["quantity", "observed", "expected", "excess", "per", "adjusted", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)
