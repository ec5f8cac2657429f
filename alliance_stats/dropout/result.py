"""What a fitted hazard says: the tables every model of the package gives, and ratios with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import HazardDesign
from alliance_stats.dropout.rows import predict_rows, residuals
from alliance_stats.hazard.firth import FirthFit
from alliance_stats.tables.arrays import Array
from alliance_stats.tables.attenuation import beside
from alliance_stats.tables.flow import in_words
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.schema import VARIANCES_COLUMNS
from alliance_stats.tables.terms import t_p_value, terms_table

RATIOS = {"ratio": "estimate", "ratio_low": "ci_low", "ratio_high": "ci_high"}
"""The columns of ratios, and those of TERMS they are made of."""


@dataclass(frozen=True, repr=False)
class HazardFit(Shown):
    """A fitted hazard model; made by `fit_dropout`.

    Attributes
    ----------
    model : str
        ``discrete logit``, ``discrete cloglog``, ``cox efron`` or ``cox breslow``.
    formula : str
    ending : str
        The event; other endings are censoring (cause-specific hazard).
    terms : list of str
    coefficients : (p,) array
        Log odds ratios (logit) or log hazard ratios (cloglog, cox).
    covariance : (p, p) array
    df : (p,) array
        Degrees of freedom of the t distribution of ``estimate / std_error``; infinite for the normal.
    settings : dict
        Every choice that moves the result, in words.
    data : DataFrame
        The rows used.
    diagnostics : dict
        Counts of rows and events used and lost, ``events_by_state``, ``flow`` (who was kept, step by step),
        ``attenuation`` (where `states` were given), ``unknown`` (states with too few events to be expected in them: the
        number), and ``notes``: what a reader must know before trusting the numbers.
    random : DataFrame or None
        VARIANCES of the therapist effect.
    random_effects : DataFrame or None
        One row per group: its predicted effect on the linear predictor, and standard error.
    penalised : FirthFit or None
        The penalised likelihood, from which intervals and p values are made.
    """

    model: str
    formula: str
    ending: str
    terms: list[str]
    coefficients: Array
    covariance: Array
    df: Array
    log_likelihood: float
    n_parameters: int
    converged: bool
    settings: Mapping[str, Any]
    diagnostics: Mapping[str, Any]
    data: pd.DataFrame = field(repr=False)
    design: HazardDesign = field(repr=False)
    engine: Any = field(repr=False)
    random: pd.DataFrame | None = None
    random_effects: pd.DataFrame | None = None
    penalised: FirthFit | None = field(default=None, repr=False)

    @property
    def is_cox(self) -> bool:
        """Whether the model is a Cox regression (no baseline hazard in the coefficients)."""
        return self.model.startswith("cox")

    @property
    def link(self) -> str:
        """The link of a discrete-session model."""
        return self.model.removeprefix("discrete ")

    @property
    def event(self) -> Array:
        """0/1 per row used: the event of this model at ``stop``."""
        return (self.data["ending"] == self.ending).to_numpy(dtype=np.float64)

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS with ``ratio, ratio_low, ratio_high``: odds ratios (logit) or hazard ratios (cloglog, cox).

        Missing for a state known as a probability in which fewer than 5 events are to be expected, if the interval
        spans a factor of more than ten (not with Firth's penalty, whose interval allows for it).
        """
        error = np.sqrt(np.diag(self.covariance))
        table = terms_table(self.terms, self.coefficients, error, self.df, level=level)
        if self.penalised is not None:
            low, high = self.penalised.limits(level)
            root = self.penalised.statistic
            table = table.assign(statistic=root, p_value=t_p_value(root, np.inf), ci_low=low, ci_high=high)
        table.loc[table["term"].isin(self.diagnostics["unknown"]), table.columns.difference(["term", "df"])] = np.nan
        with np.errstate(over="ignore"):
            return table.assign(**{name: np.exp(table[column]) for name, column in RATIOS.items()})

    def glance(self) -> pd.DataFrame:
        """One row: rows, groups, events, log-likelihood (partial for Cox), and how the errors were made."""
        used, k = self.diagnostics, self.n_parameters
        # Cox: the information grows with the events, not with the rows (Volinsky & Raftery 2000).
        size = used["n_events"] if self.is_cox else used["n_rows"]
        row = {
            "model": self.model,
            "n_rows": used["n_rows"],
            "n_groups": used["n_groups"],
            "log_likelihood": self.log_likelihood,
            "aic": 2 * k - 2 * self.log_likelihood,
            "bic": k * np.log(size) - 2 * self.log_likelihood,
            "converged": self.converged,
            "ending": self.ending,
            "n_events": used["n_events"],
            "n_patients": used["n_patients"],
            "n_dropped": used["n_dropped"],
            "events_dropped": used["events_dropped"],
            "errors": self.settings["errors"],
            "definition": self.settings["definition"],
        }
        return pd.DataFrame([row])

    def variances(self) -> pd.DataFrame:
        """VARIANCES of the therapist effect with its ``share`` of the latent variance; no rows without one."""
        if self.random is None:
            return pd.DataFrame({name: pd.Series(dtype=object) for name in VARIANCES_COLUMNS})
        return self.random.copy()

    def predict(self, new: pd.DataFrame | None = None, *, kind: str = "hazard") -> Array:
        """Prediction for rows of INTERVALS; see `alliance_stats.dropout.rows.predict_rows`."""
        return predict_rows(self, new, kind=kind)

    def residuals(self, kind: str = "martingale") -> Any:
        """Residuals of the rows used; see `alliance_stats.dropout.rows.residuals`."""
        return residuals(self, kind)

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        used = self.diagnostics
        head = [
            f"{self.model} model of {self.ending}: {self.formula}",
            f"{used['n_events']} events in {used['n_rows']} intervals of {used['n_patients']} patients; "
            f"{used['n_dropped']} intervals with {used['events_dropped']} events left out for missing values",
            in_words(used["flow"]),
            f"Errors: {self.settings['errors']}. Ending: {self.settings['definition'] or 'as given'}.",
        ]
        tables = {"Coefficients": beside(self.tidy(), used.get("attenuation"))}
        if self.random is not None:
            tables["Variance between groups"] = self.random
        broken = [] if self.converged else ["The fit did not converge: do not interpret it."]
        return head, tables, [*broken, *used["notes"]]
