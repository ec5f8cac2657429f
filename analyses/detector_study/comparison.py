"""The comparison of detectors: every rule of the family and the latent detector, at one rate of false alarms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from detector_study.oracle import has_known_law, known_world
from detector_study.worlds import SCORE, DetectorWorld, Simulated, simulate_world

from alliance_stats.rupture.describe.agreement import match_within
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.flagging import statistic, where_likely
from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.follow import follow
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.series import Series, read_series
from alliance_stats.rupture.rules.vocabulary import REFERENCES
from alliance_stats.tables.schema import PATIENT, check_sessions

FAMILY: dict[str, Rule] = {
    f"{reference}, {unit}": Rule(
        name=f"{reference}, {unit}", reference=reference, unit=unit, repair="to_baseline", bridge=None
    )
    for reference in ("previous", "running_mean", "running_max", "own_mean", "own_median", "own_trend")
    for unit in ("pooled_sd", "percent", "own_sd", "shrunken_sd", "stricter_sd", "moving_range")
}
FAMILY |= {
    f"cumulative fall, {unit}": Rule(
        name=f"cumulative fall, {unit}", fall="cumulative", reference="previous", unit=unit, repair="to_baseline"
    )
    for unit in ("pooled_sd", "own_sd", "shrunken_sd", "moving_range")
}
FAMILY["sudden fall, points"] = Rule(
    name="sudden fall, points",
    fall="sudden",
    reference="previous",
    unit="points",
    sudden_percent=0.0,
    repair="to_baseline",
)
FAMILY |= {
    f"{reference}, {unit}, from the third rating": Rule(
        name=f"{reference}, {unit}, from the third rating",
        reference=reference,
        unit=unit,
        min_ratings=2,
        repair="to_baseline",
        bridge=None,
    )
    for reference in (name for name, word in REFERENCES.items() if not word.looks_ahead)
    for unit in ("pooled_sd", "percent")
}
"""References x units. Points, pooled and between SD and the RCI are constants of a study: calibrated, they are one.

