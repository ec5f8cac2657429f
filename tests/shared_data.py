"""The real data sets that some tests read (never part of the product), and simulated twins of the same shape."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / ".." / "shared" / "data"
ABSENT = "real data set not here: "


def real_data(name):
    """The path of a real data set; without it the test is skipped, and the end of the test report says so."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(ABSENT + name)
    return path


def reframed_twin(seed=1):
    """In the shape of RefraMED: monthly PHQ-9, rows after the end of treatment, therapists in one arm only."""
    rng = np.random.default_rng(seed)
    rows = []
    months = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18]
    for patient in range(120):
        arm = "RO-DBT" if patient < 80 else "TAU"
        therapist = f"T{patient % 11:02d}" if arm == "RO-DBT" else ""
        level, slope = rng.normal(17, 4.5), rng.normal(-0.43, 0.45)
        for month in months:
            if month and rng.random() < 0.25:
                continue
            phq9 = np.clip(round(level + slope * min(month, 12) + rng.normal(0, 3.4)), 0, 27)
            hamd = np.clip(round(0.9 * phq9 + rng.normal(3, 2)), 0, 52) if month in (0, 7, 12, 18) else np.nan
            rows.append((10000 + patient, str(month), float(month), arm, therapist, phq9, hamd))
        if rng.random() < 0.8:
            rows.append((10000 + patient, "Post-Rx", np.nan, arm, therapist, np.nan, np.nan))
    return pd.DataFrame(rows, columns=["patient", "month", "month_num", "grp", "therapist", "phq9", "hamd"])


def cbasp_twin(seed=1):
    """In the shape of CBASP: a count of nine yes-no symptoms by session, missed sessions, early endings."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(1, 121):
        last = 27 if rng.random() > 0.17 else int(rng.integers(6, 24))
        level, slope = rng.normal(0.4, 1.2), rng.normal(-0.06, 0.05)
        for session in range(last + 1):
            if session in (0, last) or rng.random() > 0.15:
                chance = 1 / (1 + np.exp(-(level + slope * session + rng.normal(0, 0.5))))
                rows.append((patient, 1 + patient % 2, session, float(rng.binomial(9, chance))))
    return pd.DataFrame(rows, columns=["patient", "group", "session", "symptom_count"])
