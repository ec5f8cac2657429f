"""The average effect of repair, given a rupture: how many fewer would have dropped out by session k."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.result import HazardFit
from alliance_stats.dropout.rows import HazardOf
from alliance_stats.hazard.binary import fit_binary
from alliance_stats.hazard.cox import fit_cox
from alliance_stats.hazard.cox_answers import baseline_hazard
from alliance_stats.hazard.risk_sets import risk_sets
from alliance_stats.tables.arrays import Array
from alliance_stats.tables.progress import bar, run_pieces
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, Seed, generator, require_columns
from alliance_stats.tables.states import STATES


class _Worlds(NamedTuple):
    """The same patients twice, session by session: repaired `after` sessions after the rupture was seen, and never."""

    patient: Array  # (m,): whose row it is, 0, 1, ... in `unit`.
    rows: pd.DataFrame  # (m,): session, start and stop of each row
    # repaired, never: (m, p); design matrices
    repaired: Array
    never: Array
    unit: Array  # (patients,): the cluster each patient belongs to


def repair_effect(
    fit: HazardFit,
    *,
    by: int = 10,
    after: int = 1,
    draws: int = 500,
    seed: Seed = 0,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The risk of the event by session `by` if every rupture were repaired, and if none were, among those with one.

    For each patient with an open rupture before session `by`, from the first session at which it is open: the model's
    probability of the event by `by` (a) with repair `after` sessions later, (b) without repair, other covariates
    staying as they were then. Averaged over the patients, this is the g-formula's contrast (Robins 1986).

    Parameters
    ----------
    fit : HazardFit
        Of `fit_dropout`, discrete or Cox on session numbers, without a random effect (use ``cluster=``).
    by : int
        The session by which the event is to have happened.
    after : int
        Sessions from the first open one to repair.
    draws : int
        Bootstrap samples, of the fit's clusters or, without any, of patients.
    seed : int or Generator
    level : float
        Coverage of the percentile intervals.
    n_jobs : int, optional
        Samples refitted side by side: 2, or -1 for all cores. The result is the same for any number.
    progress : bool
        Show a bar while this takes longer than a second: on a terminal or in a notebook only.

    Returns
    -------
    DataFrame
        Rows ``risk_repaired``, ``risk_unrepaired``, ``difference``, ``ratio`` with ``estimate, std_error, ci_low,
        ci_high``; ``n_patients``, ``draws`` used and ``draws_failed`` (a sample without events or without ruptures).

    Raises
    ------
    ValueError
        For a model in which repair plays no part, a random effect, a penalty, or strata.
    DataError
        If no patient has an open rupture before session `by`.

    Notes
    -----
    Causal only if, given the covariates of the model, repair is as good as random and endings other than the event are
    independent censoring: the risk is that of a world without them. Repairs come late: where the hazard changes with
    the sessions since the rupture, fit on the rows after one (``n_ruptures_so_far > 0``) with
    ``sessions_since_onset`` in the formula, or repair takes the credit. docs/dropout.md has simulated worlds that
    break these assumptions.
    """
    if fit.random_effects is not None or fit.penalised is not None or fit.settings["strata"] is not None:
        raise ValueError("repair_effect needs a fit without random=, strata= and penalty=; use cluster= instead.")
    if draws < 1 or after < 1:
        raise ValueError(f"draws={draws} and after={after} must be at least 1.")
    worlds = _worlds(fit, by, after)
    if np.allclose(worlds.repaired, worlds.never):
        raise ValueError("Repair plays no part in this model: put rupture_open or repaired_before in the formula.")
    unit_of_row = _units(fit)
    n_units = int(unit_of_row.max()) + 1
    point = _risks(HazardOf.of(fit), worlds, np.ones(n_units))
    random = generator(seed)
    samples = [random.integers(n_units, size=n_units) for _ in range(draws)]
    with bar("Bootstrap", draws, show=progress):
        tried = run_pieces(partial(_sample, fit, worlds, unit_of_row), samples, n_jobs=n_jobs)
    found = [contrasts for contrasts in tried if contrasts is not None]
    if len(found) < 2:
        raise ValueError("The bootstrap failed in every sample: too few events or clusters.")
    drawn, tail = np.array(found), (1 - level) / 2
    return pd.DataFrame(
        {
            "quantity": ["risk_repaired", "risk_unrepaired", "difference", "ratio"],
            "estimate": _contrasts(point),
            "std_error": np.nanstd(drawn, axis=0, ddof=1),
            "ci_low": np.nanquantile(drawn, tail, axis=0),
            "ci_high": np.nanquantile(drawn, 1 - tail, axis=0),
            "n_patients": len(worlds.unit),
            "draws": len(found),
            "draws_failed": draws - len(found),
        }
    )