A single rating is a poor level to fall from, so the rules that look back are also judged from the third rating on.
"""

OWN_UNITS = ("own_sd",)
EARLIER = "running_mean, shrunken SD of earlier ratings"
"""A prospective rule whose unit, too, looks at earlier ratings only; from the third rating on."""
EARLIER_RULE = Rule(
    name=EARLIER, reference="running_mean", unit="earlier_sd", min_ratings=2, repair="to_baseline", bridge=None
)
LATENT = "latent, smoothed"
LATENT_FILTERED = "latent, filtered"
LATENT_PLAIN = "latent, probability alone"
KNOWN = "latent, world known"
"""The limit of any detector: the same decision with nothing to estimate (`detector_study.oracle`)."""
SESSION_PROBABILITY = 0.3
CRITERIA = ("sensitivity", "any_sensitivity", "session_sensitivity")
"""What counts as found: the onset or the session after it; any session of the rupture or beside it; each session."""
COLUMNS = (*CRITERIA, "precision", "event_sensitivity", "event_precision", "timing_error", "roc_area", "pr_area")


class _Study(NamedTuple):
    """One simulated study beside rupture-free patients of its world; columns per rating, patients end to end.

    ``target`` numbers the true rupture whose onset, or first session after onset, the rating is (-1: none); ``around``
    holds, for each true rupture, the first rating beside it and one past the last.
    """

    series: Series
    in_rupture: Any
    target: Any
    around: tuple[Any, Any]
    truth: pd.DataFrame
    free: Any
    n_study: int


def compare_detectors(
    worlds: Iterable[DetectorWorld],
    *,
    rules: dict[str, Rule] | None = None,
    n_patients: int = 800,
    n_free: int = 2000,
    replicates: int = 4,
    false_alarm: float = 0.05,
    seed: int = 1,
) -> pd.DataFrame:
    """Every detector on every world, each with the threshold that flags `false_alarm` of the patients without ruptures.

    The latent model is fitted to each simulated study anew; a rule's units come from the study too. The thresholds of
    all detectors are set on patients of the same world without ruptures: those of the study and `n_free` further ones.

    Returns
    -------
    DataFrame
        One row per ``world``, ``replicate`` and ``detector`` with ``prospective``, ``own_sd`` (a unit of the patient's
        own SD), ``threshold`` and

        - ``sensitivity``: share of true ruptures flagged at the onset or the session after;
        - ``any_sensitivity``: share of true ruptures with any flagged rating in them or right beside them;
        - ``session_sensitivity``: share of the sessions in true ruptures that are flagged, the run as a whole;
        - ``precision``: share of flagged sessions that lie in a true rupture;
        - ``event_sensitivity``, ``event_precision``, ``timing_error``: of episodes, onsets matched one to one within
          one session, and the mean absolute error in sessions of those matched;
        - ``roc_area``: of the patient's highest value, patients with against patients without a rupture;
        - ``pr_area``: under precision against sensitivity, sessions ranked by the value.

        "Latent, world known": the limit, where :func:`~detector_study.oracle.known_world` covers the world.
        "Two thresholds" rows: the best rule of the world given what the latent detector has, a lower threshold within
        patients already flagged, at the lowest share that keeps the latent detector's precision.
    """
    rows = []
    for world in worlds:
        for replicate in range(replicates):
            rng = np.random.default_rng([seed, replicate, *world.name.encode()])
            rows += _one_study(world, rules or FAMILY, n_patients, n_free, false_alarm, replicate, rng)
    return pd.DataFrame(rows)


def summarise_comparison(results: pd.DataFrame) -> pd.DataFrame:
    """Means over replicates with Monte Carlo standard errors (``_se``), one row per world and detector."""
    keys = ["world", "assumed", "lengths", "detector", "prospective", "own_sd"]
    grouped = results.groupby(keys, sort=False)[["n_true", "threshold", *COLUMNS]]
    mean, spread = grouped.mean(), grouped.std(ddof=1)
    error = spread[list(COLUMNS)].div(np.sqrt(grouped.size()), axis=0)
    return mean.join(error.add_suffix("_se")).reset_index()


def gains(results: pd.DataFrame) -> pd.DataFrame:
    """The latent detector against the best rules of each world: ratios of sensitivity with Monte Carlo errors.

    ``gain`` counts a rupture as found by its onset or the session after, ``gain_any`` by any flagged session in it or
    beside it, ``gain_sessions`` counts its sessions, ``gain_event`` matches episodes; each against the rule best by it.

    The best rule is the one with the highest mean sensitivity over replicates, chosen after the fact, in its favour.
    ``limit`` is the gain over it of a detector to which the world is known, ``share_of_limit`` what of that the latent
    detector reaches; NaN where no limit was computed.
    """
    rows = []
    for keys, part in results.groupby(["world", "assumed", "lengths"], sort=False):
        world, assumed, lengths = keys
        wide = part.pivot_table(index="replicate", columns="detector", values="sensitivity")
        event = part.pivot_table(index="replicate", columns="detector", values="event_sensitivity")
        is_rule = ~part["detector"].str.startswith(("latent", "two thresholds"))
        names = part.loc[is_rule].drop_duplicates("detector").set_index("detector")
        mean = wide.mean()
        best = str(mean[names.index].idxmax())
        own = str(mean[names.index[names["own_sd"]]].idxmax())
        prospective = str(mean[names.index[names["prospective"]]].idxmax())
        by = {name: part.pivot_table(index="replicate", columns="detector", values=name) for name in CRITERIA[1:]}
        touched, sessions = by.values()
        best_event, best_any, best_sessions = (
            str(table.mean()[names.index].idxmax()) for table in (event, touched, sessions)
        )
        row: dict[str, Any] = {"world": world, "assumed": assumed, "lengths": lengths, "best_rule": best}
        row |= {"best_rule_sensitivity": mean[best], "latent_sensitivity": mean[LATENT]}
        row |= {"best_own_sd_rule": own, "best_prospective_rule": prospective}
        pairs = {
            "gain": (wide, LATENT, best),
            "gain_any": (touched, LATENT, best_any),
            "gain_sessions": (sessions, LATENT, best_sessions),
            "gain_event": (event, LATENT, best_event),
            "gain_over_own_sd": (wide, LATENT, own),
            "gain_prospective": (wide, LATENT_FILTERED, prospective),
            "gain_over_two_thresholds": (wide, LATENT, "two thresholds"),
            "limit": (wide, KNOWN, best),
            "share_of_limit": (wide, LATENT, KNOWN),
        }
        for name, (table, latent, rule) in pairs.items():
            there = latent in table and rule in table
            ratio = _ratio(table[latent].to_numpy(), table[rule].to_numpy()) if there else (np.nan, np.nan)
            row[name], row[f"{name}_se"] = ratio
        rows.append(row)
    return pd.DataFrame(rows)


def _ratio(top: Any, bottom: Any) -> tuple[float, float]:
    """Ratio of means over replicates and its standard error (delta method, pairs kept together)."""
    ratio = top.mean() / bottom.mean()
    error = (top - ratio * bottom).std(ddof=1) / np.sqrt(len(top)) / bottom.mean() if len(top) > 1 else np.nan
    return float(ratio), float(error)


def _one_study(
    world: DetectorWorld,
    rules: dict[str, Rule],
    n_patients: int,
    n_free: int,
    false_alarm: float,
    replicate: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    simulated, both, study = _simulated_study(world, n_patients, n_free, rng)
    head = {"world": world.name, "assumed": world.assumed, "lengths": world.lengths, "replicate": replicate}
    head["n_true"] = len(simulated.truth)
    of_rules, depths = _by_rules(study, rules, false_alarm)
    rows: list[dict[str, Any]] = [head | row for row in of_rules]
    best = max((row["sensitivity"], row["detector"]) for row in rows)[1]
    fit = detect_latent(simulated.sessions, score=SCORE, seed=replicate)
    whole = detect_latent(both, score=SCORE, parameters=fit.parameters, seed=replicate)
    rated = whole._courses.rated
    latent = {
        LATENT: (
            statistic(whole._posterior, whole._courses, "smoothed", SESSION_PROBABILITY)[rated],
            whole._posterior.smoothed[rated],
        ),
        LATENT_FILTERED: (
            statistic(whole._posterior, whole._courses, "filtered", SESSION_PROBABILITY)[rated],
            whole._posterior.filtered[rated],
        ),
        LATENT_PLAIN: (whole._posterior.smoothed[rated], whole._posterior.smoothed[rated]),
    }
    if has_known_law(world):
        chance, evidence = known_world(world, whole._courses)
        value = where_likely(chance, evidence[:, None], evidence[:, None], SESSION_PROBABILITY)
        latent[KNOWN] = (value[rated], chance[rated])
    for name, (value, rank) in latent.items():
        threshold = _threshold(study, value, false_alarm)
        flagged = value > threshold
        kind = {"detector": name, "prospective": name == LATENT_FILTERED, "own_sd": False, "threshold": threshold}
        measures = _measures(study, value, flagged, _starts(study, flagged), rank)
        rows.append(head | kind | measures)
        if name == LATENT:
            wanted = measures["precision"]
    rows.append(head | _two_thresholds(study, depths[best], false_alarm, wanted) | {"n_true": len(simulated.truth)})
    return rows


def _by_rules(study: _Study, rules: dict[str, Rule], false_alarm: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Each rule's measures at its threshold, and its falls in units at every rating."""
    rows: list[dict[str, Any]] = []
    depths = {}
    for name, rule in (rules | {EARLIER: EARLIER_RULE}).items():
        judged = judge(study.series, rule)
        depths[name] = depth = judged.depth()
        threshold = _threshold(study, depth, false_alarm)
        flagged = depth > threshold
        onset = _starts(study, flagged) if name == EARLIER else follow(judged, fires=flagged).onset
        kind = {"detector": name, "prospective": rule.prospective, "own_sd": rule.unit in OWN_UNITS}
        rows.append(kind | {"threshold": threshold} | _measures(study, depth, flagged, onset))
    return rows, depths


