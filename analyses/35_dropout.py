"""How therapies in the shipped study ended, and dropout by the rupture state known one session before."""

from pathlib import Path

import pandas as pd

import alliance_stats as als

ROOT = Path(__file__).parents[1]
SCORE = "alliance"
RULE = "running_mean_2pooled"
FORMULA = "rupture_open + repaired_before + session"
WORDS = {"rupture_open": "a rupture is open", "repaired_before": "a rupture was repaired"}


def main(out: Path = ROOT / "figures") -> None:
    sessions = als.read_sessions(
        ROOT / "data/simulated_sessions.csv", patient="patient", session="session", therapist="therapist"
    )
    sessions = als.score_items(sessions, "WAI-SR", items="wai_{item}", into=SCORE)
    endings = pd.read_csv(ROOT / "data/simulated_endings.csv")
    events = als.detect_ruptures(sessions, score=SCORE, rule=RULE)

    intervals = als.dropout_intervals(sessions, events, endings=endings, lag=1)
    als.save_figure(als.plot_incidence(als.cumulative_incidence(intervals)), out / "incidence")

    hazard = als.fit_dropout(FORMULA, intervals, cluster="therapist")
    terms = als.tidy(hazard).query("term != 'Intercept'")
    label = "Odds ratio of dropout at the next session (95 % CI)"
    als.save_figure(als.plot_terms(terms, ratio=True, labels=WORDS, xlabel=label), out / "dropout")


if __name__ == "__main__":
    main()
