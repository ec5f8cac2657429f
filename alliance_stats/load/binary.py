"""Files of spreadsheet and statistics programs. The readers run in a child process: see ``child``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.io.stata import StataMissingValue  # type: ignore[attr-defined]

from alliance_stats.load.raw import Raw, unique_names
from alliance_stats.load.sheets import read_other_sheet, read_sheet
from alliance_stats.tables.schema import DataError

_SPSS_EPOCH = np.datetime64("1582-10-14", "s")
_SPSS_DATES = ("DATE", "ADATE", "EDATE", "JDATE", "SDATE", "DATETIME", "YMDHMS")
_SPSS_LAST = (np.datetime64("9999-12-31", "s") - _SPSS_EPOCH).astype(np.int64)


class Format(NamedTuple):
    """A format: its name in messages, the optional package that reads it, and the reader."""

    name: str
    package: str | None
    read: Callable[..., Raw]


def read_binary(path: Path, *, encoding: str | None, sheet: str | int | None, header_row: int) -> Raw:
    """The table of a file of any format but text.

    Raises
    ------
    Exception
        Of any kind, for a damaged file: readers of binary formats do not say which.
    """
    found = FORMATS[path.suffix.lower()]
    if found.package in SHEETS:
        return found.read(path, sheet=sheet, header_row=header_row)
    return found.read(path, encoding)


def _read_spss(path: Path, encoding: str | None) -> Raw:
    """An SPSS file; codes that it declares to be missing become missing and are counted."""
    import pyreadstat

    table, meta = pyreadstat.read_sav(str(path), encoding=encoding, user_missing=True, disable_datetime_conversion=True)
    remarks = []
    for name, ranges in meta.missing_ranges.items():
        cells = table[name]
        gone = np.zeros(len(cells), dtype=bool)
        for ends in ranges:
            if cells.dtype.kind == "f":
                gone |= ((cells >= ends["lo"]) & (cells <= ends["hi"])).to_numpy(dtype=bool)
            else:
                gone |= (cells == ends["lo"]).to_numpy(dtype=bool)
        if gone.any():
            codes = ", ".join(f"{code:g}" if isinstance(code, float) else code for code in cells[gone].unique()[:5])
            table[name] = cells.mask(gone)
            n = int(gone.sum())
            remarks.append(
                ("missing code", name, f"{n} cell(s) of {name!r} hold a code that SPSS declares missing ({codes}).")
            )
    return _from_pyreadstat(table, meta, "spss", remarks)


def _read_portable(path: Path, encoding: str | None) -> Raw:
    """A portable SPSS file (which knows one encoding)."""
    import pyreadstat

    table, meta = pyreadstat.read_por(str(path), disable_datetime_conversion=True)
    return _from_pyreadstat(table, meta, "spss portable", [])


def _read_sas(reader: str, what: str) -> Callable[[Path, str | None], Raw]:
    def read(path: Path, encoding: str | None) -> Raw:
        import pyreadstat

        table, meta = getattr(pyreadstat, reader)(str(path), encoding=encoding)
        return _from_pyreadstat(table, meta, what, [])

    return read


def _from_pyreadstat(table: pd.DataFrame, meta: Any, what: str, remarks: list[tuple[str, str, str]]) -> Raw:
    """The table with SPSS dates as dates; impossible ones are missing and counted."""
    for name, kind in meta.original_variable_types.items():
        if what.startswith("spss") and kind.rstrip("0123456789.") in _SPSS_DATES and table[name].dtype.kind == "f":
            seconds = table[name].to_numpy()
            possible = (seconds >= 0) & (seconds <= _SPSS_LAST)
            n = int((~possible & ~np.isnan(seconds)).sum())
            if n:
                sentence = f"{n} cell(s) of {name!r} hold an impossible date and were set to missing."
                remarks.append(("impossible date", name, sentence))
            day = _SPSS_EPOCH + np.where(possible, seconds, 0).astype("timedelta64[s]")
            table[name] = np.where(possible, day, np.datetime64("NaT", "s"))
    labels = {name: dict(codes) for name, codes in meta.variable_value_labels.items() if codes}
    how = {"format": what, "labels": {name: text for name, text in meta.column_names_to_labels.items() if text}}
    return _framed(table, how, labels, remarks)


def _read_stata(path: Path, encoding: str | None) -> Raw:
    with pd.read_stata(path, convert_categoricals=False, iterator=True) as reader:
        table = reader.read()  # type: ignore[attr-defined]
        labels = {name: dict(codes) for name, codes in reader.value_labels().items()}
        variables = reader.variable_labels()
    with pd.read_stata(path, convert_categoricals=False, convert_dates=False, iterator=True) as reader:
        remarks = _extended_missing(reader.read(convert_missing=True))  # type: ignore[attr-defined]
    how = {"format": "stata", "labels": {name: text for name, text in variables.items() if text}}
    return _framed(table, how, labels, remarks)


def _extended_missing(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """A remark for each column with values that Stata writes ``.a`` to ``.z``: missing, for a reason."""
    remarks = []
    for name in table.select_dtypes(object):
        codes = [str(cell) for cell in table[name] if isinstance(cell, StataMissingValue) and str(cell) != "."]
        if codes:
            shown = ", ".join(sorted(set(codes))[:5])
            sentence = f"{len(codes)} cell(s) of {name!r} hold a code that Stata declares missing ({shown})."
            remarks.append(("missing code", str(name), sentence))
    return remarks


def _read_arrow(reader: str, what: str) -> Callable[[Path, str | None], Raw]:
    def read(path: Path, encoding: str | None) -> Raw:
        table = getattr(pd, reader)(path)
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index()
        return _framed(table, {"format": what}, {})

    return read


def _framed(
    table: pd.DataFrame,
    how: dict[str, Any],
    labels: dict[str, dict[Any, str]],
    remarks: list[tuple[str, str, str]] | None = None,
) -> Raw:
    if not table.shape[1]:
        raise DataError("The file has no columns.", remedy="Export it again.")
    table = table.set_axis(unique_names([str(name) for name in table.columns]), axis=1)
    if table.empty:
        raise DataError("The file has column names and no rows.", remedy="Export it again with its data.")
    for name in table.columns:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            table[name] = table[name].astype(table[name].cat.categories.dtype)
        elif table[name].dtype.kind == "O":  # nested cells (lists, dicts) ride along as text
            table[name] = table[name].map(lambda cell: cell if isinstance(cell, Hashable) else str(cell))
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return Raw(table, how, labels, tuple(remarks or ()))


SHEETS = ("openpyxl", "python_calamine")
"""Packages whose files hold sheets."""

FORMATS: dict[str, Format] = {
    ".xlsx": Format("Excel", "openpyxl", read_sheet),
    ".xlsm": Format("Excel", "openpyxl", read_sheet),
    ".xls": Format("Excel 97-2003", "python_calamine", read_other_sheet),
    ".ods": Format("OpenDocument", "python_calamine", read_other_sheet),
    ".sav": Format("SPSS", "pyreadstat", _read_spss),
    ".zsav": Format("SPSS", "pyreadstat", _read_spss),
    ".por": Format("SPSS portable", "pyreadstat", _read_portable),
    ".dta": Format("Stata", None, _read_stata),
    ".sas7bdat": Format("SAS", "pyreadstat", _read_sas("read_sas7bdat", "sas")),
    ".xpt": Format("SAS transport", "pyreadstat", _read_sas("read_xport", "sas transport")),
    ".parquet": Format("Parquet", "pyarrow", _read_arrow("read_parquet", "parquet")),
    ".feather": Format("Feather", "pyarrow", _read_arrow("read_feather", "feather")),
}
