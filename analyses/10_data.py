"""The shipped study's data: how the scores are distributed, and who was seen and rated when."""

from pathlib import Path

import pandas as pd

import alliance_stats as als

ROOT = Path(__file__).parents[1]
SCORE = "alliance"
FLOOR, CEILING = 1, 5


def main(out: Path = ROOT / "figures") -> None:
    sessions = als.read_sessions(
        ROOT / "data/simulated_sessions.csv",
        patient="patient",
        session="session",
        therapist="therapist",
        attendance="attendance",
    )
    sessions = als.score_items(sessions, "WAI-SR", items="wai_{item}", into=SCORE)
    endings = pd.read_csv(ROOT / "data/simulated_endings.csv")

    distribution = als.reliability.score_distribution(sessions, score=SCORE)
    label = "WAI-SR, mean of 12 items (1 to 5)"
    als.save_figure(
        als.figures.plot_distribution(distribution, score=label, floor=FLOOR, ceiling=CEILING), out / "distribution"
    )
    als.save_figure(als.figures.plot_attendance(sessions, score=SCORE, endings=endings), out / "attendance")


if __name__ == "__main__":
    main()
