"""The answer table: whether the headline answers of the report hold, in the worlds that psychotherapy has.

Puts the questions to simulated studies of every world, and writes every answer, the table and the figure. A study takes
some ten seconds, one of which only DIRECTION is asked less than one; `--simulate` goes on where it was stopped. Without
it the saved answers are tabulated and drawn again.
"""

import sys
from itertools import product
from pathlib import Path

import pandas as pd
from answers.figure import plot_answers
from answers.questions import ASKED, DIRECTION, ask
from answers.summary import answer_table
from answers.worlds import VERSIONS, WORLDS

from alliance_stats.figures.style import save_figure

FIGURES = Path(__file__).parents[1] / "figures"
EVERY_ANSWER = FIGURES / "answers_runs.csv"
STUDIES, OF_DIRECTION, FIRST_SEED = 50, 200, 7000


def simulate() -> None:
    """Add the answers that are not there yet, study by study, so that a stopped run loses nothing."""
    keys = ["world", "version", "seed", "question", "way"]
    known = pd.read_csv(EVERY_ANSWER) if EVERY_ANSWER.exists() else pd.DataFrame(columns=keys)
    there = set(known[keys].itertuples(index=False, name=None))
    for number in range(OF_DIRECTION):
        for world, version in product(WORLDS, VERSIONS):
            questions = ASKED[version] if number < STUDIES else {DIRECTION}.intersection(ASKED[version])
            seed = FIRST_SEED + number
            left = tuple(one for one in questions if (world, version, seed, one, "report") not in there)
            if left:
                found = ask(world, version, left, seed=seed)
                found = found[[row not in there for row in found[keys].itertuples(index=False, name=None)]]
                found = found.assign(said=found["said"].str.slice(0, 60))  # enough to know the reason by
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
