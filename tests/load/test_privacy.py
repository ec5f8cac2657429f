"""Pseudonyms: stable, keyed, and nothing left that could hold an id."""

import pandas as pd
import pytest

import alliance_stats as als


def read(tmp_path, text, name="study.csv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return als.read_sessions(path, **{"patient": "id", "session": "sess", **options})


def test_pseudonyms_are_stable_across_files_and_formats():
    key = "a secret that is long"
    numbers = pd.DataFrame({"patient": [7, 8], "therapist": [7, 7], "session": [1, 1]})
    text = pd.DataFrame({"patient": ["8", "7"], "session": [1, 1]})
    first, second = als.load.pseudonymise(numbers, key=key), als.load.pseudonymise(text, key=key)
    assert first["patient"].tolist() == second["patient"].tolist()[::-1]
    assert first["patient"].iloc[0].split("-")[1] != first["therapist"].iloc[0].split("-")[1]
    assert als.load.pseudonymise(numbers, key=key + "!")["patient"].tolist() != first["patient"].tolist()
    assert numbers["patient"].tolist() == [7, 8]
    with pytest.raises(ValueError, match="16 or more"):
        als.load.pseudonymise(numbers, key="short")


def test_dates_move_together():
    table = pd.DataFrame({"patient": [1, 1, 2], "date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-01"])})
    got = als.load.pseudonymise(table, key="a secret that is long", shift_dates=True)
    assert (got["date"].diff().iloc[1]).days == 7
    assert (got["date"] - table["date"]).abs().max() <= pd.Timedelta(days=182)


def test_nothing_that_could_hold_an_id_stays_in_attrs(tmp_path):
    got = read(tmp_path, "id,sess,wai\nanna,1,5\nAnna,1,4\n")
    assert "anna" in str(got.attrs)
    assert "anna" not in str(als.load.pseudonymise(got, key="a secret that is long").attrs)


def test_missing_ids_stay_missing():
    table = pd.DataFrame({"patient": ["a", "b"], "therapist": ["t", None]})
    assert als.load.pseudonymise(table, key="a secret that is long")["therapist"].isna().tolist() == [False, True]
