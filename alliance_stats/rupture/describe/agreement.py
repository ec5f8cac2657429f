"""Agreement: patient-rated with therapist-rated ruptures, detected with coded ones; attendance as a leading marker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.rupture.describe.describe import at_risk, bring_together
from alliance_stats.rupture.describe.matching import match_within
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import FloatArray, IntArray
from alliance_stats.tables.schema import (
    ATTENDANCE,
    ATTENDANCES,
    ATTENDED,
    PATIENT,
    SESSION,
    DataError,
    Seed,
    check_sessions,
    generator,
    require_columns,
    suggest,
)

CODED_TYPES = ("withdrawal", "confrontation", "mixed")
STRATEGIES = ("immediate direct", "immediate indirect", "expressive")


class Cells(NamedTuple):
    """Per patient (p,): sessions marked by both sources, by the first alone, by the second alone, by neither."""

    both: FloatArray
    first_only: FloatArray
    second_only: FloatArray
    neither: FloatArray


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
        For the bootstrap.
    margin : int
        An onset and a code at most so many sessions apart are one rupture; each is paired once.
    coded : DataFrame, optional
        ``patient``, ``session`` of the sessions that were coded at all. Without it, every rated session of
        `sessions` counts as coded. Detected onsets outside the coded sessions are left out.
    score : str, optional
        What the events were detected on, where they do not tell.
    draws, level
        Bootstrap samples of patients, and coverage of the percentile intervals.

    Returns
    -------
    DataFrame
        One row per quantity: ``quantity``, ``estimate``, ``ci_low``, ``ci_high``, ``count``, ``of``: sensitivity (coded
        ruptures that were detected; also for each type and strategy), precision (detected ones that were coded),
        specificity, prevalence by either source, kappa (Cohen 1960) and AC1 (Gwet 2008), which stays meaningful where
        ruptures are rare.

    Notes
    -----
    Kappa and AC1 rest on a two by two table of sessions: pairs, unpaired onsets, unpaired codes, and the rest.
    """
    study = bring_together(sessions, events, score=score)
    require_columns(codes, [PATIENT, SESSION], table_name="codes")
    _check_kinds(codes, "type", CODED_TYPES)
    _check_kinds(codes, "strategy", STRATEGIES)
    n = len(study.roll.ids)
    rated = pd.DataFrame({"who": study.roll.rated[study.series.owner], "session": study.series.session})
    looked = rated if coded is None else _located(coded, study.roll.ids, "coded")
    codes_at = _located(codes, study.roll.ids, "codes")
    onsets = pd.DataFrame({"who": study.owner, "session": study.series.session[study.onset]})
    known = pd.MultiIndex.from_frame(looked)
    stray = ~pd.MultiIndex.from_frame(codes_at).isin(known)
    if coded is not None and stray.any():
        first = codes.iloc[int(np.flatnonzero(stray)[0])]
        raise DataError(
            "A code stands at a session that `coded` does not list.",
            remedy="Add the session to coded=.",
            patient=first[PATIENT],
            session=first[SESSION],
        )
    onsets = onsets[pd.MultiIndex.from_frame(onsets).isin(known)] if coded is not None else onsets
    a, b = match_within(onsets["who"], onsets["session"], codes_at["who"], codes_at["session"], margin=margin)
    n_looked = np.bincount(looked["who"], minlength=n)
    cells = _cells(onsets["who"].to_numpy(), codes_at["who"].to_numpy(), a, n_looked)
    rows: dict[str, tuple[Any, Any]] = {
        "sensitivity": (cells.both, cells.both + cells.second_only),
        "precision": (cells.both, cells.both + cells.first_only),
        "specificity": (cells.neither, cells.neither + cells.first_only),
        "detected per session": (cells.both + cells.first_only, n_looked),
        "coded per session": (cells.both + cells.second_only, n_looked),
    }
    hit = np.zeros(len(codes_at), dtype=bool)
    hit[b] = True
    for kind, allowed in (("type", CODED_TYPES), ("strategy", STRATEGIES)):
        if kind not in codes:
            continue
        for value in allowed:
            of_kind = (codes[kind] == value).to_numpy()
            if of_kind.any():
                who = codes_at["who"].to_numpy()
                rows[f"sensitivity: {value}"] = (
                    np.bincount(who[of_kind & hit], minlength=n),
                    np.bincount(who[of_kind], minlength=n),
                )
    return _agreement_table(rows, cells, n_looked, generator(seed), draws, level)


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
        ``quantity``, ``estimate``, ``ci_low``, ``ci_high``, ``count``, ``of``: ruptures seen by both, of those seen by
        the first and by the second rater; among those seen by both, seen first by the one, by the other, or in the same
        session; prevalence by either rater; kappa and AC1 over sessions.
    """
    first, second = scores
    if first == second:
        raise ValueError(f"scores={scores!r} must be two different columns.")
    table = check_sessions(sessions, [first, second])
    shared = table[[first, second]].notna().all(axis=1)
    if not shared.any():
        raise DataError(f"No session has both {first!r} and {second!r}.", remedy="Compare raters of the same sessions.")
    table = table[shared].reset_index(drop=True)
    codes, ids = pd.factorize(table[PATIENT], sort=True)
    n = len(ids)
    marks = []
    for score in (first, second):
        events = detect_ruptures(table, score=score, rule=rule)
        marks.append((pd.Index(ids).get_indexer(pd.Index(events[PATIENT])), events["onset"].to_numpy()))
    (who_a, when_a), (who_b, when_b) = marks
    a, b = match_within(who_a, when_a, who_b, when_b, margin=margin)
    n_rated = np.bincount(codes, minlength=n)
    cells = _cells(who_a, who_b, a, n_rated)
    lead = when_a[a] - when_b[b]

    def among(mask: Any) -> IntArray:
        return np.bincount(who_a[a][mask], minlength=n)

    rows = {
        f"also in {second}, of those in {first}": (cells.both, cells.both + cells.first_only),
        f"also in {first}, of those in {second}": (cells.both, cells.both + cells.second_only),
        f"first in {first}, of those in both": (among(lead < 0), cells.both),
        f"first in {second}, of those in both": (among(lead > 0), cells.both),
        "in the same session, of those in both": (among(lead == 0), cells.both),
        f"{first}: ruptures per session": (cells.both + cells.first_only, n_rated),
        f"{second}: ruptures per session": (cells.both + cells.second_only, n_rated),
    }
    return _agreement_table(rows, cells, n_rated, generator(seed), draws, level)


def attendance_markers(
    sessions: pd.DataFrame,
    events: pd.DataFrame,
    *,
    seed: Seed,
    within: int = 1,
    score: str | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Whether late, cancelled and missed sessions announce ruptures.

    A signal at session s is a leading marker if a rupture begins at one of the sessions s + 1 .. s + `within`; a
    signal at the onset session itself does not lead. Counted are the rated sessions at risk (no rupture open) by what
    attendance was in the `within` sessions before: any late, cancelled or no-show session, against attended ones
    alone.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with ``attendance`` (attended, late, cancelled, no-show); cancelled and missed sessions are rows
        without a score. A session before of which there is no row, or no attendance, is unknown and counts for
        nothing.
    events : DataFrame
        The EVENTS detected in them.
    seed, draws, level
        For the bootstrap over patients.
    within : int
        How many sessions before the onset are looked at.
    score : str, optional
        What the events were detected on, where they do not tell.

    Returns
    -------
    DataFrame
        One row per signal (``late``, ``cancelled``, ``no-show``, and ``any``): ``signal``, ``n_after`` (sessions at
        risk after it), ``onsets_after``, ``rate_after``, ``n_otherwise`` (after attended sessions alone),
        ``onsets_otherwise``, ``rate_otherwise``, ``risk_ratio`` with ``ci_low``, ``ci_high`` (bootstrap over
        patients).

    Notes
    -----
    A cancelled session also widens the gap that a fall is measured across; the association is descriptive.
    """
    if within < 1:
        raise ValueError(f"within={within!r} must be 1 or more.")
    require_columns(sessions, [ATTENDANCE], table_name="sessions")
    table = check_sessions(sessions)
    _check_kinds(table, ATTENDANCE, ATTENDANCES)
    study = bring_together(sessions, events, score=score)
    n = len(study.roll.ids)
    risk = np.flatnonzero(at_risk(study))
    who = study.roll.rated[study.series.owner[risk]]
    when = study.series.session[risk]
    onset = np.isin(risk, study.onset)
    row_who = np.repeat(np.arange(n), study.roll.n_rows)
    attendance = table[ATTENDANCE].astype(object).where(table[ATTENDANCE].notna(), "").to_numpy(dtype=object)
    place = pd.Series(attendance, index=pd.MultiIndex.from_arrays([row_who, table[SESSION].to_numpy()]))
    seen = {name: np.zeros(len(risk), dtype=bool) for name in ATTENDANCES}
    for back in range(1, within + 1):
        at = place.reindex(pd.MultiIndex.from_arrays([who, when - back])).to_numpy(dtype=object)
        for name in ATTENDANCES:
            seen[name] |= at == name
    signals = {name: seen[name] for name in ATTENDANCES if name != ATTENDED}
    signals["any"] = np.logical_or.reduce(list(signals.values()))
    plain = seen[ATTENDED] & ~signals["any"]
    rng = generator(seed)
    weights = _bootstrap_weights(rng, n, draws)
    rows = []
    for name, mask in signals.items():
        counts = [np.bincount(who[m], minlength=n) for m in (mask & onset, mask, plain & onset, plain)]
        ratio = _risk_ratio(*(count.sum() for count in counts))
        boot = _risk_ratio(*(weights @ count for count in counts))
        low, high = _percentiles(boot, level)
        after, n_after, otherwise, n_otherwise = (int(count.sum()) for count in counts)
        rows.append(
            {
                "signal": name,
                "n_after": n_after,
                "onsets_after": after,
                "rate_after": after / n_after if n_after else np.nan,
                "n_otherwise": n_otherwise,
                "onsets_otherwise": otherwise,
                "rate_otherwise": otherwise / n_otherwise if n_otherwise else np.nan,
                "risk_ratio": float(ratio),
                "ci_low": low,
                "ci_high": high,
            }
        )
    return pd.DataFrame(rows)


