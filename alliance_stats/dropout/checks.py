"""Does the model hold: residuals, calibration, discrimination, proportional hazards."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.dropout.few import is_baseline
from alliance_stats.dropout.result import HazardFit
from alliance_stats.dropout.rows import predict_rows, rows_at_risk
from alliance_stats.hazard.binary import fit_binary
from alliance_stats.hazard.cox_answers import proportionality_score
from alliance_stats.hazard.risk_sets import risk_sets
from alliance_stats.tables.arrays import Array
from alliance_stats.tables.schema import ENDING, PATIENT, SESSION, require_choice
from alliance_stats.tables.shares import check_level, normal_quantile, wilson


def check_calibration(
    fit: HazardFit, new: pd.DataFrame | None = None, *, by: str = "session", groups: int = 10, level: float = 0.95
) -> pd.DataFrame:
    """Events observed against events expected, by session or by predicted risk.

    Parameters
    ----------
    fit : HazardFit
    new : DataFrame, optional
        INTERVALS the model has not seen; default: those it was fitted on (where the totals agree by construction).
    by : {"session", "risk"}
        One row per session reached, or per `groups` equally large groups of predicted hazard.
    level : float
        Coverage of the Wilson interval of the observed proportion.

    Returns
    -------
    DataFrame
        ``group, n, observed, expected`` (counts), ``observed_rate, ci_low, ci_high, expected_rate``; last row: all.
        In ``attrs``: ``slope`` and ``intercept`` of the event regressed on the linear predictor (discrete models): 1
        and 0 if the predictions are right.
    """
    check_level(level)
    require_choice(by, ("session", "risk"), name="by")
    table = fit.data if new is None else rows_at_risk(new)
    hazard = predict_rows(fit, table)
    complete = ~np.isnan(hazard)
    table, hazard = table[complete], hazard[complete]
    event = np.asarray(table[ENDING] == fit.ending, dtype=np.float64)
    if by == "session":
        group = table[SESSION].to_numpy()
    else:
        rank = pd.Series(hazard).rank(method="average").to_numpy()
        group = np.minimum((rank - 0.5) * groups // len(hazard), groups - 1).astype(np.int64) + 1
    own = pd.DataFrame({"group": group, "observed": event.astype(np.int64), "expected": hazard})
    parts = own.groupby("group").agg(n=("observed", "size"), observed=("observed", "sum"), expected=("expected", "sum"))
    parts.index = parts.index.astype(str)
    parts.loc["all"] = parts.sum()
    result = parts.reset_index().astype({"n": np.int64, "observed": np.int64})
    rate = result["observed"] / result["n"]
    low, high = wilson(rate, result["n"], level=level)
    result = result.assign(observed_rate=rate, ci_low=low, ci_high=high, expected_rate=result["expected"] / result["n"])
    if not fit.is_cox and 0 < event.sum() < len(event):
        linear = predict_rows(fit, table, kind="linear")
        line = fit_binary(np.asarray(event), np.column_stack([np.ones(len(linear)), linear]), link=fit.link)
        result.attrs = {"intercept": float(line.coefficients[0]), "slope": float(line.coefficients[1])}
    return result


def check_discrimination(
    fit: HazardFit, new: pd.DataFrame | None = None, *, cluster: str = PATIENT, level: float = 0.95
) -> pd.DataFrame:
    """How often the patient who leaves had the higher predicted hazard than one who stays, by session and overall.

    At each event time every patient with the event is compared with every patient at risk then who goes on (Heagerty &
    Zheng 2005, incident cases against dynamic controls); over all times this is Harrell's concordance for time-varying
    predictions, as R's ``concordance(coxph)``. With ``strata=`` both are of the same stratum.

    Parameters
    ----------
    new : DataFrame, optional
        INTERVALS the model has not seen. On those it was fitted on the answer is optimistic.
    cluster : str
        The independent units for the standard error (infinitesimal jackknife).

    Returns
    -------
    DataFrame
        ``time`` (``stop`` of the interval, or ``all``), ``n_events, n_pairs, auc, std_error, ci_low, ci_high``.
    """
    from scipy.special import expit

    table = fit.data if new is None else rows_at_risk(new)
    linear = predict_rows(fit, table, kind="linear")
    complete = ~np.isnan(linear)
    table, linear = table[complete], linear[complete]
    event = (table[ENDING] == fit.ending).to_numpy()
    start, stop = table["start"].to_numpy(), table["stop"].to_numpy()
    unit = pd.factorize(table[cluster])[0]
    n_units = int(unit.max()) + 1
    z = normal_quantile(level)
    strata = fit.settings["strata"]
    stratum = np.zeros(len(stop)) if strata is None else pd.factorize(table[strata])[0]
    rows, total, pull = [], np.zeros(2), np.zeros((2, n_units))
    for time in np.unique(stop[event]):
        now = np.zeros(2)
        share = np.zeros((2, n_units))
        for own in np.unique(stratum[event & (stop == time)]):
            case = np.flatnonzero(event & (stop == time) & (stratum == own))
            at_risk = (start < time) & (time <= stop) & (stratum == own)
            control = np.flatnonzero(at_risk & ~(event & (stop == time)))
            won = _wins(linear[case], linear[control])
            lost = len(case) - _wins(linear[control], linear[case])
            np.add.at(share[0], unit[case], won)
            np.add.at(share[0], unit[control], lost)
            np.add.at(share[1], unit[case], float(len(control)))
            np.add.at(share[1], unit[control], float(len(case)))
            now += (won.sum(), len(case) * len(control))
        rows.append((str(time), int((event & (stop == time)).sum()), int(now[1]), *_auc(now[0], now[1], share)))
        total += now
        pull += share
    rows.append(("all", int(event.sum()), int(total[1]), *_auc(total[0], total[1], pull)))
    result = pd.DataFrame(rows, columns=["time", "n_events", "n_pairs", "auc", "std_error"])
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(result["auc"] / (1 - result["auc"]))
        width = z * result["std_error"] / (result["auc"] * (1 - result["auc"]))
    inside = (result["auc"] > 0) & (result["auc"] < 1)
    low, high = np.where(inside, expit(odds - width), np.nan), np.where(inside, expit(odds + width), np.nan)
    return result.assign(ci_low=low, ci_high=high)


def _wins(values: Array, others: Array) -> Array:
    """How many of `others` each value exceeds, ties counting one half."""
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return np.asarray((below + upto) / 2.0)


def _auc(won: float, pairs: float, share: Array) -> tuple[float, float]:
    if pairs == 0:
        return np.nan, np.nan
    auc = float(won / pairs)
    return auc, float(np.sqrt((((share[0] - auc * share[1]) / pairs) ** 2).sum()))


def check_proportionality(fit: HazardFit, *, transform: str = "identity") -> pd.DataFrame:
    """Do the effects change over the sessions? Tests of each term times g(t), and of all of them.

    Parameters
    ----------
    fit : HazardFit
        Cox: score tests (Grambsch & Therneau 1994, as R's ``cox.zph``). Discrete: likelihood-ratio tests of each term
        (except the intercept and the baseline) times g(``stop``).
    transform : {"identity", "log", "rank", "km"}
        g: the time itself, its logarithm, its rank among the ``stop`` of all rows, or one minus Kaplan-Meier
        just before it (Cox only for the last two).

    Returns
    -------
    DataFrame
        ``term, statistic, df, p_value``, last ``GLOBAL``. Model-based: clustering is not taken into account.
    """
    require_choice(transform, ("identity", "log", "rank", "km"), name="transform")
    if fit.random_effects is not None or fit.penalised is not None:
        raise ValueError("check_proportionality needs a fit without random= and penalty=.")
    return _cox_proportionality(fit, transform) if fit.is_cox else _discrete_proportionality(fit, transform)


def _test_row(term: str, statistic: float, df: int) -> tuple[str, float, int, float]:
    from scipy.special import chdtrc

    return term, statistic, df, float(chdtrc(df, max(statistic, 0.0)))


def _cox_proportionality(fit: HazardFit, transform: str) -> pd.DataFrame:
    sets, ties, p = fit.engine, fit.model.removeprefix("cox "), len(fit.terms)
    clock = _clock(fit, transform)
    clock = clock - np.average(clock, weights=sets.n_events)
    score, information = proportionality_score(fit.coefficients, fit.design.matrix, sets, clock, ties=ties)
    rows = []
    for which, name in [*(([j], fit.terms[j]) for j in range(p)), (list(range(p)), "GLOBAL")]:
        keep = [*range(p), *(p + j for j in which)]
        block, part = information[np.ix_(keep, keep)], score[keep]
        rows.append(_test_row(name, float(part @ np.linalg.solve(block, part)), len(which)))
    return pd.DataFrame(rows, columns=["term", "statistic", "df", "p_value"])


def _clock(fit: HazardFit, transform: str) -> Array:
    """The function g at each event time, as R's ``cox.zph``: ranks and Kaplan-Meier are of all strata together."""
    time: Array = fit.engine.time.astype(np.float64)
    if transform == "log":
        return np.asarray(np.log(time))
    start, stop = (fit.data[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
    if transform == "rank":
        return np.asarray(pd.Series(stop).rank().groupby(stop).first().reindex(time))
    if transform == "km":
        together = risk_sets(start, stop, fit.event)
        staying = np.cumprod(1 - together.n_events / together.sum(np.ones(len(stop))))
        return np.asarray(1.0 - np.r_[1.0, staying][np.searchsorted(together.time, time, side="left")])
    return time


def _discrete_proportionality(fit: HazardFit, transform: str) -> pd.DataFrame:
    if transform not in ("identity", "log"):
        raise ValueError("A discrete model is checked with transform='identity' or 'log'.")
    stop = fit.data["stop"].to_numpy(dtype=np.float64)
    clock = stop if transform == "identity" else np.log(stop)
    clock = clock - clock.mean()
    matrix, event = fit.design.matrix, fit.event
    tested = [j for j, name in enumerate(fit.terms) if name != "Intercept" and not is_baseline(name)]
    rows = []
    for which, name in [*(([j], fit.terms[j]) for j in tested), (tested, "GLOBAL")]:
        wider = np.column_stack([matrix, matrix[:, which] * clock[:, None]])
        larger = fit_binary(
            event, wider, link=fit.link, start=np.r_[fit.coefficients, np.zeros(len(which))], check=False
        )
        rows.append(_test_row(name, 2 * (larger.log_likelihood - fit.log_likelihood), len(which)))
    return pd.DataFrame(rows, columns=["term", "statistic", "df", "p_value"])
