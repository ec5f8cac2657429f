"""Pseudonyms for ids: keyed, stable across the files of a study, and not reversible without the key."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.load.cells import as_ids
from alliance_stats.tables.schema import DATE, PATIENT, THERAPIST, DataError, require_columns

MIN_KEY = 16


def pseudonymise(
    table: pd.DataFrame,
    *,
    key: str | bytes,
    columns: Iterable[str] | None = None,
    length: int = 10,
    shift_dates: bool = False,
) -> pd.DataFrame:
    """The table with ids replaced by pseudonyms.

    Parameters
    ----------
    table : DataFrame
        Any table of the study.
    key : str or bytes
        A secret of 16 or more characters, kept apart from the data. The same key gives the same pseudonyms in every
        file; 7, 7.0 and ``"7"`` are the same id.
    columns : iterable of str, optional
        Default: ``patient`` and ``therapist``, as far as they are there. Patients and therapists get different
        pseudonyms for the same id.
    length : int
        Letters and digits of a pseudonym (8 to 26).
    shift_dates : bool
        Move the dates of each patient by the same number of days, up to half a year back or forth, which keeps the
        spacing of sessions.

    Returns
    -------
    DataFrame
        A new frame in the same order. ``attrs`` keeps nothing that could hold an id. Free text, rare combinations of
        other columns, and the order of rows are not touched and may still identify a person.

    Raises
    ------
    DataError
        If a column is missing or two ids would share a pseudonym (then a larger `length` helps).
    ValueError
        For a short key or a length out of bounds.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": ["anna", "ben", "anna"], "session": [1, 1, 2]})
    >>> pseudonymise(rows, key="a long secret phrase")["patient"].tolist()
    ['patient-TFBCMQK6LV', 'patient-CXVGCOXIU7', 'patient-TFBCMQK6LV']
    """
    secret = key.encode() if isinstance(key, str) else bytes(key)
    if len(secret) < MIN_KEY:
        raise ValueError(f"key has {len(secret)} characters; {MIN_KEY} or more are needed.")
    if not 8 <= length <= 26:
        raise ValueError(f"length={length} must lie in 8 to 26.")
    names = [name for name in (PATIENT, THERAPIST) if name in table] if columns is None else list(columns)
    require_columns(table, names)
    if shift_dates:
        require_columns(table, [PATIENT, DATE])
    replaced: dict[str, Any] = {name: _pseudonyms(table[name], secret, name, length) for name in names}
    if shift_dates:
        replaced[DATE] = _shifted(table, secret)
    result = table.assign(**replaced)
    result.attrs = {name: table.attrs[name] for name in ("flow", "scored") if name in table.attrs}
    return result


def _pseudonyms(column: pd.Series, secret: bytes, name: str, length: int) -> pd.Series:
    ids = as_ids(column).values
    places, distinct = pd.factorize(ids.astype(object))
    codes = [f"{name}-{_digest(secret, f'{name}:{value}')[:length]}" for value in distinct]
    if len(set(codes)) < len(codes):
        raise DataError(f"Two ids of {name!r} share a pseudonym.", remedy=f"Choose a length above {length}.")
    labels = np.array([*codes, None], dtype=object)[places]
    return pd.Series(labels, index=column.index, name=name)


def _digest(secret: bytes, text: str) -> str:
    return base64.b32encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def _shifted(table: pd.DataFrame, secret: bytes) -> pd.Series:
    ids = as_ids(table[PATIENT]).values
    places, distinct = pd.factorize(ids.astype(object))
    days = [
        int(hmac.new(secret, f"days:{value}".encode(), hashlib.sha256).hexdigest(), 16) % 365 - 182
        for value in distinct
    ]
    dates = pd.to_datetime(table[DATE])
    shift = pd.to_timedelta(np.array([*days, 0])[places], unit="D")
    return dates + shift
