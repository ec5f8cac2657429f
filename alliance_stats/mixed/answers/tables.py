"""The tables that every fit answers with: TERMS, one row about the fit, VARIANCES."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.inference import contrast_table
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.schema import VARIANCES_COLUMNS


def terms(fit: Fitted, *, level: float, df: Any) -> pd.DataFrame:
    """TERMS, one row per fixed coefficient."""
    return contrast_table(fit, np.eye(fit.design.p), list(fit.terms), level=level, df=df)


def glance(fit: Fitted) -> pd.DataFrame:
    """One row about the fit."""
    grouping = fit.design.grouping
    return pd.DataFrame(
        {
            "model": ["mixed"],
            "n_rows": [fit.design.n],
            "n_groups": [grouping.n_inner],
            "log_likelihood": [fit.log_likelihood],
            "aic": [fit.aic],
            "bic": [fit.bic],
            "converged": [fit.optimum.converged],
            "boundary": [bool(fit.optimum.boundary or fit.optimum.held)],
            "criterion": ["REML" if fit.reml else "ML"],
            "n_outer_groups": [len(grouping.outer_labels[0]) if grouping.outer_labels else 0],
            "sigma": [np.sqrt(fit.residual_variance)],
        }
    )


def variances(fit: Fitted) -> pd.DataFrame:
    """VARIANCES: variances of each block, then its covariances; the residual last."""
    rows: list[tuple[object, ...]] = []
    for block, cov in zip(fit.design.blocks, fit.covariances):
        sd = np.sqrt(np.diag(cov))
        for i, name in enumerate(block.names):
            rows.append((block.factor, name, "", cov[i, i], sd[i], np.nan))
        for i, name in enumerate(block.names):
            for j in range(i + 1, len(block.names)):
                scale = sd[i] * sd[j]
                correlation = cov[i, j] / scale if scale > 0 else np.nan
                rows.append((block.factor, name, block.names[j], cov[i, j], np.nan, correlation))
    strata = fit.design.strata
    for label, ratio in [("", 1.0)] if strata is None else zip(strata.labels, strata.ratios):
        variance = fit.residual_variance * float(ratio)
        rows.append(("residual", str(label), "", variance, np.sqrt(variance), np.nan))
    if fit.rho is not None:
        rows.append(("residual", "rho", "", np.nan, np.nan, fit.rho))
    return pd.DataFrame(rows, columns=list(VARIANCES_COLUMNS))
