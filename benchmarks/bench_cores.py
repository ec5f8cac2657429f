"""What a second core gains: seconds on one core over twice the seconds on two, with workers that are already running.

Bars: .8 for pieces above 50 ms (by the clock, best of three: run it on a quiet machine); 1,000 studies of a
next-session design of 100 patients x 12 sessions within 60 s of processor time. Exit status 1 if one is missed.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import alliance_stats as als
from alliance_stats.tables.progress import run_pieces

BAR, LONG = 0.8, 0.05
STUDIES, SECONDS = 1000, 60.0


def count(piece: int) -> int:
    """Plain Python for about 80 ms."""
    return sum(number % 7 for number in range(2_000_000 + piece))


def seconds(run: Callable[..., Any], n_jobs: int) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        run(n_jobs=n_jobs)
        best = min(best, time.perf_counter() - start)
    return best


def tasks() -> dict[str, tuple[int, Callable[..., Any]]]:
    """Per task: the number of its pieces, and the call that takes ``n_jobs``."""
    study = als.simulate_study(n_patients=400, n_therapists=40, rupture_rate=0.06, seed=1)
    sessions = study.sessions
    fits = [
        als.fit_mixed(f"phq9 ~ session + ({slope} | patient) + (1 | therapist)", sessions)
        for slope in ("1", "1 + session")
    ]
    events = als.detect_ruptures(sessions, score="alliance", rule="previous_2pooled")
    intervals = als.dropout_intervals(sessions, events, endings=study.endings)
    hazard = als.fit_dropout("rupture_open + repaired_before + session", intervals, cluster="therapist")
    world = {"n_patients": 300, "n_therapists": 30}
    rules = [name for name, rule in als.RULES.items() if rule.prospective]
    quiet: dict[str, Any] = {"progress": False}
    return {
        "nothing but arithmetic": (40, partial(run_pieces, count, range(40))),
        "simulate_power, 300 patients": (
            40,
            partial(
                als.simulate_power, analysis="next_session", term="rupture_open", world=world, n_studies=40, seed=1
            ),
        ),
        "fit_multiverse, 400 patients": (
            3 * len(rules),
            partial(
                als.fit_multiverse,
                sessions,
                score="alliance",
                question="next_session",
                symptom="phq9",
                rules=rules,
                **quiet,
            ),
        ),
        "compare, 100 draws": (100, partial(als.compare, *fits, draws=100, seed=1, **quiet)),
        "repair_effect, 400 samples": (400, partial(als.dropout.repair_effect, hazard, draws=400, seed=1, **quiet)),
    }


def main() -> int:
    missed = 0
    run_pieces(count, range(4), n_jobs=2)  # the workers start
    for name, (pieces, run) in tasks().items():
        run(n_jobs=2)  # and import what they need
        one, two = seconds(run, 1), seconds(run, 2)
        gained, each = one / (2 * two), one / pieces
        bar = f"(bar {BAR:g}): {'ok' if gained >= BAR else 'MISSED'}" if each >= LONG else "(short pieces: no bar)"
        missed += each >= LONG and gained < BAR
        print(
            f"{name:<32}{1000 * each:6.0f} ms a piece   1 core {one:6.2f} s   2 cores {two:6.2f} s   {gained:.2f} {bar}"
        )
    world = {"n_patients": 100, "n_therapists": 10, "n_sessions": 12, "sessions_sd": 0}
    start = time.process_time()
    als.simulate_power(analysis="next_session", world=world, n_studies=STUDIES // 5, seed=1)
    used = 5 * (time.process_time() - start)
    missed += used > SECONDS
    print(f"{STUDIES:,} studies of 100 x 12: {used:.0f} s (bar {SECONDS:g}): {'ok' if used <= SECONDS else 'MISSED'}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
