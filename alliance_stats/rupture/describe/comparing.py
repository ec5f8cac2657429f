"""Detected ruptures beside coded ones, and patient-rated beside therapist-rated ones, with what chance gives."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.agreement import Agreement, Marks, Quantity
from alliance_stats.rupture.describe.describe import place_events
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.follow import follow
from alliance_stats.rupture.rules.members import as_rule
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    DataError,
    Seed,
    check_sessions,
    generator,
    numeric,
    refuse,
    require_allowed,
    require_columns,
    require_whole,
    suggest,
)
from alliance_stats.tables.shares import check_level, ratio

CODED_TYPES = ("withdrawal", "confrontation", "mixed")
STRATEGIES = ("immediate direct", "immediate indirect", "expressive")


def coder_agreement(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    codes: pd.DataFrame,
    *,
    seed: Seed,
    margin: int = 1,
    coded: pd.DataFrame | None = None,
    score: str | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """How detected ruptures agree with coded or self-reported ones (3RS, PSQ), within a margin of sessions.

    Parameters
    ----------
    sessions, events : DataFrame
        SESSIONS and the EVENTS detected in them.
    codes : DataFrame
        One row per coded rupture: ``patient``, ``session``, optionally ``type`` (withdrawal, confrontation, mixed) and
        ``strategy`` of repair (immediate direct, immediate indirect, expressive).
    seed : int or Generator
        For the bootstrap and the random moves.
    margin : int
        An onset and a code at most this many sessions apart are one rupture; each is paired once, with its nearest
        partner.
    coded : DataFrame, optional
        ``patient``, ``session`` of the sessions that were coded at all. Without it, every rated session of
        `sessions` counts as coded.
    score : str, optional
        What the events were detected on, where they do not tell.
    draws, level
        Bootstrap samples of patients and random moves (see Notes), and coverage of the percentile intervals.

    Returns
    -------
    DataFrame
        One row per quantity: ``quantity``, ``estimate``, ``expected`` (by chance), ``ci_low``, ``ci_high``,
        ``p_value`` (of as many pairs or more by chance), ``count``, ``of``. Quantities: sensitivity (coded ruptures
        that were detected; also for each type and strategy), precision (detected ones that were coded), specificity,
        ruptures per session by either source, kappa, Cohen's kappa and AC1, and the codes left out because their
        session has no rating.

    Notes
    -----
    Sessions count that were both rated and coded; onsets and codes elsewhere are left out. Several codes of one session
    are one rupture (of each of its types).

    A margin makes agreement easy: of marks set at random many lie within a session of each other. ``expected`` is what
    remains if the codes of each patient are moved together by a random number of sessions (those at the end go on at
    the start), so that their number and their gaps stay.

    ``kappa`` is (agreement - expected) / (1 - expected) over sessions, the agreement being that of the pairs within the
    margin. It is about 0 for marks that have nothing to do with each other, whatever the margin, even if both sources
    mark some patients more often than others. Cohen's (1960) kappa and Gwet's (2008) AC1, which keeps its meaning where
    ruptures are rare, have no such correction: they count marks in the same session only.

    Where there are few pairs the bootstrap's intervals are too narrow. The p-value, from the random moves, holds.
    """
    check_level(level)
    require_whole(margin, name="margin", low=0)
    require_whole(draws, name="draws", low=1)
    placed = place_events(sessions, events, score=score)
    ids, rng = placed.roll.ids, generator(seed)
    for column, allowed in (("type", CODED_TYPES), ("strategy", STRATEGIES)):
        if column in codes:
            require_allowed(codes, column, allowed)
    looked = pd.MultiIndex.from_arrays([placed.roll.rated[placed.series.owner], placed.series.session])
    codes_at = _located(codes, ids, "codes")
    if coded is not None:
        listed, problem = _located(coded, ids, "coded"), "A code belongs to a session that `coded` does not list."
        refuse(codes, ~codes_at.isin(listed), problem, remedy="Add the session to coded=.", row=False)
        looked = looked[looked.isin(listed)]
    onsets = pd.MultiIndex.from_arrays([placed.owner, placed.series.session[placed.onset]])
    detected, marked = (_marks(index[index.isin(looked)]) for index in (onsets, codes_at))
    every = _marks(looked)
    how = {"n_patients": len(ids), "margin": margin, "draws": draws}
    found = Agreement(detected, marked, looked=every, possible=every, rng=rng, **how)
    calm = found.n_looked - found.n_second
    rows = {
        "sensitivity": found.seen(found.n_second),
        "precision": found.seen(found.n_first),
        "specificity": Quantity(calm - found.n_first + found.both, calm, calm - found.n_first + found.both_by_chance),
        "detected per session": Quantity(found.n_first, found.n_looked),
        "coded per session": Quantity(found.n_second, found.n_looked),
    }
    at = pd.MultiIndex.from_arrays(list(marked))
    for kind, allowed in (("type", CODED_TYPES), ("strategy", STRATEGIES)):
        for value in allowed if kind in codes else ():
            of_kind = at.isin(codes_at[(codes[kind] == value).to_numpy()])
            if of_kind.any():
                rows[f"sensitivity: {value}"] = found.of_second(of_kind)
    table = found.table(rows, rng=rng, draws=draws, level=level)
    n_codes = len(codes_at.unique())
    n_out = n_codes - len(marked.who)
    left_out = {"quantity": "codes left out (session not rated)", "estimate": float(ratio(n_out, n_codes))}
    return pd.concat([table, pd.DataFrame([left_out | {"count": n_out, "of": n_codes}])], ignore_index=True)


def compare_raters(
    sessions: pd.DataFrame,
    *,
    scores: tuple[str, str] = ("alliance", "alliance_therapist"),
    rule: str | Rule,
    seed: Seed,
    margin: int = 1,
    draws: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Who saw the ruptures, and who saw them first: one rule on two raters' scores of the same sessions.

    As in :func:`coder_agreement`; the second rater's ruptures are moved among the sessions that the rule can judge. The
    p-values of who was first are two-sided.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with both score columns; a session counts where both rated it.
    scores : (str, str)
        The two columns, the patient's first by custom.
    rule : str or Rule
        Used on both, each with its own units.
    seed, margin, draws, level
        As in :func:`coder_agreement`.

    Returns
    -------
    DataFrame
        ``quantity``, ``estimate``, ``expected`` (by chance), ``ci_low``, ``ci_high``, ``p_value``, ``count``, ``of``.
        Quantities: ruptures seen by both, of those seen by the first and by the second rater; among those seen by both,
        seen first by the one, by the other, or in the same session; ruptures per session by either rater; kappa,
        Cohen's kappa and AC1.
    """
    check_level(level)
    require_whole(margin, name="margin", low=0)
    require_whole(draws, name="draws", low=1)
    first, second = scores
    if first == second:
        raise ValueError(f"scores={scores!r} must be two different columns.")
    table = check_sessions(sessions, [first, second])
    shared = table[[first, second]].notna().all(axis=1)
    if not shared.any():
        raise DataError(f"No session has both {first!r} and {second!r}.", remedy="Compare raters of the same sessions.")
    marks = []
    for score in (first, second):
        series, _ = read_series(table[shared], score)
        judged = judge(series, as_rule(rule))
        onset = follow(judged).onset
        marks.append(Marks(series.owner[onset], series.session[onset]))
    rng = generator(seed)
    found = Agreement(
        *marks,
        looked=Marks(series.owner, series.session),
        possible=Marks(series.owner[judged.judgeable], series.session[judged.judgeable]),
        n_patients=series.n_patients,
        margin=margin,
        draws=draws,
        rng=rng,
    )
    rows = {
        f"also in {second}, of those in {first}": found.seen(found.n_first),
        f"also in {first}, of those in {second}": found.seen(found.n_second),
        f"first in {first}, of those in both": found.ahead(2),
        f"first in {second}, of those in both": found.ahead(0),
        "in the same session, of those in both": found.ahead(1),
        f"{first}: ruptures per session": Quantity(found.n_first, found.n_looked),
        f"{second}: ruptures per session": Quantity(found.n_second, found.n_looked),
    }
    return found.table(rows, rng=rng, draws=draws, level=level)


def _marks(index: pd.MultiIndex) -> Marks:
    """Each session once, by patient and session."""
    once = index.unique().sort_values()
    return Marks(once.get_level_values(0).to_numpy(np.int64), once.get_level_values(1).to_numpy(np.int64))


def _located(table: pd.DataFrame, ids: pd.Series, name: str) -> pd.MultiIndex:
    """The place of each row's patient in `ids`, and its session."""
    require_columns(table, [PATIENT, SESSION], table_name=name)
    who = pd.Index(ids).get_indexer(pd.Index(table[PATIENT]))
    if (who < 0).any():
        first = table[PATIENT].iloc[int(np.flatnonzero(who < 0)[0])]
        raise DataError(f"A patient of {name} is not in the sessions.", remedy=suggest(first, ids), patient=first)
    when = numeric(table, SESSION)
    bad = ~(np.floor(when) == when)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"'session' of {name} must hold whole numbers.",
            remedy="Give every row the number of its session.",
            row=table.index[row],
            patient=table[PATIENT].iloc[row],
        )
    return pd.MultiIndex.from_arrays([who, when.astype(np.int64)])
