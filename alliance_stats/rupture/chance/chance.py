"""How many ruptures a rule finds where there are none, and what that leaves of those it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.counted import false_discovery, main_table, patient_table, session_table
from alliance_stats.rupture.chance.draws import (
    QUANTITIES,
    Counts,
    Drawn,
    block_sizes,
    count_draws,
    count_study,
    draw_fitted,
    draw_shuffled,
)
from alliance_stats.rupture.chance.frame import Frame, frame_of, part_words, random_part, stream_of
from alliance_stats.rupture.chance.null import NullParameters
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.detect import events_table, label
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Roll, Series, read_series
from alliance_stats.rupture.rules.vocabulary import REFERENCES, UNITS
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.progress import bar
from alliance_stats.tables.rendering import as_html
from alliance_stats.tables.schema import DataError, Seed, generator, require_choice
from alliance_stats.tables.shares import normal_quantile

NULLS = ("fitted", "shuffled")


@dataclass(frozen=True)
class ChanceLevel:
    """What a rule found, beside what it finds where there is nothing to find.

    Attributes
    ----------
    table : DataFrame
        One row per quantity (patients with a rupture, ruptures, sessions with a fall, repaired ruptures, patients with
        a repaired rupture): ``quantity``, ``of`` (the patients or rated sessions it could be; of a large study those
        of a random part, which `verdict_words` states), ``observed``,
        ``expected`` by chance, ``chance_low`` and ``chance_high`` (the range that chance alone gives in 95 % of
        studies), ``at_least`` (how many of those found are more than chance gives, at least: observed less the 95 %
        point of the draws, never below 0; NaN where ruptures cannot be told apart from noise),
        ``ratio`` (observed / expected, too small where there are ruptures), ``ratio_low`` and ``ratio_high`` (its
        confidence interval, from the scatter of patients around their own expected counts), ``p_value`` ((1 + draws
        with as many or more) / (draws + 1); NaN where ruptures cannot be told apart from noise), ``verdict``.
    by_session : DataFrame
        Onsets by session number: ``session``, ``n_rated``, ``observed``, ``expected``, ``chance_low``, ``chance_high``,
        and the same as rates of rated sessions, ``observed_rate``, ``expected_rate``, ``low_rate``, ``high_rate``.
    events : DataFrame
        The EVENTS found, of every patient, with ``false_discovery``: the share of ruptures at least so deep (in units)
        that chance would give, expected over observed, made monotone in depth, at most 1; too large where there are
        ruptures.
    verdict : str
        Whether the fitted null fits the data: ``fits``, ``does not fit`` or ``cannot be told apart`` (more deep ratings
        that do not last than the null gives, or more than a quarter of the ratings within one SD of the highest score);
        empty for the shuffled null. The same for every seed.
    verdict_words : str
        The same as a sentence, and the part of a large study that was counted.
    fit : DataFrame
        What the verdict rests on, data beside 120 draws: ``quantity``, ``observed``, ``expected``, ``sd``, ``z``,
        ``fits``; mean changes and upper spread by phase (ratings 1-3, 4-8, later) and by level of the patient,
        autocorrelation, lower tail, deep ratings that do not last. In robust within-patient SD.
    null : str
        ``fitted`` or ``shuffled``.
    parameters : NullParameters or None
        Of the fitted null.
    diagnostics : tuple of str
        What to be wary of; empty if nothing.
    """

    table: pd.DataFrame
    by_session: pd.DataFrame
    events: pd.DataFrame
    score: str
    rule: Rule
    null: str
    draws: int
    level: float
    parameters: NullParameters | None
    diagnostics: tuple[str, ...]
    verdict: str
    verdict_words: str
    fit: pd.DataFrame = field(repr=False)
    per_patient: pd.DataFrame = field(repr=False)
    """Observed and expected counts of each rated patient: ``patient``, ``n_rated``, ``ruptures``, ``expected``."""

    def summary(self) -> str:
        """The result as plain text."""
        lines = [self._head(), self.table.round(3).to_string(index=False)]
        if self.parameters is not None:
            values = ", ".join(f"{name} {value:.3g}" for name, value in self.parameters._asdict().items())
            lines.append(f"Null: {values}.")
        return "\n".join(
            [*filter(None, [*lines, self.verdict_words]), *(f"Beware: {text}" for text in self.diagnostics)]
        )

    def _head(self) -> str:
        return f"Chance level of rule {self.rule.name} on {self.score} ({self.null} null, {self.draws} draws)"

    def __str__(self) -> str:
        """The result as plain text."""
        return self.summary()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The result for a notebook."""
        head = [self._head(), self.verdict_words] if self.verdict_words else [self._head()]
        return as_html(head, {"Found, and expected by chance": self.table}, self.diagnostics, level=self.level)


