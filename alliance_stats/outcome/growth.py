"""Growth by rupture pattern: how the course of a measure differs between patients with and without repair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.result import MixedFit
from alliance_stats.outcome.effects import combination
from alliance_stats.outcome.engine import BOTH_WAYS, fit_nested, quoted
from alliance_stats.outcome.membership import named_pattern, pattern_sizes, with_patterns
from alliance_stats.tables.flow import FLOW, in_words, record, rows_left, with_step
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.same_series import is_linear_function, same_series_error
from alliance_stats.tables.schema import PATIENT, SESSION, THERAPIST, DataError, check_sessions, require_columns
from alliance_stats.tables.states import distrust
from alliance_stats.tables.terms import t_interval, t_p_value
from alliance_stats.tables.words import at_the_edge

TIME = "sessions_since_first"


@dataclass(frozen=True, eq=False, repr=False)
class GrowthFit(Shown):
    """Linear growth of a measure over sessions, by rupture pattern.

    Attributes
    ----------
    fit : MixedFit
        The mixed model; time is ``sessions_since_first``, the session number minus 1.
    diagnostics : dict
        ``rows``, ``patients``, ``rows_lost`` (why: count), ``flow`` (who was kept, step by step), ``patterns``
        (patients by pattern), ``converged``, ``boundary``, ``notes``.
    """

    fit: MixedFit
    formula: str
    measure: str
    reference: str
    start_sd: float = field(repr=False)
    diagnostics: dict[str, Any] = field(repr=False)

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS; ``sessions_since_first:pattern_<name>`` is the difference of slopes from the reference pattern."""
        return self.fit.tidy(level=level)

    def glance(self) -> pd.DataFrame:
        """One row about the fit."""
        return self.fit.glance().assign(model="growth")

    def variances(self) -> pd.DataFrame:
        """VARIANCES of patients, therapists and residual."""
        return self.fit.variances()

    def slopes(self, *, over: float = 10, level: float = 0.95) -> pd.DataFrame:
        """Change per session of each pattern, and its difference from the reference.

        Parameters
        ----------
        over : float
            Number of sessions the effect size spans.
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            ``pattern, kind`` (``slope`` or ``difference``), ``estimate, std_error, df, p_value, ci_low, ci_high``, and
            ``d, d_low, d_high``: the change over `over` sessions in SD of the patients' first ratings (Feingold,
            2009), that SD taken as known.
        """
        names = list(self.fit.terms)
        base = np.array([1.0 if name == TIME else 0.0 for name in names])
        rows = []
        for pattern in self.diagnostics["patterns"]:
            extra = np.array([1.0 if name == f"{TIME}:pattern_{pattern}" else 0.0 for name in names])
            wanted = {"slope": base + extra}
            if pattern != self.reference:
                wanted["difference"] = extra
            for kind, weights in wanted.items():
                estimate, error, df = combination(self.fit, weights)
                low, high = t_interval(estimate, error, df, level=level)
                scale = over / self.start_sd if self.start_sd > 0 else np.nan
                p_value = float(t_p_value(estimate / error, df)) if error > 0 else np.nan
                sizes = [estimate * scale, low * scale, high * scale]
                rows.append((pattern, kind, estimate, error, df, p_value, float(low), float(high), *sizes))
        columns = ["pattern", "kind", "estimate", "std_error", "df", "p_value", "ci_low", "ci_high"]
        return pd.DataFrame(rows, columns=[*columns, "d", "d_low", "d_high"])

    def predict(self, data: pd.DataFrame | None = None, *, level: str = "population") -> pd.DataFrame:
        """Expected values for rows with the model's columns (default: the rows used)."""
        return self.fit.predict(data, level=level)

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        tables = {"Coefficients": self.tidy(), "Change per session": self.slopes(), "Variances": self.variances()}
        title = f"{self.formula}; {self.diagnostics['rows']} sessions of {self.diagnostics['patients']} patients"
        return [title, in_words(self.diagnostics[FLOW])], tables, self.diagnostics["notes"]