def cohen_kappa(cells: Any) -> Any:
    """Cohen's (1960) kappa of a two by two table (both, first only, second only, neither).

    >>> round(float(cohen_kappa([20, 5, 10, 15])), 4)
    0.4
    """
    both, first, second, neither = (np.asarray(cell, dtype=np.float64) for cell in cells)
    total = both + first + second + neither
    p, q = _share(both + first, total), _share(both + second, total)
    chance = p * q + (1.0 - p) * (1.0 - q)
    return _share(_share(both + neither, total) - chance, 1.0 - chance)


def gwet_ac1(cells: Any) -> Any:
    """Gwet's (2008) AC1 of a two by two table (both, first only, second only, neither).

    >>> round(float(gwet_ac1([118, 5, 2, 0])), 4)
    0.9408
    """
    both, first, second, neither = (np.asarray(cell, dtype=np.float64) for cell in cells)
    total = both + first + second + neither
    prevalence = (_share(both + first, total) + _share(both + second, total)) / 2.0
    chance = 2.0 * prevalence * (1.0 - prevalence)
    return _share(_share(both + neither, total) - chance, 1.0 - chance)


def _agreement_table(
    rows: dict[str, tuple[Any, Any]],
    cells: Cells,
    n_looked: IntArray,
    rng: np.random.Generator,
    draws: int,
    level: float,
) -> pd.DataFrame:
    weights = _bootstrap_weights(rng, len(n_looked), draws)
    table = []
    for name, (part, whole) in rows.items():
        low, high = _percentiles(_share(weights @ part, weights @ whole), level)
        count, of = int(np.sum(part)), int(np.sum(whole))
        table.append((name, float(_share(float(count), float(of))), low, high, count, of))
    measures: dict[str, Callable[[Any], Any]] = {"kappa": cohen_kappa, "AC1": gwet_ac1}
    agreed, total = int((cells.both + cells.neither).sum()), int(np.sum(n_looked))
    for name, measure in measures.items():
        low, high = _percentiles(measure([weights @ cell for cell in cells]), level)
        table.append((name, float(measure([cell.sum() for cell in cells])), low, high, agreed, total))
    return pd.DataFrame(table, columns=["quantity", "estimate", "ci_low", "ci_high", "count", "of"])


