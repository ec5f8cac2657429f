"""REDCap exports: one event per session (longitudinal projects) or one instance per session (repeating instruments)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.layout import layout_of
from alliance_stats.load.problems import NOTE, WARNING, Problems
from alliance_stats.load.raw import Raw
from alliance_stats.load.sessions import read_raw, shape_sessions
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
    carry_from: Sequence[str] | str | None = None,
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
        For longitudinal projects: where the session number is in the event name, such as
        ``"session_{session}_arm_1"`` or ``"session_{session}_arm_{arm}"``. Other events (baseline, follow-up) are no
        sessions. An event without ``{session}``, such as ``"treatment_arm_1"``, is one that repeats as a whole: its
        instance is the session number. With `instruments`: the event they repeat in, needed where they repeat in
        several.
    instruments : str or list of str, optional
        For repeating instruments: their names; the instance is the session number, and several instruments of one
        instance become one row.
    carry_from : str or list of str, optional
        Events (or patterns of events) whose fields hold for the whole therapy, such as ``"baseline_arm_1"``: fields
        that no session fills are carried from there to every session of the patient. Nothing is carried from other
        events: what was measured at the end must not be known at the beginning. In a project without events the fields
        of the record itself are carried.
    **options
        Those of ``read_sessions``, except ``session`` and ``wide``.

    Returns
    -------
    DataFrame
        As from ``read_sessions``. REDCap's own columns (the survey identifier among them, which may be an address) and
        the ``_complete`` status of forms are left out.

    Raises
    ------
    DataError
        As ``read_sessions``; also if no event or instrument fits, a session has two values of one field, or a patient
        has two values of a field that is carried.
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
    if instruments is not None:
        names = [instruments] if isinstance(instruments, str) else list(instruments)
        number = _instance_numbers(raw.table, names, event)
    elif SESSION in naming.fields(str(event)):
        number = _event_numbers(raw.table, str(event))
    else:
        number = _event_instances(raw.table, str(event))
    events = [carry_from] if isinstance(carry_from, str) else list(carry_from or ())
    source = _carried_rows(raw.table, events) & np.isnan(number)
    table = _one_row_per_session(raw.table, number, source, patient, problems)
    sessions = shape_sessions(Raw(table, {**raw.how, "export": "REDCap"}, raw.labels), file.name, layout, problems)
    problems.raise_first()
    return sessions


def _event_numbers(table: pd.DataFrame, event: str) -> Any:
    """The session number in each row's event name; NaN for other events."""
    fits, places = _fitting_events(table, event)
    return np.array([*(float(fit[SESSION]) if fit else np.nan for fit in fits), np.nan])[places]


def _event_instances(table: pd.DataFrame, event: str) -> Any:
    """The instance of each row of an event that repeats as a whole; NaN on other rows."""
    remedy = "event= must hold {session}, name an event that repeats as a whole, or come with instruments=."
    fits, places = _fitting_events(table, event)
    if INSTANCE not in table:
        raise DataError(f"The event {event!r} does not repeat.", remedy=remedy)
    rows = np.array([*(fit is not None for fit in fits), False])[places]
    if INSTRUMENT in table:
        rows &= table[INSTRUMENT].isna().to_numpy(dtype=bool)
    instance = pd.to_numeric(table[INSTANCE], errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(instance[rows]).all():
        raise DataError(f"The event {event!r} does not repeat as a whole.", remedy=remedy)
    return np.where(rows, instance, np.nan)


def _carried_rows(table: pd.DataFrame, events: list[str]) -> Any:
    """The rows whose fields hold for the whole therapy."""
    own = table[INSTRUMENT].isna().to_numpy(dtype=bool) if INSTRUMENT in table else np.ones(len(table), dtype=bool)
    if EVENT not in table:
        if events:
            raise ValueError("carry_from= names events; the project has none.")
        return own
    named = np.zeros(len(table), dtype=bool)
    for event in events:
        fits, places = _fitting_events(table, event)
        named |= np.array([*(fit is not None for fit in fits), False])[places]
    return named & own


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


def _one_row_per_session(
    table: pd.DataFrame, number: Any, source: Any, patient: str, problems: Problems
) -> pd.DataFrame:
    """Rows of the same patient and session joined; fields that no session fills carried from the rows of `source`."""
    fields = [name for name in table.columns if name not in _OWN and name != patient and not name.endswith("_complete")]
    held = ~np.isnan(number)
    here = table.loc[held, [patient, *fields]].assign(**{SESSION: number[held].astype(np.int64)})
    keys = [patient, SESSION]
    _refuse_two_values(here.groupby(keys, sort=False)[fields].nunique(), "A session has two values")
    rows = pd.Series(here.index, index=here.index).groupby([here[patient], here[SESSION]], sort=False).first()
    joined: pd.DataFrame = here.groupby(keys, sort=False)[fields].first().reset_index()
    elsewhere = [name for name in fields if joined[name].isna().all() and table.loc[~held, name].notna().any()]
    carried = table.loc[source, [patient, *elsewhere]].groupby(patient, sort=False)[elsewhere]
    _refuse_two_values(carried.nunique(), "A patient has two values, at events named in carry_from=,")
    for name, values in carried.first().items():
        joined[name] = joined[patient].map(values)
    left = [name for name in elsewhere if joined[name].isna().all()]
    text = f"{int((~held).sum())} row(s) are no sessions; {len(elsewhere) - len(left)} field(s) were carried from them."
    problems.add(NOTE, "REDCap rows", text, remedy="")
    if left:
        text = f"Fields that are filled at other events only were left empty: {', '.join(left[:12])}."
        remedy = "If they hold for the whole therapy, name their events in carry_from=."
        problems.add(WARNING, "REDCap fields", text, remedy=remedy)
    joined.index = pd.Index(rows.to_numpy(), name="row")
    return joined


def _refuse_two_values(counts: pd.DataFrame, what: str) -> None:
    """Raise where a field has two values in one group (of a patient, or of a patient and session)."""
    if not (counts > 1).to_numpy().any():
        return
    column = str((counts > 1).any().idxmax())
    where = (counts[column] > 1).idxmax()
    patient, session = where if isinstance(where, tuple) else (where, None)
    raise DataError(
        f"{what} of {column!r}.",
        remedy="Name fewer instruments= or events, or correct the record.",
        patient=patient,
        session=None if session is None else int(session),
        column=column,
    )
