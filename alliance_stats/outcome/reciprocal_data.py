"""SESSIONS as a panel of series for the model of reciprocal effects, and the checks at its door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dynamics.panels import Panel
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, numeric
from alliance_stats.tables.states import PROBABILITIES, STATE_COLUMNS

MOST_SESSIONS = 400
MEANS = ("linear", "quadratic", "free")


@dataclass(frozen=True, eq=False)
class Study:
    """A panel with the names of what is in it."""

    panel: Panel
    measures: tuple[str, ...]
    mean_terms: tuple[tuple[str, str], ...]  # (measure, term) of each shared regressor
    covariates: tuple[str, ...]
    inputs: tuple[str, ...]
    patients: pd.Index  # one for each series
    first: int  # the session number of time 0
    clusters: IntArray | None  # (series,): the therapist
    levels: tuple[Any, ...]  # the groups of ``by``
    rows: int  # of SESSIONS, with a value
    lost: dict[str, int]  # why rows were left out: count
    place: IntArray  # (rows of the checked SESSIONS, 2): series and time; series -1 where left out

    @property
    def grouped(self) -> bool:
        """Whether patients were divided by ``by``."""
        return self.levels != ("",)


def make_study(
    table: pd.DataFrame,
    measures: Sequence[str],
    *,
    means: str,
    covariates: Sequence[str],
    inputs: Sequence[str],
    therapist: str | None,
    by: str | None,
) -> Study:
    """The panel of a checked SESSIONS table."""
    series, patients = pd.factorize(table[PATIENT])
    session = table[SESSION].to_numpy()
    first, times, k = int(session.min()), int(session.max() - session.min()) + 1, len(measures)
    if times > MOST_SESSIONS:
        raise DataError(
            f"Session numbers run from {first} to {int(session.max())}; at most {MOST_SESSIONS} steps are allowed.",
            remedy="Number the sessions 1, 2, ... within each patient.",
        )
    values, lost = _values(table, measures, [*covariates, by, therapist])
    covariate_columns, covariate_names = _covariates(table, covariates)
    y = np.full((len(patients), times, k), np.nan)
    y[series, session - first] = values
    kept = ~np.isnan(y).all(axis=(1, 2))
    if (~kept).any():
        lost["patients without a value"] = int((~kept).sum())
    _check_measures(y[kept], measures)
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    group, levels = _groups(table, series, kept, by)
    own = _laid_out(covariate_columns, series, session - first, y.shape, kept) if len(covariate_names) else None
    given = _inputs(table, inputs, series, session - first, y.shape, kept) if len(inputs) else None
    shared, mean_terms = _mean_design(y[kept], measures, means, first)
    return Study(
        panel=Panel(y[kept], shared, own, given, group),
        measures=tuple(measures),
        mean_terms=mean_terms,
        covariates=covariate_names,
        inputs=tuple(inputs),
        patients=pd.Index(patients)[kept],
        first=first,
        clusters=None if therapist is None else _first_of(table[therapist], series, kept),
        levels=levels,
        rows=int((~np.isnan(y[kept]).all(axis=2)).sum()),
        lost=lost,
        place=np.stack([number[series], session - first], axis=1),
    )


def require_known_inputs(attrs: Any, inputs: Sequence[str], *, allow_lookahead: bool) -> None:
    """Refuse rupture states of a rule that looks ahead, or does not say whether it does.

    Raises
    ------
    DataError
        Naming the column and what to do.
    """
    states = [name for name in inputs if name in (*STATE_COLUMNS, *PROBABILITIES)]
    prospective = (attrs.get("marked") or {}).get("prospective")
    if not states or allow_lookahead or prospective:
        return
    why = "come from a rule that looks ahead" if prospective is False else "do not say whether their rule looks ahead"
    raise DataError(
        f"The states {', '.join(map(repr, states))} {why}.",
        remedy="Detect with a prospective rule, or take a detector's filtered states, and mark them with "
        "mark_ruptures(..., for_prediction=True); or pass allow_lookahead=True and report a description.",
    )


def _values(
    table: pd.DataFrame, measures: Sequence[str], needed: Sequence[str | None]
) -> tuple[FloatArray, dict[str, int]]:
    """The measures (rows, k), missing where a needed column is, and how many rows were lost for each."""
    values, lost = table[list(measures)].to_numpy(dtype=np.float64, copy=True), {}
    for name in dict.fromkeys(name for name in needed if name is not None):
        missing = table[name].isna().to_numpy()
        bad = missing & ~np.isnan(values).all(axis=1)
        if bad.any():
            lost[f"no {name}"] = int(bad.sum())
        values[missing] = np.nan
    return values, lost


def _covariates(table: pd.DataFrame, covariates: Sequence[str]) -> tuple[FloatArray, tuple[str, ...]]:
    """Numbers as they are, categories as 0/1 columns without the first; centred at the mean over patients."""
    columns: dict[str, Any] = {}
    for name in covariates:
        if pd.api.types.is_numeric_dtype(table[name]):
            columns[name] = numeric(table, name)
        else:
            levels = pd.unique(table[name].dropna())
            for level in sorted(levels, key=str)[1:]:
                columns[f"{name}_{level}"] = (table[name] == level).to_numpy(dtype=np.float64)
    if not columns:
        return np.zeros((len(table), 0)), ()
    frame = pd.DataFrame(columns)
    centred = frame - frame.groupby(table[PATIENT].to_numpy()).mean().mean()
    for name in columns:
        if not centred[name].abs().max() > 0:
            raise DataError(f"The covariate {name!r} has the same value everywhere.", remedy="Leave it out.")
    return centred.fillna(0.0).to_numpy(), tuple(frame.columns)


def _laid_out(columns: FloatArray, series: Any, time: Any, shape: tuple[int, ...], kept: Any) -> FloatArray:
    """Each covariate acts on the mean of each measure: columns in the order covariate, measure."""
    n, times, k = shape
    own = np.zeros((n, times, k, columns.shape[1] * k))
    for c in range(columns.shape[1]):
        for j in range(k):
            own[series, time, j, c * k + j] = columns[:, c]
    return np.asarray(own[kept])


def _inputs(
    table: pd.DataFrame, inputs: Sequence[str], series: Any, time: Any, shape: tuple[int, ...], kept: Any
) -> FloatArray:
    """Inputs by session; a session without a row has those of the row before it (none before the first)."""
    values = np.stack([numeric(table, name) for name in inputs], axis=1)
    bad = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(bad):
        where = {"patient": table[PATIENT].iloc[bad[0]], "session": table[SESSION].iloc[bad[0]]}
        name = inputs[int(np.flatnonzero(np.isnan(values[bad[0]]))[0])]
        remedy = "Say what was the case in each session that has a row."
        raise DataError(f"The input {name!r} is missing in {len(bad)} row(s).", remedy=remedy, **where)
    for name, column in zip(inputs, values.T):
        if column.min() == column.max():
            raise DataError(f"The input {name!r} has the same value everywhere.", remedy="Leave it out.")
    given = np.zeros((shape[0], shape[1], len(inputs)))
    there = np.zeros(shape[:2], dtype=np.int64)
    given[series, time], there[series, time] = values, time
    latest = np.maximum.accumulate(there, axis=1)
    return np.asarray(np.take_along_axis(given, latest[:, :, None], axis=1)[kept])


def _groups(table: pd.DataFrame, series: Any, kept: Any, by: str | None) -> tuple[IntArray | None, tuple[Any, ...]]:
    if by is None:
        return None, ("",)
    known = table[by].notna().to_numpy()
    pairs = pd.DataFrame({"series": series[known], "group": table[by].to_numpy()[known]}).drop_duplicates()
    twice = pairs["series"].duplicated()
    if twice.any():
        who = table[PATIENT].iloc[int(np.flatnonzero(series == pairs.loc[twice, "series"].iloc[0])[0])]
        raise DataError(f"{by!r} changes within a patient.", remedy="A patient belongs to one group.", patient=who)
    listed = table[by].cat.categories if isinstance(table[by].dtype, pd.CategoricalDtype) else None
    of = pairs.set_index("series")["group"].reindex(np.flatnonzero(kept))
    levels = tuple(sorted(pd.unique(of), key=str)) if listed is None else tuple(listed)
    counts = {level: int((of == level).sum()) for level in levels}
    empty = [level for level, count in counts.items() if count == 0]
    if empty or len(levels) < 2:
        found = f"The group {empty[0]!r} of {by!r} has no patient" if empty else f"{by!r} has one group only"
        raise DataError(f"{found}.", remedy="Remove unused categories, or leave out by=.")
    return np.asarray(of.map({level: number for number, level in enumerate(levels)}), dtype=np.int64), levels


def _first_of(column: pd.Series, series: Any, kept: Any) -> IntArray:
    """The therapist of a patient's first session that names one."""
    codes = pd.factorize(column)[0]
    named = codes >= 0
    first = pd.Series(codes[named]).groupby(series[named]).first().reindex(np.flatnonzero(kept))
    return first.to_numpy(dtype=np.int64)


