"""The answer table: whether the headline answers of the report hold, in the worlds that psychotherapy has.

Puts the questions to simulated studies of every world, and writes every answer, the table and the figure. A study takes
some ten seconds; `--simulate` goes on where it was stopped, up to STUDIES per world. Without it the saved answers are
tabulated and drawn again.
"""

import sys
from pathlib import Path

import pandas as pd
from answers.figure import plot_answers
from answers.questions import ask
from answers.summary import answer_table
from answers.worlds import VERSIONS, WORLDS

from alliance_stats.figures.style import save_figure

FIGURES = Path(__file__).parents[1] / "figures"
EVERY_ANSWER = FIGURES / "answers_runs.csv"
STUDIES, FIRST_SEED = 50, 7000


def simulate() -> None:
    """Add the studies that are not there yet, one after the other, so that a stopped run loses nothing."""
    known = pd.read_csv(EVERY_ANSWER) if EVERY_ANSWER.exists() else pd.DataFrame({"world": [], "seed": []})
    there = set(zip(known["world"], known["seed"], strict=True))
    for seed in range(FIRST_SEED, FIRST_SEED + STUDIES):
        for world in WORLDS:
            if (world, seed) not in there:
                found = pd.concat([ask(world, version, seed=seed) for version in VERSIONS], ignore_index=True)
                found["said"] = found["said"].str.slice(0, 60)  # enough to know the reason by
                found.round(5).to_csv(EVERY_ANSWER, mode="a", header=not EVERY_ANSWER.exists(), index=False)


def main(out: Path = FIGURES) -> None:
    answers = pd.read_csv(EVERY_ANSWER).fillna({"said": ""})
    table = answer_table(answers)
    table.round(4).to_csv(out / "answers.csv", index=False)
    save_figure(plot_answers(table), out / "answers")


if __name__ == "__main__":
    if "--simulate" in sys.argv:
        simulate()
    main()
