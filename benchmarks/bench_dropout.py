"""Dropout at scale, side by side: building the intervals, the discrete hazard, and the Cox model.

Bars, our own goals: intervals at most half of reading the CSV; the discrete hazard with clustered errors at most a
third of statsmodels' `Logit` (not reached on a busy machine: .37 to .50, for the formula and the checks count, and
statsmodels is handed arrays); Cox (Efron ties, clustered) at least twice as fast as R's `coxph`. Times are processor
seconds, so that what else the machine does counts less, the best of several runs taken in turn; for one thread set
OMP_NUM_THREADS=1. R is left out where it is not installed.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import alliance_stats as als

N_PATIENTS, N_THERAPISTS, COX_PATIENTS, RUNS, SEED = 76_000, 3_000, 15_500, 4, 1
FORMULA = "rupture_open + repaired_before + session + phq9 + alliance_within_so_far + alliance_between_so_far"
COX_FORMULA = "rupture_open + repaired_before + phq9"
R_CODE = """
suppressMessages(library(survival)); d <- read.csv("{path}"); d$event <- as.integer(d$ending == "dropout")
times <- sapply(1:{runs}, function(i) {{
  used <- system.time(f <<- coxph(Surv(start, stop, event) ~ {formula}, d, cluster = therapist))
  used[["user.self"]] + used[["sys.self"]]
}})
cat(min(times), format(coef(f), digits = 15), sqrt(diag(vcov(f))))
"""


def simulate(folder: Path) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """A study of about 1.2 million patient-sessions with the columns of the shipped one: file, ruptures, endings."""
    random = np.random.default_rng(SEED)
    length = random.geometric(0.06, N_PATIENTS).clip(1, 50)
    patient = np.repeat(np.arange(N_PATIENTS), length)
    session = np.arange(len(patient)) - np.repeat(np.cumsum(length) - length, length) + 1
    sessions = pd.DataFrame(
        {
            "patient": patient,
            "therapist": np.repeat(random.integers(0, N_THERAPISTS, N_PATIENTS), length),
            "session": session,
            "date": (
                np.datetime64("2020-01-06") + 7 * session + np.repeat(random.integers(0, 900, N_PATIENTS), length)
            ),
            "attendance": random.choice(
                ["attended", "late", "cancelled", "no-show"], len(patient), p=[0.9, 0.04, 0.04, 0.02]
            ),
            **{f"wai_{item}": random.integers(1, 6, len(patient)) for item in range(1, 13)},
            "alliance": random.normal(5, 1, len(patient)).round(2),
            "phq9": random.integers(0, 27, len(patient)),
        }
    )
    path = folder / "sessions.csv"
    sessions.to_csv(path, index=False)
    onset = random.integers(1, length + 1)
    healed = onset + random.geometric(0.4, N_PATIENTS)
    broken = np.flatnonzero(random.random(N_PATIENTS) < 0.4)
    repaired_at = np.where(healed <= length, healed, np.nan)[broken]
    events = pd.DataFrame({"patient": broken, "onset": onset[broken], "repaired_at": repaired_at})
    events.attrs["prospective"] = True
    endings = pd.DataFrame(
        {"patient": np.arange(N_PATIENTS), "ending": random.choice(["dropout", "completed", "ongoing"], N_PATIENTS)}
    )
    return path, events, endings


def best(*functions, runs: int = RUNS):
    """The shortest of several runs of each function, taken in turn, and the results of the last."""
    times, results = [[] for _ in functions], [None] * len(functions)
    for _ in range(runs):
        for i, function in enumerate(functions):
            begin = time.process_time()
            results[i] = function()
            times[i].append(time.process_time() - begin)
    return [min(own) for own in times], results


def report(what: str, ours: float, other: str, theirs: float, bar: float) -> bool:
    met = ours <= bar * theirs
    print(f"{what:34s} {ours:7.3f} s   {other:34s} {theirs:7.3f} s   ratio {ours / theirs:5.2f} (bar {bar:4.2f})"
          f"  {'met' if met else 'MISSED'}")  # fmt: skip
    return met


def statsmodels_logit(fit):
    import statsmodels.api as sm

    groups = pd.factorize(fit.data["therapist"])[0]
    model = sm.Logit(fit.event, fit.design.matrix)
    return model.fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups})


def cox_in_r(folder: Path, part: pd.DataFrame, cox) -> float:
    """R's time for the same model, whose answer must be ours."""
    table = folder / "part.csv"
    part.to_csv(table, index=False)
    code = R_CODE.format(path=table, runs=RUNS, formula=COX_FORMULA)
    out = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout.split()
    values = np.array(out[1:], dtype=float)
    np.testing.assert_allclose(cox.coefficients, values[:3], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(np.sqrt(np.diag(cox.covariance)), values[3:], rtol=1e-5)
    return float(out[0])


def main() -> int:
    met = []
    with tempfile.TemporaryDirectory() as name:
        path, events, endings = simulate(Path(name))
        sessions = pd.read_csv(path)

        def build(**options):
            return als.dropout_intervals(sessions, events, endings=endings, **options)

        (reading, plain, more), (*_, intervals) = best(
            lambda: pd.read_csv(path),
            build,
            lambda: build(measures=["alliance"], covariates=["phq9"]),
        )
        print(f"{len(sessions):,} patient-sessions, {N_PATIENTS:,} patients, {N_THERAPISTS:,} therapists")
        met.append(report("dropout_intervals", plain, "pandas.read_csv of the sessions", reading, 0.5))
        print(f"... with a measure and a covariate {more:6.3f} s")

        fit = als.fit_dropout(FORMULA, intervals, cluster="therapist")
        (ours, theirs), (_, logit) = best(
            lambda: als.fit_dropout(FORMULA, intervals, cluster="therapist"), lambda: statsmodels_logit(fit), runs=3
        )
        np.testing.assert_allclose(fit.coefficients, logit.params, rtol=1e-6, atol=1e-8)
        met.append(report("fit_dropout (formula to table)", ours, "statsmodels Logit (arrays only)", theirs, 1 / 3))

        part = intervals[intervals["patient"] < COX_PATIENTS]
        print(f"Cox: {len(part):,} rows, {(part['ending'] == 'dropout').sum():,} events")
        options = {"model": "cox", "cluster": "therapist", "adjust": "none"}
        (ours,), (cox,) = best(lambda: als.fit_dropout(COX_FORMULA, part, **options))
        if shutil.which("Rscript"):
            theirs = cox_in_r(Path(name), part, cox)
            met.append(report("fit_dropout, Cox clustered", ours, "R survival::coxph clustered", theirs, 0.5))
        else:
            print(f"fit_dropout, Cox clustered {ours:.3f} s (R is not installed: not compared)")
        (mixed,), _ = best(lambda: als.fit_dropout("rupture_open + session", part, random="therapist", nodes=9), runs=1)
        print(f"random intercept, 9 nodes, {len(part):,} rows: {mixed:.2f} s")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
