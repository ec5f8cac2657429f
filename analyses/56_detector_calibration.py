"""Whether the latent detector's probabilities are right, world by world, and what they give as covariates.

Writes figures/detector_calibration.csv, figures/detector_plug_in_runs.csv and figures/detector_plug_in.csv. The
simulation takes some minutes and runs with `--simulate`; without it the saved runs are tabulated again.
"""

import sys
from pathlib import Path

import pandas as pd
from detector_study.calibration import calibration, plug_in, summarise_plug_in
from detector_study.worlds import CALIBRATION_WORLDS

FIGURES = Path(__file__).parents[1] / "figures"
CALIBRATION, RUNS = FIGURES / "detector_calibration.csv", FIGURES / "detector_plug_in_runs.csv"
PLUG_IN = (
    "plain",
    "long ruptures",
    "ceiling",
    "six sessions, long ruptures",
    "saturating rise",
    "shrinking spread",
    "skewed noise",
)
SMALL = ("plain", "long ruptures")


def simulate() -> None:
    worlds = CALIBRATION_WORLDS
    tables = [calibration(worlds.values()), calibration([worlds[name] for name in SMALL], n_patients=40, replicates=10)]
    pd.concat(tables, ignore_index=True).round(4).to_csv(CALIBRATION, index=False)
    plug_in([worlds[name] for name in PLUG_IN]).round(4).to_csv(RUNS, index=False)


def main(out: Path = FIGURES) -> None:
    summarise_plug_in(pd.read_csv(RUNS)).round(3).to_csv(out / "detector_plug_in.csv", index=False)


if __name__ == "__main__":
    if "--simulate" in sys.argv:
        simulate()
    main()
