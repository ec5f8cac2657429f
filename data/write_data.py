"""Write the shipped study: simulated from a fixed seed, so that every byte can be made again.

Run ``python data/write_data.py`` from the repository; give a directory to write elsewhere.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pandas as pd

import alliance_stats as als

N_PATIENTS, N_THERAPISTS, SEED = 120, 12, 3
SESSIONS_FILE, ENDINGS_FILE, CODES_FILE = "simulated_sessions.csv", "simulated_endings.csv", "simulated_codes.csv"
BAD_FILE = "bad_sessions.csv"
REPORTS = ["rupture_patient", "rupture_therapist"]

MISTAKES = (
    # row of the file's data (0-based), column, what was typed there
    (2, "wai_4", "-9"),  # a missing code nobody declared
    (5, "wai_7", "7"),  # an answer outside 1 to 5
    (8, "wai_1", "n/a"),  # text among numbers
    (11, "alliance_therapist", "4,25"),  # a decimal comma
    (14, "session", "5.5"),  # a session that is not a whole number
    (17, "patient", ""),  # no id
    (20, "phq9", "99"),  # another missing code
    (23, "date", "31.02.2023"),  # a day that does not exist
    (26, "attendance", "came"),  # a word the codebook does not know
)
DUPLICATED = 29
"""This row stands twice, the second time with another score."""


def simulated() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The shipped sessions (items, not scores, of the patient's form), endings and codes."""
    study = als.simulate_study(n_patients=N_PATIENTS, n_therapists=N_THERAPISTS, seed=SEED, codes=True)
    head = study.sessions[["patient", "therapist", "session", "date", "attendance"]]
    head = head.assign(date=head["date"].dt.strftime("%Y-%m-%d"))
    items = study.items.drop(columns=["patient", "session"]).astype("Int64")
    rest = pd.DataFrame(
        {
            "alliance_therapist": study.sessions["alliance_therapist"].round(4),
            "phq9": study.sessions["phq9"].astype("Int64"),
        }
    )
    reports = study.sessions[REPORTS].astype("Int64").assign(missed_by=study.sessions["missed_by"])
    codes = study.codes.astype({"significance": "Int64", "resolution": "Int64"})
    return pd.concat([head, items, rest, reports], axis=1), study.endings, codes


def spoiled(sessions: pd.DataFrame) -> pd.DataFrame:
    """The first 40 rows as text, with the mistakes that real files arrive with."""
    bad = sessions.head(40).astype(object).where(sessions.head(40).notna(), "").astype(str)
    for row, column, typed in MISTAKES:
        bad.loc[row, column] = typed
    again = bad.loc[[DUPLICATED]].assign(phq9="3")
    return pd.concat([bad.loc[:DUPLICATED], again, bad.loc[DUPLICATED + 1 :]], ignore_index=True)


def write(directory: Path) -> None:
    """Write the four files into `directory`."""
    sessions, endings, codes = simulated()
    bad = spoiled(sessions)
    for name, table in ((SESSIONS_FILE, sessions), (ENDINGS_FILE, endings), (CODES_FILE, codes), (BAD_FILE, bad)):
        table.to_csv(directory / name, index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
