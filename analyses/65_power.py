"""How many patients, sessions and therapists a study of the next session needs: power over a grid, and the smallest.

`--simulate` draws the studies again (some minutes); without it the saved table is read and drawn.
"""

import sys
from pathlib import Path

import pandas as pd

import alliance_stats as als

FIGURES = Path(__file__).parents[1] / "figures"
TABLE = FIGURES / "power_next_session.csv"
SIZES = {"n_patients": [25, 50, 100, 200], "n_sessions": [8, 16], "n_therapists": [5, 20]}
WORLD = {"alliance_effect": -1.0, "sessions_sd": 4}


def simulate() -> None:
    table = als.simulate_power(
        analysis="next_session", term="alliance_within", vary=SIZES, world=WORLD, n_studies=100, seed=1, n_jobs=-1
    )
    table.to_csv(TABLE, index=False, lineterminator="\n")


def main(out: Path = FIGURES) -> None:
    table = pd.read_csv(TABLE)
    als.power.smallest_study(table).to_csv(out / "power_smallest.csv", index=False, lineterminator="\n")
    als.save_figure(als.figures.plot_power(table), out / "power")


if __name__ == "__main__":
    if "--simulate" in sys.argv:
        simulate()
    main()
