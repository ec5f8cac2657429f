"""Detection on 1.2 million sessions of 100,000 patients beside reading them, and chance levels of a study of 200.

Bars: each rule within half the time of ``pandas.read_csv`` of the same rows; ``chance_level`` with 1,000 draws on 200
patients of 16 sessions within 3 s. Exit status 1 if one is missed. Seconds of processor time, best of several runs:
everything here runs in one thread, and so another program on the machine does not count.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from alliance_stats.rupture.chance.calibrate import calibrate
from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES

PATIENTS, REPEATS = 100_000, 5
SHARE, CHANCE_SECONDS = 0.5, 3.0


def study(patients: int) -> pd.DataFrame:
    """A study file as they come: text ids, therapist, date, attendance, two raters, a symptom; 4 to 20 sessions."""
    rng = np.random.default_rng(1)
    length = rng.integers(4, 21, patients)
    n = int(length.sum())
    patient = np.repeat(np.arange(patients), length)
    session = np.arange(n) - np.repeat(np.cumsum(length) - length, length) + 1
    level = np.repeat(rng.normal(5.2, 0.7, patients), length)
    alliance = np.clip(np.rint((level + rng.normal(0, 0.6, n)) * 12) / 12, 1, 7)
    therapist = np.clip(np.rint((level + rng.normal(0, 0.8, n)) * 12) / 12, 1, 7)
    alliance[rng.random(n) < 0.05] = np.nan
    day = np.datetime64("2020-01-06") + 7 * session.astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "patient": np.char.add("p", np.char.zfill(patient.astype(str), 6)),
            "therapist": np.char.add("t", (patient // 20).astype(str)),
            "session": session,
            "date": day.astype(str),
            "attendance": rng.choice(["attended", "late"], n, p=[0.93, 0.07]),
            "alliance": alliance.round(4),
            "alliance_therapist": therapist.round(4),
            "phq9": rng.integers(0, 28, n),
        }
    )


def best(run: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main() -> int:
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sessions.csv"
        study(PATIENTS).to_csv(file, index=False)
        reading = best(lambda: pd.read_csv(file))
        sessions = pd.read_csv(file)
    print(f"{len(sessions):,} sessions of {PATIENTS:,} patients: pandas.read_csv {reading:.3f} s")
    for name in RULES:
        seconds = best(lambda name=name: detect_ruptures(sessions, score="alliance", rule=name))  # type: ignore[misc]
        ok = seconds <= SHARE * reading
        missed += not ok
        said = "ok" if ok else "MISSED"
        print(f"  {name:<22}{seconds:7.3f} s  {seconds / reading:6.1%} of reading (bar {SHARE:.0%}): {said}")
    numbered = sessions.assign(patient=pd.factorize(sessions["patient"])[0])
    seconds = best(lambda: detect_ruptures(numbered, score="alliance", rule="own_mean_2sd"))
    print(f"  own_mean_2sd with numbers as ids {seconds:.3f} s")
    rng = np.random.default_rng(2)
    scores = np.clip(np.rint(12 * (np.repeat(rng.normal(5.2, 0.7, 200), 16) + rng.normal(0, 0.6, 3200))) / 12, 1, 7)
    small = pd.DataFrame(
        {"patient": np.repeat(range(200), 16), "session": np.tile(range(1, 17), 200), "alliance": scores}
    )
    for name in ("own_mean_2sd", "own_median_2pooled", "previous_1sd", "sudden_loss"):
        for null in ("fitted", "shuffled"):
            seconds = best(
                lambda name=name, null=null: chance_level(small, score="alliance", rule=name, seed=1, null=null), 2
            )  # type: ignore[misc]
            missed += seconds > CHANCE_SECONDS
            verdict = "ok" if seconds <= CHANCE_SECONDS else "MISSED"
            print(f"  chance_level {name:<20}{null:<9}{seconds:6.2f} s (bar {CHANCE_SECONDS:g} s): {verdict}")
    seconds = best(lambda: calibrate(small, score="alliance", rule="own_median_2pooled", seed=1), 2)
    print(f"  calibrate own_median_2pooled {seconds:.2f} s")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
