"""REDCap exports: one event per session (longitudinal projects) or one instance per session (repeating instruments)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.layout import layout_of
from alliance_stats.load.problems import NOTE, Problems
from alliance_stats.load.sessions import read_raw, shape_sessions
from alliance_stats.load.text import Raw
from alliance_stats.tables import naming
from alliance_stats.tables.schema import SESSION, DataError, require_columns, suggest

EVENT, INSTRUMENT, INSTANCE = "redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance"
_OWN = (EVENT, INSTRUMENT, INSTANCE, "redcap_survey_identifier")


def read_redcap(
    path: str | Path,
    *,
    patient: str = "record_id",
    event: str | None = None,
    instruments: Sequence[str] | str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """SESSIONS from the raw export of a REDCap project.

    Parameters
    ----------
    path : str or Path
        The exported file (raw values, not labels).
    patient : str
        The record id.
    event : str, optional
        For longitudinal projects: how the session number stands in the event name, such as
        ``"session_{session}_arm_1"`` or ``"session_{session}_arm_{arm}"``. Other events (baseline, follow-up) are no
        sessions. With `instruments`: the event they repeat in, such as ``"treatment_arm_1"`` or
        ``"treatment_arm_{arm}"``, needed where they repeat in several.
    instruments : str or list of str, optional
        For repeating instruments: their names; the instance is the session number, and several instruments of one
        instance become one row.
    **options
        Those of ``read_sessions``, except ``session`` and ``wide``.

    Returns
    -------
    DataFrame
        As from ``read_sessions``. Columns that are filled only on rows that are no sessions (such as the therapist on
        the baseline form) are carried to the patient's sessions where the patient has one value; REDCap's own columns
        (the survey identifier among them, which may be an address) and the ``_complete`` status of forms are left out.

    Raises
    ------
    DataError
        As ``read_sessions``; also if no event or instrument fits, or a session has two values for one field.
    ValueError
        If neither `event` nor `instruments` is given.
    """
    if event is None and instruments is None:
        raise ValueError("Give event= (a longitudinal project) or instruments= (repeating instruments).")
    for name in (SESSION, "wide"):
        if options.get(name) is not None:
            raise ValueError(f"{name}= does not apply to a REDCap export.")
    layout = layout_of({**options, "patient": patient, SESSION: SESSION})
    problems = Problems()
    file = Path(path)
    raw = read_raw(file, layout)
    require_columns(raw.table, [patient], table_name="the file")
    if instruments is None:
        number = _event_numbers(raw.table, str(event))
    else:
        names = [instruments] if isinstance(instruments, str) else list(instruments)
        number = _instance_numbers(raw.table, names, event)
    table = _one_row_per_session(raw.table, number, patient, problems)
    sessions = shape_sessions(Raw(table, {**raw.how, "export": "REDCap"}, raw.labels), file.name, layout, problems)
    problems.raise_first()
    return sessions


def _event_numbers(table: pd.DataFrame, event: str) -> Any:
    """The session number in each row's event name; NaN for other events."""
    if SESSION not in naming.fields(event):
        raise ValueError(f"event={event!r} must hold {{session}}; only with instruments= it need not.")
    fits, places = _fitting_events(table, event)
    return np.array([*(float(fit[SESSION]) if fit else np.nan for fit in fits), np.nan])[places]


def _fitting_events(table: pd.DataFrame, event: str) -> tuple[list[Any], Any]:
    """The match of each distinct event name (None: does not fit), and the place of each row's among them."""
    require_columns(table, [EVENT], table_name="the file")
    expression = naming.matcher(event)
    places, distinct = pd.factorize(table[EVENT])
    fits = [expression.match(str(name)) for name in distinct]
    if not any(fits):
        raise DataError(f"No event fits {event!r}.", remedy=suggest(event, [str(name) for name in distinct]))
    return fits, places


def _instance_numbers(table: pd.DataFrame, instruments: list[str], event: str | None) -> Any:
    """The instance of each row of the instruments, in the event (where one is named); NaN on other rows."""
    require_columns(table, [INSTRUMENT, INSTANCE], table_name="the file")
    known = [str(name) for name in table[INSTRUMENT].dropna().unique()]
    for name in instruments:
        if name not in known:
            raise DataError(f"The file has no repeating instrument {name!r}.", remedy=suggest(name, known))
    instance = pd.to_numeric(table[INSTANCE], errors="coerce").to_numpy(dtype=np.float64)
    rows = table[INSTRUMENT].isin(instruments).to_numpy(dtype=bool)
    if event is not None:
        fits, places = _fitting_events(table, event)
        rows = rows & np.array([*(fit is not None for fit in fits), False])[places]
    elif EVENT in table:
        events = [str(name) for name in table.loc[rows, EVENT].dropna().unique()]
        if len(events) > 1:
            raise DataError(
                f"The instruments repeat in {len(events)} events, each of which counts from 1.",
                remedy=f"Name the one that holds the sessions: event={events[0]!r}.",
            )
    return np.where(rows, instance, np.nan)


def _one_row_per_session(table: pd.DataFrame, number: Any, patient: str, problems: Problems) -> pd.DataFrame:
    """Rows of the same patient and session joined; fields of other rows carried to the patient's sessions."""
    fields = [name for name in table.columns if name not in _OWN and name != patient and not name.endswith("_complete")]
    held = ~np.isnan(number)
    here = table.loc[held, [patient, *fields]].assign(**{SESSION: number[held].astype(np.int64)})
    elsewhere = table.loc[~held, [patient, *fields]]
    keys = [patient, SESSION]
    counts = here.groupby(keys, sort=False)[fields].nunique()
    twice = counts > 1
    if twice.to_numpy().any():
        column = str(twice.any().idxmax())
        where = twice[column].idxmax()
        raise DataError(
            f"A session has two values of {column!r}.",
            remedy="Name fewer instruments=, or correct the record.",
            patient=where[0],
            session=int(where[1]),
            column=column,
        )
    rows = pd.Series(here.index, index=here.index).groupby([here[patient], here[SESSION]], sort=False).first()
    joined: pd.DataFrame = here.groupby(keys, sort=False)[fields].first().reset_index()
    carried = 0
    for name in fields:
        if joined[name].notna().any() or not elsewhere[name].notna().any():
            continue
        values = elsewhere.dropna(subset=[name]).drop_duplicates([patient, name])
        values = values.loc[~values.duplicated(patient, keep=False)].set_index(patient)[name]
        joined[name] = joined[patient].map(values)
        carried += 1
    problems.add(
        NOTE,
        "REDCap rows",
        f"{int((~held).sum())} row(s) are no sessions; {carried} of their field(s) were carried to the sessions.",
        remedy="",
    )
    joined.index = pd.Index(rows.to_numpy(), name="row")
    return joined
