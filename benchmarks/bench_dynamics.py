"""Reciprocal effects side by side with lavaan on the same simulated patients, and a large study alone.

Prints Markdown tables: seconds in process (medians, standard errors included), ratios beside their bars, peak memory.
R is timed inside R (``bench_dynamics.R``), without starting it or reading the file; where R or lavaan is absent its
column stays empty.

    python benchmarks/bench_dynamics.py         some minutes
    python benchmarks/bench_dynamics.py --cpu   processor seconds instead of wall-clock ones, for a busy machine

Models, all with free means: random intercepts (300 patients, 6 waves), with random slopes (500, 8), with measurement
error (900, 10); one in eight sessions missed. The bar of 100 times lavaan's speed was our own wish and is not reached:
it is about 17, 19 and 51. The large study has 20,000 patients with 4 to 20 sessions (mean 12).
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # one thread each, for us and for R: before numpy starts
    os.environ.setdefault(name, "1")

# ruff: noqa: E402
import numpy as np
import pandas as pd

from alliance_stats.outcome.reciprocal import fit_dynamics

HERE = Path(__file__).parent
CPU = "--cpu" in sys.argv
clock = time.process_time if CPU else time.perf_counter
LAGGED, SHOCK = np.array([[0.3, -0.1], [-0.2, 0.4]]), np.array([[1.0, -0.3], [-0.3, 1.0]])
CASES = {
    "intercepts": (300, 6, {}, 5),
    "slopes": (500, 8, {"trend": "random"}, 3),
    "error": (900, 10, {"error": "estimated"}, 1),
}
RATIO_BAR, LARGE_SECONDS, LARGE_MEGABYTES = 100, 5.0, 1000.0


def simulate(patients: int, waves: int, *, slopes: bool, error: bool, unequal: bool = False) -> np.ndarray:
    """Values (patients, waves, 2)."""
    random = np.random.default_rng(1)
    levels = random.multivariate_normal([0, 0], [[1, -0.4], [-0.4, 1]], patients)
    steps = 0.15 * random.standard_normal((patients, 2)) * slopes
    w = random.standard_normal((patients, 2))
    y = np.empty((patients, waves, 2))
    for wave in range(waves):
        w = w @ LAGGED.T + random.multivariate_normal([0, 0], SHOCK, patients)
        y[:, wave] = levels + steps * wave + w + 0.7 * error * random.standard_normal((patients, 2))
    y[random.random((patients, waves)) < 0.125] = np.nan
    if unequal:
        y[np.arange(waves) >= random.integers(4, waves + 1, patients)[:, None]] = np.nan
    return y[~np.isnan(y).all(axis=(1, 2))]


def as_sessions(y: np.ndarray) -> pd.DataFrame:
    """SESSIONS with one row for each observed session."""
    patient, wave = np.nonzero(~np.isnan(y).all(axis=2))
    return pd.DataFrame({"patient": patient, "session": wave + 1, "a": y[patient, wave, 0], "s": y[patient, wave, 1]})


def timed(sessions: pd.DataFrame, options: dict[str, str], repeats: int) -> tuple[float, float]:
    """Seconds (median) of a fit with its coefficient table, and the log-likelihood."""
    seconds = []
    for _ in range(repeats):
        started = clock()
        fit = fit_dynamics(sessions, alliance="a", symptom="s", **options)
        fit.tidy()
        seconds.append(clock() - started)
    return statistics.median(seconds), fit.fit.log_likelihood


def by_lavaan(y: np.ndarray, case: str, repeats: int) -> dict[str, object] | None:
    """What bench_dynamics.R prints; None without R or lavaan."""
    if shutil.which("Rscript") is None:
        return None
    waves = y.shape[1]
    names = [f"{letter}{wave + 1}" for letter in "as" for wave in range(waves)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "wide.csv"
        pd.DataFrame(np.concatenate([y[:, :, 0], y[:, :, 1]], axis=1), columns=names).to_csv(file, index=False)
        call = ["Rscript", str(HERE / "bench_dynamics.R"), str(file), case, str(repeats), *(["cpu"] if CPU else [])]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def main() -> int:
    """Print the tables; 1 where a bar is missed."""
    missed = False
    print("| model | patients x waves | ours, s | lavaan, s | ratio (bar 100) | log-likelihood above lavaan's |")
    print("|---|---|---|---|---|---|")
    for case, (patients, waves, options, repeats) in CASES.items():
        y = simulate(patients, waves, slopes=case == "slopes", error=case == "error")
        ours, value = timed(as_sessions(y), {"means": "free", **options}, 3 * repeats)
        other = by_lavaan(y, case, repeats)
        if other is None:
            print(f"| {case} | {patients} x {waves} | {ours:.3f} | | | |")
            continue
        theirs = statistics.median(other["seconds"])
        proper = "" if other["proper"] else " (lavaan: improper or not converged)"
        ratio, above = theirs / ours, value - other["log_likelihood"]
        missed |= ratio < RATIO_BAR
        print(f"| {case} | {patients} x {waves} | {ours:.3f} | {theirs:.2f} | {ratio:.0f} | {above:.5f}{proper} |")
    sessions = as_sessions(simulate(20_000, 20, slopes=False, error=False, unequal=True))
    print(f"\n| {len(sessions)} sessions of 20,000 patients | seconds (bar {LARGE_SECONDS:g}) | peak, MB (bar 1000) |")
    print("|---|---|---|")
    for trend in ("none", "random"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds, _ = timed(sessions, {"trend": trend}, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        missed |= seconds > LARGE_SECONDS or peak > LARGE_MEGABYTES
        print(f"| trend {trend} | {seconds:.2f} | {peak:.0f} (before {before:.0f}) |")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