def chance_level(
    sessions: pd.DataFrame,
    *,
    score: str,
    rule: str | Rule,
    draws: int = 1000,
    seed: Seed,
    null: str = "fitted",
    bounds: tuple[float, float] | None = None,
    step: float | None = None,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> ChanceLevel:
    """What a rule finds in scores like these when no rupture exists, beside what it found.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS of the whole study.
    score : str
        The alliance score.
    rule : str or Rule
        A name in :data:`~alliance_stats.RULES`, or a :class:`~alliance_stats.Rule`.
    draws : int
        Studies drawn without ruptures; 100 or more. Half as many more are drawn with exactly the estimated parameters:
        they give what is expected by session, patient and depth.
    seed : int or Generator
        The same seed gives the same result.
    null : str
        ``fitted``: patient levels and trends, a smooth mean course of which patients have more or less, AR(1) state,
        measurement noise, spread that differs between patients and may change over sessions and with level, the score's
        grid and bounds, the real sessions and holes (see Notes). ``shuffled``: each patient's own scores in random
        order, which keeps every distribution exactly but removes trend and autocorrelation: a cruder check.
    bounds : (float, float), optional
        Lowest and highest possible score; otherwise the rule's, otherwise the lowest and highest seen.
    step : float, optional
        Grid of the score (1 for whole points, 1/12 for the mean of 12 items, 0 for none); otherwise read off the data.
    level : float
        Coverage of the intervals.
    n_jobs : int, optional
        Workers for the draws: 2, or -1 for all cores; the numbers are the same for any.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    ChanceLevel
        ``.table``, ``.by_session``, ``.events``, ``.parameters``, ``.diagnostics``; printable.

    Notes
    -----
    The fitted null is estimated together with a rate of ruptures, which it leaves out (module ``null_fit``). Its
    uncertainty is part of the draws: their parameters scatter around the estimate, and every
    draw is moved along the regression of its counts on its own estimates to those of the data (Beaumont, Zhang &
    Balding 2002); the middle is that of further draws at the estimate itself. What the rule's unit takes from the whole
    study (a pooled SD, the SD between patients) is held where the data put it: the draws are judged by thresholds that
    are the same in points as those of the data.

    The null assumes normal states and noise, a mean course that is smooth in the logarithm of the session number, one
    autocorrelation, spread that is lognormal over patients, and ratings missing for reasons unrelated to the score
    missed. Whether the data look so is checked and said (`verdict`). Where deep ratings do not last, ruptures and
    skewed noise look the same, and no p-value is given; ruptures of a single session are of that kind. Near a ceiling
    the range of chance is widened, and with many ratings there no p-value is given. A part of the ruptures passes for
    noise: where there are ruptures, expected counts are too high, excess and ratio too small. ``at_least`` is the
    number to quote. How well it holds, and how all this was proved, is in ``docs/chance.md``.

    Estimate and verdict use a stream of random numbers of their own, which depends on the data alone.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> sessions = pd.DataFrame({"patient": np.repeat(range(40), 12), "session": np.tile(range(1, 13), 40)})
    >>> sessions["alliance"] = rng.normal(5, 0.5, 480)   # noise: there is nothing to find
    >>> chance = chance_level(sessions, score="alliance", rule="own_mean_2sd", draws=200, seed=2)
    >>> row = chance.table.iloc[0]
    >>> bool(row["chance_low"] <= row["observed"] <= row["chance_high"])
    True
    """
    rule = as_rule(rule)
    require_choice(null, NULLS, name="null")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 100:
        raise ValueError(f"draws={draws!r} must be a whole number, 100 or more.")
    normal_quantile(level)
    rng = generator(seed)
    whole, roll, who, frame, stream = study_frame(sessions, score, rule, bounds=bounds, step=step)
    series = frame.series
    of_whole, judged, ruptures = count_study(whole, rule)
    events = label(events_table(judged, ruptures, roll, score=score), rule, score=score)
    observed, judged, _ = count_study(series, rule, judged.of_study)
    n_blocks = len(block_sizes(len(series.score), draws)) + len(block_sizes(len(series.score), draws // 2))
    with bar("Drawing studies without ruptures", n_blocks, show=progress):
        if null == "fitted":
            drawn = draw_fitted(fit_null(frame, stream), judged, frame, draws, rng, stream, n_jobs=n_jobs)
        else:
            found = count_draws(frame, judged, partial(draw_shuffled, series), draws, rng, n_jobs=n_jobs)
            drawn = Drawn(found, found.total, found.total.mean(axis=0), None, [], pd.DataFrame(), "", "")
    found, expected = drawn.found, drawn.expected
    warnings = [*drawn.warnings, *_about(series, observed, expected)]
    words, part = drawn.words, part_words(who, whole)
    if part:
        ruptures_of = f"{observed.total[0, 1]:,.0f} of the {of_whole.total[0, 1]:,.0f} ruptures"
        words = f"Counted here: {part}, with {ruptures_of}. {words}".rstrip()
    ordered = REFERENCES[rule.reference].ordered or UNITS[rule.unit].ordered or bool(rule.run_rules)
    if null == "shuffled" and not ordered:
        warnings.append(
            "This rule does not look at the order of sessions: shuffling shows repairs only, use the fitted null."
        )
    at_estimate = found.total.mean(axis=0)
    scale = np.divide(expected, at_estimate, out=np.ones(len(QUANTITIES)), where=at_estimate > 0)
    per_patient = found.per_patient * scale
    larger = len(whole.score) / len(series.score)
    return ChanceLevel(
        table=main_table(series, observed, drawn.totals, expected, per_patient, level, drawn.verdict),
        by_session=session_table(series, observed, found, float(scale[1]), level, drawn.verdict),
        events=events.assign(false_discovery=false_discovery(of_whole.depth, found, float(scale[1]) * larger)),
        score=score,
        rule=rule,
        null=null,
        draws=draws,
        level=level,
        parameters=drawn.parameters,
        diagnostics=tuple(warnings),
        verdict=drawn.verdict,
        verdict_words=words,
        fit=drawn.fit,
        per_patient=patient_table(roll.ids.iloc[roll.rated[who]], series, observed, per_patient),
    )


class Read(NamedTuple):
    """The rated sessions of a study, who of them is judged, and the frame of those.

    `stream` is of random numbers that depend on the data alone; what is drawn first from it is the part.
    """

    whole: Series
    roll: Roll
    who: IntArray
    frame: Frame
    stream: np.random.Generator


def study_frame(
    sessions: pd.DataFrame, score: str, rule: Rule, *, bounds: tuple[float, float] | None, step: float | None
) -> Read:
    """The rated sessions, of which there must be some, within the bounds: stated, the rule's, or the scores seen."""
    whole, roll = read_series(sessions, score)
    if not len(whole.score):
        raise DataError(f"No session has a rating of {score!r}.", remedy="Name the column that holds the scores.")
    seen = float(whole.score.min()), float(whole.score.max())
    low, high = bounds or rule.bounds or seen
    if not (low <= seen[0] and seen[1] <= high):
        raise ValueError(
            f"bounds={(low, high)!r}, but the scores run from {seen[0]:g} to {seen[1]:g}: state the scale's own bounds."
        )
    stream = stream_of(whole)
    who = random_part(whole, stream)
    return Read(whole, roll, who, frame_of(whole.of_patients(who), bounds=(low, high), step=step), stream)


def _about(series: Series, observed: Counts, expected: FloatArray) -> list[str]:
    warnings = []
    if expected[1] < 1.0 and observed.total[0, 1] == 0:
        warnings.append("The rule hardly ever fires on such data, by chance or otherwise: p-values say little.")
    if np.median(series.length) < 5:
        warnings.append(f"Half the patients have fewer than 5 ratings (median {np.median(series.length):g}).")
    return warnings