def _cells(who_a: IntArray, who_b: IntArray, matched: IntArray, n_looked: IntArray) -> Cells:
    n = len(n_looked)
    both = np.bincount(who_a[matched], minlength=n).astype(np.float64)
    first = np.bincount(who_a, minlength=n) - both
    second = np.bincount(who_b, minlength=n) - both
    return Cells(both, first, second, np.maximum(n_looked - both - first - second, 0.0))


def _located(table: pd.DataFrame, ids: pd.Series, name: str) -> pd.DataFrame:
    require_columns(table, [PATIENT, SESSION], table_name=name)
    who = pd.Index(ids).get_indexer(pd.Index(table[PATIENT]))
    if (who < 0).any():
        first = table[PATIENT].iloc[int(np.flatnonzero(who < 0)[0])]
        raise DataError(f"A patient of {name} is not in the sessions.", remedy=suggest(str(first), ids), patient=first)
    return pd.DataFrame({"who": who, "session": table[SESSION].to_numpy(dtype=np.int64)})


def _check_kinds(table: pd.DataFrame, column: str, allowed: tuple[str, ...]) -> None:
    if column not in table:
        return
    given = table[column].dropna()
    unknown = given[~given.isin(allowed)]
    if len(unknown):
        raise DataError(
            f"{column!r} must be one of {', '.join(allowed)}.",
            remedy=suggest(str(unknown.iloc[0]), allowed),
            row=unknown.index[0],
            column=column,
            value=unknown.iloc[0],
        )


def _bootstrap_weights(rng: np.random.Generator, n: int, draws: int) -> FloatArray:
    """How often each patient stands in each bootstrap sample, (draws, n)."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=draws).astype(np.float64)


def _percentiles(values: Any, level: float) -> tuple[float, float]:
    known = np.asarray(values)[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _risk_ratio(after: Any, n_after: Any, otherwise: Any, n_otherwise: Any) -> Any:
    return _share(_share(after, n_after), _share(otherwise, n_otherwise))


def _share(part: Any, whole: Any) -> Any:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)
