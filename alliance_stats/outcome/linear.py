"""Ordinary least squares in the vocabulary of every fit, for studies without therapists to nest patients in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.formulas import model_matrix, one_sided, variables_of
from alliance_stats.tables.schema import VARIANCES_COLUMNS, DataError, require_columns
from alliance_stats.tables.terms import terms_table


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A linear model fitted by least squares: t statistics with n - p degrees of freedom."""

    formula: str  # as it was fitted
    coefficients: pd.Series  # by term
    covariance: pd.DataFrame  # of the coefficients
    residual_variance: float  # residual sum of squares / (n - p)
    n_rows: int  # rows used
    spec: Any = field(repr=False)
    # ``converged`` (always True), ``rows``, ``rows_dropped``, ``missing`` (by column), ``df_method``
    diagnostics: dict[str, Any] = field(repr=False)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return tuple(self.coefficients.index)

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood at the maximum (variance by maximum likelihood, as R's ``logLik``)."""
        n = self.n_rows
        largest = self.residual_variance * (n - len(self.terms)) / n
        return float(-n / 2 * (np.log(2 * np.pi * largest) + 1)) if largest > 0 else np.inf

    def degrees_of_freedom(self, contrasts: Any = None) -> Any:
        """Rows minus coefficients, once for each row of `contrasts` (by default for each coefficient)."""
        n_rows = len(self.terms) if contrasts is None else len(np.atleast_2d(contrasts))
        return np.full(n_rows, float(self.n_rows - len(self.terms)))

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS, one row per coefficient."""
        error = np.sqrt(np.diag(self.covariance.to_numpy()))
        df = self.degrees_of_freedom()
        return terms_table(self.terms, self.coefficients.to_numpy(), error, df, level=level)

    def glance(self) -> pd.DataFrame:
        """One row about the fit; the residual variance counts as a parameter."""
        parameters = len(self.terms) + 1
        return pd.DataFrame(
            {
                "model": ["linear"],
                "n_rows": [self.n_rows],
                "n_groups": [0],
                "log_likelihood": [self.log_likelihood],
                "aic": [2 * parameters - 2 * self.log_likelihood],
                "bic": [np.log(self.n_rows) * parameters - 2 * self.log_likelihood],
                "converged": [True],
            }
        )

    def variances(self) -> pd.DataFrame:
        """VARIANCES: the residual's alone."""
        row = ("residual", "", "", self.residual_variance, np.sqrt(self.residual_variance), np.nan)
        return pd.DataFrame([row], columns=list(VARIANCES_COLUMNS))

    def predict(self, data: pd.DataFrame) -> pd.DataFrame:
        """Predicted means for new rows, column ``prediction``, in the index of `data`."""
        columns = variables_of(self.formula.partition("~")[2])
        design = model_matrix(self.spec, data.reset_index(drop=True), columns=columns)
        return pd.DataFrame({"prediction": np.asarray(design, dtype=np.float64) @ self.coefficients}, index=data.index)


def fit_linear(formula: str, data: pd.DataFrame) -> LinearFit:
    """Least squares by a QR decomposition of the scaled columns; rows that miss a value are left out and counted.

    Raises
    ------
    DataError
        If no degree of freedom is left or a term is a combination of others.
    """
    outcome, _, right = formula.partition("~")
    needed = sorted({*variables_of(f"0 + {outcome}"), *variables_of(right)})
    require_columns(data, needed, table_name="the data")
    holes = data[needed].isna()
    table = data.loc[~holes.any(axis=1).to_numpy()].reset_index(drop=True)
    if table.empty:
        raise DataError("No row is complete.", remedy="Check the columns the model needs.")
    response = model_matrix(one_sided(f"0 + {outcome}"), table, columns=variables_of(f"0 + {outcome}"))
    design = model_matrix(one_sided(right), table, columns=variables_of(right))
    x, y = np.asarray(design, dtype=np.float64), np.asarray(response, dtype=np.float64)[:, 0]
    names, (n, p) = list(design.columns), x.shape
    if n <= p:
        raise DataError(f"{n} complete rows cannot carry {p} coefficients.", remedy="Leave out terms or add patients.")
    scale = np.sqrt((x**2).mean(axis=0))
    q, r = np.linalg.qr(x / np.where(scale > 0, scale, 1.0))
    weak = np.flatnonzero(np.abs(np.diag(r)) < 1e-9 * np.sqrt(n))
    if len(weak):
        remedy = "Leave it out, or join patterns that hardly any patient has."
        raise DataError(f"The term {names[weak[0]]!r} is a combination of the terms before it.", remedy=remedy)
    inverse = np.linalg.inv(r) / scale[:, None]
    beta = inverse @ (q.T @ y)
    variance = float(((y - x @ beta) ** 2).sum() / (n - p))
    return LinearFit(
        formula=formula,
        coefficients=pd.Series(beta, index=names, name="estimate"),
        covariance=pd.DataFrame(variance * inverse @ inverse.T, index=names, columns=names),
        residual_variance=variance,
        n_rows=n,
        spec=design.model_spec,
        diagnostics={
            "converged": True,
            "rows": n,
            "rows_dropped": len(data) - n,
            "missing": {name: int(count) for name, count in holes.sum().items() if count},
            "df_method": "n - p",
        },
    )