def _simulated_study(
    world: DetectorWorld, n_patients: int, n_free: int, rng: np.random.Generator
) -> tuple[Simulated, pd.DataFrame, _Study]:
    """A study of the world, the same with the sessions of `n_free` patients without ruptures, and that as series."""
    simulated = simulate_world(world, n_patients=n_patients, seed=rng)
    further = simulate_world(world, n_patients=n_free, seed=rng, ruptures=False)
    calm = further.sessions.assign(**{PATIENT: further.sessions[PATIENT] + n_patients})
    both = pd.concat([simulated.sessions, calm], ignore_index=True)
    return simulated, both, _study(both, simulated.truth, n_patients)


def _study(sessions: pd.DataFrame, truth: pd.DataFrame, n_study: int) -> _Study:
    table = check_sessions(sessions, [SCORE])
    series, _ = read_series(table, SCORE)
    in_rupture = table["in_rupture"].to_numpy(dtype=bool)
    target = np.full(len(table), -1)
    position = {key: k for k, key in enumerate(zip(series.owner, series.session))}
    for number, (patient, onset) in enumerate(zip(truth[PATIENT], truth["onset"])):
        k = position[(patient, onset)]
        target[k] = number
        if k + 1 < series.stop[patient]:
            target[k + 1] = number if target[k + 1] < 0 else target[k + 1]
    whose = truth[PATIENT].to_numpy()
    first = np.array([position[key] for key in zip(whose, truth["onset"])], dtype=np.int64)
    final = np.array([position[key] for key in zip(whose, truth["last"])], dtype=np.int64)
    around = np.maximum(first - 1, series.start[whose]), np.minimum(final + 2, series.stop[whose])
    free = ~(np.add.reduceat(in_rupture.astype(int), series.start) > 0)
    return _Study(series, in_rupture, target, around, truth, free, n_study)