def _mean_design(
    y: FloatArray, measures: Sequence[str], means: str, first: int
) -> tuple[FloatArray, tuple[tuple[str, str], ...]]:
    """Regressors of the mean course: powers of the session number, or one for each session with a value."""
    times, k = y.shape[1:]
    if means == "free":
        cells = [(j, t) for j in range(k) for t in range(times) if not np.isnan(y[:, t, j]).all()]
        shared = np.zeros((times, k, len(cells)))
        for column, (j, t) in enumerate(cells):
            shared[t, j, column] = 1.0
        return shared, tuple((measures[j], f"session_{first + t}") for j, t in cells)
    powers = ("Intercept", "session", "session^2")[: 2 if means == "linear" else 3]
    shared = np.zeros((times, k, k * len(powers)))
    for j in range(k):
        for power in range(len(powers)):
            shared[:, j, j * len(powers) + power] = np.arange(times, dtype=np.float64) ** power
    return shared, tuple((name, power) for name in measures for power in powers)


def _check_measures(y: FloatArray, measures: Sequence[str]) -> None:
    if not len(y):
        raise DataError("No patient has a value of any measure.", remedy="Check the columns.")
    for j, name in enumerate(measures):
        found = y[:, :, j][~np.isnan(y[:, :, j])]
        if not len(found):
            raise DataError(f"{name!r} has no values.", remedy="Check the column.")
        if found.min() == found.max():
            raise DataError(f"{name!r} has the same value everywhere.", remedy="Check the column.", value=found[0])
    both = ~np.isnan(y).any(axis=2)
    rows = y[both]
    if len(rows) > 2:
        scaled = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-300)
        values, vectors = np.linalg.eigh(scaled.T @ scaled / len(rows))
        if values[0] < 1e-8:
            names = [measures[int(j)] for j in np.flatnonzero(np.abs(vectors[:, 0]) > 1e-3)]
            remedy = "Leave one of them out: it holds nothing that the others do not."
            raise DataError(f"{' and '.join(map(repr, names))} are linear in each other.", remedy=remedy)
    seen = (~np.isnan(y)).any(axis=2).sum(axis=1)
    if (seen < 2).all():
        remedy = "The model needs patients with at least two sessions; three and more tell levels from inertia."
        raise DataError("No patient has two sessions with a value.", remedy=remedy)
