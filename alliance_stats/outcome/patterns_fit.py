"""The fitted model of outcome by rupture pattern: a frozen object that answers in tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.result import MixedFit
from alliance_stats.outcome.effects import combination, partial_correlation, standardised_difference
from alliance_stats.outcome.linear import LinearFit
from alliance_stats.outcome.membership import with_patterns
from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.flow import FLOW, in_words
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.terms import t_interval, t_p_value

PUBLISHED = pd.DataFrame(
    {
        "source": ["Eubanks, Muran & Safran (2018)", "Safran, Muran & Eubanks-Carter (2011)"],
        "effect": ["rupture repair and outcome, r"] * 2,
        "estimate": [0.29, 0.24],
        "ci_low": [0.10, 0.09],
        "ci_high": [0.47, 0.39],
        "n_studies": [11, 3],
        "n_patients": [1314, 148],
    }
)
"""The meta-analytic correlations to set a study's partial r beside."""

CONTRASTS = (("repaired", "unrepaired"), ("repaired", "none"), ("unrepaired", "none"), ("mixed", "none"))


@dataclass(frozen=True, eq=False, repr=False)
class OutcomeFit(Shown):
    """Post-treatment scores by rupture pattern, with and without the number of rated sessions.

    Attributes
    ----------
    fit : MixedFit or LinearFit
        The model with the exposure.
    unadjusted : MixedFit or LinearFit
        The same rows without the exposure; the same object where there is none.
    data : DataFrame
        The rows both were fitted to, with a column for each pattern.
    diagnostics : dict
        ``rows``, ``rows_lost`` (why: count), ``flow`` (who was kept, step by step), ``patterns`` (patients by pattern;
        expected numbers where patterns are probabilities), ``exposure_by_pattern`` (median, of labels), ``therapists``,
        ``converged``, ``boundary``, ``notes``: what to keep in mind, in sentences.
    """

    fit: MixedFit | LinearFit
    unadjusted: MixedFit | LinearFit
    formula: str
    post: str
    pre: str | None
    pattern: str
    reference: str
    better: str
    post_sd: float = field(repr=False)
    post_sd_df: int = field(repr=False)
    data: pd.DataFrame = field(repr=False)
    diagnostics: dict[str, Any] = field(repr=False)

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS of the model with the exposure; ``pattern_<name>`` is the difference from the reference pattern."""
        return self.fit.tidy(level=level)

    def glance(self) -> pd.DataFrame:
        """One row about the model with the exposure."""
        return self.fit.glance().assign(model="outcome")

    def variances(self) -> pd.DataFrame:
        """VARIANCES of the model with the exposure."""
        return self.fit.variances()

    def predict(self, data: pd.DataFrame) -> pd.DataFrame:
        """Expected post scores of new patients (``prediction``), from the columns the model was fitted on."""
        return self.fit.predict(with_patterns(data, self.pattern, self.reference, self._levels))

    @property
    def _levels(self) -> list[str]:
        return [name for name in self.diagnostics["patterns"] if name != self.reference]

    def effects(self, *, level: float = 0.95) -> pd.DataFrame:
        """Differences between patterns as effect sizes, with and without the exposure.

        Parameters
        ----------
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            One row per contrast and model: ``contrast`` (repaired - unrepaired, ...), ``adjusted`` (for exposure),
            ``difference`` with ``std_error, df, p_value, ci_low, ci_high`` in points of the outcome; ``d`` with
            ``d_low, d_high``: the difference in SD of the outcome within patterns, Hedges-corrected; ``r`` with
            ``r_low, r_high``: the partial correlation, positive where the first pattern did better, the direction of
            the published r = .29 (``PUBLISHED``).
        """
        rows = []
        present = {self.reference, *self._levels}
        models = {True: self.fit, False: self.unadjusted}
        if self.fit is self.unadjusted:
            models = {False: self.fit}
        for first, second in CONTRASTS:
            if {first, second} <= present:
                rows += [self._effect(first, second, fit, adjusted, level) for adjusted, fit in models.items()]
        return pd.DataFrame(rows, columns=EFFECTS_COLUMNS)

    def _effect(
        self, first: str, second: str, fit: MixedFit | LinearFit, adjusted: bool, level: float
    ) -> dict[str, Any]:
        difference, error, df = combination(fit, contrast_weights(fit.terms, first, second))
        statistic = difference / error if error > 0 else np.nan
        low, high = t_interval(difference, error, df, level=level)
        d = standardised_difference(difference, error, df, sd=self.post_sd, sd_df=self.post_sd_df, level=level)
        toward = -1 if self.better == "lower" else 1
        r = partial_correlation(toward * statistic, df, level=level)
        sizes = [difference, error, df, float(t_p_value(statistic, df)), float(low), float(high), *d, *r]
        return dict(zip(EFFECTS_COLUMNS, [f"{first} - {second}", adjusted, *sizes], strict=True))

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        tables = {
            "Coefficients": self.tidy(),
            "Differences between patterns (r positive: the first did better)": self.effects(),
            "Published": PUBLISHED,
        }
        title = f"{self.formula}; {self.diagnostics['rows']} patients"
        return [title, in_words(self.diagnostics[FLOW])], tables, self.diagnostics["notes"]


EFFECTS_COLUMNS = (
    *("contrast", "adjusted", "difference", "std_error", "df", "p_value", "ci_low", "ci_high"),
    *("d", "d_low", "d_high", "r", "r_low", "r_high"),
)


def contrast_weights(terms: Sequence[str], first: str, second: str) -> FloatArray:
    """The first pattern minus the second as weights of the coefficients; the reference has no coefficient."""
    signs = {f"pattern_{first}": 1.0, f"pattern_{second}": -1.0}
    return np.array([signs.get(term, 0.0) for term in terms])
