"""What becomes of the events that a rule finds where there are no ruptures: repair, and the course afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.chance import study_frame
from alliance_stats.rupture.chance.draws import block_sizes, draw_null, each_block
from alliance_stats.rupture.chance.frame import part_words
from alliance_stats.rupture.chance.null_fit import fit_null
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.follow import follow
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.recovery import change_after_repair, watched
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.progress import bar
from alliance_stats.tables.schema import CENSORED, STATUSES, DataError, Seed, generator, require_whole
from alliance_stats.tables.shares import check_level


class Outcomes(NamedTuple):
    """What became of ruptures, (m,) each: patient, sessions watched, repaired and decided (0/1), change afterwards."""

    patient: IntArray
    time: IntArray
    repaired: FloatArray
    decided: FloatArray
    change: FloatArray


def chance_of_repair(
    sessions: pd.DataFrame,
    *,
    score: str,
    rule: str | Rule,
    seed: Seed,
    within: Sequence[int] = (1, 3, 6),
    after: int = 4,
    draws: int = 400,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    step: float | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """What became of the ruptures found, beside what becomes of as many "ruptures" in scores without any.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS of the whole study.
    score, rule, seed, bounds, step, n_jobs, progress
        As in :func:`~alliance_stats.chance_level`.
    within : sequence of int
        Sessions after the onset at which the share repaired is asked for.
    after : int
        Sessions before the onset and after the repair that are compared (:func:`growth_after_repair`).
    draws : int
        Studies drawn without ruptures, and samples of their "ruptures".
    level : float
        Coverage of the chance range.

    Returns
    -------
    DataFrame
        One row per quantity: ``quantity``, ``n`` (ruptures it rests on), ``observed``, ``expected`` by chance,
        ``chance_low``, ``chance_high``, ``p_value`` (two-sided). Quantities: ruptures repaired, of those decided;
        ruptures repaired within some sessions (Kaplan-Meier, :func:`repair_times`); change after repair. A large study
        is judged on a random part of its patients, which ``attrs["part"]`` states.

    Notes
    -----
    Where there is no rupture a single noisy score above the line "repairs" most events. The draws are those of the null
    of ``chance_level`` at its estimated parameters; units of the study are held at their value in the data. The events
    of all draws are pooled, and whole patients are sampled until there are as many events as were found: the range is
    conditional on the number of ruptures. Its answer is how repair would look if all events were noise. Where true
    ruptures are among them, repair is later than by chance, since a true rupture lasts. Where ruptures are many and
    long, the null takes a part of them for slow swings: then read the times, not share and change, against chance.

    The range leaves out that the null's parameters are estimates; how well it holds is told in docs/repair.md.
    """
    check_level(level)
    require_whole(draws, name="draws", low=100)
    require_whole(after, name="after", low=1)
    for sessions_after in within:
        require_whole(sessions_after, name="within", low=1)
    rule, rng = as_rule(rule), generator(seed)
    whole, _, who, frame, stream = study_frame(sessions, score, rule, bounds=bounds, step=step)
    series = frame.series
    find = partial(_outcomes, rule, judge(whole, rule).of_study, after)
    seen = find(series, series.score)
    if not len(seen.time):
        raise DataError("The rule finds no rupture.", remedy="Choose another rule, or a smaller size.")
    sizes = block_sizes(len(series.score), draws)
    with bar("Drawing studies without ruptures", len(sizes), show=progress):
        draw = partial(draw_null, frame, fit_null(frame, stream).exact())
        parts = each_block(find, series, draw, draws, rng, n_jobs=n_jobs)
    first = series.n_patients * (np.cumsum(sizes) - sizes)
    parts = [part._replace(patient=part.patient + before) for part, before in zip(parts, first, strict=True)]
    pool = Outcomes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    observed, expected = _answers(seen, within), _answers(pool, within)
    drawn = np.array([_answers(part, within) for part in _samples(pool, len(seen.time), draws, rng)])
    low, high, p_value = np.full((3, len(observed)), np.nan)
    tail = (1.0 - level) / 2.0
    for place in np.flatnonzero(~np.isnan(drawn).all(axis=0)):
        values = drawn[~np.isnan(drawn[:, place]), place]
        low[place], high[place] = np.quantile(values, [tail, 1.0 - tail])
        away = np.abs(values - expected[place]) >= abs(observed[place] - expected[place]) - 1e-12
        if not np.isnan(observed[place]):
            p_value[place] = (1.0 + away.sum()) / (1.0 + len(values))
    names = [f"ruptures repaired within {sessions_after} session(s)" for sessions_after in within]
    n = [int(seen.decided.sum()), *[len(seen.time)] * len(within), int((~np.isnan(seen.change)).sum())]
    table = pd.DataFrame(
        {
            "quantity": ["ruptures repaired, of those decided", *names, "change after repair"],
            "n": n,
            "observed": observed,
            "expected": expected,
            "chance_low": low,
            "chance_high": high,
            "p_value": p_value,
        }
    )
    table.attrs["part"] = part_words(who, whole)
    return table


def _outcomes(rule: Rule, of_study: dict[str, FloatArray], after: int, series: Series, scores: FloatArray) -> Outcomes:
    """What became of every rupture that the rule finds."""
    found = follow(judge(series, rule, of_study))
    seen = watched(series, found.onset, found.repaired, found.resumed, rule.window)
    change = change_after_repair(series, found.onset, found.repaired, sessions=after)
    decided = found.status != STATUSES.index(CENSORED)
    return Outcomes(
        series.owner[found.onset], seen.time, seen.repaired.astype(np.float64), decided.astype(np.float64), change
    )


def _answers(ruptures: Outcomes, within: Sequence[int]) -> FloatArray:
    """The share repaired of those decided, the share repaired by each time, and the mean change."""
    decided = ruptures.decided.sum()
    if not len(ruptures.time):
        return np.full(len(within) + 2, np.nan)
    share = ruptures.repaired.sum() / decided if decided else np.nan
    longest = max(int(ruptures.time.max(initial=0)), *within)
    risk = np.cumsum(np.bincount(ruptures.time, minlength=longest + 1)[::-1])[::-1]
    repaired = np.bincount(ruptures.time, weights=ruptures.repaired, minlength=longest + 1)
    still_open = np.cumprod(1.0 - np.divide(repaired, risk, out=np.zeros(longest + 1), where=risk > 0))
    known = ruptures.change[~np.isnan(ruptures.change)]
    return np.array([share, *(1.0 - still_open[list(within)]), known.mean() if len(known) else np.nan])


def _samples(pool: Outcomes, n: int, draws: int, rng: np.random.Generator) -> list[Outcomes]:
    """Samples of whole patients with about `n` ruptures each."""
    if not len(pool.patient):
        return [pool] * draws
    starts = np.flatnonzero(np.r_[True, np.diff(pool.patient) != 0])
    counts = np.diff(np.r_[starts, len(pool.patient)])
    samples = []
    for _ in range(draws):
        who = rng.integers(0, len(starts), n)
        who = who[: int(np.searchsorted(np.cumsum(counts[who]), n)) + 1]
        many = counts[who]
        rows = np.repeat(starts[who] - np.cumsum(many) + many, many) + np.arange(many.sum())
        samples.append(Outcomes(*(column[rows[:n]] for column in pool)))
    return samples
