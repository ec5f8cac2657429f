"""The simulated study that outcome.R analyses; the CSV files beside this script are frozen."""

from pathlib import Path

import alliance_stats as als

HERE = Path(__file__).parent

if __name__ == "__main__":
    study = als.simulate_study(
        n_patients=60, n_therapists=6, seed=11, rupture_rate=0.08, therapist_change=0.0, n_sessions=14, sessions_sd=6
    )
    sessions = study.sessions[["patient", "therapist", "session", "alliance", "phq9"]]
    events = als.detect_ruptures(study.sessions, score="alliance", rule="previous_2pooled")
    patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
    keep = ["patient", "therapist", "n_rated", "pattern", "phq9_pre", "phq9_post", "n_phq9"]
    for name, table in (
        ("sessions", sessions),
        ("events", events[["patient", "onset", "repaired_at"]]),
        ("patients", patients[keep]),
    ):
        table.to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
