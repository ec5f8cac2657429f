"""Endings derived by named definitions, and what each makes of the same study.

Dropout rates depend on the definition (Swift & Greenberg 2012), so a derived
table carries its definition, and `compare_endings` shows several side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.endings import check_endings
from alliance_stats.tables.schema import (
    ATTENDANCE,
    CANCELLED,
    COMPLETED,
    DATE,
    DROPOUT,
    ENDING,
    ENDINGS,
    LAST_SESSION,
    NO_SHOW,
    ONGOING,
    PATIENT,
    SESSION,
    TRANSFERRED,
    DataError,
    check_sessions,
    numeric,
    refuse,
    require_choice,
    require_columns,
)
from alliance_stats.tables.shares import check_level, wilson


def derive_endings(
    sessions: pd.DataFrame,
    definition: str,
    *,
    planned: int | str | None = None,
    days: int | None = None,
    until: str | pd.Timestamp | None = None,
    minimum: int | None = None,
    judgement: str | None = None,
    score: str | None = None,
    reliable_change: float | None = None,
    lower_is_better: bool = True,
    known: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How each patient's therapy ended, by one of the definitions in use.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS. A session counts as held unless its ``attendance`` is ``cancelled`` or ``no-show``.
    definition : str
        ``before_planned_end``
            dropout: the last session held comes before session `planned` (a number, or a column of `sessions`).
        ``gap_in_days``
            dropout: no session held within `days` days, the therapy ending with the session before the gap. Patients
            last seen less than that before `until` (default: the latest date of the study) are ``ongoing``.
        ``fewer_sessions``
            dropout: fewer than `minimum` sessions held.
        ``judgement``
            what the therapist says: the column `judgement`, holding endings, or true for dropout.
        ``no_reliable_change``
            dropout: `score` has not improved by at least `reliable_change` points from the first to the last rating
            (a patient rated less than twice has shown no change).
    lower_is_better : bool
        The direction of improvement of `score`.
    known : DataFrame, optional
        What is known whatever the definition (``patient``, ``ending``, optional ``last_session``): transfers and
        ongoing therapies stay what they are, and with ``gap_in_days`` also completed ones (nobody comes back after a
        completed therapy). They end at ``last_session`` where that is given, else at the last session held.

    Returns
    -------
    DataFrame
        ``patient, ending, last_session, definition``, sorted by patient; the definition also in ``attrs``.

    Raises
    ------
    ValueError
        For an unknown definition or an option it needs and lacks.
    DataError
        For a missing column or a judgement that is not an ending.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1]})
    >>> derive_endings(sessions, "before_planned_end", planned=2)[["patient", "ending", "last_session"]]
       patient     ending  last_session
    0        1  completed             2
    1        2    dropout             1
    """
    require_choice(definition, tuple(_DEFINITIONS), name="definition")
    options: dict[str, Any] = {
        "planned": planned, "days": days, "until": until, "minimum": minimum, "judgement": judgement, "score": score,
        "reliable_change": reliable_change, "lower_is_better": lower_is_better,
    }  # fmt: skip
    needed, rule = _DEFINITIONS[definition]
    for name in needed:
        if options[name] is None:
            raise ValueError(f"definition={definition!r} needs {name}=.")
    table = check_sessions(sessions, [] if score is None else [score])
    held = table
    if ATTENDANCE in table:
        held = table[~table[ATTENDANCE].isin([CANCELLED, NO_SHOW])]
        never = sorted(set(table[PATIENT].unique()) - set(held[PATIENT].unique()), key=str)
        if never:
            raise DataError(
                f"{len(never)} patient(s) attended no session.",
                remedy="Leave them out: dropout before treatment is another question.",
                patient=never[0],
            )
    result = rule(held, options).reset_index()
    if known is not None:
        result = _keep_known(result, known, definition, _last(held))
    stated = ", ".join(f"{name}={options[name]}" for name in needed)
    text = f"{definition} ({stated})"
    result = result.assign(definition=text)
    result.attrs["definition"] = text
    return result


def compare_endings(
    sessions: pd.DataFrame, definitions: Mapping[str, Mapping[str, Any] | pd.DataFrame], *, level: float = 0.95
) -> pd.DataFrame:
    """The dropout rate of one study by several definitions.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS.
    definitions : mapping
        A label for each definition to the arguments of `derive_endings`, or to a table of endings.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row per definition: ``label, n_patients, n_dropout, n_completed, n_transferred, n_ongoing``, the ``rate`` of
        dropout among the patients whose therapy has ended, its Wilson interval, and ``agreement``: the share of
        patients that this definition and the first one both call dropouts, or both do not.

    Examples
    --------
    >>> sessions = pd.DataFrame({"patient": [1, 1, 2], "session": [1, 2, 1]})
    >>> compare_endings(sessions, {
    ...     "planned": {"definition": "before_planned_end", "planned": 3},
    ...     "early": {"definition": "fewer_sessions", "minimum": 2},
    ... })[["label", "n_dropout", "rate", "agreement"]]
         label  n_dropout  rate  agreement
    0  planned          2   1.0        1.0
    1    early          1   0.5        0.5
    """
    check_level(level)
    if not definitions:
        raise ValueError("definitions is empty: name at least one.")
    patients = pd.Index(check_sessions(sessions)[PATIENT].unique())
    rows, first = [], None
    for label, how in definitions.items():
        table = how if isinstance(how, pd.DataFrame) else derive_endings(sessions, **how)
        ending = check_endings(table, patients)[ENDING].to_numpy(dtype=object)
        dropped = ending == DROPOUT
        first = dropped if first is None else first
        n, k = int((ending != ONGOING).sum()), int(dropped.sum())
        rate = k / n if n else np.nan
        low, high = wilson(rate, n, level=level)
        counts = {f"n_{name}": int((ending == name).sum()) for name in (DROPOUT, COMPLETED, TRANSFERRED, ONGOING)}
        agreement = float((dropped == first).mean())
        row = {"label": label, "n_patients": len(ending), **counts, "rate": rate, "ci_low": low, "ci_high": high}
        rows.append(row | {"agreement": agreement})
    return pd.DataFrame(rows)


