"""Ruptures and outcome in the shipped study: by pattern at the end, and from session to session."""

from pathlib import Path

import pandas as pd

import alliance_stats as als

ROOT = Path(__file__).parents[1]
SCORE, SYMPTOM = "alliance", "phq9"
RULE = "running_mean_2pooled"
WORDS = {
    "phq9": "symptoms now",
    "phq9_first": "symptoms at the start",
    "alliance_within": "alliance, within patients",
    "alliance_between": "alliance, between patients",
    "rupture_open": "a rupture is open",
    "repaired_before": "a rupture was repaired",
    "rupture_open_between": "rupture open, between patients",
    "repaired_before_between": "repaired, between patients",
}


def main(out: Path = ROOT / "figures") -> None:
    sessions = als.read_sessions(
        ROOT / "data/simulated_sessions.csv", patient="patient", session="session", therapist="therapist"
    )
    sessions = als.score_items(sessions, "WAI-SR", items="wai_{item}", into=SCORE)
    endings = pd.read_csv(ROOT / "data/simulated_endings.csv")

    events = als.detect_ruptures(sessions, score=SCORE, rule=RULE)
    patients = als.summarise_patients(sessions, events, endings=endings, measures=[SYMPTOM])
    outcome = als.fit_outcome(patients, post="phq9_post", pre="phq9_pre")
    effects = outcome.effects().query("adjusted").rename(columns={"contrast": "term", "difference": "estimate"})
    label = "Difference in last PHQ-9, points (95 % CI)"
    als.save_figure(als.plot_terms(effects, xlabel=label), out / "outcome_by_pattern")

    fit = als.fit_next_session(sessions, events, symptom=SYMPTOM, alliance=SCORE)
    terms = als.tidy(fit).query("term != 'Intercept'")
    label = "Points of PHQ-9 in the next session (95 % CI)"
    als.save_figure(als.plot_terms(terms, labels=WORDS, xlabel=label), out / "next_session")


if __name__ == "__main__":
    main()