def fit_growth(
    sessions: pd.DataFrame,
    patients: pd.DataFrame,
    *,
    measure: str,
    pattern: str | None = None,
    reference: str = "none",
    therapist: str | None = THERAPIST,
    correlation: str | None = None,
    exclude: Sequence[str] = ("censored",),
) -> GrowthFit:
    """Model the course of a measure over sessions by the patient's rupture pattern.

    Parameters
    ----------
    sessions, patients : DataFrame
        SESSIONS with the measure, and PATIENTS with the pattern.
    measure : str
        What grows, such as ``phq9``.
    pattern, reference, exclude
        As in `fit_outcome`.
    therapist : str or None
        Column of therapists in `sessions`, who get a random intercept; ignored where absent, all the same, or not fewer
        than the patients.
    correlation : {None, "ar1"}
        Residuals correlated over session numbers.

    Raises
    ------
    DataError
        For missing columns, fewer than two patterns, no usable row, or a measure that is a linear function of the
        score that ruptures were detected in (which PATIENTS of `summarise_patients` name).

    Notes
    -----
    ``measure ~ sessions_since_first * pattern + (1 + sessions_since_first | patient) + (1 | therapist)``. The pattern
    describes the finished course: patients grouped as repaired have stayed for the repair. Where worse symptoms also
    lower the later alliance, slopes differ between patterns without any effect of ruptures.
    """
    table = check_sessions(sessions, [measure])
    pattern, members = named_pattern(patients, pattern)
    require_columns(patients, members, table_name="patients")
    score = patients.attrs.get("score")
    if score in table and is_linear_function(table[measure], table[score].astype(np.float64)):
        raise same_series_error(measure, str(score))
    of_patient = patients.set_index(PATIENT)[members].reindex(table[PATIENT])
    known = {name: of_patient[name].to_numpy() for name in members}
    table = table.assign(**{TIME: table[SESSION] - 1.0}, **known)
    table, lost = _usable(table, measure, pattern, members, exclude, _several(table, therapist))
    sizes = pattern_sizes(table.drop_duplicates(PATIENT), pattern, reference)
    table, formula = _design(table, measure, list(sizes)[1:], pattern, reference, therapist)
    steps = with_step(
        record(sessions),
        "used by the growth model",
        patients=table[PATIENT].nunique(),
        sessions=len(table),
        lost=lost,
    )
    table.attrs = {FLOW: steps}
    fit = fit_nested(formula, table, correlation=correlation)
    diagnostics = {
        "converged": bool(fit.diagnostics["converged"]),
        "boundary": list(fit.diagnostics["boundary"]),
        "rows": len(table),
        "patients": int(table[PATIENT].nunique()),
        "rows_lost": lost,
        "flow": steps,
        "patterns": sizes,
        "notes": [
            *distrust(patients.attrs),
            "The pattern is known only at the end: patients grouped as repaired have stayed for the repair (immortal "
            "time).",
            BOTH_WAYS,
            *([at_the_edge(fit.diagnostics["boundary"])] if fit.diagnostics["boundary"] else []),
        ],
    }
    start_sd = float(table.drop_duplicates(PATIENT)[measure].std(ddof=1))
    return GrowthFit(fit, formula, measure, reference, start_sd, diagnostics)


def _several(table: pd.DataFrame, therapist: str | None) -> str | None:
    """The column of therapists, where there are two or more; else None."""
    known = therapist is not None and therapist in table and len(table[therapist].dropna().unique()) > 1
    return therapist if known else None


def _design(
    table: pd.DataFrame, measure: str, levels: list[str], pattern: str, reference: str, therapist: str | None
) -> tuple[pd.DataFrame, str]:
    """The table with the columns of the model, and its formula."""
    table = with_patterns(table, pattern, reference, levels)
    random = f"(1 + {TIME} | {PATIENT})"
    therapist = _several(table, therapist)
    if therapist is not None and len(table[therapist].unique()) < len(table[PATIENT].unique()):
        table = table.assign(therapist=table[therapist])
        random += f" + (1 | {THERAPIST})"
    terms = [TIME, *(f"pattern_{name}" for name in levels), *(f"{TIME}:pattern_{name}" for name in levels)]
    return table, f"{quoted(measure)} ~ {' + '.join(terms)} + {random}"


def _usable(
    table: pd.DataFrame, measure: str, pattern: str, members: list[str], exclude: Sequence[str], therapist: str | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    labels = exclude if pattern in table else ()
    reasons = {f"pattern {name!r}": table[pattern] == name for name in labels}
    reasons["patient without a pattern"] = table[members].isna().any(axis=1)
    reasons |= {f"no {name}": table[name].isna() for name in (measure, therapist) if name is not None}
    left, lost = rows_left(reasons)
    if not left.any():
        raise DataError("No session is left for the model.", remedy="Check the measure and the patients' ids.")
    return table.loc[left].reset_index(drop=True), lost
