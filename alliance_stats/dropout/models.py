"""One function per model: from a design to a `HazardFit`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import Design
from alliance_stats.dropout.result import HazardFit
from alliance_stats.hazard.binary import fit_binary, row_terms
from alliance_stats.hazard.clustered import clustered_covariance, information_by
from alliance_stats.hazard.cox import fit_cox, risk_sets
from alliance_stats.hazard.cox_answers import score_residuals
from alliance_stats.hazard.frailty import fit_frailty
from alliance_stats.hazard.quadrature import fit_mixed_binary
from alliance_stats.tables.arrays import Array


class Job(NamedTuple):
    """What there is to fit."""

    formula: str
    ending: str
    data: pd.DataFrame
    design: Design
    event: Array
    settings: dict[str, Any]
    used: dict[str, Any]

    def result(
        self,
        model: str,
        fit: Any,
        errors: _Errors,
        engine: Any,
        *,
        random: pd.DataFrame | None = None,
        random_effects: pd.DataFrame | None = None,
        notes: tuple[str, ...] = (),
    ) -> HazardFit:
        """The fit with what was counted on the way."""
        found = {"n_groups": errors.n_groups, "iterations": fit.iterations, "notes": [*self.used["notes"], *notes]}
        return HazardFit(
            model=model,
            formula=self.formula,
            ending=self.ending,
            terms=self.design.names,
            coefficients=fit.coefficients,
            covariance=errors.covariance,
            df=errors.df,
            log_likelihood=fit.log_likelihood,
            n_parameters=len(fit.coefficients) + (random is not None),
            converged=fit.converged,
            settings=self.settings | {"errors": errors.description},
            diagnostics=self.used | found,
            data=self.data,
            design=self.design,
            engine=engine,
            random=random,
            random_effects=random_effects,
        )


class _Errors(NamedTuple):
    covariance: Array
    df: float
    description: str
    n_groups: int


def _codes(data: pd.DataFrame, column: str) -> tuple[Array, Any]:
    codes, levels = pd.factorize(data[column], sort=True)
    return codes.astype(np.int64), levels


def _errors(
    model_based: Array, scores: Any, data: pd.DataFrame, settings: dict[str, Any], information: Any = None
) -> _Errors:
    """Model-based, or clustered where a cluster is named; `scores` and `information` are called only then."""
    cluster = settings["cluster"]
    if cluster is None:
        return _Errors(model_based, np.inf, "model-based", 0)
    codes, _ = _codes(data, cluster)
    adjust = settings["adjust"]
    blocks = information(codes) if adjust == "jackknife" and information is not None else None
    found = clustered_covariance(model_based, scores(), codes, adjust=adjust, information=blocks)
    words = f"clustered by {cluster} ({found.n_clusters} clusters, factor {found.description}, t with G-1 df)"
    return _Errors(found.covariance, found.n_clusters - 1.0, words, found.n_clusters)


def discrete_model(job: Job, link: str) -> HazardFit:
    """Binary regression on the intervals."""
    design = job.design
    fit = fit_binary(job.event, design.matrix, link=link, names=design.names)

    def information(codes: Array) -> Array:
        weight = row_terms(fit.linear, job.event, link)[2]
        return information_by(design.matrix, weight, codes, int(codes.max()) + 1)

    def scores() -> Array:
        return design.matrix * fit.residual[:, None]

    errors = _errors(fit.covariance, scores, job.data, job.settings, information)
    return job.result(f"discrete {link}", fit, errors, fit)


def mixed_model(job: Job, link: str, nodes: int) -> HazardFit:
    """The same with a normal intercept per group."""
    group = job.settings["random"]
    codes, levels = _codes(job.data, group)
    fit = fit_mixed_binary(job.event, job.design.matrix, codes, link=link, nodes=nodes, names=job.design.names)
    latent = np.pi**2 / 3 if link == "logit" else np.pi**2 / 6
    random = _variance_row(group, fit.sd**2, fit.sd**2 / (fit.sd**2 + latent), fit.sd_error, fit)
    words = f"model-based, with a normal intercept per {group} ({len(levels)} groups, {nodes}-node adaptive quadrature)"
    return job.result(
        f"discrete {link}",
        fit,
        _Errors(fit.covariance, np.inf, words, len(levels)),
        fit,
        random=random,
        random_effects=_effects(group, levels, fit),
        notes=_boundary_note(group, fit.boundary),
    )


def frailty_model(job: Job, ties: str, frailty: str) -> HazardFit:
    """Cox regression with a frailty per group."""
    group = job.settings["random"]
    codes, levels = _codes(job.data, group)
    sets = risk_sets(job.data["start"].to_numpy(), job.data["stop"].to_numpy(), job.event, _stratum(job))
    fit = fit_frailty(job.design.matrix, sets, codes, distribution=frailty, ties=ties, names=job.design.names)
    # Share: for the gamma Kendall's tau between two patients of a group; for the log-normal that of the
    # complementary log-log scale, on which an exponential time has variance pi^2 / 6.
    share = fit.variance / (fit.variance + (2.0 if frailty == "gamma" else np.pi**2 / 6))
    random = _variance_row(group, fit.variance, share, np.nan, fit)
    words = f"model-based, with a {frailty} frailty per {group} ({len(levels)} groups)"
    return job.result(
        f"cox {ties}",
        fit,
        _Errors(fit.covariance, np.inf, words, len(levels)),
        sets,
        random=random,
        random_effects=_effects(group, levels, fit),
        notes=_boundary_note(group, fit.boundary),
    )


def _variance_row(group: str, variance: float, share: float, sd_error: float, fit: Any) -> pd.DataFrame:
    """VARIANCES with the share, the standard error of the sd, and the test of no variance (half of chi-square 1)."""
    from scipy.special import chdtrc

    gain = max(2 * (fit.log_likelihood - fit.null_log_likelihood), 0.0)
    return pd.DataFrame(
        {
            "group": [group],
            "term": ["Intercept"],
            "term_2": [None],
            "variance": [variance],
            "sd": [np.sqrt(variance)],
            "correlation": [np.nan],
            "share": [share],
            "sd_error": [sd_error],
            "p_value": [0.5 * float(chdtrc(1, gain)) if gain > 0 else 1.0],
        }
    )


def _effects(group: str, levels: Any, fit: Any) -> pd.DataFrame:
    return pd.DataFrame({group: levels, "effect": fit.effects, "std_error": fit.effects_sd})


def _boundary_note(group: str, boundary: bool) -> tuple[str, ...]:
    return (f"the variance between groups of {group} is estimated as 0 (boundary)",) if boundary else ()


def _stratum(job: Job) -> Any:
    strata = job.settings["strata"]
    return None if strata is None else _codes(job.data, strata)[0]


def cox_model(job: Job, ties: str) -> HazardFit:
    """Cox regression on start and stop."""
    design = job.design
    sets = risk_sets(job.data["start"].to_numpy(), job.data["stop"].to_numpy(), job.event, _stratum(job))
    fit = fit_cox(design.matrix, sets, ties=ties, names=design.names)

    def scores() -> Array:
        return score_residuals(fit.coefficients, design.matrix, sets, ties=ties)

    return job.result(f"cox {ties}", fit, _errors(fit.covariance, scores, job.data, job.settings), sets)