def _sample(fit: HazardFit, worlds: _Worlds, unit_of_row: Array, sample: Array) -> Array | None:
    """The contrasts in one sample of the units; None where it has no ruptures or cannot be fitted."""
    weight = np.bincount(sample, minlength=len(sample)).astype(np.float64)
    refitted = _refit(fit, weight[unit_of_row]) if weight[worlds.unit].sum() > 0 else None
    if refitted is None:
        return None
    contrasts = _contrasts(_risks(refitted, worlds, weight))
    # An infinite coefficient is no failure: the risks it implies are 0 or 1.
    return contrasts if np.isfinite(contrasts[:3]).all() else None


def _contrasts(risks: tuple[float, float]) -> Array:
    repaired, never = risks
    return np.array([repaired, never, repaired - never, repaired / never if never > 0 else np.nan])


def _units(fit: HazardFit) -> Array:
    cluster = fit.settings["cluster"] or PATIENT
    return pd.factorize(fit.data[cluster])[0].astype(np.int64)


def _worlds(fit: HazardFit, by: int, after: int) -> _Worlds:
    data = fit.data
    require_columns(data, ["rupture_open", SESSION, "start", "stop"], table_name="the intervals of the fit")
    if not (data["stop"] == data["start"] + 1).all():
        raise ValueError("repair_effect counts sessions: fit on intervals with time='session'.")
    unit = pd.Series(_units(fit), index=data.index)
    open_rows = data[(data["rupture_open"] == 1) & (data["start"] < by)].sort_values("start", kind="stable")
    first = open_rows.drop_duplicates(PATIENT)
    if first.empty:
        raise DataError(f"No patient has an open rupture before session {by}.", remedy="Choose a later by=.")
    length = (by - first["start"]).to_numpy()
    rows = first.loc[first.index.repeat(length)]
    place = np.concatenate([np.arange(n) for n in length])
    shift: dict[str, Any] = {name: rows[name].to_numpy() + place for name in (SESSION, "start", "stop")}
    if "sessions_since_onset" in rows:
        shift["sessions_since_onset"] = rows["sessions_since_onset"].to_numpy() + place
    never = rows.assign(**shift)
    done = place >= after
    change: dict[str, Any] = {"rupture_open": np.where(done, 0, 1)}
    if "repaired_before" in rows:
        change["repaired_before"] = np.where(done, 1, rows["repaired_before"].to_numpy())
    if "n_repaired_so_far" in rows:
        change["n_repaired_so_far"] = rows["n_repaired_so_far"].to_numpy() + done
    if "rupture_state" in rows:
        kind = pd.CategoricalDtype(list(STATES))
        change["rupture_state"] = pd.Categorical(np.where(done, "repaired", "open"), dtype=kind)
    repaired = never.assign(**change)
    of = np.repeat(np.arange(len(first)), length)
    model = HazardOf.of(fit)
    rows, units = never[[SESSION, "start", "stop"]], unit[first.index].to_numpy()
    return _Worlds(of, rows, model.design(repaired), model.design(never), units)


def _risks(model: HazardOf, worlds: _Worlds, weight: Array) -> tuple[float, float]:
    """The average risk in both worlds, patients weighted by how often their unit was drawn."""
    share = weight[worlds.unit]
    risks = []
    for matrix in (worlds.repaired, worlds.never):
        hazard = model.at(model.value, matrix, worlds.rows)
        with np.errstate(divide="ignore"):
            stays = -hazard if model.fit.is_cox else np.log1p(-hazard)
        risk = -np.expm1(np.bincount(worlds.patient, stays))
        risks.append(float(share @ risk / share.sum()))
    return risks[0], risks[1]


def _refit(fit: HazardFit, weight: Array) -> HazardOf | None:
    """The hazard of a bootstrap sample, None where it has none."""
    event, matrix = fit.event, fit.design.matrix
    if (event * weight).sum() == 0:
        return None
    if not fit.is_cox:
        used = weight > 0
        sample = fit_binary(
            event[used], matrix[used], link=fit.link, weights=weight[used], start=fit.coefficients, check=False
        )
        return HazardOf(fit, sample.coefficients, sample.covariance, np.empty(0))
    ties = fit.model.removeprefix("cox ")
    rows = np.repeat(np.arange(len(event)), weight.astype(np.int64))
    sets = risk_sets(fit.data["start"].to_numpy()[rows], fit.data["stop"].to_numpy()[rows], event[rows])
    found = fit_cox(matrix[rows], sets, ties=ties, start=fit.coefficients, check=False)
    jump = baseline_hazard(found.coefficients, matrix[rows], sets, ties=ties).jump
    return HazardOf(fit, np.r_[found.coefficients, jump], found.covariance, sets.time)
