"""Mixed models side by side with lme4, lmerTest, nlme and statsmodels on the same simulated sessions, in one run.

Prints Markdown tables: seconds in process (medians), ratios beside their bars, peak memory, and where our time goes.
R is timed inside R (``bench_mixed.R``), without starting it or reading the file; where R is absent its columns stay
empty and the table says so.

    python benchmarks/bench_mixed.py            1k, 24k and 240k rows, and ours on 1.2 million   (some minutes)
    python benchmarks/bench_mixed.py --full     also nlme and statsmodels on 240k, lme4 on 1.2 million   (half an hour)
    python benchmarks/bench_mixed.py --quick    1k and 24k rows only
    python benchmarks/bench_mixed.py --cpu      processor seconds instead of wall-clock ones, for a busy machine

Models: A = (1 + t | patient); B = A + (1 | therapist); C = A + AR(1) residuals over sessions with gaps.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # one thread each, for us and for R: before numpy starts
    os.environ.setdefault(name, "1")

# ruff: noqa: E402
import numpy as np
import pandas as pd

from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.profile import profile_intervals
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.mixed.design.build import build_design
from alliance_stats.mixed.design.formula import parse
from alliance_stats.mixed.engine.model import build_model
from alliance_stats.mixed.engine.optimiser import minimise
from alliance_stats.mixed.fit import fit_mixed

HERE = Path(__file__).parent
CPU = "--cpu" in sys.argv
clock = time.process_time if CPU else time.perf_counter
FORMULAS = {
    "A": "y ~ t + within + (1 + t | patient)",
    "B": "y ~ t + within + (1 + t | patient) + (1 | therapist)",
    "C": "y ~ t + within + (1 + t | patient)",
}
SIZES = {"1k": 85, "24k": 2000, "240k": 20_000, "1.2M": 100_000}
REPEATS = {"1k": 15, "24k": 9, "240k": 7, "1.2M": 5}
R_REPEATS = {"1k": 9, "24k": 3, "240k": 1, "1.2M": 1}
RATIO_BARS = {
    ("1k", "A", "lmer"): 5,
    ("1k", "B", "lmer"): 5,
    ("1k", "A", "lmerTest"): 5,
    ("1k", "B", "lmerTest"): 5,
    ("24k", "A", "lmer"): 25,
    ("24k", "B", "lmer"): 25,
    ("24k", "C", "nlme"): 350,
    ("240k", "A", "lmer"): 60,
    ("240k", "B", "lmer"): 60,
    ("240k", "A", "statsmodels"): 500,
}
LARGEST_BARS = {"A": 0.5, "B": 0.8, "C": 2.0}
"""1.2 million rows: seconds on a machine where lme4 fits model A to 240k rows in `LME4_SECONDS`.

There pandas.read_csv of the 1.2 million rows took one second. pandas has since become several times faster at it on the
same kind of machine and lme4 has not, so lme4 is the yardstick; the ratio to read_csv is printed beside it.
"""
LME4_SECONDS = 3.0


def simulate(patients: int, seed: int = 1) -> pd.DataFrame:
    """Sessions in patients in therapists, 4 to 20 sessions each with gaps, AR(1) residuals."""
    random = np.random.default_rng(seed)
    counts = random.integers(4, 21, patients)
    starts = np.cumsum(counts) - counts
    patient = np.repeat(np.arange(patients), counts)
    gap = 1 + (random.random(len(patient)) < 0.15)
    session = np.cumsum(gap) - np.repeat(np.cumsum(gap)[starts] - 1, counts)
    therapist = np.sort(random.integers(0, max(patients // 20, 6), patients))[patient]
    noise = random.standard_normal(len(patient))
    position = np.arange(len(patient)) - np.repeat(starts, counts)
    for k in range(1, int(counts.max())):
        rows = np.flatnonzero(position == k)
        carry = 0.35 ** gap[rows]
        noise[rows] = carry * noise[rows - 1] + np.sqrt(1 - carry**2) * noise[rows]
    effects = random.multivariate_normal([0, 0], [[8.0, -0.3], [-0.3, 0.1]], patients)[patient]
    within = np.round(random.standard_normal(len(patient)), 3)
    of_therapist = random.normal(0, 1.2, therapist.max() + 1)[therapist]
    y = 16 + of_therapist + effects[:, 0] + (-0.4 + effects[:, 1]) * session - 0.5 * within + 2.2 * noise
    return pd.DataFrame(
        {
            "patient": patient,
            "therapist": therapist,
            "session": session,
            "t": session.astype(float),
            "within": within,
            "y": np.round(y, 3),
        }
    )


def options(model: str) -> dict[str, str]:
    return {"correlation": "ar1", "time": "session"} if model == "C" else {}


def ours(data: pd.DataFrame, model: str, repeats: int) -> dict[str, float]:
    """Medians of the fit alone and of fit and degrees of freedom."""
    fit_mixed(FORMULAS[model], data.head(500), **options(model)).tidy()  # imports and caches are not the fit
    alone, tested, deviance = [], [], np.nan
    for _ in range(repeats):
        started = clock()
        fit = fit_mixed(FORMULAS[model], data, **options(model))
        alone.append(clock() - started)
        fit.tidy()
        tested.append(clock() - started)
        deviance = -2 * fit.log_likelihood
    return {"fit": statistics.median(alone), "df": statistics.median(tested), "deviance": deviance}


def in_r(file: Path, engine: str, model: str, repeats: int) -> dict[str, float] | None:
    """The same in R, or None where R or the package is absent."""
    if shutil.which("Rscript") is None:
        return None
    arguments = [str(file), engine, model, str(repeats), *(["cpu"] if CPU else [])]
    command = ["Rscript", "--vanilla", str(HERE / "bench_mixed.R"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        reason = done.stderr.strip().splitlines()
        print(f"({engine} on model {model} failed: {' '.join(reason[-3:])})", file=sys.stderr)
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1].replace("NA", "NaN"))
    return {
        "fit": statistics.median(found["seconds"]),
        "deviance": found["deviance"],
        "peak": found["peak"],
        "before": found["before"],
    }


def in_statsmodels(data: pd.DataFrame) -> dict[str, float]:
    import statsmodels.formula.api as smf

    started = clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its convergence warnings are its own affair here; the deviance is shown
        model = smf.mixedlm("y ~ t + within", data, groups="patient", re_formula="~t")
        fit = model.fit(
            reml=True, method=["lbfgs"]
        )  # the fastest of its optimisers here; its default falls back on others
    return {"fit": clock() - started, "deviance": -2 * fit.llf}


def memory(field: str) -> float:
    """A memory field of this process in MB; NaN where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), float("nan"))