def _threshold(study: _Study, value: Any, false_alarm: float) -> float:
    """The value that `false_alarm` of the patients without a rupture exceed."""
    highest = np.maximum.reduceat(value, study.series.start)[study.free]
    return float(np.quantile(highest, 1 - false_alarm, method="higher"))


def _starts(study: _Study, flagged: Any) -> Any:
    """Where a run of flagged ratings of one patient begins."""
    before = np.zeros_like(flagged)
    before[1:] = flagged[:-1]
    before[study.series.start] = False
    return np.flatnonzero(flagged & ~before)


def _measures(study: _Study, value: Any, flagged: Any, onset: Any, rank: Any = None) -> dict[str, float]:
    """The measures of :func:`compare_detectors`; `rank` orders sessions for the two areas, if not `value`."""
    series = study.series
    rank = value if rank is None else rank
    own = series.owner < study.n_study
    found = np.zeros(len(study.truth), dtype=bool)
    found[study.target[flagged & (study.target >= 0)]] = True
    so_far = np.r_[0, np.cumsum(flagged)]
    touched = so_far[study.around[1]] > so_far[study.around[0]]
    onset = onset[own[onset]]
    i, j = match_within(
        series.owner[onset],
        series.session[onset],
        study.truth[PATIENT].to_numpy(),
        study.truth["onset"].to_numpy(),
        margin=1,
    )
    error = np.abs(series.session[onset[i]] - study.truth["onset"].to_numpy()[j])
    highest = np.maximum.reduceat(rank, series.start)
    n_flagged = int((flagged & own).sum())
    return {
        "sensitivity": float(found.mean()),
        "any_sensitivity": float(touched.mean()),
        "session_sensitivity": float(flagged[own & study.in_rupture].mean()),
        "precision": float((flagged & own & study.in_rupture).sum() / n_flagged) if n_flagged else np.nan,
        "event_sensitivity": len(i) / len(study.truth),
        "event_precision": len(i) / len(onset) if len(onset) else np.nan,
        "timing_error": float(error.mean()) if len(error) else np.nan,
        "roc_area": _roc_area(highest[~study.free], highest[study.free]),
        "pr_area": _pr_area(study, rank),
    }


def _roc_area(with_rupture: Any, without: Any) -> float:
    """Chance that a patient with a rupture has the higher value; ties count half."""
    ordered = np.sort(without)
    below = np.searchsorted(ordered, with_rupture, side="left")
    up_to = np.searchsorted(ordered, with_rupture, side="right")
    return float((below + up_to).mean() / 2 / len(ordered))


def _pr_area(study: _Study, value: Any, *, points: int = 200) -> float:
    """Area under precision of flagged sessions against sensitivity for onsets, over thresholds on the study."""
    own = study.series.owner < study.n_study
    finite = np.isfinite(value) & own
    best = np.full(len(study.truth), -np.inf)
    np.maximum.at(best, study.target[study.target >= 0], value[study.target >= 0])
    ordered, hits = np.sort(value[finite]), np.sort(value[finite & study.in_rupture])
    levels = np.unique(np.quantile(ordered, 1 - np.linspace(0, 1, points) ** 2))[::-1]
    n_flagged = len(ordered) - np.searchsorted(ordered, levels, side="left")
    precision = (len(hits) - np.searchsorted(hits, levels, side="left")) / n_flagged
    recall = (best[:, None] >= levels).mean(axis=0)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _two_thresholds(study: _Study, depth: Any, false_alarm: float, wanted: float) -> dict[str, Any]:
    """The best rule with a second, lower threshold for the other sessions of a flagged patient."""
    series = study.series
    threshold = _threshold(study, depth, false_alarm)
    conspicuous = series.spread(np.maximum.reduceat(depth, series.start) > threshold)
    chosen: dict[str, float] = {}
    for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5):
        flagged = conspicuous & (depth > share * threshold)
        measures = _measures(study, depth, flagged, _starts(study, flagged))
        if not chosen or measures["precision"] >= wanted:
            chosen = measures
    return {"detector": "two thresholds", "prospective": False, "own_sd": False, "threshold": threshold} | chosen
