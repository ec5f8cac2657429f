"""One function per model: from a design to a `HazardFit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import HazardDesign
from alliance_stats.dropout.few import events_by_state, few_events_notes, thin_states, thin_terms, unknowable
from alliance_stats.dropout.result import HazardFit
from alliance_stats.hazard.binary import fit_binary, require_full_rank, row_terms
from alliance_stats.hazard.clustered import forget, information_by, jackknife, require_clusters, sandwich, sum_by
from alliance_stats.hazard.cox import fit_cox, without_each
from alliance_stats.hazard.cox_answers import score_residuals
from alliance_stats.hazard.firth import Binary, Cox, fit_firth
from alliance_stats.hazard.frailty import fit_frailty
from alliance_stats.hazard.quadrature import fit_mixed_binary
from alliance_stats.hazard.risk_sets import risk_sets
from alliance_stats.tables.arrays import Array, FloatArray

MANY_CLUSTERS = 50
"""From here on the sandwich is as good as the jackknife, which leaves out each cluster in turn."""

_ADVICE = {
    "model": "Wald intervals are unreliable here; use penalty='firth'.",
    "sandwich": "Its sandwich error is not given; use adjust='jackknife', or penalty='firth' without cluster=.",
    "jackknife": "Compare with penalty='firth' without cluster=, and do not rest a conclusion on it.",
    "firth": "The profile interval allows for this, but not for differences between therapists.",
}


class Errors(NamedTuple):
    """The covariance of the coefficients, the df of their t distribution, and how they were made."""

    covariance: FloatArray
    df: Any
    description: str
    n_groups: int
    kind: str = "model"


@dataclass(frozen=True)
class Job:
    """What there is to fit."""

    formula: str
    ending: str
    data: pd.DataFrame
    design: HazardDesign
    event: Array
    settings: dict[str, Any]
    used: dict[str, Any]

    @cached_property
    def groups(self) -> tuple[Array, Any]:
        """The cluster, or the group of the random effect, of each row, and the labels of all."""
        return _codes(self.data, self.settings["cluster"] or self.settings["random"])

    def rows(self) -> tuple[Array, Array, Array, Any]:
        """Start, stop, event and stratum of each row."""
        start, stop = (self.data[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
        strata = self.settings["strata"]
        return start, stop, self.event, None if strata is None else _codes(self.data, strata)[0]

    def result(
        self, model: str, fit: Any, errors: Errors, engine: Any, *, notes: tuple[str, ...] = (), **more: Any
    ) -> HazardFit:
        """The fit with what was counted on the way."""
        names, covariance = self.design.names, errors.covariance
        group = self.settings["cluster"] or self.settings["random"]
        states = events_by_state(self.design, self.event, None if group is None else self.groups[0])
        thin = thin_states(states)
        alone = [name for name, bad in zip(names, np.isnan(np.diag(covariance)), strict=True) if bad]
        if alone:
            notes = (*notes, f"no error for {', '.join(alone)}: without one of the clusters it cannot be estimated")
        if errors.kind == "sandwich":
            covariance = forget(covariance, thin_terms(thin, names))
        error = np.sqrt(np.diag(covariance))
        unknown = {} if errors.kind == "firth" else unknowable(self.data, self.event, names, error)
        notes = (*self.used["notes"], *notes, *few_events_notes(thin, unknown, group, _ADVICE[errors.kind]))
        found = {"n_groups": errors.n_groups, "iterations": fit.iterations, "notes": list(notes), "unknown": unknown}
        return HazardFit(
            model=model,
            formula=self.formula,
            ending=self.ending,
            terms=names,
            coefficients=fit.coefficients,
            covariance=covariance,
            df=np.broadcast_to(np.asarray(errors.df, dtype=np.float64), len(names)),
            log_likelihood=fit.log_likelihood,
            n_parameters=len(names) + ("random" in more),
            converged=fit.converged,
            settings=self.settings | {"errors": errors.description},
            diagnostics=self.used | found | {"events_by_state": states},
            data=self.data,
            design=self.design,
            engine=engine,
            **more,
        )


def _codes(data: pd.DataFrame, column: str) -> tuple[Array, Any]:
    codes, levels = pd.factorize(data[column], sort=True)
    return codes.astype(np.int64), levels


def _errors(
    job: Job,
    bread: FloatArray,
    scores: Callable[[], FloatArray],
    left: Callable[[Array, int], tuple[FloatArray, FloatArray]],
) -> Errors:
    """Model-based errors, or those by cluster: the jackknife of score and information `left`, or the sandwich."""
    cluster, adjust = job.settings["cluster"], job.settings["adjust"]
    if cluster is None:
        return Errors(bread, np.inf, "model-based", 0)
    codes = job.groups[0]
    n_clusters = require_clusters(codes)
    if adjust == "jackknife" or (adjust is None and n_clusters < MANY_CLUSTERS):
        kind, found = "jackknife", jackknife(bread, *left(codes, n_clusters))
    else:
        kind, found = "sandwich", sandwich(bread, scores(), codes, adjust=adjust or "groups")
    words = f"clustered by {cluster} ({n_clusters} clusters, {found.description}, t with G − 1 df)"
    return Errors(found.covariance, n_clusters - 1.0, words, n_clusters, kind)


def discrete_model(job: Job, link: str) -> HazardFit:
    """Binary regression on the intervals."""
    matrix = job.design.matrix
    fit = fit_binary(job.event, matrix, link=link, names=job.design.names)

    def scores() -> FloatArray:
        return np.asarray(matrix * fit.residual[:, None])

    def left(codes: Array, n_clusters: int) -> tuple[FloatArray, FloatArray]:
        own = information_by(matrix, row_terms(fit.linear, job.event, link)[2], codes, n_clusters)
        return -sum_by(scores(), codes, n_clusters), own.sum(axis=0) - own

    return job.result(f"discrete {link}", fit, _errors(job, fit.covariance, scores, left), fit)


def cox_model(job: Job, ties: str) -> HazardFit:
    """Cox regression on start and stop."""
    matrix = job.design.matrix
    sets = risk_sets(*job.rows())
    fit = fit_cox(matrix, sets, ties=ties, names=job.design.names)

    def scores() -> FloatArray:
        return score_residuals(fit.coefficients, matrix, sets, ties=ties)

    def left(codes: Array, n_clusters: int) -> tuple[FloatArray, FloatArray]:
        return without_each(fit.coefficients, matrix, job.rows(), codes, ties=ties)

    return job.result(f"cox {ties}", fit, _errors(job, fit.covariance, scores, left), sets)


def penalised_model(job: Job, model: str, link: str, ties: str) -> HazardFit:
    """Firth's penalised likelihood, with profile intervals."""
    matrix, discrete = job.design.matrix, model == "discrete"
    require_full_rank(matrix, job.design.names, intercept=discrete)
    sets = None if discrete else risk_sets(*job.rows())
    if sets is None:
        fit = fit_firth(Binary(job.event, matrix, link), matrix.shape[1])
    else:
        fit = fit_firth(Cox(matrix - matrix.mean(axis=0), sets, ties), matrix.shape[1])
    words = "Firth's penalised likelihood, with profile intervals and likelihood-ratio p values"
    name = f"discrete {link}" if discrete else f"cox {ties}"
    return job.result(name, fit, Errors(fit.covariance, np.inf, words, 0, "firth"), sets or fit, penalised=fit)