def peak_memory(file: Path, model: str) -> dict[str, float]:
    """Peak memory of one fit with df in a fresh process that holds the data already."""
    command = [sys.executable, str(Path(__file__)), "--peak", str(file), model]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def measure_peak(file: str, model: str) -> None:
    data = pd.read_csv(file)
    fit_mixed(FORMULAS[model], data.head(500), **options(model)).tidy()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = memory("VmRSS")
    fit_mixed(FORMULAS[model], data, **options(model)).tidy()
    print(json.dumps({"peak": memory("VmHWM"), "before": before}))


def stages(data: pd.DataFrame, model: str) -> dict[str, float]:
    """Seconds of each stage of one fit, and of reading the needed columns once."""
    found = {}
    last = clock()

    def lap(name: str) -> None:
        nonlocal last
        now = clock()
        found[name], last = now - last, now

    correlation = options(model).get("correlation")
    design = build_design(parse(FORMULAS[model]), data, time=options(model).get("time"))
    lap("design")
    prepared = build_model(design, correlation=correlation, reml=True)
    lap("cross-products")
    optimum = minimise(prepared)
    lap(f"search ({optimum.evaluations} evaluations)")
    for name in ["y", "t", "within", "patient", *(["therapist"] if model == "B" else [])]:
        if data[name].dtype.kind in "if":  # text has no sum
            data[name].to_numpy().sum()
    lap("floor: every column read once")
    return found


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value < 1 else f"{value:.2f}"


def verdict(ratio: float, bar: float | None) -> str:
    return f"{ratio:.0f}x" if bar is None else f"{ratio:.0f}x (bar {bar:.0f}: {'ok' if ratio >= bar else 'MISSED'})"


def compare_size(size: str, folder: Path, full: bool) -> tuple[list[str], list[str]]:
    """Rows of the table of seconds and of that of memory."""
    data = simulate(SIZES[size])
    file = folder / f"{size}.csv"
    data.to_csv(file, index=False)
    rows, peaks = [], []
    for model in "ABC":
        mine = ours(data, model, REPEATS[size])
        others: dict[str, dict[str, float] | None] = {}
        big = size == "1.2M"
        if model in "AB" and (full or not big):
            others["lmer"] = in_r(file, "lmer", model, R_REPEATS[size])
            if size in ("1k", "24k"):
                others["lmerTest"] = in_r(file, "lmerTest", model, R_REPEATS[size])
        if model == "C" and (size in ("1k", "24k") or (full and size == "240k")):
            others["nlme"] = in_r(file, "nlme", model, 1 if size != "1k" else 3)
        if model == "A" and (size in ("1k", "24k") or (full and size == "240k")):
            others["statsmodels"] = in_statsmodels(data)
        if not others:
            others[""] = None
        for engine, other in others.items():
            own = mine["df"] if engine == "lmerTest" else mine["fit"]
            ratio = "" if other is None else verdict(other["fit"] / own, RATIO_BARS.get((size, model, engine)))
            above = "" if other is None else f"{other['deviance'] - mine['deviance']:+.1e}"
            absent = engine and other is None
            theirs = "absent" if absent else seconds(None if other is None else other["fit"])
            cells = [f"{len(data):,}", model, seconds(mine["fit"]), seconds(mine["df"]), engine, theirs, ratio, above]
            rows.append(f"| {' | '.join(cells)} |")
        if size in ("240k", "1.2M"):
            mine_peak = peak_memory(file, model)
            lmer = others.get("lmer")
            theirs = "" if lmer is None else f"{lmer['peak'] - lmer['before']:.0f} / {lmer['peak']:.0f}"
            own = f"{mine_peak['peak'] - mine_peak['before']:.0f} / {mine_peak['peak']:.0f}"
            peaks.append(f"| {len(data):,} | {model} | {own} | {theirs} |")
    return rows, peaks


