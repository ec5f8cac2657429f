"""The two candidates for the latent detector compared: the window scan that `detect_latent` is, and a Markov-switching
autoregression with patient effects, written here because it is not part of the package.

    python benchmarks/bench_latent_candidates.py [replicates]

Both are fitted to each simulated study anew, and judged on it and on patients without ruptures as in
`detector_study.comparison`: the same decision, thresholds at which 5 % of the patients without ruptures are
flagged. The table says how many of the true ruptures each finds, and how long fit and probabilities take.
Four replicates, the default, take some ten minutes.

The Markov-switching model of a score is ``y[t] = level + trend t - depth S[t] + u[t]``, ``u[t] = phi u[t-1] + e[t]``,
with S a two-state chain that starts closed and may open from the third rating on. Level, depth and SD differ between
patients and are integrated out on a grid of 13 x 3 x 3 values; one forward pass over all patients and grid points
gives the likelihood, one backward pass the smoothed probabilities. Measurement noise is folded into the
autoregression. Fitted by maximum likelihood under the same weak penalties on rates and depth as the scan. Series must
have no holes.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from detector_study.comparison import (
    SESSION_PROBABILITY,
    _measures,
    _simulated_study,
    _starts,
    _Study,
    _threshold,
)
from detector_study.worlds import SCORE, WORLDS
from scipy.optimize import minimize

from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.flagging import statistic, where_likely
from alliance_stats.rupture.latent.scale import PENALTY

NAMES = (
    "brief, 8 sessions",
    "brief, 16 sessions",
    "brief, 30 sessions",
    "long, 16 sessions",
    "slow declines",
    "heavy-tailed noise, long",
    "one patient in four, brief",
)
N_PATIENTS, N_FREE, SEED = 800, 1500, 3
FITTED_PATIENTS = 400
LEVELS = np.linspace(-1.5, 2.5, 13)
NODES = np.array([-np.sqrt(3), 0.0, np.sqrt(3)])
WEIGHTS = np.array([1 / 6, 2 / 3, 1 / 6])
FIRST = 2
CHUNK = 400


class Switching(NamedTuple):
    """Parameters of the Markov-switching autoregression; the two spreads are SDs of logarithms over patients."""

    level: float
    level_sd: float
    trend: float
    phi: float
    sd: float
    sd_spread: float
    onset: float
    repair: float
    depth: float
    depth_spread: float


def unpack(line: np.ndarray, unit: float, middle: float) -> Switching:
    """Parameters from the unbounded scale of the optimiser; SDs and depth relative to `unit`, as in the scan."""
    level, level_sd, trend, phi, sd, sd_spread, onset, repair, depth, depth_spread = line
    own = unit * np.exp(sd)
    rates = 1 / (1 + np.exp(-np.array([onset, repair])))
    return Switching(
        middle + level * unit,
        own * np.exp(level_sd),
        trend * unit,
        np.tanh(phi),
        own,
        np.exp(sd_spread),
        rates[0],
        rates[1],
        own * np.exp(depth),
        np.exp(depth_spread),
    )


class Passes(NamedTuple):
    """What forward and backward pass say of each patient, as in `latent_posterior.Posterior`."""

    log_likelihood: np.ndarray
    evidence_so_far: np.ndarray
    filtered: np.ndarray
    smoothed: np.ndarray


def passes(p: Switching, y: np.ndarray, *, backward: bool = True) -> Passes:
    """Forward (and backward) pass over all patients and grid points at once; scores y (n, T)."""
    n, last = y.shape
    at = np.arange(last) - (last - 1) / 2
    plain = y - p.trend * at
    level = plain.mean(axis=1, keepdims=True) + p.sd * LEVELS
    step = p.sd * (LEVELS[1] - LEVELS[0])
    prior = np.exp(-0.5 * ((level - p.level) / p.level_sd) ** 2) * step / (p.level_sd * np.sqrt(2 * np.pi))
    depth = p.depth * np.exp(p.depth_spread * NODES)[:, None]
    own = p.sd * np.exp(p.sd_spread * NODES - p.sd_spread**2)
    scale = own * np.sqrt(1 - p.phi**2)
    weight = prior[:, :, None, None] * WEIGHTS[:, None] * WEIGHTS
    deviation = plain[:, None, :] - level[:, :, None]
    closed = weight * np.exp(-0.5 * (deviation[:, :, 0, None, None] / own) ** 2) / own  # (n, levels, depths, SDs)
    never, opened = closed.copy(), np.zeros_like(closed)
    log_size = np.zeros(n)
    kept, evidence, filtered = [(closed, opened)], np.zeros((n, last)), np.zeros((n, last))
    densities: list[list[np.ndarray]] = []
    for t in range(1, last):
        error = (deviation[:, :, t] - p.phi * deviation[:, :, t - 1])[:, :, None, None]
        onset = p.onset if t >= FIRST else 0.0
        f = [np.exp(-0.5 * ((error + depth * (j - p.phi * i)) / scale) ** 2) / scale for i in (0, 1) for j in (0, 1)]
        f = [f[0] * (1 - onset), f[1] * onset, f[2] * p.repair, f[3] * (1 - p.repair)]
        never = never * f[0]
        closed, opened = closed * f[0] + opened * f[2], closed * f[1] + opened * f[3]
        size = closed.sum(axis=(1, 2, 3)) + opened.sum(axis=(1, 2, 3))
        log_size += np.log(size)
        divisor = size[:, None, None, None]
        closed, opened, never = closed / divisor, opened / divisor, never / divisor
        evidence[:, t] = -np.log(np.maximum(never.sum(axis=(1, 2, 3)), 1e-300))
        filtered[:, t] = opened.sum(axis=(1, 2, 3))
        if backward:
            kept.append((closed, opened))
            densities.append([part / divisor for part in f])
    smoothed = np.zeros((n, last))
    if backward:
        from_closed, from_open = np.ones_like(closed), np.ones_like(closed)
        for t in range(last - 1, -1, -1):
            smoothed[:, t] = (kept[t][1] * from_open).sum(axis=(1, 2, 3))
            if t:
                f = densities[t - 1]
                from_closed, from_open = (
                    f[0] * from_closed + f[1] * from_open,
                    f[2] * from_closed + f[3] * from_open,
                )
    return Passes(log_size, evidence, filtered, smoothed)


def fit_switching(y: np.ndarray) -> Switching:
    """Penalised maximum likelihood."""
    part = y[:FITTED_PATIENTS]
    unit, middle = float(np.sqrt(part.var(axis=1, ddof=1).mean())), float(np.median(part))
    penalty = {6: PENALTY["onset_rate"], 7: PENALTY["repair_rate"], 8: PENALTY["depth"], 9: PENALTY["depth_cv"]}
    penalty[5] = (-1.4, 0.7)  # the scan's penalty on how alike patients are, in this model's terms

    def loss(line: np.ndarray) -> float:
        cost = sum(0.5 * ((line[k] - centre) / sd) ** 2 for k, (centre, sd) in penalty.items())
        p = unpack(line, unit, middle)
        total = sum(
            passes(p, part[k : k + CHUNK], backward=False).log_likelihood.sum() for k in range(0, len(part), CHUNK)
        )
        return (cost - float(total)) / len(part)

    start = np.array([0.0, 0.2, 0.0, 0.25, -0.1, -1.4, -3.2, -0.5, 0.6, -1.2])
    bounds = [(-3, 3), (-3, 3), (-1, 1), (-1.5, 1.5), (-3, 2), (-4, 0), (-8, 0), (-5, 5), (-1.5, 2), (-3, 0)]
    return unpack(
        minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30, "ftol": 5e-6}).x, unit, middle
    )


def found_by(study: _Study, value: np.ndarray, rank: np.ndarray) -> tuple[float, float]:
    """Sensitivity and precision at the threshold that flags 5 % of the patients without ruptures."""
    flagged = value > _threshold(study, value, 0.05)
    measures = _measures(study, value, flagged, _starts(study, flagged), rank)
    return measures["sensitivity"], measures["precision"]


def compare(name: str, replicate: int) -> list[dict[str, object]]:
    """One study of one world, by both candidates."""
    rng = np.random.default_rng([SEED, replicate, *name.encode()])
    simulated, both, study = _simulated_study(WORLDS[name], N_PATIENTS, N_FREE, rng)
    head: dict[str, object] = {"world": name, "replicate": replicate}
    rows = []
    begun = time.perf_counter()
    fit = detect_latent(simulated.sessions, score=SCORE, seed=replicate)
    whole = detect_latent(both, score=SCORE, parameters=fit.parameters, seed=replicate)
    took = time.perf_counter() - begun
    rated = whole._courses.rated
    for version in ("smoothed", "filtered"):
        value = statistic(whole._posterior, whole._courses, version, SESSION_PROBABILITY)[rated]
        share, precision = found_by(study, value, value)
        rows.append(head | {"candidate": "scan", "version": version, "found": share, "precision": precision, "s": took})
    begun = time.perf_counter()
    scores = both[SCORE].to_numpy().reshape(N_PATIENTS + N_FREE, -1)
    p = fit_switching(scores[:N_PATIENTS])
    parts = [passes(p, scores[k : k + CHUNK]) for k in range(0, len(scores), CHUNK)]
    all_of = Passes(*(np.concatenate(values) for values in zip(*parts)))
    took = time.perf_counter() - begun
    whole_course = np.repeat(all_of.evidence_so_far[:, -1:], scores.shape[1], axis=1)
    for version, chance, now in (
        ("smoothed", all_of.smoothed, whole_course),
        ("filtered", all_of.filtered, all_of.evidence_so_far),
    ):
        value = where_likely(chance, now, np.maximum.accumulate(now, axis=1), SESSION_PROBABILITY).ravel()
        share, precision = found_by(study, value, value)
        rows.append(
            head | {"candidate": "switching", "version": version, "found": share, "precision": precision, "s": took}
        )
    print(name, replicate, {key: round(float(value), 3) for key, value in p._asdict().items()}, file=sys.stderr)
    return rows


def main() -> None:
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    runs = pd.DataFrame([row for name in NAMES for k in range(replicates) for row in compare(name, k)])
    wide = runs.pivot_table(
        index=["world", "version", "replicate"], columns="candidate", values=["found", "precision", "s"]
    )
    found = wide["found"]
    difference = (found["scan"] - found["switching"]).groupby(["world", "version"], sort=False)
    table = wide.groupby(["world", "version"], sort=False).mean()
    table.columns = [" ".join(column) for column in table.columns]
    table["difference"], table["se"] = difference.mean(), difference.std(ddof=1) / np.sqrt(replicates)
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
