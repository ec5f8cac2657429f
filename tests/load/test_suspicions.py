"""What can be read and still looks like a mistake is said, and what is plausible is not."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als

ROLES = {"patient": "id", "session": "sess"}


def check(tmp_path, text, **options):
    path = tmp_path / "study.csv"
    path.write_text(text, encoding="utf-8")
    return als.check_file(path, **{**ROLES, **options})


def rules(found):
    return set(found["rule"])


def study(patients=6, sessions=12, seed=1):
    rng = np.random.default_rng(seed)
    n = patients * sessions
    return pd.DataFrame(
        {
            "id": np.repeat(np.arange(1, patients + 1), sessions),
            "sess": np.tile(np.arange(1, sessions + 1), patients),
            "wai_1": rng.integers(1, 6, n),
            "wai_2": rng.integers(1, 6, n),
        }
    )


def test_a_plausible_study_raises_no_suspicion(tmp_path):
    assert check(tmp_path, study().to_csv(index=False)).empty


def test_copied_columns_and_patients(tmp_path):
    data = study()
    found = check(tmp_path, data.assign(wai_3=data["wai_1"]).to_csv(index=False))
    assert rules(found) == {"copied column"}
    assert "2 columns hold the same value in every row: 'wai_1', 'wai_3'" in found["problem"].iloc[0]
    data.loc[data["id"] == 4, ["wai_1", "wai_2"]] = data.loc[data["id"] == 2, ["wai_1", "wai_2"]].to_numpy()
    found = check(tmp_path, data.sample(frac=1, random_state=1).to_csv(index=False))
    assert rules(found) == {"copied patient"}
    assert "'2', '4'" in found["problem"].iloc[0]
    steady = study().assign(wai_1=5, wai_2=lambda t: t["sess"] % 2 * 0 + 4)  # at the ceiling: no copy
    assert "copied patient" not in rules(check(tmp_path, steady.to_csv(index=False)))


@pytest.mark.parametrize(
    ("ids", "alike"),
    [(("p1", "p 1"), True), (("p-1", "p1"), True), (("P1", "p1"), True), (("p01", "p1"), True), (("007", "7"), True),
     (("p1", "p10"), False), (("p1", "p2"), False)],
)  # fmt: skip
def test_ids_that_differ_by_a_blank_a_dash_or_a_zero(tmp_path, ids, alike):
    text = "id,sess,wai\n" + "".join(f"{one},{s},{s}\n" for one in ids for s in (1, 2))
    assert ("ids alike" in rules(check(tmp_path, text))) is alike


@pytest.mark.parametrize("code", [99, 999])
def test_a_session_number_that_is_a_missing_code(tmp_path, code):
    data = study()
    data.loc[5, "sess"] = code
    found = check(tmp_path, data.to_csv(index=False))
    assert rules(found) == {"session code?"}
    assert found["row"].tolist() == [7]
    assert f"not_sessions=[{code}]" in found["remedy"].iloc[0]
    assert check(tmp_path, data.to_csv(index=False), ranges={"session": [0, code]}).empty
    assert "session code?" not in rules(check(tmp_path, data.to_csv(index=False), not_sessions=[code]))
    with_text = data.assign(sess=data["sess"].map("S{}".format))
    assert "session code?" in rules(check(tmp_path, with_text.to_csv(index=False), session_format="S{session}"))
    long = pd.concat([data, pd.DataFrame({"id": 9, "sess": np.arange(1, 131), "wai_1": 3, "wai_2": 4})])
    if code == 99:  # sessions up to 130: 99 may well be one
        assert "session code?" not in rules(check(tmp_path, long.to_csv(index=False)))


@pytest.mark.parametrize(
    ("days", "flagged"),
    [
        (["2024-01-01", "2025-01-08", "2024-01-15", "2024-01-22"], [3]),  # the year is wrong, not the next date
        (["2024-01-01", "2023-01-08", "2024-01-15", "2024-01-22"], [3]),
        (["2024-01-01", "2024-01-08", "2024-01-15", "2023-01-22"], [5]),
        (["2024-01-01", "2024-01-01", "2024-01-15", "2024-01-22"], []),
    ],
)
def test_the_date_that_is_wrong_is_flagged_and_not_its_neighbour(tmp_path, days, flagged):
    text = "id,sess,wai,day\n" + "".join(f"1,{s},{s},{day}\n" for s, day in enumerate(days, 1))
    found = check(tmp_path, text, date="day")
    assert found.loc[found["rule"] == "dates run back", "row"].tolist() == flagged
