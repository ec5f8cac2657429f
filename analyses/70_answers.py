"""The answer table: whether the headline answers of the report hold, in the worlds that psychotherapy has.

Simulates every world, puts the questions to each study, and writes every answer, the table and the figure. The
simulation takes about an hour and runs with `--simulate`; without it the saved answers are tabulated and drawn again.
"""

import sys
from pathlib import Path

import pandas as pd
from answers.figure import plot_answers
from answers.questions import ask
from answers.summary import answer_table
from answers.worlds import VERSIONS, WORLDS

from alliance_stats.figures.saving import save_figure

FIGURES = Path(__file__).parents[1] / "figures"
EVERY_ANSWER = FIGURES / "answers_runs.csv"
STUDIES, FIRST_SEED = 50, 7000


def simulate() -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + STUDIES)
    parts = [ask(world, version, seed=seed) for world in WORLDS for version in VERSIONS for seed in seeds]
    pd.concat(parts, ignore_index=True).round(5).to_csv(EVERY_ANSWER, index=False)


def main(out: Path = FIGURES) -> None:
    table = answer_table(pd.read_csv(EVERY_ANSWER, keep_default_na=False, na_values={"estimate": "", "p_value": ""}))
    table.round(4).to_csv(out / "answers.csv", index=False)
    save_figure(plot_answers(table), out / "answers")


if __name__ == "__main__":
    if "--simulate" in sys.argv:
        simulate()
    main()
