"""The shipped study's answer to one question under every detection rule and repair target, and one p for all."""

from pathlib import Path

import alliance_stats as als

ROOT = Path(__file__).parents[1]
SCORE, SYMPTOM = "alliance", "phq9"
TERM = "repaired - none"


def main(out: Path = ROOT / "figures") -> None:
    sessions = als.read_sessions(
        ROOT / "data/simulated_sessions.csv", patient="patient", session="session", therapist="therapist"
    )
    sessions = als.score_items(sessions, "WAI-SR", items="wai_{item}", into=SCORE)
    test = als.multiverse.joint_test(sessions, score=SCORE, question="outcome", symptom=SYMPTOM, seed=1)
    test.joint.round(6).to_csv(out / "multiverse_joint.csv", index=False, lineterminator="\n")
    label = "Last PHQ-9, repaired minus no rupture, points (95% CI)"
    als.save_figure(als.figures.plot_multiverse(test.table, term=TERM, xlabel=label), out / "multiverse")


if __name__ == "__main__":
    main()
