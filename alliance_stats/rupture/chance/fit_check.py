"""Whether the null fits the scores that it judges, in numbers and in words; arrays only.

Data and draws at the estimate are compared in what a rule reads and the estimate did not aim at: mean changes and upper
spread by phase of therapy and by level, autocorrelation, and the lower tail. The upper side shows the fit, since
ruptures lie on the lower one. A lower tail that is heavier than the null's is what ruptures look like, and what skewed
noise looks like too. What tells them apart is that ruptures last: beside a deep rating lies another low one. Where deep
ratings do not last, and where many ratings crowd below the highest score, which skews every course downwards, the two
cannot be told apart.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.compared import freed, upper_centre
from alliance_stats.rupture.chance.frame import Frame
from alliance_stats.rupture.chance.null import draw_normals, draw_scores
from alliance_stats.rupture.chance.null_fit import NullFit
from alliance_stats.tables.arrays import FloatArray

FITS, MISFIT, INSEPARABLE = "fits", "does not fit", "cannot be told apart"
LEAST = (
    "Where there are ruptures, a part of them passes for noise: chance is expected to give too many, and excess and "
    "ratio are too small."
)
VERDICTS = {
    FITS: f"The model of scores without ruptures fits these data in every respect that was checked. {LEAST}",
    MISFIT: "The model of scores without ruptures does not fit these data: {where}. Read the ratios and p-values with "
    f"caution. {LEAST}",
    INSEPARABLE: "{why}: ruptures cannot be told apart from noise that is skewed or has a heavy lower tail, and no "
    "p-value is given.",
}
WHY_BRIEF = "More ratings lie deep below the patient's usual level, with no low rating beside them, than noise gives"
WHY_CEILING = "{share:.0%} of the ratings lie within one SD of the highest score, which skews courses downwards"
NEAR_CEILING = (
    " Many ratings lie within one SD of the highest score: if scores are means of answers that are each cut at their "
    "highest, the rule finds up to an eighth more than expected without any rupture."
)
DRAWS = 120
"""Draws that the data are compared with."""
FAR = 3.5
"""Standard deviations of the draws from which on a feature does not fit; ten features are looked at."""
BRIEF = 1.65
"""Standard deviations from which on deep ratings that do not last are more than the null gives (one-sided 5 %)."""
DEEP, LASTS = 2.25, 0.6
"""Robust SD below the patient's centre from which on a rating counts as deep; the share of its depth that the rating
beside it has where a rupture lasts."""
CROWDED = 0.25
"""Share of the ratings within one robust SD of the highest score from which on ruptures cannot be told from skew."""
NEARBY = 0.15
"""Share from which on the verdict says what chance may give beyond the expected."""
PHASES, LEVELS = ("early", "middle", "late"), ("low", "middle", "high")
CHECKED = (
    *(f"mean change in {phase} sessions" for phase in PHASES),
    *(f"upper spread in {phase} sessions" for phase in PHASES),
    *(f"upper spread of patients with {level} scores" for level in LEVELS),
    "autocorrelation",
    "lower tail",
    "deep ratings that do not last",
)
ONE_SIDED = CHECKED[-2:]
"""What ruptures change: no part of the fit, but of the question whether ruptures can be told from noise."""


def features(frame: Frame, scores: FloatArray) -> FloatArray:
    """The features :data:`CHECKED`, (12, draws); NaN where there is nothing to compute one from."""
    series, (early, late) = frame.series, frame.pairs[0]
    start, length = series.start, series.length[:, None]
    free = freed(frame, scores) / frame.scale
    centre = np.add.reduceat(free, start, axis=0) / length
    upper = free > np.repeat(centre - 1.0, series.length, axis=0)
    centre = np.add.reduceat(free * upper, start, axis=0) / np.maximum(np.add.reduceat(upper, start, axis=0), 1)
    deviation = np.clip(free - np.repeat(centre, series.length, axis=0), -4.0, 4.0)
    phase = np.digitize(series.position, (3, 8))
    change, rows = np.clip((scores[late] - scores[early]) / frame.scale, -4.0, 4.0), []
    rows += [_mean(change[phase[late] == k]) for k in range(3)]
    square = np.maximum(deviation, 0.0) ** 2
    rows += [_mean(square[phase == k]) for k in range(3)]
    third = series.spread(np.digitize(series.mean, np.quantile(series.mean, [1 / 3, 2 / 3])))
    rows += [_mean(square[third == k]) for k in range(3)]
    first, second = deviation[early], deviation[late]
    kept = (first > -1.5) & (second > -1.5)
    rows.append((first * second * kept).sum(axis=0) / np.maximum(kept.sum(axis=0), 1))
    rows.append(np.maximum(-1.5 - deviation, 0.0).mean(axis=0))
    free = freed(frame, scores) / frame.scale
    deviation = np.clip(free - np.repeat(upper_centre(series, free), series.length, axis=0), -4.0, 4.0)
    first, second = deviation[early], deviation[late]
    beside = ((one, one <= -DEEP, other) for one, other in ((first, second), (second, first)))
    rows.append(sum((deep * one * (LASTS * one - other)).mean(axis=0) for one, deep, other in beside))
    return np.array(rows)


def check_fit(frame: Frame, fit: NullFit, rng: np.random.Generator) -> tuple[pd.DataFrame, str, str]:
    """How far the data lie from draws at the estimate, the verdict, and the verdict in words.

    Returns
    -------
    DataFrame
        ``quantity``, ``observed``, ``expected``, ``sd`` (of the draws), ``z``, ``fits``; in robust within-patient SD.
    str, str
        One of :data:`VERDICTS`, and its sentence.
    """
    if not frame.pairs or frame.scale <= 0:
        return pd.DataFrame(columns=["quantity", "observed", "expected", "sd", "z", "fits"]), FITS, ""
    observed = features(frame, frame.series.score[:, None])[:, 0]
    drawn = features(frame, draw_scores(frame, fit.parameters, draw_normals(frame, DRAWS, rng)))
    known = np.isfinite(drawn).sum(axis=1) > DRAWS / 2
    drawn[~known] = 0.0
    expected, sd = np.nanmean(drawn, axis=1), np.nanstd(drawn, axis=1, ddof=1)
    z = np.divide(observed - expected, sd, out=np.zeros_like(sd), where=(sd > 1e-9) & known)
    z = np.nan_to_num(z)
    checked = np.array([name not in ONE_SIDED for name in CHECKED])
    bad = (np.abs(z) > FAR) & checked
    table = pd.DataFrame(
        {"quantity": CHECKED, "observed": observed, "expected": expected, "sd": sd, "z": z, "fits": ~bad}
    )
    if frame.crowding > CROWDED:
        return table, INSEPARABLE, VERDICTS[INSEPARABLE].format(why=WHY_CEILING.format(share=frame.crowding))
    if z[-1] > BRIEF:
        return table, INSEPARABLE, VERDICTS[INSEPARABLE].format(why=WHY_BRIEF)
    where = [f"{name} {'above' if z[k] > 0 else 'below'} what it gives" for k, name in enumerate(CHECKED) if bad[k]]
    verdict = MISFIT if where else FITS
    beyond = NEAR_CEILING if frame.crowding > NEARBY else ""
    return table, verdict, VERDICTS[verdict].format(where=", ".join(where)) + beyond


def _mean(values: FloatArray) -> FloatArray:
    """The mean over ratings, NaN without any."""
    return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