def _last(held: pd.DataFrame) -> pd.Series:
    return held.groupby(PATIENT)[SESSION].max().rename(LAST_SESSION)


def _table(last: pd.Series, dropped: Any) -> pd.DataFrame:
    return pd.DataFrame({ENDING: np.where(dropped, DROPOUT, COMPLETED), LAST_SESSION: last})


def _before_planned_end(held: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    last, planned = _last(held), options["planned"]
    if isinstance(planned, str):
        require_columns(held, [planned], table_name="sessions")
        planned = held.groupby(PATIENT)[planned].first()
        if planned.isna().any():
            raise DataError(
                "A patient has no planned number of sessions.",
                remedy="Fill it in.",
                patient=planned.index[planned.isna()][0],
            )
    return _table(last, last < planned)


def _gap_in_days(held: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    require_columns(held, [DATE], table_name="sessions")
    date = pd.to_datetime(held[DATE])
    refuse(held, date.isna(), "gap_in_days needs a date for every session held.", remedy="Fill in the date.", row=False)
    limit = pd.Timedelta(days=options["days"])
    end = date.max() if options["until"] is None else pd.Timestamp(options["until"])
    following = date.groupby(held[PATIENT]).shift(-1)
    silent = (following - date > limit) | (following.isna() & (end - date > limit))
    # A patient's therapy ends with the first session that a long silence follows, or with the last one.
    closing = held.assign(_silent=silent)[silent | following.isna()].groupby(PATIENT).first()
    return pd.DataFrame({ENDING: np.where(closing["_silent"], DROPOUT, ONGOING), LAST_SESSION: closing[SESSION]})


def _fewer_sessions(held: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    return _table(_last(held), held.groupby(PATIENT)[SESSION].size() < options["minimum"])


def _judgement(held: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    column = options["judgement"]
    require_columns(held, [column], table_name="sessions")
    said = held.groupby(PATIENT)[column].last()
    if pd.api.types.is_bool_dtype(said.dtype):
        return _table(_last(held), said)
    unknown = ~said.isin(ENDINGS)
    if unknown.any():
        raise DataError(
            f"{column!r} must say {', '.join(ENDINGS)} (or true for dropout) for every patient.",
            remedy="Recode it.",
            patient=said.index[unknown][0],
            value=said[unknown].iloc[0],
        )
    return pd.DataFrame({ENDING: said.astype(object), LAST_SESSION: _last(held)})


def _no_reliable_change(held: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    rated = held.groupby(PATIENT)[options["score"]]
    change = rated.last() - rated.first()  # first and last skip missing ratings
    improved = (-change if options["lower_is_better"] else change) >= options["reliable_change"]
    return _table(_last(held), ~improved)


_DEFINITIONS: dict[str, tuple[tuple[str, ...], Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame]]] = {
    "before_planned_end": (("planned",), _before_planned_end),
    "gap_in_days": (("days",), _gap_in_days),
    "fewer_sessions": (("minimum",), _fewer_sessions),
    "judgement": (("judgement",), _judgement),
    "no_reliable_change": (("score", "reliable_change"), _no_reliable_change),
}
"""Each definition's options and rule."""


def _keep_known(result: pd.DataFrame, known: pd.DataFrame, definition: str, last: pd.Series) -> pd.DataFrame:
    require_columns(known, [PATIENT, ENDING], table_name="known")
    unknown = ~known[ENDING].isin(ENDINGS) | known[PATIENT].duplicated()
    problem = f"known must give each patient one of {', '.join(ENDINGS)}."
    refuse(known, unknown, problem, remedy="Recode the endings, and keep one row per patient.", column=ENDING)
    stated = known.set_index(PATIENT).reindex(result[PATIENT])
    lasting = [TRANSFERRED, ONGOING, *([COMPLETED] if definition == "gap_in_days" else [])]
    stays = stated[ENDING].isin(lasting).to_numpy()
    place = last.reindex(result[PATIENT]).to_numpy()
    if LAST_SESSION in known:
        given = numeric(stated, LAST_SESSION)
        place = np.where(np.isnan(given), place, given).astype(np.int64)
    changed = {
        ENDING: np.where(stays, stated[ENDING], result[ENDING]),
        LAST_SESSION: np.where(stays, place, result[LAST_SESSION]),
    }
    return result.assign(**changed)
