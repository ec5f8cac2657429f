"""Processor seconds and memory of the latent detector on large studies (goal: 20,000 patients within 30 s)."""

import resource
import time

import numpy as np
import pandas as pd
from detector_study.worlds import WORLDS, simulate_world

import alliance_stats as als

STUDIES = (
    ("200 patients x 16 sessions", "brief, 16 sessions", 200),
    ("20,000 patients x 8 sessions", "brief, 8 sessions", 20_000),
    ("20,000 patients x 16 sessions", "brief, 16 sessions", 20_000),
    ("20,000 patients, holes, up to 16", "brief, holes, unequal lengths", 20_000),
    ("20,000 patients x 30 sessions", "brief, 30 sessions", 20_000),
    ("2,000 patients x 16, ceiling", "brief, ceiling", 2_000),
)

print(f"numpy {np.__version__}, pandas {pd.__version__}")
print(f"{'study':36s} {'ratings':>9s} {'fit and P, s':>13s} {'events, s':>10s} {'peak, MB':>9s}")
for label, world, n_patients in STUDIES:
    sessions = simulate_world(WORLDS[world], n_patients=n_patients, seed=1).sessions
    start = time.process_time()
    fit = als.detect_latent(sessions, score="alliance")
    fitted = time.process_time()
    fit.events(false_alarm=0.05)
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{label:36s} {len(sessions):9,d} {fitted - start:13.1f} {done - fitted:10.1f} {peak:9.0f}", flush=True)
