"""The latent detector in worlds that had no part in its development, frozen before it was run on any of them.

Writes one table of runs and one of gains over the best rules. The simulation takes some minutes and runs with
`--simulate`; without it the saved runs are tabulated again.
"""

import sys
from pathlib import Path

import pandas as pd
from detector_study.comparison import compare_detectors, gains
from detector_study.worlds import FURTHER_WORLDS

FIGURES = Path(__file__).parents[1] / "figures"
EVERY_RUN = FIGURES / "detector_validation_runs.csv"
N_PATIENTS, N_FREE, REPLICATES, SEED = 500, 1000, 4, 1


def simulate() -> None:
    runs = compare_detectors(
        FURTHER_WORLDS.values(), n_patients=N_PATIENTS, n_free=N_FREE, replicates=REPLICATES, seed=SEED
    )
    runs.round(5).to_csv(EVERY_RUN, index=False)


def main(out: Path = FIGURES) -> None:
    gains(pd.read_csv(EVERY_RUN)).round(3).to_csv(out / "detector_validation.csv", index=False)


if __name__ == "__main__":
    if "--simulate" in sys.argv:
        simulate()
    main()
