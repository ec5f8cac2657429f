"""The effect of an open rupture on the next session and on dropout, from uncertain ruptures: bias and coverage.

Simulates 500 studies of every world and estimates the effect in four ways (`rupture_states.WAYS`); writes every
estimate, the table and the figure. A study takes about a second, all of them two hours; `--simulate` goes on where it
was stopped. Without it the saved estimates are tabulated and drawn again.
"""

import sys
from pathlib import Path

import pandas as pd
from rupture_states import WORLDS, estimates, plot_effects, summarise

from alliance_stats.figures.style import save_figure

FIGURES = Path(__file__).parents[1] / "figures"
EVERY_RUN = FIGURES / "rupture_states_runs.csv"
STUDIES = 500


def simulate() -> None:
    known = pd.read_csv(EVERY_RUN) if EVERY_RUN.exists() else pd.DataFrame({"world": [], "seed": []})
    there = set(zip(known["world"], known["seed"], strict=True))
    for seed in range(STUDIES):
        for world in WORLDS:
            if (world, seed) not in there:
                found = estimates(world, seed).round(4)
                found.to_csv(EVERY_RUN, mode="a", header=not EVERY_RUN.exists(), index=False)


def main(out: Path = FIGURES) -> None:
    runs = pd.read_csv(EVERY_RUN)
    table = summarise(runs.sort_values(["model", "seed"], ascending=[False, True], kind="stable"))
    table.round(3).to_csv(out / "rupture_states.csv", index=False)
    save_figure(plot_effects(table), out / "rupture_states")


if __name__ == "__main__":
    if "--simulate" in sys.argv:
        simulate()
    main()
