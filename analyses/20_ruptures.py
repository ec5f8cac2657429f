"""The shipped study's ruptures: single courses, prevalence beside chance, and the mean course around the onset."""

from pathlib import Path

import alliance_stats as als

ROOT = Path(__file__).parents[1]
SCORE = "alliance"
RULE = "running_mean_2pooled"
PATIENTS = ["p039", "p059", "p018", "p046", "p002", "p034", "p112", "p091", "p043"]
DRAWS, SEED = 1000, 1


def main(out: Path = ROOT / "figures") -> None:
    sessions = als.read_sessions(
        ROOT / "data/simulated_sessions.csv", patient="patient", session="session", therapist="therapist"
    )
    sessions = als.score_items(sessions, "WAI-SR", items="wai_{item}", into=SCORE)
    events = als.detect_ruptures(sessions, score=SCORE, rule=RULE)

    axes = als.plot_patients(sessions, events, patients=PATIENTS, score=SCORE)
    als.save_figure(axes[0], out / "patients")

    chance = als.chance_level(sessions, score=SCORE, rule=RULE, draws=DRAWS, seed=SEED)
    als.save_figure(als.plot_prevalence(chance.by_session), out / "prevalence")

    course = als.rupture.onset_aligned(sessions, events, score=SCORE)
    als.save_figure(als.plot_onset_aligned(course.query("status != 'censored'"), score=SCORE), out / "onset_aligned")


if __name__ == "__main__":
    main()
