"""The whole report of routine-care services: 1,000 to 50,000 patients of 12 sessions, ten to a therapist.

Run: python benchmarks/bench_report.py [patients ...]      (default: 1000 5000 20000 50000, about six minutes)

Bar: 50,000 patients, 5,000 therapists, 200 clinics within 3 minutes and 4 GB, in one process. Exit status 1 if it is
missed. Seconds of processor time (clock beside it); every size has a process of its own, so that its peak memory is
its own. With the default sizes, figures/report_growth.csv and its figure are written.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

import alliance_stats as als
from alliance_stats.figures.style import styled_figure

SIZES = (1_000, 5_000, 20_000, 50_000)
MINUTES, GIGABYTES = 3.0, 4.0
FIGURE = Path(__file__).parents[1] / "figures" / "report_growth"


def write_study(folder: Path, patients: int) -> Path:
    """The files of a service: items, symptoms, therapist, clinic, endings; and the shipped study file without codes."""
    study = als.simulate_study(n_patients=patients, n_therapists=patients // 10, n_sessions=12, sessions_sd=3, seed=1)
    sessions = study.sessions.drop(columns=["alliance", "alliance_therapist"]).merge(study.items)
    sessions = sessions.assign(clinic="c" + pd.Series(pd.factorize(sessions["therapist"])[0] // 25).astype(str))
    sessions.to_csv(folder / "simulated_sessions.csv", index=False)
    study.endings.to_csv(folder / "simulated_endings.csv", index=False)
    shipped = (Path(__file__).parents[1] / "data" / "simulated_study.toml").read_text()
    (folder / "study.toml").write_text(re.sub(r"(?ms)^\[codes\].*?(?=^\[|\Z)", "", shipped))  # too many to code
    return folder / "study.toml"


def timed(study: Path) -> dict[str, Any]:
    """Seconds of each part of one report, and its peak memory in GB."""
    from alliance_stats.report import writing

    seconds: dict[str, float] = {}

    def clocked(name: str, run: Any) -> Any:
        def inner(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return run(*arguments, **options)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.process_time() - start

        return inner

    writing._open_run = clocked("reading, scoring, detecting", writing._open_run)
    writing.PARTS = tuple((name, clocked(name, part)) for name, part in writing.PARTS)
    start, clock = time.process_time(), time.perf_counter()
    writing.write_report(study, study.parent / "report")
    total = time.process_time() - start
    seconds["writing the page"] = total - sum(seconds.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**seconds, "total": total, "clock": time.perf_counter() - clock, "gigabytes": peak}


def measured(patients: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for task in ("write", "report"):
            command = [sys.executable, __file__, task, folder, str(patients)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return {"patients": patients, **json.loads(done.stdout)}


def draw(table: pd.DataFrame) -> None:
    """Time and memory over the number of patients; the dotted lines are the bars."""
    thousands = table["patients"] / 1000
    parts = [name for name in table if name not in ("patients", "total", "clock", "gigabytes")]
    parts = [name for name in parts if table[name].max() > 0.02 * table["total"].max()]
    with styled_figure(1, 2, figsize=(8, 3.4)) as (figure, axes):
        time_axis, memory_axis = axes[0]
        time_axis.plot(thousands, table["total"], color="black", marker="o", label="the whole report")
        for name in parts:
            time_axis.plot(thousands, table[name], marker=".", linewidth=0.9, label=name)
        time_axis.axhline(60 * MINUTES, linestyle=":", color="grey")
        time_axis.set(ylabel="Seconds of processor time", ylim=(0, 65 * MINUTES))
        time_axis.legend(loc="upper left", bbox_to_anchor=(0, 0.95))
        memory_axis.plot(thousands, table["gigabytes"], color="black", marker="o")
        memory_axis.axhline(GIGABYTES, linestyle=":", color="grey")
        memory_axis.set(ylabel="Peak memory, GB", ylim=(0, 1.1 * GIGABYTES))
        for ax in (time_axis, memory_axis):
            ax.set(xlabel="Thousand patients of 12 sessions", xticks=thousands)
    als.save_figure(figure, FIGURE)


def main() -> int:
    if sys.argv[1:2] in (["write"], ["report"]):
        task, folder, patients = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
        if task == "write":
            write_study(folder, patients)
        else:
            print(json.dumps(timed(folder / "study.toml")))
        return 0
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    rows = []
    for size in sizes:
        rows.append(measured(size))
        print({name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    table = pd.DataFrame(rows)
    print(table.set_index("patients").T.round(2).to_string())
    if tuple(sizes) == SIZES:
        table.round(3).to_csv(FIGURE.with_suffix(".csv"), index=False)
        draw(table)
    largest = table[table["patients"] >= SIZES[-1]]
    ok = bool(((largest["total"] <= 60 * MINUTES) & (largest["gigabytes"] <= GIGABYTES)).all())
    print(
        f"50,000 patients within {MINUTES:g} minutes and {GIGABYTES:g} GB: {'ok' if ok else 'MISSED'}"
        if len(largest)
        else ""
    )
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