def inference(folder: Path) -> list[str]:
    """What follows a fit of model B on 1k rows: Kenward-Roger, cluster-robust tests, profile intervals."""
    data, file = simulate(SIZES["1k"]), folder / "1k.csv"
    fit = fit_mixed(FORMULAS["B"], data)
    eye = np.eye(len(fit.terms))
    tasks = {
        "Kenward-Roger": (lambda: kenward_roger(fit).df(eye), "pbkrtest"),
        "cluster-robust CR2": (lambda: cluster_robust(fit).df(eye), "clubSandwich"),
        "all profile intervals": (lambda: profile_intervals(fit, which="all"), "profile"),
    }
    lines = ["| after the fit (1k rows, B) | ours, s | R | its s | ratio |", "|---|---|---|---|---|"]
    for task, (run, engine) in tasks.items():
        taken = []
        for _ in range(5):
            started = clock()
            run()
            taken.append(clock() - started)
        own, other = statistics.median(taken), in_r(file, engine, "B", 1)
        theirs, ratio = ("absent", "") if other is None else (seconds(other["fit"]), verdict(other["fit"] / own, None))
        lines.append(
            f"| {task} | {seconds(own)} | {'lme4 ' if engine == 'profile' else ''}{engine} | {theirs} | {ratio} |"
        )
    return lines


def largest(folder: Path) -> list[str]:
    """1.2 million rows: our seconds beside reading the file, and where they go."""
    file = folder / "1.2M.csv"
    reading = []
    for _ in range(3):
        started = clock()
        data = pd.read_csv(file)
        reading.append(clock() - started)
    unit = statistics.median(reading)
    lmer = in_r(folder / "240k.csv", "lmer", "A", 1)
    slower = 1.0 if lmer is None else lmer["fit"] / LME4_SECONDS
    lines = [f"{len(data):,} rows. `pandas.read_csv` of the file takes {unit:.2f} s.", ""]
    lines[:1] += [f"Bars are for lme4 taking {LME4_SECONDS} s on 240k rows of A; here {slower:.2f} times that."]
    lines += [
        "| model | fit, s | with df, s | fit over read_csv | bar, s | stages, s |",
        "|---|---|---|---|---|---|",
    ]
    text = data.assign(patient="p" + data["patient"].astype(str), therapist="t" + data["therapist"].astype(str))
    for model, ids, table in (("A", "", data), ("B", "", data), ("C", "", data), ("A", ", text ids", text)):
        mine = ours(table, model, REPEATS["1.2M"])
        parts = ", ".join(f"{name} {value:.3f}" for name, value in stages(table, model).items())
        bar = LARGEST_BARS[model] * slower
        word = "ok" if mine["fit"] <= bar else "MISSED"
        share = f"{mine['fit'] / unit:.2f}"
        cells = [f"{model}{ids}", f"{mine['fit']:.3f}", f"{mine['df']:.3f}", share, f"{bar:.2f} {word}", parts]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("FILE", "MODEL"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        measure_peak(*chosen.peak)
        return 0
    if shutil.which("Rscript") is None:
        print("R is not installed: the columns of lme4, lmerTest and nlme stay empty.\n")
    print(f"{'Processor' if CPU else 'Wall-clock'} seconds, one thread each.\n")
    sizes = ["1k", "24k"] if chosen.quick else list(SIZES)
    print("| rows | model | ours, s | ours with df, s | beside | its s | ratio | its deviance - ours |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    peaks: list[str] = []
    printed: list[str] = []

    def show(lines: list[str]) -> None:
        print("\n".join(lines), flush=True)
        printed.extend(lines)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in sizes:
            rows, more = compare_size(size, folder, chosen.full)
            show(rows)
            peaks += more
        print()
        show(inference(folder))
        if peaks:
            print("\nPeak memory in MB, beyond the data / of the whole process:\n")
            print("| rows | model | ours with df | lmer |")
            print("|---|---|---|---|")
            show(peaks)
        if "1.2M" in sizes:
            print()
            show(largest(folder))
    return int(any("MISSED" in line for line in printed))


if __name__ == "__main__":
    sys.exit(main())