def mixed_model(job: Job, link: str, nodes: int) -> HazardFit:
    """Binary regression with a normal intercept per group."""
    group = job.settings["random"]
    codes, levels = job.groups
    fit = fit_mixed_binary(job.event, job.design.matrix, codes, link=link, nodes=nodes, names=job.design.names)
    latent = np.pi**2 / 3 if link == "logit" else np.pi**2 / 6
    words = f"model-based, with a normal intercept per {group} ({len(levels)} groups, {nodes}-node adaptive quadrature)"
    return _with_effects(job, f"discrete {link}", fit, fit, words, (fit.sd**2, latent, fit.sd_error))


def frailty_model(job: Job, ties: str, frailty: str, method: str) -> HazardFit:
    """Cox regression with a frailty per group."""
    group = job.settings["random"]
    codes, levels = job.groups
    sets = risk_sets(*job.rows())
    fit = fit_frailty(
        job.design.matrix, sets, codes, distribution=frailty, method=method, ties=ties, names=job.design.names
    )
    kind = "gamma" if frailty == "gamma" else f"lognormal ({method.upper()})"
    words = f"model-based, with a {kind} frailty per {group} ({len(levels)} groups)"
    # Share: for the gamma Kendall's tau between two patients of a group; for the log-normal that of the
    # complementary log-log scale, on which an exponential time has variance pi^2 / 6.
    rest = 2.0 if frailty == "gamma" else np.pi**2 / 6
    return _with_effects(job, f"cox {ties}", fit, sets, words, (fit.variance, rest, np.nan))


def _with_effects(
    job: Job, model: str, fit: Any, engine: Any, words: str, variance: tuple[float, float, float]
) -> HazardFit:
    """A fit with a random effect; `variance` is that between groups, that within, and the error of the sd."""
    from scipy.special import chdtrc

    group = job.settings["random"]
    codes, levels = job.groups
    between, within, sd_error = variance
    # The test of no variance between groups: half of chi-square with 1 df (Self & Liang 1987), at the ML maximum.
    gain = max(2 * (fit.log_likelihood - fit.null_log_likelihood), 0.0)
    random = pd.DataFrame(
        {
            "group": [group],
            "term": ["Intercept"],
            "term_2": [None],
            "variance": [between],
            "sd": [np.sqrt(between)],
            "correlation": [np.nan],
            "share": [between / (between + within)],
            "sd_error": [sd_error],
            "p_value": [0.5 * float(chdtrc(1, gain)) if gain > 0 else 1.0],
        }
    )
    note = (f"the variance between groups of {group} is estimated as 0 (boundary)",) if fit.boundary else ()
    df = _between_within(job, codes)
    errors = Errors(fit.covariance, df, f"{words}, t with between-within df", len(levels))
    effects = pd.DataFrame({group: levels, "effect": fit.effects, "std_error": fit.effects_sd})
    return job.result(model, fit, errors, engine, random=random, random_effects=effects, notes=note)


def _between_within(job: Job, codes: Array) -> FloatArray:
    """The df of each term (Li & Redden 2015): of the groups where it is constant within them, else of the patients."""
    matrix = job.design.matrix
    first = np.unique(codes, return_index=True)[1]
    between = (matrix == matrix[first][codes]).all(axis=0)
    n_groups, n_between = len(first), int(between.sum()) + (not job.design.intercept)
    df_within = job.used["n_patients"] - n_groups - int((~between).sum())
    return np.maximum(np.where(between, n_groups - n_between, df_within), 1).astype(np.float64)
