"""Codes of a simulated study: what observers code in its sessions, and what patients and therapists report of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.instruments.codebook import CodeBook, as_code_book
from alliance_stats.simulate.study import Study
from alliance_stats.tables.arrays import BoolArray, IntArray
from alliance_stats.tables.arrays import FloatArray as Array
from alliance_stats.tables.schema import ATTENDANCE, ATTENDED, CANCELLED, LATE, PATIENT, SESSION

TYPES = ("withdrawal", "confrontation")
KINDS = (0.5, 0.3, 0.2)  # Shares of ruptures coded as withdrawal, as confrontation, as both. Chosen.
INITIATORS = (0.6, 0.25, 0.15)  # Shares begun by the patient, the therapist, both. Chosen.
MISSED_BY_THERAPIST = 0.2  # Share of cancelled sessions that the therapist cancelled; during a rupture none. Chosen.
EXPRESSIVE = "expressive"


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How the sessions of a simulated study are coded and reported; every default is chosen.

    Attributes
    ----------
    coders : int
        Observers, each of whom codes every session held.
    agreement : float
        Kappa, alpha and ICC between two coders, of every measure. A coder codes a session as it was with probability
        ``sqrt(agreement)``, and otherwise as another session of the study, drawn at random, was.
    use : float
        Probability that strategies of a group are used in a session in which a rupture is open.
    expressive_effect : float
        Log-odds of repair in a session, once an expressive strategy has been used since the onset. The other groups of
        strategies have no effect.
    noticed : (float, float)
        Probability that the patient, and that the therapist, notices a rupture; whoever does reports it in every
        session until it ends. Patients report fewer than therapists.
    noticed_effect : float
        Log-odds of repair in a session, of ruptures that the therapist noticed.
    false_report : float
        Probability of a report in a session without a noticed rupture.
    """

    coders: int = 2
    agreement: float = 0.8
    use: float = 0.25
    expressive_effect: float = 1.0
    noticed: tuple[float, float] = (0.4, 0.6)
    noticed_effect: float = 0.5
    false_report: float = 0.03

    def __post_init__(self) -> None:
        if not 1 <= self.coders <= 26:
            raise ValueError(f"coders={self.coders!r} must be from 1 to 26.")
        for name in ("agreement", "use", "false_report"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be between 0 and 1.")
        if len(self.noticed) != 2 or not all(0 <= share <= 1 for share in self.noticed):
            raise ValueError(f"noticed={self.noticed!r} must be two probabilities: the patient's and the therapist's.")


class _Ruptures(NamedTuple):
    """True ruptures, one entry each."""

    row: IntArray  # of the onset, in the study's sessions
    span: IntArray  # sessions from the onset to the repair or, where not repaired, to the patient's last
    repaired: BoolArray
    depth: Array  # in within-patient SD


def with_codes(study: Study, coding: Coding, rng: np.random.Generator) -> Study:
    """The study with ``codes``, and with self-reports and who missed a session in its sessions; nothing else changes.

    When ruptures are repaired is decided before: the use of strategies is drawn from its distribution *given* the
    session of the repair, under ``logit h(t) = b(t) + expressive_effect * used(t) + noticed_effect * noticed``, with
    b(t) such that ruptures are repaired as they are (`_paths`). The effects are therefore those stated, conditional on
    the sessions since the onset.
    """
    sessions, acute = study.sessions, study.truth.sessions["in_rupture"].to_numpy() == 1
    first = pd.Series(np.arange(len(sessions)), index=sessions[PATIENT]).groupby(level=0).first()
    events = study.events
    repaired = events["repaired_at"].notna().to_numpy()
    onset, last = events["onset"].to_numpy(np.int64), study.endings.set_index(PATIENT)["last_session"]
    end = np.where(repaired, events["repaired_at"].fillna(0), events[PATIENT].map(last)).astype(np.int64)
    found = _Ruptures(
        row=events[PATIENT].map(first).to_numpy(np.int64) + onset - 1,
        span=end - onset,
        repaired=repaired,
        depth=events["drop_units"].to_numpy(np.float64),
    )
    used_first, saw = _paths(coding, study.truth.parameters, found, rng)
    felt = rng.random(len(events)) < coding.noticed[0]
    came = sessions[ATTENDANCE].isin([ATTENDED, LATE]).to_numpy()
    book = as_code_book("3RS")
    rows = _as_it_was(coding, book, found, used_first, acute, came, sessions[PATIENT].to_numpy(), rng)
    return replace(
        study,
        codes=_coded(coding, book, sessions, rows, np.flatnonzero(came), rng),
        sessions=sessions.assign(
            rupture_patient=_reported(coding, found, felt, acute, sessions["alliance"], rng),
            rupture_therapist=_reported(coding, found, saw, acute, sessions["alliance_therapist"], rng),
            missed_by=_missed_by(sessions[ATTENDANCE].to_numpy(), acute, rng),
        ),
    )


def _paths(
    coding: Coding, parameters: dict[str, Any], found: _Ruptures, rng: np.random.Generator
) -> tuple[IntArray, BoolArray]:
    """The session since the onset in which an expressive strategy is first used, and whether the therapist notices.

    Every combination of the two is weighed by its probability times the probability that a rupture with it is repaired
    when this one is (or is not, up to its last session), and one is drawn.
    """
    n = len(found.span)
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    length = int(found.span.max()) + 1
    when = np.tile(np.arange(length + 1), 2)  # the last: not used so far
    sees = np.repeat([False, True], length + 1)
    alive = np.where(when == length, 1.0, coding.use) * (1 - coding.use) ** when
    alive *= np.where(sees, coding.noticed[1], 1 - coding.noticed[1])
    event, after = np.zeros((length, len(when))), np.zeros((length, len(when)))
    for since in range(length):
        shift = coding.expressive_effect * (when <= since) + coding.noticed_effect * sees
        hazard = _hazard_with_mean(_repair_hazard(parameters, since), shift, alive)
        event[since], after[since] = alive * hazard, alive * (1 - hazard)
        alive = after[since]
    weight = np.where(found.repaired[:, None], event[found.span], after[found.span]).cumsum(axis=1)
    drawn = (weight < (rng.random(n) * weight[:, -1])[:, None]).sum(axis=1)
    return when[drawn], sees[drawn]


def _repair_hazard(parameters: dict[str, Any], since: int) -> float:
    """The share repaired `since` sessions after the onset, of the ruptures not repaired before; none at the onset."""
    healed, stays = sum(parameters["repair"][:2]), 1 - 1 / parameters["rupture_length"]
    if since == 0 or healed == 0:
        return 0.0
    left = 1 - healed + healed * stays ** (since - 1)
    return float(healed * (1 - stays) * stays ** (since - 1) / left) if left > 0 else 1.0


def _hazard_with_mean(mean: float, shift: Array, weight: Array) -> Array:
    """Probabilities whose logits differ by `shift` and whose weighted mean is `mean`."""
    if not 0 < mean < 1:
        return np.full(len(shift), mean)
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        below = weight @ (1 / (1 + np.exp(-middle - shift))) < mean * weight.sum()
        low, high = (middle, high) if below else (low, middle)
    return np.asarray(1 / (1 + np.exp(-(low + high) / 2 - shift)))


def _as_it_was(
    coding: Coding, book: CodeBook, found: _Ruptures, used_first: IntArray, acute: BoolArray, came: BoolArray,
    patient: Any, rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """CODES without coder, by row of the sessions: what a coder without error codes."""
    n, n_ruptures = len(acute), len(found.row)
    kind = rng.choice(3, n_ruptures, p=KINDS)
    cause = rng.choice(len(book.causes), n_ruptures)
    initiator = rng.choice(len(book.initiators), n_ruptures, p=INITIATORS)
    rupture = np.repeat(np.arange(n_ruptures), found.span + 1)
    since = np.arange(len(rupture)) - np.repeat(np.cumsum(found.span + 1) - found.span - 1, found.span + 1)
    row = found.row[rupture] + since
    of_row = np.full(n, -1)
    of_row[row] = rupture  # a rupture that begins while an older one is unrepaired comes later in the table
    marked = np.flatnonzero(acute & came)
    depth = found.depth[of_row[marked]]
    markers = pd.DataFrame(
        {
            "row": marked,
            "kind": kind[of_row[marked]],
            "significance": np.clip(np.rint(1 + depth + 0.8 * rng.standard_normal(len(marked))), 2, 5),
            "resolution": rng.integers(1, 4, len(marked)).astype(np.float64),
            "cause": np.array(book.causes, dtype=object)[cause[of_row[marked]]],
            "initiator": np.array(book.initiators, dtype=object)[initiator[of_row[marked]]],
        }
    )
    parts = [markers.loc[markers["kind"].isin([code, 2])].assign(type=name) for code, name in enumerate(TYPES)]
    healed = (found.row + found.span)[found.repaired]
    held = np.append(np.flatnonzero(came), n)
    seen = held[np.searchsorted(held, healed)]  # a repair in a missed session shows in the next one held
    inside = seen < n
    seen, healed = seen[inside], healed[inside]
    seen = seen[(patient[seen] == patient[healed]) & ~acute[seen]]
    parts.append(pd.DataFrame({"row": seen, "resolution": rng.integers(4, 6, len(seen)).astype(np.float64)}))
    for group in dict.fromkeys(book.strategies.values()):
        use = rng.random(len(row)) < coding.use
        if group == EXPRESSIVE:
            use = (use & (since > used_first[rupture])) | (since == used_first[rupture])
        used = np.unique(row[use & came[row]])
        own = np.array([name for name, of in book.strategies.items() if of == group], dtype=object)
        parts.append(pd.DataFrame({"row": used, "strategy": own[rng.integers(0, len(own), len(used))]}))
    quiet = np.setdiff1d(np.flatnonzero(came), np.concatenate([part["row"] for part in parts]))
    columns = ["row", "type", "significance", "resolution", "strategy", "cause", "initiator"]
    whole = pd.DataFrame({name: [] for name in columns}).astype({"row": np.int64} | dict.fromkeys(columns[4:], object))
    return pd.concat([whole, *parts, pd.DataFrame({"row": quiet})])[columns].sort_values("row", kind="stable")


def _coded(
    coding: Coding, book: CodeBook, sessions: pd.DataFrame, rows: pd.DataFrame, held: IntArray, rng: np.random.Generator
) -> pd.DataFrame:
    """CODES of all coders: each codes a session as it was, or now and then as another session was."""
    number = np.searchsorted(held, rows["row"].to_numpy())
    first = np.searchsorted(number, np.arange(len(held) + 1))
    n_rows = np.diff(first)
    parts = []
    for coder in range(coding.coders):
        right = rng.random(len(held)) < np.sqrt(coding.agreement)
        source = np.where(right, np.arange(len(held)), rng.integers(0, len(held), len(held)))
        into = np.repeat(np.arange(len(held)), n_rows[source])
        within = np.arange(len(into)) - np.repeat(np.cumsum(n_rows[source]) - n_rows[source], n_rows[source])
        part = rows.iloc[first[source][into] + within]
        parts.append(part.assign(row=held[into], coder=chr(ord("A") + coder)))
    coded: pd.DataFrame = pd.concat(parts).sort_values("row", kind="stable")
    there = sessions.iloc[coded["row"].to_numpy()]
    coded = coded.drop(columns="row").reset_index(drop=True)
    for place, name in enumerate((PATIENT, SESSION)):
        coded.insert(place, name, there[name].to_numpy())
    coded.insert(2, "coder", coded.pop("coder").astype(object))
    coded.attrs = {"book": book.name}
    return coded


def _reported(
    coding: Coding, found: _Ruptures, noticed: BoolArray, acute: BoolArray, form: pd.Series, rng: np.random.Generator
) -> Array:
    """1 where a rater reports a rupture, 0 where not, NaN without the rater's form."""
    reports = (rng.random(len(acute)) < coding.false_report).astype(np.float64)
    for row, span in zip(found.row[noticed], found.span[noticed], strict=True):
        inside = slice(row, row + span + 1)
        reports[inside] = np.where(acute[inside], 1.0, reports[inside])
    return np.where(form.notna(), reports, np.nan)


def _missed_by(attendance: Any, acute: BoolArray, rng: np.random.Generator) -> Any:
    """Who was late, cancelled, or did not come."""
    by_therapist = (attendance == CANCELLED) & ~acute & (rng.random(len(acute)) < MISSED_BY_THERAPIST)
    who = np.where(by_therapist, "therapist", "patient").astype(object)
    who[attendance == ATTENDED] = None
    return who
